"""The JSON of the service, version 1: what is there stays; what is added later can be ignored."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cimeu.server.edits import MOST_TIERS, Edits, edited, rater_tier
from cimeu.server.predictions import Prediction, Predictions, Status
from cimeu.server.upload import printable
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import CONTINUOUS_CAUTION, DEMONSTRATION, USE_LIMITS, RatedSegment, RaterTier
from cimeu.timeline.series import by_person, curves

ID = r"^[0-9a-f]{32}$"
MOST_EDITS = 10_000
MOST_RATER_LETTERS = 60


class Problem(BaseModel):
    """Why something was not done. `code` is for programs and does not change."""

    code: str
    message: str
    hint: str


class Progress(BaseModel):
    """How far a recording is read, in seconds of it."""

    completed_s: int
    total_s: int
    seconds_left: float | None = Field(description="Until it is finished, at the speed so far.")
    ahead: int = Field(description="Recordings that are read before this one.")


class SegmentOut(BaseModel):
    """A stretch of one lane. Where `label` is empty, `reason` says why."""

    number: int = Field(description="Names the segment in corrections.")
    lane: str = Field(description="Names the lane in `persons`.")
    person: str = Field(description="The lane's name as people gave it.")
    start_s: float
    end_s: float
    label: str = Field(description="Corrected where people did so.")
    predicted: str = Field(description="What the model said.")
    corrected: bool
    confidence: float | None = Field(description="Calibrated probability of `label`.")
    scores: dict[str, float] = Field(description="Probability by emotion; empty where it has none.")
    abstain: bool
    modality: str
    reason: str
    unlike_training: bool | None = Field(description="Unlike the training clips; null where that was not measured.")


class Rated(BaseModel):
    """A stretch of a rater's tier."""

    model_config = ConfigDict(extra="forbid")
    start_s: float = Field(ge=0, allow_inf_nan=False)
    end_s: float = Field(gt=0, allow_inf_nan=False)
    label: str = Field(max_length=200, description="An emotion of the model, or `unsure`.")


class Tier(BaseModel):
    """What one rater says about one lane, beside the model's own segments."""

    model_config = ConfigDict(extra="forbid")
    rater: str = Field(min_length=1, max_length=MOST_RATER_LETTERS)
    lane: str = Field(max_length=200, description="Names the lane, as in `persons`.")
    segments: list[Rated] = Field(
        max_length=MOST_EDITS, description="Without overlaps. They replace the tier; none take it back."
    )


class Result(BaseModel):
    """A timeline with where it comes from."""

    use_limits: str
    notice: str = Field(description="A warning where the model was trained on synthetic data; else empty.")
    media: str
    content: str = Field(description="Digest of the recording's bytes.")
    duration_s: float
    model: str
    cimeu: str = Field(description="Version of the program.")
    emotions: list[str]
    fingerprints: dict[str, str]
    settings: dict[str, float]
    faces: str = Field(description="What found faces and recognised them after a cut; empty where none are read.")
    persons: dict[str, str] = Field(description="Name by lane, in order of appearance.")
    segments: list[SegmentOut]
    raters: list[Tier] = Field(description="Tiers of people, in the order in which they were begun.")


class PointOut(BaseModel):
    """A point of a curve: the mean over the windows of a short stretch."""

    start_s: float
    end_s: float
    scores: list[float] = Field(description="One for each emotion, in the order of `emotions`.")
    continuous: list[float] | None = Field(
        None, description="One for each continuous label, in their order; absent where none could be read."
    )


class ContinuousOut(BaseModel):
    """A continuous label that the model answers beside the emotion."""

    name: str
    low: float = Field(description="Lower end of its scale.")
    high: float = Field(description="Upper end of its scale.")


class Curves(BaseModel):
    """Scores over time for drawing; the exports `series.csv` and `series.parquet` hold every window."""

    schema_version: Literal[1] = 1
    emotions: list[str]
    continuous: list[ContinuousOut] | None = Field(
        None, description="Labels such as valence; absent where the model has none."
    )
    continuous_caution: str | None = Field(None, description="What is known of the head that answers them.")
    lanes: dict[str, list[list[PointOut]]] = Field(description="Runs of points by lane, with scores all through.")


class Summary(BaseModel):
    """A recording and its status."""

    schema_version: Literal[1] = 1
    id: str = Field(pattern=ID)
    name: str
    status: Status
    media_type: str
    duration_s: float
    has_video: bool
    created: datetime
    expires: datetime | None = Field(description="When everything about it is deleted; null while it is under way.")
    progress: Progress
    problem: Problem | None


class Full(Summary):
    """A recording with its result, once it is finished."""

    result: Result | None


class Listing(BaseModel):
    """Every recording, in order of arrival, without results."""

    predictions: list[Summary]


class Change(BaseModel):
    """Names, labels and tiers that people give; null takes one back. What is not named stays."""

    model_config = ConfigDict(extra="forbid")
    persons: dict[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=200)] | None] = Field(
        default={}, max_length=MOST_EDITS, description="Name by lane. One name for several lanes joins them."
    )
    labels: dict[Annotated[str, Field(pattern=r"^[0-9]{1,6}$")], Annotated[str, Field(max_length=200)] | None] = Field(
        default={}, max_length=MOST_EDITS, description="Emotion by number of segment."
    )
    raters: list[Tier] = Field(default=[], max_length=MOST_TIERS)

    def names(self) -> dict[str, str | None]:
        """Names fit to be shown."""
        return {lane: printable(name) if name else None for lane, name in self.persons.items()}

    def numbered(self) -> dict[int, str | None]:
        """Labels by number."""
        return {int(number): label for number, label in self.labels.items()}

    def tiers(self) -> list[RaterTier]:
        """Tiers of raters whose names are fit to be shown."""
        return [
            rater_tier(
                printable(tier.rater),
                tier.lane,
                [RatedSegment(rated.start_s, rated.end_s, rated.label) for rated in tier.segments],
            )
            for tier in self.raters
        ]


class MomentOut(BaseModel):
    """What is said of one stretch of one lane. Where `label` is empty, `reason` says why."""

    person: str
    window_start_s: float
    window_end_s: float
    start_s: float = Field(description="Of the stretch that the window speaks for.")
    end_s: float
    scores: list[float] | None = Field(description="One for each emotion, not smoothed; null where there is nothing.")
    continuous: list[float] | None
    smoothed: list[float] | None = Field(description="Scores, averaged with the stretches before.")
    label: str = Field(description="By the smoothed scores.")
    confidence: float | None
    abstain: bool
    modality: str
    reason: str


class LiveOut(BaseModel):
    """What a live session sends and receives."""

    sound: bool = Field(description="Whether the model listens.")
    frames_hz: float = Field(description="Frames a second that it reads; 0 where it reads none.")
    window_s: float
    hop_s: float


class Health(BaseModel):
    """What answers here, and what it accepts."""

    status: Literal["ok"] = "ok"
    version: str
    model: str
    emotions: list[str]
    use_limits: str
    notice: str
    max_size_mb: float
    max_duration_s: float
    keep_minutes: float
    formats: list[str]
    needs_token: bool
    live: LiveOut | None = Field(None, description="Null unless the server was started with `--live`.")


def summary_of(prediction: Prediction, predictions: Predictions) -> Summary:
    """The JSON of a recording."""
    expires_s = predictions.expires_s(prediction)
    problem = prediction.problem
    return Summary(
        id=prediction.id,
        name=prediction.name,
        status=prediction.status,
        media_type=prediction.recording.media_type,
        duration_s=prediction.recording.duration_s,
        has_video=prediction.recording.has_video,
        created=datetime.fromtimestamp(prediction.created_s, UTC),
        expires=None if expires_s is None else datetime.fromtimestamp(expires_s, UTC),
        progress=Progress(
            completed_s=prediction.completed_s,
            total_s=prediction.total_s,
            seconds_left=prediction.seconds_left(predictions.clock()),
            ahead=predictions.ahead(prediction),
        ),
        problem=None if problem is None else Problem(code=problem.code, message=problem.message, hint=problem.hint),
    )


def full_of(prediction: Prediction, predictions: Predictions) -> Full:
    """The JSON of a recording with its result."""
    timeline = prediction.timeline
    result = None if timeline is None else result_of(timeline, prediction.edits)
    return Full(**summary_of(prediction, predictions).model_dump(), result=result)


def curves_of(timeline: Timeline, most_points: int) -> Curves:
    """The JSON of the curves of each lane."""
    lanes = {
        lane: [[PointOut.model_validate(asdict(point)) for point in run] for run in curves(windows, most_points)]
        for lane, windows in by_person(timeline.series or ()).items()
    }
    scales = timeline.header.continuous
    continuous = [ContinuousOut(name=name, low=low, high=high) for name, (low, high) in scales.items()]
    return Curves(
        emotions=list(timeline.header.emotions),
        continuous=continuous or None,
        continuous_caution=CONTINUOUS_CAUTION if continuous else None,
        lanes=lanes,
    )


def result_of(timeline: Timeline, edits: Edits) -> Result:
    """The JSON of a timeline: segments keep the model's order and numbers."""
    header = timeline.header
    corrected = edited(timeline, Edits({}, edits.labels)).segments
    segments = [
        SegmentOut(
            number=number,
            lane=segment.person,
            person=edits.persons.get(segment.person, segment.person),
            start_s=segment.start_s,
            end_s=segment.end_s,
            label=now.label,
            predicted=segment.label,
            corrected=number in edits.labels,
            confidence=now.confidence,
            scores=segment.scores,
            abstain=now.abstain,
            modality=segment.modality,
            reason=now.reason,
            unlike_training=segment.unlike_training,
        )
        for number, (segment, now) in enumerate(zip(timeline.segments, corrected, strict=True))
    ]
    return Result(
        use_limits=USE_LIMITS,
        notice=DEMONSTRATION if header.demonstration else "",
        media=header.media,
        content=header.content,
        duration_s=header.duration_s,
        model=header.model,
        cimeu=header.version,
        emotions=list(header.emotions),
        fingerprints=header.fingerprints,
        settings=header.settings,
        faces=header.faces,
        persons={lane: edits.persons.get(lane, lane) for lane in timeline.persons},
        segments=segments,
        raters=[
            Tier(rater=tier.rater, lane=tier.person, segments=[Rated.model_validate(asdict(r)) for r in tier.segments])
            for tier in edits.raters
        ],
    )
