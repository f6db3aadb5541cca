"""What predict, serve, bundle, score and explain ask of a trained model, whatever it is made of.

A classifier gets the steps of clips, or of the windows of a recording, as an encoder made them, and gives
probabilities. What it is made of, which steps of a clip it reads and how it standardises them is its own affair.

Axes: N clips, T steps, D width, K emotions, C width of the representation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from cimeu.model.checkpoint import Specifications
from cimeu.pyramid import Direction


@dataclass(frozen=True)
class Clip:
    """Steps of one clip or window: the first stream in each direction there is, the second as it was recorded."""

    first: Mapping[Direction, np.ndarray]
    second: np.ndarray | None = None


@dataclass(frozen=True)
class Answers:
    """What a classifier says about some clips; rows of clips without a stream are NaN."""

    probabilities: Float[np.ndarray, "N K"]
    representation: Float32[np.ndarray, "N C"]
    """What it reads the emotion from, compared with that of training clips."""
    style: Float32[np.ndarray, "N C"] | None = None
    """What it takes for the style of each clip; None where it has no such part."""
    continuous: Float32[np.ndarray, "N V"] | None = None
    """Continuous labels such as valence, on the scales of the specifications; None where it has none."""


@runtime_checkable
class Classifier(Protocol):
    """A trained model."""

    @property
    def specifications(self) -> Specifications: ...

    def answer(self, clips: Sequence[Clip]) -> Answers:
        """Probabilities of some clips, in their order."""
        ...


@dataclass(frozen=True)
class StyledAnswers:
    """What a model says of clips given the style of each one's person."""

    probabilities: Float[np.ndarray, "N K"]
    styles: Float32[np.ndarray, "N C"]
    """What was estimated as style."""
    trust: Float32[np.ndarray, " N"]
    """Weight of the answer given the style against the answer alone, 0 to 1."""


@runtime_checkable
class StyleReader(Classifier, Protocol):
    """A classifier that also reads the style of a person from other clips of the person, without labels."""

    @property
    def reads_steps(self) -> bool:
        """Whether an answer given a style needs the steps of a clip; else what `embed` gives is enough."""
        ...

    def embed(self, clips: Sequence[Clip]) -> Float32[np.ndarray, "N D"]:
        """What a style is read from in each clip."""
        ...

    def adapt(
        self,
        x: np.ndarray,
        pool: np.ndarray,
        support: np.ndarray,
        clips: Sequence[Clip] = (),
        *,
        alone: Float[np.ndarray, "N K"] | None = None,
        shrink: float | None = None,
    ) -> StyledAnswers:
        """Answers about clips given, for each, those rows of `pool` that `support` marks.

        `x` and `pool` are what `embed` gave; the clips themselves are needed where `reads_steps`. `alone` is what
        `answer` said of them, where that is known. `shrink` replaces the model's own assumption of how many clips a
        style needs.
        """
        ...

    def probabilities(self, clips: Sequence[Clip], styles: np.ndarray, trust: np.ndarray) -> Float[np.ndarray, "N K"]:
        """Probabilities of clips given styles and the weights of these."""
        ...
