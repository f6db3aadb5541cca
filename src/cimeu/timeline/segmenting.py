"""Cut one lane into segments of time, each with an emotion or the reason for none.

The model scores overlapping windows. The window centred on a moment speaks for the hop around it, so windows cut the
recording into cells without gaps. The scores of neighbouring cells of one lane are averaged (`smoothing_s`), neighbours
of one label become one segment, and segments shorter than `minimum_s` join the one before. What the model was not run
about is never covered by a label: a short stretch between two of these stays short and says so.

Axes: K emotions.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from jaxtyping import Float

from cimeu.timeline.segments import BRIEF, IN_PART, UNLIKE, UNSURE, Cell, Modality, Segment
from cimeu.timeline.settings import TimelineSettings


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


def latest_segment(
    person: str, cells: Sequence[Cell], emotions: Sequence[str], settings: TimelineSettings, abstain_below: float
) -> Segment:
    """The newest cell of a lane, smoothed with those before it: what can be said while nothing later is there."""
    latest = list(_stretches(cells))[-1]
    run = [cell for cell in latest if latest[-1].end_s - cell.start_s <= settings.smoothing_s + 1e-6] or latest[-1:]
    # Its end is not known yet, so nothing is too brief.
    return _Judge(tuple(emotions), replace(settings, minimum_s=0.0), abstain_below).segment(person, run)


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
        measured = ood_scores[around & np.isfinite(ood_scores)]
        median = float(np.median(measured)) if len(measured) else float("nan")
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
