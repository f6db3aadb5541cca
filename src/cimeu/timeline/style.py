"""How segments look and read, wherever they are shown: one colour for each emotion, one sentence for each segment."""

import re
from collections.abc import Sequence

from cimeu.timeline.segments import Segment

COLOURS = {
    "anger": "#e07a5f",
    "happiness": "#f2cc8f",
    "sadness": "#8ea7d9",
    "neutral": "#c2c5aa",
    "fear": "#c9a0dc",
    "disgust": "#a3b18a",
    "surprise": "#f4a261",
    "contempt": "#d4a373",
    "anxiety": "#bcb8e0",
    "helplessness": "#9ec5e8",
    "disappointment": "#e5989b",
    "boredom": "#7fc8c2",
    "calm": "#81b29a",
}
"""The colour of each emotion on every page, in pictures, videos and the viewer (`viewer.css`, in the same order). They
differ in lightness for print and for people who see few colours; labels stand beside them."""
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
NOTHING = "#d5d9de"
"""Where nothing is said."""


def colours_of(emotions: Sequence[str]) -> dict[str, str]:
    """A colour for each emotion: its own, or for a name not in `COLOURS` one that no other emotion of the list has.

    >>> colours_of(["happiness", "confusion"])
    {'happiness': '#f2cc8f', 'confusion': '#e07a5f'}
    """
    free = [colour for name, colour in COLOURS.items() if name not in emotions] or list(COLOURS.values())
    others = [emotion for emotion in emotions if emotion not in COLOURS]
    given = {emotion: free[number % len(free)] for number, emotion in enumerate(others)}
    return {emotion: COLOURS.get(emotion) or given[emotion] for emotion in emotions}


def described(segment: Segment) -> str:
    """A segment in words: `happiness 0.81 (face; silent sound)`, `[no face]` or `[unlike training data; no speech]`."""
    if not segment.label:
        return f"[{segment.reason}]"
    basis = "; ".join(part for part in (segment.modality, segment.reason) if part)
    return f"{named(segment)} ({basis})"


def named(segment: Segment) -> str:
    """Emotion and confidence: `happiness 0.81`; only the emotion where somebody labelled what the model did not."""
    sure = "" if segment.confidence is None else f" {segment.confidence:.2f}"
    return f"{segment.guess}{sure}"


def printable(text: str) -> str:
    """Text without the control characters and halves of pairs that XML 1.0, fonts and terminals cannot hold.

    >>> printable("An\\x0bna")
    'An�na'
    """
    return _UNPRINTABLE.sub("\ufffd", text)


def shortened(name: str, most: int) -> str:
    """A name on one line of at most so many characters."""
    line = " ".join(printable(name).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def clock(time_s: float) -> str:
    """Minutes and seconds.

    >>> clock(83.25)
    '1:23.2'
    """
    minutes, seconds = divmod(time_s, 60)
    return f"{int(minutes)}:{seconds:04.1f}"
