"""The network, read like the figure: disentangle, align, mine, decide.

    first ──┬─ ER: emotion ─ linear ─┐           ┌─ cross-modal layers ─ hybrid attention ─ heads ─┐
            └─ ER: style ─ decoder   ├ alignment ┤                                                 ├─ logits H, M, L
    second ─┬─ ER: emotion ─ linear ─┘           └─ cross-modal layers ─ hybrid attention ─ heads ─┘
            └─ ER: style ─ decoder

No path leads from an input to the logits around an emotion encoder (`disentangle: first`, as published, lets the second
stream pass).

Sources: CiMEU (overview figure and public code), PTH-Net (IEEE TIP 2024), METER (CVPR 2022), AST (Interspeech 2021).

Axes: B clips, T steps, D input width, C channels, P channels of all disentangled streams, K emotions, S styles. H, M, L
have 16, 8, 4 steps, later 4, 2, 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cimeu.encoders.ast import AST, load_ast
from cimeu.encoders.weights import WEIGHTS, weights_folder
from cimeu.errors import RecipeError, WeightsMissing
from cimeu.model.alignment import Fusion, PrimitiveMap, StepMap, TokenMap, token_steps
from cimeu.model.blocks import Layout, Levels
from cimeu.model.checkpoint import Specifications, check_tensors, read_checkpoint, save_checkpoint
from cimeu.model.config import SIZES, ModelConfig, StreamConfig
from cimeu.model.disentangle import Decoder, IndependenceHeads, PrimitiveEncoder
from cimeu.model.late_fusion import Gate, LevelHeads, weighted_logits
from cimeu.pyramid import Level, Pyramid, Stream


@dataclass(frozen=True)
class Decision:
    """What alignment, mining and late fusion make of the emotion primitives; tuples over levels hold H, M, L."""

    logits: tuple[Float[Tensor, "B K"], ...]
    """Both streams together, per level."""
    first_logits: tuple[Float[Tensor, "B K"], ...]
    second_logits: tuple[Float[Tensor, "B K"], ...] | None
    gate: tuple[Float[Tensor, " B"], ...]
    """Share of the second stream, after renormalising over what is present."""
    aligned: tuple[Pyramid, Pyramid] | None
    """Both streams before type embeddings; None with one stream or `alignment: off`."""
    pooled: tuple[Float[Tensor, "B C"], ...]
    """First stream after hybrid attention."""
    second_pooled: tuple[Float[Tensor, "B C"], ...] | None
    """Second stream after hybrid attention."""
    continuous: Float[Tensor, "B V"] | None
    """Continuous labels on a scale from -1 to 1; None where the network has none."""


@dataclass(frozen=True)
class Output(Decision):
    """Everything that losses, probes and predictions read."""

    emotion: tuple[Pyramid, ...]
    """Emotion primitives of each disentangled stream, first one first."""
    style: tuple[Pyramid, ...]
    """Style primitives of the same streams; empty without ER."""
    rebuilt: tuple[Pyramid, ...]
    """Reconstructed inputs of the same streams, at 16, 8 and 4 steps; empty without ER."""
    second_steps: Level | None
    """What the second stream's decoder must reconstruct where tokens were read as steps."""
    style_logits: tuple[Float[Tensor, "B S"], ...] | None
    style_adversary: tuple[Float[Tensor, "B S"], ...] | None
    emotion_adversary: tuple[Float[Tensor, "B K"], ...] | None
    emotion_pooled: tuple[Float[Tensor, "B P"], ...]
    """Means of the emotion primitives, streams side by side."""
    style_pooled: tuple[Float[Tensor, "B P"], ...] | None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Output":
        """Apply one function to every tensor, masks included."""
        return Output(**{name: _mapped(value, function) for name, value in vars(self).items()})


@dataclass(frozen=True)
class Primitives:
    """One stream taken apart."""

    emotion: Levels
    style: Levels | None
    rebuilt: Levels | None


class CiMEU(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="cimeu",
    tags=["emotion-recognition", "domain-generalization"],
    license="mit",
):
    """Emotion of a clip from a first stream and, if the setting has one, a second."""

    def __init__(
        self, config: ModelConfig, specifications: Specifications | None = None, *, audio: AST | None = None
    ) -> None:
        """Build a network with random weights (the AST excepted).

        Args:
            config: switches and sizes.
            specifications: what a reader of the checkpoint needs beside the weights.
            audio: the AST to use for a filterbank; by default read from `config.audio_weights`, or random where that is
                allowed (a finetuned AST of size tiny or small).

        Raises:
            WeightsMissing: the AST needs given weights and there are none.
            CheckpointError: the given AST weights do not fit.
        """
        super().__init__()
        self.config = config
        self.specifications = specifications or Specifications(emotions=config.emotions, direction=config.direction)
        width = config.sizes.width

        self.emotion = PrimitiveEncoder(config.first.width, config)
        if config.disentangle != "off":
            self.style = PrimitiveEncoder(config.first.width, config)
            self.decoder = Decoder(config.first.width, config)
            self.independence = IndependenceHeads(config)
        self.first_map = nn.Linear(width, width)
        self.first_token = nn.Parameter(torch.randn(width) * 0.02)
        self.fusion = Fusion(config)
        self.first_heads = LevelHeads(config)
        if config.second is not None:
            self._build_second(config.second, audio)
            self.second_token = nn.Parameter(torch.randn(width) * 0.02)
            self.second_heads = LevelHeads(config)
            self.gate = Gate(config)
        if config.continuous:
            # Last, so that the other parts of the network start as they do without it.
            self.continuous = nn.Sequential(
                nn.Linear(width * len(config.disentangled), width),
                nn.GELU(),
                nn.Dropout(config.head_dropout),
                nn.Linear(width, len(config.continuous)),
            )

    def _build_second(self, second: StreamConfig, audio: AST | None) -> None:
        config, width = self.config, self.config.sizes.width
        if second.kind == "filterbank":
            self.audio = audio or audio_encoder(config)
            self.audio.requires_grad_(config.audio == "finetune")
        if config.disentangle == "first":
            self.second_map: nn.Module = second_map(second, config, self.audio if hasattr(self, "audio") else None)
            return
        inputs = self.audio.width if hasattr(self, "audio") else second.width
        self.second_emotion = PrimitiveEncoder(inputs, config)
        self.second_map = PrimitiveMap(width, flip=config.direction == "backward")
        if config.disentangle == "both":
            self.second_style = PrimitiveEncoder(inputs, config)
            self.second_decoder = Decoder(inputs, config)

    def forward(
        self,
        first: Stream,
        second: Stream | None = None,
        *,
        emotion: Int[Tensor, " B"] | None = None,
        reversal: float = 0.0,
    ) -> Output:
        """Score a batch of clips.

        Args:
            first: `[B, T, D]`, standardised.
            second: `[B, T, D2]` steps, `[B, N, D2]` tokens or a `[B, frames, bins]` filterbank; None where the setting
                has none.
            emotion: labels, -1 for none; only the adversaries read them, while training.
            reversal: how strongly the adversaries push back, 0 to 1.

        Raises:
            RecipeError: a stream has another width than configured, or a stream is missing or too many.
        """
        self._check(first, second)

        # ER: emotion primitives, style primitives, and the input reconstructed from both
        sound = None if second is None else self._second_steps(second)
        taken_apart = [self._disentangle(stream, prefix) for prefix, stream in self._disentangled(first, sound)]
        emotion_pooled = side_by_side([stream.emotion for stream in taken_apart])  # H, M, L: [B, P]
        styles = [stream.style for stream in taken_apart if stream.style is not None]
        style_pooled = side_by_side(styles) if styles else None  # H, M, L: [B, P]
        style_logits, style_adversary, emotion_adversary = None, None, None
        if style_pooled is not None:
            heads = self.independence_logits(emotion_pooled, style_pooled, emotion, reversal)
            style_logits, style_adversary, emotion_adversary = heads  # H, M, L: [B, S], [B, S], [B, K]

        decision = self.decide([stream.emotion for stream in taken_apart], first, second)
        return Output(
            **vars(decision),
            emotion=tuple(stream.emotion.pyramid() for stream in taken_apart),
            style=tuple(style.pyramid() for style in styles),
            rebuilt=tuple(stream.rebuilt.pyramid() for stream in taken_apart if stream.rebuilt is not None),
            second_steps=Level(sound.features, sound.mask) if sound is not None and sound is not second else None,
            style_logits=style_logits,
            style_adversary=style_adversary,
            emotion_adversary=emotion_adversary,
            emotion_pooled=emotion_pooled,
            style_pooled=style_pooled,
        )

    def decision(self, first: Stream, second: Stream | None = None) -> Decision:
        """Logits without style primitives and decoders, which none of them depends on."""
        return self.decide(self.emotion_primitives(first, second), first, second)

    def emotion_primitives(self, first: Stream, second: Stream | None = None) -> list[Levels]:
        """Emotion primitives of each disentangled stream: all that `decide` reads, at two fifths of ER's cost."""
        self._check(first, second)
        sound = None if second is None else self._second_steps(second)
        return [
            self._emotion(stream.trimmed(), prefix).padded(primitive_layout(stream))
            for prefix, stream in self._disentangled(first, sound)
        ]

    def decide(self, emotion: Sequence[Levels], first: Stream, second: Stream | None = None) -> Decision:
        """Logits from emotion primitives, whichever streams are present.

        Args:
            emotion: primitives of each disentangled stream, `[B, 4 + 2 + 1, C]`.
            first: whose `present` counts; the primitives of a clip without it are not read.
            second: as first; its features are read only where it is not disentangled.
        """
        # RFA: both streams side by side, then reading each other
        streams = [emotion[0].map(self.first_map)]  # [B, 4 + 2 + 1, C]
        present, aligned = first.present[:, None], None  # [B, 1]
        if second is not None:
            streams.append(self._second(second, emotion))  # [B, 4 + 2 + 1, C]
            if self.config.alignment != "off":
                aligned = (streams[0].pyramid(), streams[1].pyramid())
            present = torch.stack((first.present, second.present), dim=1)  # [B, 2]
            if self.training:
                streams, present = self._modality_dropout(streams, present)
            streams[1] = with_token(streams[1], present[:, 1], self.second_token)
        streams[0] = with_token(streams[0], present[:, 0], self.first_token)
        streams = self.fusion(streams)  # [B, 4 + 2 + 1, C] each

        # LRM: every level has logits of its own, late fusion weighs the streams
        pooled = streams[0].means()  # H, M, L: [B, C]
        first_logits = logits = self.first_heads(pooled)  # H, M, L: [B, K]
        gate = tuple(x.new_zeros(len(x)) for x in logits)  # H, M, L: [B]
        second_logits, second_pooled = None, None
        if second is not None:
            second_pooled = streams[1].means()
            second_logits = self.second_heads(second_pooled)
            gate = tuple(self.gate(h, g, present) for h, g in zip(pooled, second_pooled, strict=True))
            logits = weighted_logits(first_logits, second_logits, gate)
        # Valence and arousal are read from the primitives themselves: no stream is weighed for the emotion's sake.
        values = self.continuous(side_by_side(emotion)[0]).float() if self.config.continuous else None  # [B, V]
        return Decision(logits, first_logits, second_logits, gate, aligned, pooled, second_pooled, values)

    def pooled_styles(self, first: Stream, second: Stream | None = None) -> Float[Tensor, "B P"]:
        """Mean style primitives at H of all disentangled streams, without the rest of the network."""
        streams = {"": first.trimmed()}
        if second is not None and self.config.disentangle == "both":
            streams["second_"] = self._second_steps(second).trimmed()
        means = [
            getattr(self, f"{prefix}style")(s.features * s.mask.unsqueeze(-1), Layout.of(s.mask)).means()[0]
            for prefix, s in streams.items()
        ]
        return torch.cat(means, dim=-1)

    def _disentangled(self, first: Stream, sound: Stream | None) -> list[tuple[str, Stream]]:
        """Streams with encoders of their own, after the prefix of the attributes that hold them."""
        streams = [("", first)]
        if sound is not None and self.config.disentangle != "first":
            streams.append(("second_", sound))
        return streams

    def _emotion(self, stream: Stream, prefix: str) -> Levels:
        features = stream.features * stream.mask.unsqueeze(-1)  # [B, T, D]
        return getattr(self, f"{prefix}emotion")(features, Layout.of(stream.mask))

    def _disentangle(self, stream: Stream, prefix: str) -> Primitives:
        """Take one stream apart with its own encoders; `prefix` names their attributes."""
        whole, primitives = Layout.of(stream.mask), primitive_layout(stream)  # 16 + 8 + 4 steps, 4 + 2 + 1
        # Encoders and decoder leave out steps that no clip has: of a vector for the whole utterance, 27 of 28.
        stream = stream.trimmed()
        emotion = self._emotion(stream, prefix)
        if self.config.disentangle == "off":
            return Primitives(emotion.padded(primitives), None, None)
        layout = Layout.of(stream.mask)
        features = stream.features * stream.mask.unsqueeze(-1)  # [B, T, D]
        style = getattr(self, f"{prefix}style")(features, layout)
        # One style for a clip, spread over its steps: it cannot carry what happens within the clip.
        if self.config.style == "clip":
            style = one_per_level(style)
        rebuilt = getattr(self, f"{prefix}decoder")(emotion, style, layout.halved(), layout)
        return Primitives(emotion.padded(primitives), style.padded(primitives), rebuilt.padded(whole))

    def _second_steps(self, second: Stream) -> Stream:
        """The second stream as the 16 steps that its primitive encoders read."""
        assert self.config.second is not None
        if self.config.second.kind == "steps" or self.config.disentangle == "first":
            return second
        return token_steps(self._tokens(second), second.present)

    def _tokens(self, second: Stream) -> Float[Tensor, "B N D"]:
        if not hasattr(self, "audio"):
            return second.features * second.mask.unsqueeze(-1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.audio == "finetune"):
            return self.audio(second.features)[:, AST.EXTRA_TOKENS :]

    def _second(self, second: Stream, emotion: Sequence[Levels]) -> Levels:
        if isinstance(self.second_map, PrimitiveMap):
            return self.second_map(emotion[1])
        if isinstance(self.second_map, StepMap):
            return self.second_map(second)
        return self.second_map(self._tokens(second), second.present)

    def train(self, mode: bool = True) -> "CiMEU":
        """Training mode; a frozen AST stays in evaluation mode."""
        super().train(mode)
        if hasattr(self, "audio") and self.config.audio == "frozen":
            self.audio.eval()
        return self

    def _check(self, first: Stream, second: Stream | None) -> None:
        for name, stream, expected in (("first", first, self.config.first), ("second", second, self.config.second)):
            if (stream is None) != (expected is None):
                fault = "is missing" if stream is None else "is not part of this model"
                raise RecipeError(
                    f"the {name} stream {fault}\n\n"
                    "hint: a clip without a stream keeps its row with `present` false; a batch has every stream"
                )
            if stream is not None and expected is not None and stream.features.shape[-1] != expected.width:
                raise RecipeError(
                    f"the {name} stream is {stream.features.shape[-1]} wide, the model expects {expected.width}\n\n"
                    f"hint: take features of the encoder it was made for ({expected.encoder or 'not recorded'})"
                )

    def _modality_dropout(
        self, streams: list[Levels], present: Bool[Tensor, "B 2"]
    ) -> tuple[list[Levels], Bool[Tensor, "B 2"]]:
        """Remove one stream from some training clips that have both, and add noise to one stream of some others."""
        if self.config.late_fusion == "published":
            return streams, present
        clips, device = len(present), present.device
        both = present.all(dim=1)
        dropped = both & (torch.rand(clips, device=device) < self.config.stream_dropout)
        chosen = torch.arange(2, device=device) == torch.randint(2, (clips, 1), device=device)  # [B, 2], one per clip
        if self.config.late_fusion in ("bounded", "gated"):
            noisy = both & ~dropped & (torch.rand(clips, device=device) < self.config.stream_corruption)
            streams = [with_noise(s, noisy & chosen[:, i]) for i, s in enumerate(streams)]
        return streams, present & ~(dropped[:, None] & chosen)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_checkpoint(self, save_directory)

    def independence_logits(
        self,
        emotion_pooled: tuple[Float[Tensor, "B P"], ...],
        style_pooled: tuple[Float[Tensor, "B P"], ...],
        emotion: Int[Tensor, " B"] | None,
        reversal: float,
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Style from S, style from E, emotion from S: logits at H, M and L."""
        heads = [self.independence(e, s, emotion, reversal) for e, s in zip(emotion_pooled, style_pooled, strict=True)]
        style_of_s, style_of_e, emotion_of_s = zip(*heads, strict=True)
        return style_of_s, style_of_e, emotion_of_s

    def adversaries(self) -> list[nn.Parameter]:
        """Weights of the adversarial heads; none without ER."""
        if self.config.disentangle == "off":
            return []
        heads = (self.independence.style_of_emotion, self.independence.emotion_of_style)
        return [parameter for head in heads for parameter in head.parameters()]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **download: Any) -> "CiMEU":
        """Read a network from a folder or the hub, in evaluation mode.

        Args:
            pretrained_model_name_or_path: folder, or hub id such as `name/model`.
            download: options of `huggingface_hub.hf_hub_download` (revision, token, local_files_only...).

        Raises:
            CheckpointError: a file is missing, damaged or does not fit; the first differing tensor is named.
        """
        config, specifications, weights = read_checkpoint(pretrained_model_name_or_path, **download)
        audio = random_audio(config) if config.second is not None and config.second.kind == "filterbank" else None
        model = cls(config, specifications, audio=audio)
        weights.into(model)
        return model.eval()


def audio_encoder(config: ModelConfig) -> AST:
    """The AST a new network starts from: `audio_weights`, or what the weights folder has where it cannot be random.

    Raises:
        WeightsMissing: the network needs given weights and there are none.
    """
    assert config.second is not None
    given = config.audio == "frozen" or config.audio_sizes is SIZES["base"]
    fetched = weights_folder() / WEIGHTS["ast"].file
    if config.audio_weights or (given and fetched.is_file()):
        path = Path(config.audio_weights or fetched)
        audio = load_ast(path, heads=config.audio_sizes.ast_heads, n_frames=config.second.frames)
        check_tensors(audio.state_dict(), random_audio(config).state_dict(), path)
        return audio
    if given:
        raise WeightsMissing(
            f"the AST (`audio: {config.audio}`, size `{config.audio_size or config.size}`) cannot start at random\n\n"
            "hint: fetch audioset_10_10_0.4593.pth (github.com/YuanGongND/ast), the hub's "
            "MIT/ast-finetuned-audioset-10-10-0.4593 or deit_base_distilled_patch16_384-d0272ac0.pth "
            "(github.com/facebookresearch/deit) and set `audio_weights` to the file; or save the hub's as "
            f"{fetched}; or leave the sound out (`streams.second=null`)"
        )
    return random_audio(config)


def random_audio(config: ModelConfig) -> AST:
    """An AST of the configured size with random weights, to be trained or overwritten."""
    assert config.second is not None
    size = config.audio_sizes
    return AST(
        width=size.ast_width,
        layers=size.ast_layers,
        heads=size.ast_heads,
        n_frames=config.second.frames,
        n_bins=config.second.width,
    )


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple):
        return tuple(_mapped(part, function) for part in value)
    if isinstance(value, Pyramid):
        return value.map(lambda level: Level(function(level.features), function(level.mask)))
    if isinstance(value, Level):
        return Level(function(value.features), function(value.mask))
    return value


def second_map(second: StreamConfig, config: ModelConfig, audio: AST | None) -> TokenMap | StepMap:
    """From the second stream to 4, 2 and 1 steps."""
    width = config.sizes.width
    if audio is not None:
        return TokenMap(audio.tokens, audio.width, width)
    if second.kind == "tokens":
        return TokenMap(second.tokens, second.width, width)
    return StepMap(second.width, width, flip=config.direction == "backward")


def side_by_side(streams: Sequence[Levels]) -> tuple[Float[Tensor, "B P"], ...]:
    """Means of H, M and L, the streams' channels one after the other."""
    return tuple(torch.cat(means, dim=-1) for means in zip(*(stream.means() for stream in streams), strict=True))


def primitive_layout(stream: Stream) -> Layout:
    """The layout of a stream's primitives: 4, 2 and 1 steps of 16."""
    return Layout.of(stream.mask).halved().halved()


def one_per_level(levels: Levels) -> Levels:
    """Every real step gets the mean of its level."""
    means = levels.layout.spread(torch.stack(levels.means(), dim=1))
    return Levels(levels.layout.masked(means), levels.layout)


def with_token(levels: Levels, present: Bool[Tensor, " B"], token: Float[Tensor, " C"]) -> Levels:
    """Put the learned token where a clip lacks the stream, one real step per level: no level is ever empty."""
    level = levels.layout.level
    # The first step of each level: where the number of the level changes.
    starts = torch.cat((level.new_ones(1, dtype=torch.bool), level[1:] != level[:-1]))  # [T]
    mask = torch.where(present[:, None], levels.layout.mask, starts)
    features = torch.where(present[:, None, None], levels.features, token.to(levels.features.dtype))
    return Levels(features, Layout(mask, levels.layout.lengths))


def with_noise(levels: Levels, noisy: Bool[Tensor, " B"]) -> Levels:
    """Add noise as strong as the features themselves to the chosen clips."""
    # Detached: the network must not learn to make its features small.
    strength = levels.features.detach().float().std()
    noise = torch.zeros_like(levels.features)
    noise[noisy] = (torch.randn_like(levels.features[noisy]) * strength).to(noise.dtype)
    return levels.map(lambda x: x + noise)
