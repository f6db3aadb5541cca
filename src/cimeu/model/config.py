"""What a network is made of: every switch and size of the method, with its named values.

Each switch names its `published` form (the public code of CiMEU), its `figure` form where the drawing differs, and the
default this project trains. Sizes follow the table of the method; `base` is the published one.
"""

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal, get_args

from cimeu.errors import RecipeError, guess
from cimeu.pyramid import DIRECTIONS, Direction
from cimeu.ranges import Within, check_values

Kind = Literal["steps", "tokens", "filterbank"]
StyleForm = Literal["step", "clip"]
Alignment = Literal["steps", "centre", "published", "off"]
Fusion = Literal["published", "figure", "off"]
Disentangle = Literal["both", "first", "off"]
LateFusion = Literal["bounded", "equal", "gated", "published", "validation"]
AudioUse = Literal["finetune", "frozen"]
Chance = Annotated[float, Within(0, 1, below=True)]

PUBLISHED_SECOND_SHARE = 0.2
"""Weight of the second stream's logits in the public code."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Widths and depths that belong together."""

    width: int
    """Embedding width C of every step."""
    temporal_mlp: int
    """Hidden width of the temporal block's MLP."""
    layers: int
    """Fusion layers N."""
    feed_forward: int
    """Hidden width of a fusion layer's MLP."""
    ast_width: int
    """Width of the audio spectrogram transformer."""
    ast_layers: int
    """Its depth."""
    ast_heads: int
    """Its attention heads."""


SIZES: dict[str, Size] = {
    "tiny": Size(width=32, temporal_mlp=48, layers=1, feed_forward=64, ast_width=48, ast_layers=2, ast_heads=4),
    "small": Size(width=64, temporal_mlp=96, layers=2, feed_forward=128, ast_width=48, ast_layers=2, ast_heads=4),
    "base": Size(width=512, temporal_mlp=768, layers=6, feed_forward=1024, ast_width=768, ast_layers=12, ast_heads=12),
}


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """Kind and width of one input."""

    width: Annotated[int, Within(1)]
    """Features per step or token; mel bins of a filterbank."""
    kind: Kind = "steps"
    """`steps`: one vector per window; `tokens`: frozen AST tokens; `filterbank`: the AST is part of the network."""
    encoder: str = ""
    """Name of the encoder the features come from, for the reader."""
    tokens: Annotated[int, Within(1)] = 300
    """Tokens per clip (`tokens` only), without class and distillation token."""
    frames: Annotated[int, Within(1)] = 256
    """Filterbank frames of 10 ms per clip (`filterbank` only)."""

    def __post_init__(self) -> None:
        check_values(self, "model stream")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything needed to build a network, in plain values."""

    emotions: tuple[str, ...]
    """Classes in the order of the logits."""
    first: StreamConfig
    """The disentangled stream."""
    second: StreamConfig | None = None
    """The stream aligned to it; None where the whole setting has only one."""
    direction: Direction = "forward"
    """Whether the first stream was played backward."""
    size: str = "base"
    """Row of `SIZES`."""
    styles: Annotated[int, Within(2)] = 3
    """Number of styles S."""
    disentangle: Disentangle = "both"
    """Streams with emotion and style primitives of their own. `first`: as published, the second stream goes to the
    fusion layers undisentangled; `off`: emotion encoders alone on both streams, the row "without ER"."""
    style: StyleForm = "step"
    """`clip`: one style vector per clip instead of one per step."""
    alignment: Alignment = "steps"
    """How both streams are pulled together; the loss lives in training, `off` leaves its inputs out."""
    fusion: Fusion = "published"
    """`figure`: hybrid attention inside each layer; `off`: no fusion layers, hybrid attention kept."""
    late_fusion: LateFusion = "bounded"
    """Share of the second stream in the logits. `bounded`: learned per clip, from 0.2 to 0.8, so that no stream can be
    ignored; `equal`: 0.5; `gated`: learned without bounds; `published`: 0.2; `validation`: 0.2 until chosen."""
    stream_dropout: Chance = 0.2
    """Chance that a training clip with both streams loses one of them (not with `late_fusion: published`)."""
    stream_corruption: Chance = 0.1
    """Chance that a training clip with both streams has noise added to one (learned shares only)."""
    drop_path: Chance = 0.1
    """Stochastic depth of temporal blocks."""
    layer_scale: Annotated[float, Within(0, 1, above=True)] = 0.1
    """Start of the per-channel scales of temporal blocks; `published`: 1e-4, for schedules above 1,000 updates."""
    head_dropout: Chance = 0.2
    """Dropout on the pooled vector that the heads read; `published`: 0."""
    audio: AudioUse = "finetune"
    """`frozen`: the AST keeps its given weights (second stream of kind `filterbank`)."""
    audio_weights: str = ""
    """File or folder with AST weights; empty: random, for finetuned small networks only."""
    audio_size: str = ""
    """Row of `SIZES` the AST follows; empty: `size`."""
    continuous: tuple[str, ...] = ()
    """Continuous labels, such as valence and arousal, that a second head reads from the emotion primitives."""

    def __post_init__(self) -> None:
        for size in (self.size, self.audio_size or self.size):
            if size not in SIZES:
                raise RecipeError(f"unknown model size `{size}`\n\nhint: {guess(size, tuple(SIZES), 'one of ')}")
        _check_choices(vars(self))
        check_values(self, "model")
        if len(self.emotions) < 2:
            raise RecipeError(f"a model needs two emotions or more, got {list(self.emotions)}\n\nhint: set `emotions`")
        if len(set(self.emotions)) < len(self.emotions):
            raise RecipeError(f"emotions repeat: {list(self.emotions)}\n\nhint: name each emotion once")
        if self.first.kind != "steps":
            raise RecipeError(
                f"the first stream is of kind `{self.first.kind}`\n\n"
                "hint: only streams of steps can be disentangled; give tokens and filterbanks as the second stream"
            )
        if self.audio == "frozen" and (self.second is None or self.second.kind != "filterbank"):
            raise RecipeError(
                "`audio: frozen` without a filterbank as second stream\n\n"
                "hint: stored tokens of the `ast` encoder are frozen already; leave `audio` out"
            )

    @property
    def disentangled(self) -> tuple[StreamConfig, ...]:
        """Streams that are read through primitive encoders, first one first."""
        both = self.second is not None and self.disentangle != "first"
        return (self.first, self.second) if both and self.second else (self.first,)

    @property
    def sizes(self) -> Size:
        """Widths and depths of `size`."""
        return SIZES[self.size]

    @property
    def audio_sizes(self) -> Size:
        """Widths and depths of the AST."""
        return SIZES[self.audio_size or self.size]


CHOICES: dict[str, tuple[str, ...]] = {
    "direction": DIRECTIONS,
    "style": get_args(StyleForm),
    "alignment": get_args(Alignment),
    "fusion": get_args(Fusion),
    "disentangle": get_args(Disentangle),
    "late_fusion": get_args(LateFusion),
    "audio": get_args(AudioUse),
}


def to_dict(config: ModelConfig) -> dict[str, Any]:
    """Plain values, ready for JSON; networks without continuous labels are described as before there were any."""
    values = {**asdict(config), "emotions": list(config.emotions), "continuous": list(config.continuous)}
    return values if config.continuous else {name: part for name, part in values.items() if name != "continuous"}


def model_config(values: dict[str, Any]) -> ModelConfig:
    """Read a configuration from plain values; RecipeError for a key it does not have, or a value no switch has."""
    dimensions = tuple(values.get("continuous", ()))
    values = _of_this_version({**values, "emotions": tuple(values["emotions"]), "continuous": dimensions})
    _check_choices(values)
    for stream in ("first", "second"):
        if isinstance(values.get(stream), dict):
            values[stream] = StreamConfig(**_checked_names(values[stream], StreamConfig))
    return ModelConfig(**_checked_names(values, ModelConfig))


def _of_this_version(values: dict[str, Any]) -> dict[str, Any]:
    """Settings written by version 0.1, by today's names. RecipeError where its network no longer exists."""
    if "mixing" in values:
        values["late_fusion"] = values.pop("mixing")
    # Booleans until version 0.2, when a second stream came to have primitives of its own.
    if values.get("disentangle") is True:
        values["disentangle"] = "first"
    if values.get("disentangle") is False and values.get("second"):
        raise RecipeError(
            "this network of version 0.1 has an emotion encoder on its first stream alone\n\n"
            "hint: train it again with `model.disentangle=off`"
        )
    if values.get("disentangle") is False:
        values["disentangle"] = "off"
    return values


def _check_choices(values: dict[str, Any]) -> None:
    for name, allowed in CHOICES.items():
        if values.get(name, allowed[0]) not in allowed:
            hint = guess(values[name], allowed, "one of ")
            raise RecipeError(f"unknown value `{values[name]}` for model setting `{name}`\n\nhint: {hint}")


def _checked_names(values: dict[str, Any], kind: type) -> dict[str, Any]:
    names = tuple(field.name for field in fields(kind))
    for key in values:
        if key not in names:
            raise RecipeError(f"unknown model setting `{key}`\n\nhint: {guess(key, names, 'one of ')}")
    return values
