"""Every window of a recording with its scores, before smoothing: what statistics and curves are made from.

One row per person and window. A row stands for the hop around the centre of its window (`start_s` to `end_s`), so the
rows of a person follow each other without gaps and overlap nowhere. A row without scores says why;
nothing is filled in.

Axes: N windows, K emotions, V continuous labels.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import groupby
from math import ceil, floor, inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from cimeu.csv_files import frame_text
from cimeu.errors import RecipeError
from cimeu.timeline.segments import CONTINUOUS_CAUTION, Cell, Header, ScoredWindow, Segmentation

if TYPE_CHECKING:
    import pandas as pd

PLAIN, WITH_CONTINUOUS = SCHEMAS = (1, 2)
"""Versions of the columns: 2 has all of 1, and one column per continuous label. Columns may be added within a version,
never renamed or given another meaning."""
SUFFIX = ".series.parquet"
SCORE = "score."
VALUE = "value."
COLUMNS = {
    "person": "lane of the recording",
    "start_s": "start of the stretch that the window stands for, in seconds from the start of the recording",
    "end_s": "end of that stretch",
    "label": "emotion of the segment at the middle of the stretch, after smoothing; empty where none is named",
    "abstain": "true where the model gave scores and the segment names no emotion",
    "confidence": "largest score of the window; empty where there are no scores",
    "modality": "what the scores rest on: face, picture (whole frames), voice, both; empty where nothing could be read",
    "seen": "whether the scores rest on frames",
    "heard": "whether the scores rest on the voice",
    "reason": "why a stream, or everything, is missing",
    "ood_score": "distance from the training clips, above 1 where the window is unlike them; empty if not measured",
}
"""Columns and what they hold; one column `score.EMOTION` per emotion follows, and `value.NAME` per continuous label."""
SCORE_MEANING = "calibrated probability of {emotion} in this window, not smoothed; empty where there are no scores"
VALUE_MEANING = (
    "{name} in this window, from {low:g} to {high:g}, not smoothed; empty where it could not be read; {caution}"
)
ROUNDED_S = 0.002
"""Times of windows are rounded to milliseconds, so lengths are as far from the truth as this."""
DIGITS = 4
"""Decimals of scores and of continuous labels."""


@dataclass(frozen=True)
class Point:
    """A point of a curve: the mean of the windows of a short stretch."""

    start_s: float
    end_s: float
    scores: tuple[float, ...]
    continuous: tuple[float, ...] | None = None
    """Means of the continuous labels, where the windows have any."""

    @property
    def centre_s(self) -> float:
        return (self.start_s + self.end_s) / 2


def scored_windows(person: str, cells: Iterable[Cell]) -> list[ScoredWindow]:
    """The cells of one lane as rows of its series."""
    return [
        ScoredWindow(
            person,
            round(cell.start_s, 3),
            round(cell.end_s, 3),
            _rounded(cell.probabilities),
            cell.modality,
            cell.reason,
            round(float(cell.ood_score), DIGITS) if np.isfinite(cell.ood_score) else None,
            _rounded(cell.continuous),
        )
        for cell in cells
    ]


def schema_of(header: Header) -> int:
    """Version of the columns of a series; that of models without continuous labels stays what it was."""
    return WITH_CONTINUOUS if header.continuous else PLAIN


def value_meanings(scales: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """What the column of each continuous label holds."""
    return {
        name: VALUE_MEANING.format(name=name, low=low, high=high, caution=CONTINUOUS_CAUTION)
        for name, (low, high) in scales.items()
    }


def by_person(windows: Iterable[ScoredWindow]) -> dict[str, list[ScoredWindow]]:
    """Windows by lane, both in the order in which they come."""
    lanes: dict[str, list[ScoredWindow]] = {}
    for window in windows:
        lanes.setdefault(window.person, []).append(window)
    return lanes


def series_frame(timeline: Segmentation) -> "pd.DataFrame":
    """The columns of `COLUMNS`, `score.EMOTION` and `value.NAME` (continuous labels), one row per person and window.

    Raises:
        RecipeError: the timeline comes from a version that kept no series.
    """
    import pandas as pd

    windows, labels = _series(timeline), _SegmentLabels(timeline)
    label_of = [labels(window) for window in windows]
    scores = _numbers([window.scores for window in windows], len(timeline.header.emotions))
    continuous = _numbers([window.continuous for window in windows], len(timeline.header.continuous))
    has_scores = np.array([window.scores is not None for window in windows], dtype=bool)
    confidence = np.full(len(windows), np.nan)
    confidence[has_scores] = scores[has_scores].max(axis=1)
    columns = {
        "person": _texts(window.person for window in windows),
        "start_s": np.array([window.start_s for window in windows], dtype=float),
        "end_s": np.array([window.end_s for window in windows], dtype=float),
        "label": _texts(label_of),
        "abstain": has_scores & np.array([not label for label in label_of], dtype=bool),
        "confidence": confidence,
        "modality": _texts(window.modality for window in windows),
        "seen": np.array([window.modality in ("face", "picture", "both") for window in windows], dtype=bool),
        "heard": np.array([window.modality in ("voice", "both") for window in windows], dtype=bool),
        "reason": _texts(window.reason for window in windows),
        "ood_score": np.array([window.ood_score for window in windows], dtype=float),
    }
    assert list(columns) == list(COLUMNS)
    by_emotion = {f"{SCORE}{emotion}": scores[:, number] for number, emotion in enumerate(timeline.header.emotions)}
    by_name = {f"{VALUE}{name}": continuous[:, number] for number, name in enumerate(timeline.header.continuous)}
    return pd.DataFrame(columns | by_emotion | by_name)


def to_series_csv(timeline: Segmentation, path: Path) -> bytes:
    """Comment lines (`#`), then the table: read it with `pandas.read_csv(path, comment="#")`."""
    lines = [*timeline.header.lines(), f"series: schema {schema_of(timeline.header)}, one row per person and window"]
    comments = "".join(f"# {' '.join(line.split())}\n" for line in lines)
    return (comments + frame_text(series_frame(timeline))).encode()


def to_series_parquet(timeline: Segmentation, path: Path) -> bytes:
    """The table; its metadata hold the use limits, the header under `cimeu` (with the scales of continuous labels), and
    the version under `cimeu_series`."""
    import pyarrow as pa
    from pyarrow import parquet

    header = timeline.header.values()
    # Types are given, for those of a column without rows could not be inferred.
    texts, flags = ("person", "label", "modality", "reason"), ("abstain", "seen", "heard")
    frame = series_frame(timeline)
    types = {name: pa.string() if name in texts else pa.bool_() if name in flags else pa.float64() for name in frame}
    table = pa.Table.from_pandas(frame, pa.schema(list(types.items())), preserve_index=False)
    metadata = {
        **(table.schema.metadata or {}),
        "use_limits": str(header["use_limits"]),
        "cimeu": json.dumps(header, ensure_ascii=False),
        "cimeu_series": str(schema_of(timeline.header)),
    }
    sink = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    return sink.getvalue()


def series_rows(series: Sequence[ScoredWindow], header: Header) -> dict[str, object]:
    """Windows as JSON: rows by person, without the name of the person; continuous labels last, where there are any."""
    width = None if header.continuous else -1
    rows = {person: [astuple(window)[1:width] for window in windows] for person, windows in by_person(series).items()}
    return {"schema": schema_of(header), "persons": rows}


def series_from(values: dict[str, Any] | None) -> tuple[ScoredWindow, ...] | None:
    """Windows from what `series_rows` gave; None where there are none, or of another schema."""
    if values is None or values["schema"] not in SCHEMAS:
        return None

    def numbers(values: Sequence[float] | None) -> tuple[float, ...] | None:
        return None if values is None else tuple(values)

    return tuple(
        ScoredWindow(person, start_s, end_s, numbers(scores), modality, reason, ood_score, *map(numbers, continuous))
        for person, rows in values["persons"].items()
        for start_s, end_s, scores, modality, reason, ood_score, *continuous in rows
    )


def curves(windows: Sequence[ScoredWindow], most_points: int) -> list[list[Point]]:
    """The scores of one person for drawing, thinned by means over equal stretches of time.

    Returns:
        Runs of points; a curve is interrupted wherever a stretch holds no scores.
    """
    if not windows:
        return []
    # The shortest, because the first and the last cells of a recording may have another length.
    hop_s = min(window.end_s - window.start_s for window in windows) or 1.0
    extent_s = windows[-1].end_s - windows[0].start_s
    width_s = hop_s * max(1, ceil(extent_s / hop_s / most_points - 1e-6))
    stretches: dict[int, list[ScoredWindow]] = {}
    for window in windows:
        if window.scores is not None:
            stretches.setdefault(floor((window.centre_s - windows[0].start_s) / width_s), []).append(window)
    runs: list[list[Point]] = []
    before_s = -inf
    for members in stretches.values():
        scores = _rounded(np.mean([window.scores or () for window in members], axis=0))
        read = [window.continuous for window in members if window.continuous is not None]
        assert scores is not None
        point = Point(members[0].start_s, members[-1].end_s, scores, _rounded(np.mean(read, axis=0)) if read else None)
        # A stretch without scores interrupts the curve: a line across it would show values that nobody measured.
        if point.start_s - before_s > width_s - ROUNDED_S:
            runs.append([])
        runs[-1].append(point)
        before_s = point.end_s
    return runs


def runs_with_values(runs: Iterable[Sequence[Point]]) -> list[list[tuple[Point, tuple[float, ...]]]]:
    """Points with their continuous labels; a curve is interrupted where these could not be read."""
    kept: list[list[tuple[Point, tuple[float, ...]]]] = []
    for run in runs:
        for has_values, points in groupby(run, key=lambda point: point.continuous is not None):
            if has_values:
                kept.append([(point, point.continuous or ()) for point in points])
    return kept


def by_scale(scales: Mapping[str, tuple[float, float]]) -> list[tuple[tuple[float, float], list[str], list[int]]]:
    """Continuous labels that share a scale and so an axis: scale, names, and their places among all.

    >>> by_scale({"valence": (-1.0, 1.0), "dominance": (1.0, 7.0), "arousal": (-1.0, 1.0)})
    [((-1.0, 1.0), ['valence', 'arousal'], [0, 2]), ((1.0, 7.0), ['dominance'], [1])]
    """
    names = list(scales)
    return [
        (
            scale,
            [name for name in names if scales[name] == scale],
            [n for n, name in enumerate(names) if scales[name] == scale],
        )
        for scale in dict.fromkeys(scales.values())
    ]


def zero_of(scale: tuple[float, float]) -> float:
    """Where on a scale, from 0 to 1, a curve is neutral: at its zero, or in its middle where it has none.

    >>> zero_of((-1.0, 1.0)), zero_of((-1.0, 3.0)), zero_of((1.0, 7.0))
    (0.5, 0.25, 0.5)
    """
    low, high = scale
    return -low / (high - low) if low < 0 < high else 0.5


class _SegmentLabels:
    """Finds the label of the segment at the centre of a window; windows come in order of time, lane by lane."""

    def __init__(self, timeline: Segmentation) -> None:
        self._starts: dict[str, list[float]] = {}
        self._segments: dict[str, list[tuple[float, str]]] = {}
        for segment in timeline.segments:
            self._starts.setdefault(segment.person, []).append(segment.start_s)
            self._segments.setdefault(segment.person, []).append((segment.end_s, segment.label))

    def __call__(self, window: ScoredWindow) -> str:
        starts = self._starts.get(window.person, [])
        place = int(np.searchsorted(starts, window.centre_s, side="right")) - 1
        if place < 0:
            return ""
        end_s, label = self._segments[window.person][place]
        return label if window.centre_s < end_s else ""


def _series(timeline: Segmentation) -> tuple[ScoredWindow, ...]:
    if timeline.series is None:
        raise RecipeError(
            f"the timeline of `{timeline.header.media}` holds no series: an earlier version made it\n\n"
            "hint: run `cimeu predict` on the recording again"
        )
    return timeline.series


def _rounded(values: Float[np.ndarray, " K"] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(round(float(value), DIGITS) for value in values)


def _numbers(rows: Sequence[tuple[float, ...] | None], width: int) -> Float[np.ndarray, "N width"]:
    """Rows under each other, NaN where there is none."""
    table = np.array([row or (np.nan,) * width for row in rows], dtype=float)
    # Without a window the array would have one axis only.
    return table.reshape(len(rows), width)


def _texts(values: Iterable[str]) -> np.ndarray:
    return np.array(list(values), dtype=object)
