"""How segments look and read, wherever they are shown: one colour for each emotion, one sentence for each segment."""

from collections.abc import Sequence

from cimeu.timeline.timeline import UNSURE, Segment

COLOURS = (
    *("#e07a5f", "#81b29a", "#f2cc8f", "#8ea7d9", "#c9a0dc", "#e5989b", "#7fc8c2", "#d4a373", "#a3b18a"),
    *("#bcb8e0", "#f4a261", "#9ec5e8", "#c2c5aa"),
)
"""Told apart in print and by people who see few colours through their different lightness; labels stand beside them."""
NOTHING = "#d5d9de"
"""Where nothing is said."""


def colours_of(emotions: Sequence[str]) -> dict[str, str]:
    """A colour for each emotion."""
    return {emotion: COLOURS[number % len(COLOURS)] for number, emotion in enumerate(emotions)}


def told(segment: Segment) -> str:
    """A segment in words: `happiness 0.81 (face; silent sound)` or `[no face]`."""
    if not (segment.label or segment.scores):
        return f"[{segment.reason}]"
    basis = "; ".join(part for part in (segment.modality, segment.reason) if part)
    return f"{named(segment)} ({basis})"


def named(segment: Segment) -> str:
    """Emotion and confidence: `happiness 0.81`; only the emotion where somebody labelled what the model did not."""
    sure = "" if segment.confidence is None else f" {segment.confidence:.2f}"
    return f"{segment.label or UNSURE}{sure}"


def clock(time_s: float) -> str:
    """Minutes and seconds.

    >>> clock(83.25)
    '1:23.2'
    """
    minutes, seconds = divmod(time_s, 60)
    return f"{int(minutes)}:{seconds:04.1f}"
