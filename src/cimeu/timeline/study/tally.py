"""Sums over windows, added up recording by recording: nothing grows with the length of the study but people.

Axes: N windows of a lane, K emotions, M measures (K scores, then continuous labels), B bins of time around an event.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from cimeu.errors import ManifestError
from cimeu.timeline.study.recordings import Windows

TOLERANCE_S = 1e-6
TAIL_S = 1.0
"""Two lanes of one person may have scores at once for so long: a lost face is held while it is found again."""


@dataclass
class Tally:
    """One participant in one condition."""

    n_emotions: int
    n_continuous: int = 0
    recordings: set[str] = field(default_factory=set)
    duration_s: float = 0.0
    """Of the stretches of the condition, whatever is known of them."""
    abstained_s: float = 0.0
    unscored_s: float = 0.0
    """The person has a lane there, and the model was not run."""
    n_windows: int = 0
    """Windows with scores."""
    n_unlike: int = 0
    """Of these, unlike the training clips."""
    label_s: Float[np.ndarray, " K"] = field(init=False)
    counts: Float[np.ndarray, " M"] = field(init=False)
    """Windows with a value; a continuous label may be missing where there are scores."""
    sums: Float[np.ndarray, " M"] = field(init=False)
    squares: Float[np.ndarray, " M"] = field(init=False)

    def __post_init__(self) -> None:
        self.label_s = np.zeros(self.n_emotions)
        self.counts, self.sums, self.squares = np.zeros((3, self.n_emotions + self.n_continuous))

    def add(self, recording: str, windows: Sequence[Windows], stretches: Iterable[tuple[float, float]]) -> None:
        """Count the lanes of the participant in a recording; a window belongs to the stretch that holds its centre."""
        self.recordings.add(recording)
        for start_s, end_s in stretches:
            self.duration_s += end_s - start_s
            for lane in windows:
                shared_s = np.clip(np.minimum(lane.end_s, end_s) - np.maximum(lane.start_s, start_s), 0, None)
                labelled = lane.labels >= 0
                self.label_s += np.bincount(lane.labels[labelled], shared_s[labelled], self.n_emotions)
                self.abstained_s += float(shared_s[lane.abstain].sum())
                self.unscored_s += float(shared_s[~labelled & ~lane.abstain].sum())
                inside = (lane.centre_s >= start_s) & (lane.centre_s < end_s) & lane.has_scores
                self.n_windows += int(inside.sum())
                self.n_unlike += int(lane.unlike[inside].sum())
                is_finite, values = _finite(lane.measures[inside])
                self.counts += is_finite.sum(axis=0)
                self.sums += values.sum(axis=0)
                self.squares += (values**2).sum(axis=0)

    @property
    def absent_s(self) -> float:
        """Time of the condition in which the participant has no lane."""
        return max(0.0, self.duration_s - float(self.label_s.sum()) - self.abstained_s - self.unscored_s)

    @property
    def mean(self) -> Float[np.ndarray, " M"]:
        """Of each measure; NaN without windows."""
        return self.sums / np.where(self.counts > 0, self.counts, np.nan)

    @property
    def sd(self) -> Float[np.ndarray, " M"]:
        """Standard deviation over windows; NaN for fewer than two."""
        counts = np.where(self.counts > 1, self.counts, np.nan)
        variance = (self.squares - self.sums**2 / counts) / (counts - 1)
        return np.sqrt(np.clip(variance, 0, None))


@dataclass(frozen=True)
class Grid:
    """Bins of time around events, one hop apart; bin 0 is centred on the event."""

    before_s: float
    after_s: float
    hop_s: float

    @property
    def first(self) -> int:
        return -int(self.before_s / self.hop_s + TOLERANCE_S)

    @property
    def offsets_s(self) -> Float[np.ndarray, " B"]:
        last = int(self.after_s / self.hop_s + TOLERANCE_S)
        return np.arange(self.first, last + 1) * self.hop_s


@dataclass
class EventSums:
    """Scores of one participant around the events of one condition."""

    grid: Grid
    n_measures: int
    n_events: int = 0
    counts: Float[np.ndarray, "B M"] = field(init=False)
    sums: Float[np.ndarray, "B M"] = field(init=False)

    def __post_init__(self) -> None:
        self.counts, self.sums = np.zeros((2, len(self.grid.offsets_s), self.n_measures))

    def add(self, windows: Sequence[Windows], starts_s: Iterable[float]) -> None:
        """Add the windows around each event; each falls into the bin nearest to its centre."""
        for start_s in starts_s:
            self.n_events += 1
            for lane in windows:
                # Not `rint`: centres often lie half a hop from an event, and it sends every other one the wrong way.
                hops = (lane.centre_s - start_s) / self.grid.hop_s
                bins = np.floor(hops + 0.5 + TOLERANCE_S).astype(int) - self.grid.first
                inside = (bins >= 0) & (bins < len(self.counts)) & lane.has_scores
                is_finite, values = _finite(lane.measures[inside])
                np.add.at(self.counts, bins[inside], is_finite)
                np.add.at(self.sums, bins[inside], values)

    @property
    def means(self) -> Float[np.ndarray, "B M"]:
        """NaN in bins without windows."""
        return self.sums / np.where(self.counts > 0, self.counts, np.nan)


def _finite(measures: Float[np.ndarray, "N M"]) -> tuple[Bool[np.ndarray, "N M"], Float[np.ndarray, "N M"]]:
    """Which values there are, and 0 in place of the others."""
    is_finite = np.isfinite(measures)
    return is_finite, np.where(is_finite, measures, 0.0)


def check_apart(participant: str, recording: str, lanes: Mapping[str, Windows]) -> None:
    """Raises ManifestError where two lanes of one participant have scores at once for long: they are two people."""
    for name, other in combinations(lanes, 2):
        one, two = (lanes[lane].start_s[lanes[lane].has_scores] for lane in (name, other))
        shared_s = np.intersect1d(one, two)
        hop_s = float(np.median(lanes[name].end_s - lanes[name].start_s))
        for run in np.split(shared_s, np.flatnonzero(np.diff(shared_s) > hop_s + TOLERANCE_S) + 1):
            if len(run) * hop_s > TAIL_S:
                raise ManifestError(
                    f"`{name}` and `{other}` of `{recording}` are both there at {run[0]:g} s and cannot both be "
                    f"`{participant}`\n\nhint: give them different participants"
                )
