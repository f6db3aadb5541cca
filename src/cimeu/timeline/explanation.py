"""Why a stretch of time got its label: what each stream and moment contributed, and which training clips are near.

A contribution is how much of the label's probability is lost when a part of the input is taken away; below 0, the part
spoke against the label. Contributions need not add up to the score: parts may say the same twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """Probability of the label lost without one stream, or without one stretch of it."""

    stream: str
    """What was taken away, as in `face (hog)`."""
    start_s: float
    end_s: float
    lost: float
    """-1 to 1."""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A training clip near the segment."""

    clip_id: str
    emotion: str
    corpus: str
    culture: str
    similarity: float
    """Cosine of the primitives, each standardised over the training clips; 1 is the same direction."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What one segment rests on."""

    person: str
    start_s: float
    end_s: float
    label: str
    """The emotion that is explained: the segment's, or the likeliest where the model was unsure."""
    score: float
    """Mean probability of it over the segment's answers, before smoothing."""
    n_windows: int
    """Answers of the segment, one for each stretch of a hop."""
    streams: tuple[Contribution, ...]
    """Each stream taken away as a whole."""
    moments: tuple[Contribution, ...]
    """Each stream taken away for a short stretch."""
    neighbours: tuple[Neighbour, ...]
    """Nearest training clips by emotion primitives; empty where the run keeps none or no face was read."""
    neighbours_with_style: tuple[Neighbour, ...]
    """Nearest training clips by emotion and style primitives together."""


def explanation_from(content: Mapping[str, Any]) -> Explanation:
    """Read back what `dataclasses.asdict` made of an explanation.

    Raises:
        TypeError, KeyError: not such a mapping.
    """
    kinds: dict[str, type] = {"streams": Contribution, "moments": Contribution}
    kinds |= {"neighbours": Neighbour, "neighbours_with_style": Neighbour}
    parts = {name: tuple(kind(**row) for row in content[name]) for name, kind in kinds.items()}
    return Explanation(**{**content, **parts})
