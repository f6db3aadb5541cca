"""What a recording says: one lane per person, cut in stretches of time, each with an emotion or the reason for none.

The model answers for overlapping windows. The window centred on a moment speaks for the hop around it, so windows cut
the recording into cells without gaps; the probabilities of neighbouring cells of one lane are averaged (`smoothing_s`),
equal neighbours become one segment, and segments shorter than `minimum_s` join the one before.

Axes: K emotions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from cimeu.errors import RecipeError
from cimeu.timeline.explanation import Explanation

if TYPE_CHECKING:
    import pandas as pd

Modality = Literal["", "face", "picture", "voice", "both"]

USE_LIMITS = (
    "Use limits: inferring emotions of people at work or in education is prohibited in the EU except for medical or "
    "safety reasons (AI Act, Regulation (EU) 2024/1689, Art. 5(1)(f)); other emotion recognition is high-risk. "
    "Scores describe displayed expression, not inner states."
)
"""First words of every exported result."""
DEMONSTRATION = "DEMONSTRATION ONLY: the model was trained on synthetic data; its labels say nothing about people."
UNSURE = "unsure"
"""Reason of a segment in which no emotion reaches the abstention threshold."""
UNLIKE = "unlike training data"
"""Reason beside an answer that was asked about something unlike the clips the model learnt from."""


@dataclass(frozen=True, kw_only=True)
class TimelineSettings:
    """Named thresholds between the model's scores and the segments."""

    window_s: float = 2.0
    """Length of a window; rounded to whole strides of the picture's encoder. A shorter recording is one window."""
    hop_s: float = 0.5
    """From one window to the next; rounded likewise."""
    smoothing_s: float = 1.5
    """Probabilities are averaged over cells whose centres lie within half of this on either side."""
    minimum_s: float = 1.0
    """Shorter segments join the one before."""
    abstain_below: float | None = None
    """Confidence under which no emotion is named; None: the run's own threshold, chosen on validation clips."""
    face_share: float = 0.5
    """Share of a window's pictures that must show a person for the face to count."""
    face_px: float = 32.0
    """Faces narrower than this (median over a window) are too small to read."""
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

    def __post_init__(self) -> None:
        for name in ("window_s", "hop_s"):
            if getattr(self, name) <= 0:
                raise RecipeError(f"{name} is {getattr(self, name)}\n\nhint: a time above 0 s")
        if self.hop_s > self.window_s:
            raise RecipeError(
                f"hop_s {self.hop_s} is longer than window_s {self.window_s}\n\nhint: windows must not leave gaps"
            )


@dataclass(frozen=True)
class Cell:
    """What one window says about the stretch it speaks for."""

    start_s: float
    end_s: float
    probabilities: Float[np.ndarray, " K"] | None
    """None where nothing can be said."""
    modality: Modality
    reason: str
    """Why a stream, or everything, is missing."""
    foreign: float = float("nan")
    """Distance from the training clips, 1 where it becomes unlike them; not a number where nothing was measured."""


@dataclass(frozen=True)
class Segment:
    """One stretch of one lane; where `label` is empty, `reason` tells why, else which stream was missing."""

    person: str
    start_s: float
    end_s: float
    label: str
    confidence: float | None
    """Calibrated probability of the likeliest emotion; None where the model was not asked."""
    scores: dict[str, float]
    """Probability by emotion; empty where the model was not asked."""
    abstain: bool
    """The model was asked and is not sure enough."""
    modality: Modality
    reason: str
    unlike_training: bool | None = None
    """Whether the windows are unlike the training clips, by their median; None where that could not be judged."""


@dataclass(frozen=True)
class Place:
    """Where a face is at one moment, in fractions of the picture's width and height."""

    time_s: float
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Header:
    """Where the segments come from; stands at the top of every export."""

    media: str
    """Name of the file."""
    content: str
    """Digest of its bytes."""
    duration_s: float
    model: str
    """Id of the ensemble, from its weights and settings."""
    emotions: tuple[str, ...]
    fingerprints: dict[str, str]
    """Preprocessing fingerprint by encoder."""
    settings: dict[str, float]
    """Thresholds in effect."""
    demonstration: bool
    version: str
    faces: str
    """What found the faces, and what recognised them after a cut; empty where no encoder looks at faces."""
    style: str = "none"
    """Where the style of a person was read from, without labels: `recording`, `person` or `study`."""
    style_windows: int = 0
    """How many windows it was read from."""
    style_note: str = ""
    """Lanes whose windows look like one emotion alone."""

    def lines(self) -> list[str]:
        """The header as sentences, use limits first."""
        return [
            USE_LIMITS,
            *([DEMONSTRATION] if self.demonstration else []),
            f"media: {self.media}, {self.duration_s:.3f} s, content {self.content}",
            f"model: {self.model}, cimeu {self.version}",
            "preprocessing: " + ", ".join(f"{name} {print_}" for name, print_ in self.fingerprints.items()),
            "settings: " + ", ".join(f"{name} {value:g}" for name, value in self.settings.items()),
            *([f"faces: {self.faces}"] if self.faces else []),
            *([self._style()] if self.style != "none" else []),
        ]

    def _style(self) -> str:
        whose = {
            "recording": "other windows of the same recording",
            "person": "other windows of the recordings that were read together as one person's",
            "study": "other windows of the recordings that were read together as one study",
        }
        told = f"style: {self.style}, from {self.style_windows} {whose.get(self.style, 'other windows')}"
        note = f"; {self.style_note}" if self.style_note else ""
        return f"{told}, without labels (transductive){note}"


@dataclass(frozen=True)
class Timeline:
    """Segments of one recording, lane by lane and in order of time."""

    header: Header
    segments: tuple[Segment, ...]
    media_path: Path = field(compare=False)
    """The recording on this machine; exports hold a relative link at most."""
    places: dict[str, tuple[Place, ...]] = field(default_factory=dict)
    """Where the face of each person was, about five times a second."""
    explanations: tuple[Explanation, ...] | None = None
    """What segments rest on; None where that was not asked for."""

    def __repr__(self) -> str:
        people = "person" if len(self.persons) == 1 else "persons"
        counts = f"{len(self.persons)} {people}, {len(self.segments):,} segments"
        return f"<Timeline {self.header.media}: {self.header.duration_s:g} s, {counts}, model {self.header.model}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the segments as a table, below the use limits."""
        return f"<p>{USE_LIMITS}</p>{self.to_dataframe()._repr_html_()}"

    @property
    def persons(self) -> tuple[str, ...]:
        """Lanes in order of appearance."""
        return tuple(dict.fromkeys(segment.person for segment in self.segments))

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per segment: person, times, label, confidence, abstain, modality, reason, unlike_training,
        `score.<emotion>`."""
        import pandas as pd

        columns = ["person", "start_s", "end_s", "label", "confidence", "abstain", "modality", "reason"]
        columns += ["unlike_training"]
        rows = [
            [getattr(segment, column) for column in columns]
            + [segment.scores.get(emotion) for emotion in self.header.emotions]
            for segment in self.segments
        ]
        table = pd.DataFrame(rows, columns=columns + [f"score.{emotion}" for emotion in self.header.emotions])
        numbers = [column for column in table.columns if column.endswith("_s") or column.startswith("score.")]
        return table.astype(
            dict.fromkeys([*numbers, "confidence"], "float64") | {"abstain": "bool", "unlike_training": "boolean"}
        )

    def save(self, path: Path | str) -> Path:
        """Write the timeline in the format of the suffix; a file is there whole or not at all.

        Suffixes: .csv .json .jsonl .vtt .parquet .eaf .rttm .html .png .svg, whose bytes are the same for the same
        timeline, and .mp4, the recording itself with boxes and labels drawn on it.

        Raises:
            RecipeError: another suffix.
            MediaError: the recording, needed for .mp4, is gone or cannot be decoded.
        """
        from cimeu.timeline.formats import save

        return save(self, Path(path))


def segments_of(
    person: str, cells: Sequence[Cell], emotions: Sequence[str], settings: TimelineSettings, abstain_below: float
) -> list[Segment]:
    """Smooth the cells of one lane, in order of time, and join equal neighbours to segments."""
    segments: list[Segment] = []
    for stretch in _stretches(cells):
        if stretch[0].probabilities is None:
            segments.append(_segment(person, stretch, emotions, abstain_below))
            continue
        smooth = _smoothed(stretch, settings.smoothing_s)
        runs = [list(run) for _, run in groupby(smooth, key=lambda cell: _winner(cell.probabilities, abstain_below))]
        runs = _equal_joined(_joined(runs, settings.minimum_s), abstain_below)
        segments += [_segment(person, run, emotions, abstain_below) for run in runs]
    return segments


def _stretches(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Neighbouring cells that rest on the same streams, for the same reason, without a gap in time."""
    stretch: list[Cell] = []
    for cell in cells:
        if stretch and (
            (cell.modality, cell.reason, cell.probabilities is None)
            != (stretch[-1].modality, stretch[-1].reason, stretch[-1].probabilities is None)
            or cell.start_s - stretch[-1].end_s > 1e-6
        ):
            yield stretch
            stretch = []
        stretch.append(cell)
    if stretch:
        yield stretch


def _smoothed(cells: Sequence[Cell], smoothing_s: float) -> list[Cell]:
    centres = np.array([(cell.start_s + cell.end_s) / 2 for cell in cells])
    probabilities = np.stack([cell.probabilities for cell in cells if cell.probabilities is not None])
    near = np.abs(centres[:, None] - centres) <= smoothing_s / 2 + 1e-9
    means = near @ probabilities / near.sum(1, keepdims=True)
    return [replace(cell, probabilities=mean) for cell, mean in zip(cells, means, strict=True)]


def _winner(probabilities: Float[np.ndarray, " K"] | None, abstain_below: float) -> int:
    """Number of the likeliest emotion, -1 where it is not likely enough."""
    assert probabilities is not None
    return int(probabilities.argmax()) if probabilities.max() >= abstain_below else -1


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


def _equal_joined(runs: list[list[Cell]], abstain_below: float) -> list[list[Cell]]:
    """Neighbouring runs with the same answer as one: joining short runs may have made them equal."""
    groups = groupby(runs, key=lambda run: _winner(_mean(run), abstain_below))
    return [[cell for run in group for cell in run] for _, group in groups]


def _length_s(run: Sequence[Cell]) -> float:
    return run[-1].end_s - run[0].start_s + 1e-9


def _segment(person: str, run: Sequence[Cell], emotions: Sequence[str], abstain_below: float) -> Segment:
    start_s, end_s = round(run[0].start_s, 3), round(run[-1].end_s, 3)
    modality, reason = run[0].modality, run[0].reason
    if run[0].probabilities is None:
        return Segment(person, start_s, end_s, "", None, {}, False, "", reason)
    mean = _mean(run)
    winner = _winner(mean, abstain_below)
    scores = {emotion: round(float(score), 4) for emotion, score in zip(emotions, mean, strict=True)}
    label = "" if winner < 0 else emotions[winner]
    foreign = [cell.foreign for cell in run if np.isfinite(cell.foreign)]
    unlike = bool(np.median(foreign) > 1) if foreign else None
    why = "; ".join(part for part in ("" if label else UNSURE, UNLIKE if unlike else "", reason) if part)
    return Segment(person, start_s, end_s, label, max(scores.values()), scores, not label, modality, why, unlike)
