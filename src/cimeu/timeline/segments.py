"""What is said of a recording: windows, segments, where faces are, and where all of it comes from.

Axes: K emotions, V continuous labels such as valence.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from cimeu.timeline.explanation import Explanation

if TYPE_CHECKING:
    import pandas as pd

OFF_SCREEN, SCENE, VOICE = NOBODY = "off screen", "scene", "voice"
"""Lanes that are no person: nobody is seen; whole frames are read; there are no frames."""
Modality = Literal["", "face", "picture", "voice", "both"]


def voice_lane(number: int) -> str:
    """Name of the lane of one of several voices."""
    return f"{VOICE} {number}"


def has_face(lane: str) -> bool:
    """Whether a lane is that of somebody who is seen."""
    return lane not in NOBODY and not lane.startswith(f"{VOICE} ")


USE_LIMITS = (
    "Use limits: inferring emotions of people at work or in education is prohibited in the EU except for medical or "
    "safety reasons (AI Act, Regulation (EU) 2024/1689, Art. 5(1)(f)); other emotion recognition is high-risk. "
    "Scores describe displayed expression, not inner states."
)
"""First words of every exported result."""
DEMONSTRATION = "DEMONSTRATION ONLY: the model was trained on synthetic data; its labels say nothing about people."
CONTINUOUS_CAUTION = (
    "the head that answers these was tested by cimeu on synthetic clips alone (the toy corpus), "
    "not on ratings of people"
)
"""Stands beside every value of a continuous label."""
UNSURE = "unsure"
"""Reason of a segment in which no emotion reaches the abstention threshold."""
UNLIKE = "unlike training data"
"""Reason of a segment that is unlike the clips the model was trained on: what it says of it is a guess."""
IN_PART = "(in part)"
"""Behind a reason that does not hold for the whole of a segment."""
BRIEF = "brief: nothing beside it to join"
"""Reason of a segment shorter than `minimum_s` between stretches in which the model was not run."""


@dataclass(frozen=True)
class Cell:
    """What one window says about the stretch it speaks for."""

    start_s: float
    end_s: float
    probabilities: Float[np.ndarray, " K"] | None
    """None where the model was not run."""
    modality: Modality
    reason: str
    """Why a stream, or everything, is missing."""
    ood_score: float = float("nan")
    """Distance from the training clips, 1 where it becomes unlike them; not a number where nothing was measured."""
    continuous: Float[np.ndarray, " V"] | None = None
    """Continuous labels on their scales; None where the model has none or could not read them."""


@dataclass(frozen=True)
class Segment:
    """One stretch of one lane; where `label` is empty, `reason` says why, else what was missing for all or part of it.

    Several reasons are joined by semicolons, those for abstaining first; what was missing in places only says so.
    """

    person: str
    start_s: float
    end_s: float
    label: str
    confidence: float | None
    """Calibrated probability of the likeliest emotion; None where the model was not run."""
    scores: dict[str, float]
    """Probability by emotion; empty where the model was not run."""
    abstain: bool
    """The model was run, and no emotion is named: it is not sure enough, or has not learnt about anything like it."""
    modality: Modality
    reason: str
    unlike_training: bool | None = None
    """Whether the windows are unlike the training clips, by their median; None where that could not be measured."""

    @property
    def why_abstained(self) -> str:
        """The first reason for which no emotion is named though the model was run; empty where one is."""
        return "" if self.label or not self.scores else UNLIKE if self.reason.startswith(UNLIKE) else UNSURE

    @property
    def guess(self) -> str:
        """The likeliest emotion, named or not; empty where the model was not run."""
        return self.label or max(self.scores, key=self.scores.__getitem__, default="")


@dataclass(frozen=True)
class RatedSegment:
    """A stretch as a person judged it."""

    start_s: float
    end_s: float
    label: str
    """An emotion, or `UNSURE`."""


@dataclass(frozen=True)
class RaterTier:
    """What one rater says about one lane, beside what the model says; in order of time, without overlaps."""

    rater: str
    person: str
    segments: tuple[RatedSegment, ...]

    @property
    def name(self) -> str:
        """How documents with tiers call it."""
        return f"{self.person}, rater {self.rater}"


@dataclass(frozen=True)
class Place:
    """Where a face is at one moment, in fractions of the frame's width and height."""

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
    origin: str = ""
    """Where the recording comes from, if it is a published sample."""
    continuous: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Continuous labels that the model answers beside the emotion, each with the ends of its scale."""

    def short_lines(self) -> list[str]:
        """Use limits and model, for where there is little room."""
        return [*self.lines()[: 2 if self.demonstration else 1], f"model: {self.model}"]

    def lines(self) -> list[str]:
        """The header as sentences, use limits first."""
        return [
            USE_LIMITS,
            *([DEMONSTRATION] if self.demonstration else []),
            f"media: {self.media}, {self.duration_s:.3f} s, content {self.content}",
            *([f"origin: {self.origin}"] if self.origin else []),
            f"model: {self.model}, cimeu {self.version}",
            "preprocessing: " + ", ".join(f"{name} {print_}" for name, print_ in self.fingerprints.items()),
            "settings: " + ", ".join(f"{name} {value:g}" for name, value in self.settings.items()),
            *([f"faces: {self.faces}"] if self.faces else []),
            *([self._style()] if self.style != "none" else []),
            *([f"continuous labels: {self.continuous_words}"] if self.continuous else []),
        ]

    def values(self) -> dict[str, object]:
        """The header as JSON, use limits first."""
        notice = {"notice": DEMONSTRATION} if self.demonstration else {}
        values = {"use_limits": USE_LIMITS, **notice, **asdict(self)}
        if self.continuous:
            return values | {"continuous_caution": CONTINUOUS_CAUTION}
        del values["continuous"]  # results of models without such labels stay what they were
        return values

    @property
    def continuous_words(self) -> str:
        """The continuous labels with their scales, and what is known of them."""
        scales = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in self.continuous.items())
        return f"{scales}; {CONTINUOUS_CAUTION}"

    def _style(self) -> str:
        whose = {
            "recording": "other windows of the same recording",
            "person": "other windows of the recordings that were read together as one person's",
            "study": "other windows of the recordings that were read together as one study",
        }
        source = f"style: {self.style}, from {self.style_windows} {whose.get(self.style, 'other windows')}"
        note = f"; {self.style_note}" if self.style_note else ""
        return f"{source}, without labels (transductive){note}"


@dataclass(frozen=True)
class ScoredWindow:
    """What one window says about the stretch of one lane that it stands for."""

    person: str
    start_s: float
    end_s: float
    scores: tuple[float, ...] | None
    """Calibrated probability of each emotion, not smoothed; None where the model was not run."""
    modality: str
    reason: str
    ood_score: float | None
    """Distance from the training clips, above 1 where the window is unlike them; None where that was not measured."""
    continuous: tuple[float, ...] | None = None
    """Continuous labels on their scales, not smoothed; None where the model has none or could not read them."""

    @property
    def centre_s(self) -> float:
        return (self.start_s + self.end_s) / 2


@dataclass(frozen=True)
class Segmentation:
    """Segments of one recording, lane by lane and in order of time; as a `Timeline` it can be saved."""

    header: Header
    segments: tuple[Segment, ...]
    media_path: Path = field(compare=False)
    """The recording on this machine; exports hold a relative link at most."""
    places: dict[str, tuple[Place, ...]] = field(default_factory=dict)
    """Where the face of each person was, about five times a second."""
    explanations: tuple[Explanation, ...] | None = None
    """What segments rest on; None where no explanation was requested."""
    series: tuple[ScoredWindow, ...] | None = None
    """Every window with its scores, lane by lane and in order of time; None in results of versions that kept none."""
    raters: tuple[RaterTier, ...] = ()
    """What people say beside the model."""

    def __repr__(self) -> str:
        people = "person" if len(self.persons) == 1 else "persons"
        counts = f"{len(self.persons)} {people}, {len(self.segments):,} segments"
        recording = f"{self.header.media}: {self.header.duration_s:g} s"
        return f"<{type(self).__name__} {recording}, {counts}, model {self.header.model}>"

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
