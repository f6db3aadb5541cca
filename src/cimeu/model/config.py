"""What a network is made of: every switch and size of the method, with its named values.

Each switch names its `published` form (the public code of CiMEU), its `figure` form where the drawing differs, and the
default this project trains. Sizes follow the table of the method; `base` is the published one.
"""

from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, get_args

from cimeu.errors import RecipeError
from cimeu.pyramid import DIRECTIONS, Direction

Kind = Literal["steps", "tokens", "filterbank"]
StyleForm = Literal["step", "clip"]
Alignment = Literal["steps", "centre", "published", "off"]
Fusion = Literal["published", "figure", "off"]
Mixing = Literal["gated", "published", "validation"]
AudioUse = Literal["finetune", "frozen"]

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
    """What one input looks like."""

    width: int
    """Features per step or token; mel bins of a filterbank."""
    kind: Kind = "steps"
    """`steps`: one vector per window; `tokens`: frozen AST tokens; `filterbank`: the AST is part of the network."""
    encoder: str = ""
    """Name of the encoder the features come from, for the reader."""
    tokens: int = 300
    """Tokens per clip (`tokens` only), without class and distillation token."""
    frames: int = 256
    """Filterbank frames of 10 ms per clip (`filterbank` only)."""


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
    styles: int = 3
    """Number of styles S."""
    disentangle: bool = True
    """False: emotion encoder alone, the row "without ER"."""
    style: StyleForm = "step"
    """`clip`: one style vector per clip instead of one per step."""
    alignment: Alignment = "steps"
    """How both streams are pulled together; the loss lives in training, `off` leaves its inputs out."""
    fusion: Fusion = "published"
    """`figure`: hybrid attention inside each layer; `off`: no fusion layers, hybrid attention kept."""
    mixing: Mixing = "gated"
    """`gated`: a learned share of the second stream per clip; `published`: 0.2; `validation`: 0.2 until chosen."""
    stream_dropout: float = 0.2
    """Chance that a training clip with both streams loses one of them (not with `mixing: published`)."""
    stream_corruption: float = 0.1
    """Chance that a training clip with both streams has noise laid over one (only with `mixing: gated`)."""
    drop_path: float = 0.1
    """Stochastic depth of temporal blocks."""
    audio: AudioUse = "finetune"
    """`frozen`: the AST keeps its given weights (second stream of kind `filterbank`)."""
    audio_weights: str = ""
    """File or folder with AST weights; empty: random, for finetuned small networks only."""
    audio_size: str = ""
    """Row of `SIZES` the AST follows; empty: `size`."""

    def __post_init__(self) -> None:
        for size in (self.size, self.audio_size or self.size):
            if size not in SIZES:
                raise RecipeError(f"unknown model size `{size}`\n\nhint: {_guess(size, tuple(SIZES))}")
        _check_choices(vars(self))
        if len(self.emotions) < 2:
            raise RecipeError(f"a model needs two emotions or more, got {list(self.emotions)}\n\nhint: set `emotions`")
        if len(set(self.emotions)) < len(self.emotions):
            raise RecipeError(f"emotions repeat: {list(self.emotions)}\n\nhint: name each emotion once")
        if self.styles < 2:
            raise RecipeError(f"styles is {self.styles}\n\nhint: two styles or more, or `disentangle: false`")
        if self.first.kind != "steps":
            raise RecipeError(
                f"the first stream is of kind `{self.first.kind}`\n\n"
                "hint: only streams of steps can be disentangled; give tokens and filterbanks as the second stream"
            )
        for name in ("stream_dropout", "stream_corruption", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}\n\nhint: a chance from 0 to below 1")
        if self.audio == "frozen" and (self.second is None or self.second.kind != "filterbank"):
            raise RecipeError(
                "`audio: frozen` without a filterbank as second stream\n\n"
                "hint: stored tokens of the `ast` encoder are frozen already; leave `audio` out"
            )

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
    "mixing": get_args(Mixing),
    "audio": get_args(AudioUse),
}


def to_dict(config: ModelConfig) -> dict[str, Any]:
    """Plain values, ready for JSON."""
    return {**asdict(config), "emotions": list(config.emotions)}


def model_config(values: dict[str, Any]) -> ModelConfig:
    """Read a configuration from plain values; RecipeError for a key it does not have, or a value no switch has."""
    values = {**values, "emotions": tuple(values["emotions"])}
    _check_choices(values)
    for stream in ("first", "second"):
        if isinstance(values.get(stream), dict):
            values[stream] = StreamConfig(**_known(values[stream], StreamConfig))
    return ModelConfig(**_known(values, ModelConfig))


def _check_choices(values: dict[str, Any]) -> None:
    for name, allowed in CHOICES.items():
        if values.get(name, allowed[0]) not in allowed:
            hint = _guess(values[name], allowed)
            raise RecipeError(f"unknown value `{values[name]}` for model setting `{name}`\n\nhint: {hint}")


def _known(values: dict[str, Any], kind: type) -> dict[str, Any]:
    names = tuple(field.name for field in fields(kind))
    for key in values:
        if key not in names:
            raise RecipeError(f"unknown model setting `{key}`\n\nhint: {_guess(key, names)}")
    return values


def _guess(value: str, allowed: tuple[str, ...]) -> str:
    close = get_close_matches(str(value), allowed, n=1)
    return f"did you mean `{close[0]}`?" if close else f"one of {', '.join(allowed)}"
