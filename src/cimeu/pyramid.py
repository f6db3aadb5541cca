"""One clip seen at three speeds: 16, 8 and 4 steps (PTH-Net, IEEE TIP 2024, section III).

A `Stream` is what enters the model; a `Level` is one speed of it; a `Pyramid` holds the three levels, H (every step),
M (every second) and L (every fourth).

Axes: B clips, T time steps, D channels. Masks are true on real steps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

Direction = Literal["forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")
LEVELS = ("H", "M", "L")
STRIDES = (1, 2, 4)
STEPS = 16


@dataclass(frozen=True)
class Stream:
    """One input of a batch of clips.

    Clips without this input keep their row, with `present` false, an all-false mask and zeros in `features`.
    """

    features: Float[Tensor, "B T D"]
    mask: Bool[Tensor, "B T"]
    present: Bool[Tensor, " B"]

    def trimmed(self) -> "Stream":
        """Without the last steps that no clip of the batch has; at least one stays."""
        real = self.mask.any(dim=0).nonzero()
        length = int(real[-1]) + 1 if len(real) else 1
        return replace(self, features=self.features[:, :length], mask=self.mask[:, :length])


@dataclass(frozen=True)
class Level:
    """Features of a batch at one speed, with the mask of their real steps."""

    features: Float[Tensor, "B T D"]
    mask: Bool[Tensor, "B T"]


@dataclass(frozen=True)
class Pyramid:
    """The three levels of a batch, highest first."""

    high: Level
    middle: Level
    low: Level

    @classmethod
    def of(cls, features: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> "Pyramid":
        """Take every step, every second and every fourth."""
        return cls(*(Level(features[:, ::stride], mask[:, ::stride]) for stride in STRIDES))

    def map(self, function: Callable[[Level], Level]) -> "Pyramid":
        """Apply one function to each level."""
        return Pyramid(*(function(level) for level in self))

    def __iter__(self) -> Iterator[Level]:
        return iter((self.high, self.middle, self.low))
