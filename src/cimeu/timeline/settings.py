"""Named thresholds between the scores of a model and the segments of a timeline, and the range of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from typing import Any

from cimeu.errors import RecipeError, guess
from cimeu.times import seconds_of


@dataclass(frozen=True, kw_only=True)
class TimelineSettings:
    """Named thresholds between the model's scores and the segments."""

    window_s: float = 2.0
    """Length of a window; rounded to whole strides of the encoder of frames. A shorter recording is one window."""
    hop_s: float = 0.5
    """From one window to the next; rounded likewise."""
    smoothing_s: float = 1.5
    """Probabilities are averaged over cells whose centres lie within half of this on either side."""
    minimum_s: float = 1.0
    """Shorter segments join the one before."""
    abstain_below: float | None = None
    """Confidence under which no emotion is named; None: the run's own threshold, chosen on validation clips."""
    abstain_unlike: bool = True
    """Whether no emotion is named where a stretch is unlike the training clips."""
    face_share: float = 0.5
    """Share of a stretch's frames that must show a person for the face to count."""
    face_px: float = 32.0
    """Faces narrower than this (median over a stretch) are too small to read."""
    absence_s: float = 3.0
    """A person who was alone keeps the voice while unseen for no longer than this; beyond, it is `off screen`."""
    speech_dbfs: float = -50.0
    """Frames of sound (30 ms) below this level are no speech."""
    speech_range_db: float = 6.0
    """A window whose level moves less than this (10th to 90th percentile) is hum or noise, not speech."""
    speech_share: float = 0.1
    """Share of a window's frames that must be loud enough for speech."""
    speech_probability: float = 0.0
    """Frames (32 ms) are speech that Silero VAD gives at least this probability; 0: the rule on their level decides."""
    speech_pause_s: float = 0.6
    """Shorter pauses belong to the speech around them."""
    speaker_correlation: float = 0.4
    """Of several people, one speaks whose mouth follows the voice at least this well over a window,"""
    speaker_margin: float = 0.2
    """and better than any other's by this much; else it is left open."""
    voices: int = 1
    """So many people are heard while nobody is seen; from 2 on, prints of their voices (biometric) tell them apart."""
    start_s: float = 0.0
    """What comes before is left out; a few seconds of it are read to follow faces."""
    end_s: float = 0.0
    """What comes after is left out; 0: nothing is."""

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (value is None and name == "abstain_below") and not (is_number and least <= value <= most):
                raise _refused(name, value)
        if self.hop_s > self.window_s:
            raise RecipeError(
                f"hop_s {self.hop_s} is longer than window_s {self.window_s}\n\nhint: windows must not leave gaps"
            )
        if self.end_s and self.end_s <= self.start_s:
            raise RecipeError(
                f"end_s {self.end_s:g} is not after start_s {self.start_s:g}\n\nhint: 0 reads to the end of a recording"
            )

    @property
    def part(self) -> tuple[float, float]:
        """From when to when a recording is read."""
        return self.start_s, self.end_s or inf

    def changed(self, values: Mapping[str, str]) -> "TimelineSettings":
        """These settings with some replaced, by name and as people type them.

        >>> TimelineSettings().changed({"minimum_s": "2", "abstain_unlike": "false"}).minimum_s
        2.0

        Raises:
            RecipeError: an unknown name, or a value out of range.
        """
        names = [field.name for field in fields(self)]
        parsed: dict[str, Any] = {}
        for name, text in values.items():
            if name not in names:
                raise RecipeError(f"unknown setting `{name}` of the timeline\n\nhint: {guess(name, names)}")
            try:
                parsed[name] = PARSERS.get(name, _number)(text)
            except (KeyError, ValueError):
                raise _refused(name, text) from None
        return replace(self, **parsed)


RANGES = {
    "window_s": (0.2, 60.0),
    "hop_s": (0.05, 60.0),
    "smoothing_s": (0.0, 600.0),
    "minimum_s": (0.0, 3600.0),
    "abstain_below": (0.0, 1.0),
    "face_share": (0.0, 1.0),
    "face_px": (0.0, 10_000.0),
    "absence_s": (0.0, 3600.0),
    "speech_dbfs": (-120.0, 0.0),
    "speech_range_db": (0.0, 120.0),
    "speech_share": (0.0, 1.0),
    "speech_probability": (0.0, 1.0),
    "speech_pause_s": (0.0, 60.0),
    "speaker_correlation": (-1.0, 2.0),
    "speaker_margin": (0.0, 2.0),
    "voices": (1, 8),
    "start_s": (0.0, 1e6),
    "end_s": (0.0, 1e6),
}
"""Least and most of each setting: beyond, a recording would take for ever or all of the memory."""
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


PARSERS: dict[str, Callable[[str], object]] = {"abstain_unlike": lambda text: TRUTHS[text.lower()], "voices": int}
"""What reads settings that are no times."""


def _number(text: str) -> float:
    """A number, or a time such as `10:00`. Raises ValueError."""
    seconds = seconds_of(text) if ":" in text else float(text)
    if seconds is None:
        raise ValueError(text)
    return seconds


def _refused(name: str, value: object) -> RecipeError:
    allowed = "a number from {:g} to {:g}".format(*RANGES[name]) if name in RANGES else "true or false"
    return RecipeError(f"{name} is {value}\n\nhint: {allowed}")
