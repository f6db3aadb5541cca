"""What every rival of CiMEU is as a model: plain tensors beside a small configuration, nothing that could run code.

A rival reads both streams of a clip and gives one answer, not one per level and stream. `kind` names its form in
`config.json`; `method` in its configuration names how it was trained, which is the name of the row of a comparison.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

from torch import nn

from cimeu.errors import RecipeError
from cimeu.model.checkpoint import Specifications
from cimeu.model.config import StreamConfig
from cimeu.pyramid import Direction
from cimeu.ranges import Within, check_values


@dataclass(frozen=True, kw_only=True)
class RivalConfig:
    """Everything needed to build a rival, in plain values."""

    emotions: tuple[str, ...]
    """Classes in the order of the logits."""
    first: StreamConfig
    """The first stream."""
    second: StreamConfig | None = None
    """The second stream, if there is one."""
    method: str = ""
    """How it was trained: a name of `cimeu.baselines`."""
    moments: tuple[int, ...] = ()
    """Pooled models: what is kept of each stream, 1 the mean over time, 2 the mean and the deviation."""
    supports: Annotated[int, Within(0)] = 0
    """Radial kernel: number of support vectors."""
    pairs: Annotated[int, Within(0)] = 0
    """Radial kernel: number of pairs of emotions that have a decision of their own."""

    def __post_init__(self) -> None:
        check_values(self)
        if len(self.emotions) < 2:
            raise RecipeError(f"a model needs two emotions or more, got {list(self.emotions)}\n\nhint: set `emotions`")

    @property
    def direction(self) -> Direction:
        """Rivals read clips as they were recorded."""
        return "forward"

    @property
    def streams(self) -> tuple[StreamConfig, ...]:
        """The streams that are there, first one first."""
        return (self.first,) if self.second is None else (self.first, self.second)

    @property
    def pooled_width(self) -> int:
        """Width of the vector of a clip, streams side by side."""
        return sum(stream.width * n for stream, n in zip(self.streams, self.moments, strict=True))


class Rival(nn.Module):
    """A model with its configuration and what a reader has to know beside the weights."""

    kind: ClassVar[str]

    def __init__(self, config: RivalConfig, specifications: Specifications | None = None) -> None:
        super().__init__()
        self.config = config
        self.specifications = specifications or Specifications(emotions=config.emotions)


def rival_config(values: dict[str, Any]) -> RivalConfig:
    """Read a configuration from plain values. Raises TypeError or KeyError where they are those of something else."""
    names = {field.name for field in fields(RivalConfig)}
    if unknown := set(values) - names:
        raise KeyError(sorted(unknown)[0])
    streams = {name: StreamConfig(**values[name]) for name in ("first", "second") if values.get(name)}
    plain = {**values, "emotions": tuple(values["emotions"]), "moments": tuple(values.get("moments", ()))}
    return RivalConfig(**{**plain, "second": None, **streams})
