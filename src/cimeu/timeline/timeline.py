"""Cut one lane into segments of time, each with an emotion or the reason for none.

The model scores overlapping windows. The window centred on a moment speaks for the hop around it, so windows cut the
recording into cells without gaps. The scores of neighbouring cells of one lane are averaged (`smoothing_s`), neighbours
of one label become one segment, and segments shorter than `minimum_s` join the one before. What the model was not run
about is never covered by a label: a short stretch between two of these stays short and says so.

Axes: K emotions.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from math import inf
from typing import Any

import numpy as np
from jaxtyping import Float

from cimeu.errors import RecipeError
from cimeu.labels import guess
from cimeu.timeline.segments import BRIEF, IN_PART, UNLIKE, UNSURE, Cell, Modality, Segment
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
    speech_pause_s: float = 0.6
    """Shorter pauses belong to the speech around them."""
    speaker_correlation: float = 0.4
    """Of several people, one speaks whose mouth follows the voice at least this well over a window,"""
    speaker_margin: float = 0.2
    """and better than any other's by this much; else it is left open."""
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
        names = [each.name for each in fields(self)]
        parsed: dict[str, Any] = {}
        for name, text in values.items():
            if name not in names:
                raise RecipeError(f"unknown setting `{name}` of the timeline\n\nhint: {guess(name, names)}")
            try:
                parsed[name] = TRUTHS[text.lower()] if name == "abstain_unlike" else _number(text)
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
    "speech_pause_s": (0.0, 60.0),
    "speaker_correlation": (-1.0, 2.0),
    "speaker_margin": (0.0, 2.0),
    "start_s": (0.0, 1e6),
    "end_s": (0.0, 1e6),
}
"""Least and most of each setting: beyond, a recording would take for ever or all of the memory."""
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _number(text: str) -> float:
    """A number, or a time such as `10:00`. Raises ValueError."""
    seconds = seconds_of(text) if ":" in text else float(text)
    if seconds is None:
        raise ValueError(text)
    return seconds


def _refused(name: str, value: object) -> RecipeError:
    wanted = "a number from {:g} to {:g}".format(*RANGES[name]) if name in RANGES else "true or false"
    return RecipeError(f"{name} is {value}\n\nhint: {wanted}")


def segments_of(
    person: str, cells: Sequence[Cell], emotions: Sequence[str], settings: TimelineSettings, abstain_below: float
) -> list[Segment]:
    """Smooth the cells of one lane, in order of time, and join neighbours of one label to segments."""
    judge = _Judge(tuple(emotions), settings, abstain_below)
    segments: list[Segment] = []
    for stretch in _stretches(cells):
        if stretch[0].probabilities is None:
            segments.append(judge.segment(person, stretch))
            continue
        smooth = _smoothed(stretch, settings.smoothing_s)
        runs = [list(run) for _, run in groupby(smooth, key=lambda cell: judge.verdict([cell]))]
        runs = _joined(runs, settings.minimum_s)
        # Runs that took in short ones may have become equal to their neighbours, and once joined to others.
        while len(together := _equal_joined(runs, judge)) < len(runs):
            runs = together
        segments += [judge.segment(person, run) for run in runs]
    return segments


@dataclass(frozen=True)
class _Judge:
    """Names the emotion of a run of cells, or abstains."""

    emotions: tuple[str, ...]
    settings: TimelineSettings
    abstain_below: float

    def verdict(self, run: Sequence[Cell]) -> int:
        """Number of the likeliest emotion; -1 where the whole is not likely enough, or most cells would abstain."""
        mean = _mean(run)
        abstaining = [self._reasons(cell) for cell in run]
        if mean.max() < self.abstain_below or sum(map(bool, abstaining)) > len(run) / 2:
            return -1
        return int(mean.argmax())

    def segment(self, person: str, run: Sequence[Cell]) -> Segment:
        """The segment of a run: with scores, or of cells about which the model was not run."""
        start_s, end_s = round(run[0].start_s, 3), round(run[-1].end_s, 3)
        missing = _missing(run)
        if run[0].probabilities is None:
            return Segment(person, start_s, end_s, "", None, {}, False, "", _listed(missing))
        mean, winner = _mean(run), self.verdict(run)
        label = "" if winner < 0 else self.emotions[winner]
        scores = {emotion: round(float(score), 4) for emotion, score in zip(self.emotions, mean, strict=True)}
        ood_scores = [cell.ood_score for cell in run if np.isfinite(cell.ood_score)]
        unlike = bool(np.median(ood_scores) > 1) if ood_scores else None
        why = [UNLIKE] if unlike else []
        if not label:
            # One run may hold cells that abstain for different reasons.
            why += sorted({reason for cell in run for reason in self._reasons(cell)}) or [UNSURE]
        brief = [BRIEF] if end_s - start_s < self.settings.minimum_s - 1e-6 else []
        reason = _listed([*why, *missing, *brief])
        modality = _modality({cell.modality for cell in run})
        return Segment(person, start_s, end_s, label, max(scores.values()), scores, not label, modality, reason, unlike)

    def _reasons(self, cell: Cell) -> list[str]:
        """Why no emotion is named for one cell; empty where one is."""
        assert cell.probabilities is not None
        unlike = self.settings.abstain_unlike and cell.ood_score > 1  # false for NaN
        return [*([UNLIKE] if unlike else []), *([UNSURE] if cell.probabilities.max() < self.abstain_below else [])]


def _stretches(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Neighbouring cells about which the model was run, or was not, without a gap in time."""
    stretch: list[Cell] = []
    for cell in cells:
        if stretch and (
            (cell.probabilities is None) != (stretch[-1].probabilities is None)
            or cell.start_s - stretch[-1].end_s > 1e-6
        ):
            yield stretch
            stretch = []
        stretch.append(cell)
    if stretch:
        yield stretch


def _smoothed(cells: Sequence[Cell], smoothing_s: float) -> list[Cell]:
    """Cells with the mean probabilities and the median out-of-distribution score of those around them."""
    centres = np.array([(cell.start_s + cell.end_s) / 2 for cell in cells])
    probabilities = np.stack([cell.probabilities for cell in cells if cell.probabilities is not None])
    ood_scores = np.array([cell.ood_score for cell in cells])
    near = np.abs(centres[:, None] - centres) <= smoothing_s / 2 + 1e-9
    means = near @ probabilities / near.sum(1, keepdims=True)
    smooth = []
    for cell, mean, around in zip(cells, means, near, strict=True):
        known = ood_scores[around & np.isfinite(ood_scores)]
        median = float(np.median(known)) if len(known) else float("nan")
        smooth.append(replace(cell, probabilities=mean, ood_score=median))
    return smooth


def _mean(run: Sequence[Cell]) -> Float[np.ndarray, " K"]:
    return np.mean([cell.probabilities for cell in run if cell.probabilities is not None], axis=0)


def _joined(runs: list[list[Cell]], minimum_s: float) -> list[list[Cell]]:
    """Runs with the short ones joined to the one before; a short first run to the one after."""
    joined: list[list[Cell]] = []
    for run in runs:
        if joined and (_length_s(run) < minimum_s or _length_s(joined[-1]) < minimum_s):
            joined[-1] = joined[-1] + run
        else:
            joined.append(run)
    return joined


def _equal_joined(runs: list[list[Cell]], judge: _Judge) -> list[list[Cell]]:
    """Neighbouring runs with the same verdict as one."""
    return [[cell for run in group for cell in run] for _, group in groupby(runs, key=judge.verdict)]


def _length_s(run: Sequence[Cell]) -> float:
    return run[-1].end_s - run[0].start_s + 1e-9


def _missing(run: Sequence[Cell]) -> list[str]:
    """What is missing in all cells of a run, or in part of them, in order of appearance."""
    counts = Counter(reason for cell in run for reason in dict.fromkeys(cell.reason.split("; ")) if reason)
    return [reason if count == len(run) else f"{reason} {IN_PART}" for reason, count in counts.items()]


def _listed(reasons: Iterable[str]) -> str:
    """Each reason once, in order of appearance."""
    return "; ".join(dict.fromkeys(reasons))


def _modality(modalities: set[Modality]) -> Modality:
    """What a segment rests on whose cells rest on these."""
    if len(modalities) == 1:
        return next(iter(modalities))
    return "both" if "voice" in modalities or "both" in modalities else "face"
