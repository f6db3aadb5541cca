"""From a recording to a timeline: frames and sound stream by once, and windows of them are recognised.

    frames ── tracked faces ── crops ── prepared once ─┐
                                                       ├─ overlapping windows ─ forward, backward ─ fused ─ segments
    sound ─── blocks ───────── voice activity ─────────┘

Each window is encoded as a clip of its own, as in training. Every person whose face is seen has a lane; `off screen`
holds what is heard, or why nothing is said, while nobody is seen for long. Only the last window of frames and sound is
in memory, however long the recording.

Axes: N windows, K emotions, C width of the primitives.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import pairwise
from math import ceil, inf, lcm
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from cimeu.corpora.content_hash import content_of_file
from cimeu.devices import choose_device
from cimeu.encoders import silero
from cimeu.encoders.base import Encoder
from cimeu.encoders.description import fingerprint
from cimeu.encoders.registry import encoder_from
from cimeu.encoders.voiceprint import Voiceprint
from cimeu.encoders.weights import find_weights, origin_of
from cimeu.errors import CheckpointError, MediaError, RecipeError
from cimeu.evaluation.ood import FILE, PRIMITIVES, Familiarity, mean_step
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.inference.appearance import Appearance
from cimeu.inference.bundle import bundled_weights, open_bundle
from cimeu.inference.diarisation import voices_apart
from cimeu.inference.face_path import REACH_S
from cimeu.inference.kept_clips import KeptClips, KeptSteps
from cimeu.inference.lanes import Lane, give_voices_back, joined, named_tracks
from cimeu.inference.model_folder import open_model_folder
from cimeu.inference.model_store import model_id
from cimeu.inference.neighbours import TrainingClips
from cimeu.inference.own_style import Adapted, Scope, Support, Windows, adapt, scope_named
from cimeu.inference.reidentification import Identity
from cimeu.inference.stopwatch import Stopwatch
from cimeu.inference.streams import Recorded, Streams
from cimeu.inference.windows import PLACES_HZ, Setup, Span, WindowInput, WindowReader, rate_of
from cimeu.media.faces import DETECTORS, FaceDetector
from cimeu.media.video import MediaInfo, probe
from cimeu.model.classifier import Answers, Classifier, StyleReader
from cimeu.progress import Progress, silent
from cimeu.pyramid import Direction
from cimeu.timeline.result import Timeline
from cimeu.timeline.segmenting import segments_of
from cimeu.timeline.segments import NOBODY, Header, Segment
from cimeu.timeline.series import scored_windows
from cimeu.timeline.settings import TimelineSettings

logger = logging.getLogger(__name__)

STREAMS = ("first", "second")
BATCH_WINDOWS = 32
FRAME_RATE_HZ = 25.0
"""Grid of windows where no encoder of frames sets one."""


@dataclass(frozen=True)
class LoadedRun:
    """A trained model in memory, and what belongs to it."""

    classifier: Classifier
    settings: EnsembleSettings
    """How directions are fused, and the confidence below which no emotion is named."""
    model_id: str
    """Stands in every export."""
    folder: Path | None = None
    """Where the run or the unpacked bundle lies, for what else it holds."""


@dataclass(frozen=True, kw_only=True)
class FaceTools:
    """What finds faces in a frame, and what says that two faces are one person's; None for the default."""

    detector: FaceDetector | None = None
    identity: Identity | None = None


@dataclass(frozen=True)
class Reading:
    """What one pass over a recording gave: lanes by name in order of appearance, and the cells between `edges`."""

    path: Path
    lanes: dict[str, Lane]
    tracks: dict[str, tuple[str, ...]]
    """What each lane is called in the input of its windows; several names where a person was lost and found again."""
    edges: list[float]
    """Stretch n goes from edge n to edge n + 1, in seconds."""
    styles: dict[str, Adapted] = field(default_factory=dict)
    """What each lane's answers rest on, where a style was read from other windows."""

    def windows(self, name: str) -> Windows:
        """Windows of a lane that were answered alone."""
        lane = self.lanes[name]
        numbers = tuple(sorted(lane.representations))
        return Windows(
            numbers,
            np.stack([lane.representations[number] for number in numbers]),
            np.array([lane.reach_s[number] for number in numbers]),
            np.stack([lane.probabilities[number] for number in numbers]),
            KeptClips([lane.kept[number] for number in numbers if number in lane.kept]),
        )


class Recogniser:
    """A trained ensemble that turns recordings into timelines; nothing is kept between two recordings."""

    def __init__(
        self,
        run: LoadedRun,
        *,
        settings: TimelineSettings | None = None,
        faces: FaceTools | None = None,
        style: str = "recording",
        weights: Mapping[str, Path | str] = MappingProxyType({}),
        device: str = "auto",
    ) -> None:
        """Build from a model in memory; `from_pretrained` is the usual way.

        Args:
            run: the trained model and what belongs to it.
            settings: thresholds of the timeline.
            faces: what finds faces, and what finds a person again; by default the detector that the encoders were
                trained with, and what people look like.
            style: where models that can do so read a person's style (`cimeu.inference.own_style`); others ignore it.
            weights: where the weights of an encoder lie, by its name, if not in the weights folder.
            device: what computes encoders and networks: `auto`, `cpu`, `cuda` or `cuda:N`.

        Raises:
            CheckpointError: the model does not say which encoders it reads.
            RecipeError: weights of an encoder that the models do not read, no such scope of style, or no such device.
            FingerprintMismatch, WeightsMissing: the encoders cannot be rebuilt here.
        """
        self.device = choose_device(device)
        self.classifier, self.ensemble = run.classifier, run.settings
        self.model_id, self.folder = run.model_id, run.folder
        self.specifications = run.classifier.specifications
        self.emotions = tuple(self.specifications.emotions)
        self.encoders = self._rebuilt(weights)
        self.settings = settings or TimelineSettings()
        _check_weights(self.settings)
        faces = faces or FaceTools()
        self.detector = faces.detector or _detector_of(self.encoders.values())
        self.identity = faces.identity or Appearance()
        scope = scope_named(style)
        self.style: Scope = scope if isinstance(run.classifier, StyleReader) else "none"
        self.familiarity = Familiarity.load(run.folder) if run.folder is not None else None
        self.training_clips = TrainingClips.load(run.folder) if run.folder is not None else None
        self.stopwatch = Stopwatch()
        """Time spent in each stage, over all recordings read so far."""
        self._rate_hz, self._length, self._hop = self._grid()

    def __repr__(self) -> str:
        encoders = ", ".join(encoder.name for encoder in self.encoders.values())
        demonstration = ", DEMONSTRATION" * self.specifications.synthetic
        return (
            f"<Recogniser {self.model_id}: {', '.join(self.emotions)} from {encoders} on {self.device}{demonstration}>"
        )

    @classmethod
    def from_pretrained(
        cls,
        run_folder: Path | str,
        *,
        settings: TimelineSettings | None = None,
        faces: FaceTools | None = None,
        style: str = "recording",
        weights: Mapping[str, Path | str] = MappingProxyType({}),
        device: str = "auto",
    ) -> "Recogniser":
        """Read a run folder (`forward/`, `backward/`, one or both, and `ensemble.json`), or a bundle (`.zip`) of one.

        Encoders of the hub remember what their model folder held and not where it lay: `weights` says where.

        Raises:
            CheckpointError: a part is missing or damaged.
            RecipeError: weights of an encoder that the run does not read, no such scope of style, or no such device.
            FingerprintMismatch, WeightsMissing: its encoders cannot be rebuilt here.
        """
        folder = Path(run_folder)
        if folder.suffix == ".zip" and folder.is_file():
            folder = open_bundle(folder)
        opened = open_model_folder(folder, choose_device(device))
        if opened.familiarity is None:
            logger.warning("`%s` has no %s: nothing is marked as unlike its training clips", folder, FILE)
        return cls(
            LoadedRun(opened.classifier, opened.ensemble, model_id(folder, opened.ensemble), folder),
            settings=settings,
            faces=faces,
            style=style,
            weights=weights,
            device=device,
        )

    def __call__(self, path: Path | str, *, progress: Progress = silent, others: Sequence[Support] = ()) -> Timeline:
        """Recognise one recording: a video with or without sound, or a sound file. Progress counts seconds of it.

        `others` are windows of other recordings from which a style is read too (`person`, `study`).

        Raises:
            MediaError: missing, empty, or no media.
        """
        return self.timeline(self.adapted(self.read(path, progress=progress), others))

    def read(
        self,
        path: Path | str,
        *,
        progress: Progress = silent,
        watch: Callable[[Sequence[WindowInput]], None] | None = None,
        from_s: float = 0.0,
        until_s: float = inf,
        keep: bool = True,
    ) -> "Reading":
        """Score every window of a recording, or of a part of it.

        Args:
            path: the recording.
            progress: counts seconds of it.
            watch: is given the input of every window, in batches.
            from_s: earlier windows are not read, but for a few seconds in which faces come to be followed.
            until_s: windows that start later are not read.
            keep: hold the steps of the windows that a model answers again given a style.

        Raises:
            MediaError: missing, empty, or no media.
        """
        path, (part_from_s, part_until_s) = Path(path), self.settings.part
        info = probe(path)
        # Before anything is decoded; where the file does not say how long it is, `_cut_to_part` finds out.
        if info.duration_s:  # some files do not say
            _check_start(path, info.duration_s, part_from_s)
        from_s, until_s = self._reading_starts_s(max(from_s, part_from_s)), min(until_s, part_until_s)
        # Edges, not pairs of start and end: no gap can open between two cells of a lane.
        reader, spans = self.reader(Recorded(path), info, from_s=from_s)
        edges = [from_s]
        waiting: list[WindowInput] = []
        steps = KeptSteps() if keep else None
        declared_s = max(0, ceil(min(info.duration_s, until_s) - from_s))

        # Windows wait for each other, so that a network answers many in one pass.
        def score() -> None:
            self.score(waiting, reader.lanes, keep=steps)
            if watch is not None and waiting:
                watch(waiting)
            waiting.clear()

        for span in spans:
            if from_s + span.start_s > until_s:
                break
            waiting += reader.inputs(len(edges) - 1, span)
            edges.append(from_s + span.until_s)
            if len(waiting) >= BATCH_WINDOWS:
                score()
            # A recording may be longer than its file says.
            progress(path.name, int(span.end_s), max(declared_s, ceil(span.end_s)))
        score()
        read_s = max(declared_s, int(edges[-1] - from_s))
        progress(path.name, read_s, read_s)
        # Only now: faces near the edges of the part were followed with the help of frames outside of it.
        edges = self._cut_to_part(path, edges, reader.lanes)
        lanes, tracks = self._joined_lanes(reader, edges)
        return Reading(path, lanes, {name: tracks[name] for name in lanes}, edges)

    def reader(self, streams: Streams, info: MediaInfo, *, from_s: float = 0.0) -> tuple[WindowReader, Iterator[Span]]:
        """What reads frames and sound, and its windows, each once it is read."""
        reader = WindowReader(streams, info, self._setup(), from_s=from_s)
        return reader, reader.spans(self._length, self._hop)

    def _joined_lanes(
        self, reader: WindowReader, edges: list[float]
    ) -> tuple[dict[str, Lane], dict[str, tuple[str, ...]]]:
        """One lane per person, and the tracks that it was joined from."""
        # Who a track belongs to may change until the last frame, when a lost person is found again.
        person_of = {name: reader.people.person_of(name) for name in reader.lanes if name not in NOBODY}
        tracks = named_tracks(reader.lanes, person_of)
        lanes = {
            name: reader.lanes[name] if name in NOBODY else joined([reader.lanes[track] for track in names])
            for name, names in tracks.items()
        }
        # After people are joined, so that somebody who turned away for a moment is not yet gone.
        for absent, person in give_voices_back(lanes, edges, self.settings.absence_s, reader.blank).items():
            tracks[person] += (absent,)
        if self.settings.voices > 1:
            lanes, origins = voices_apart(lanes, self.settings.voices)
            tracks |= {voice: tracks[absent] for voice, absent in origins.items()}
        return lanes, tracks

    def _cut_to_part(self, path: Path, edges: list[float], lanes: Mapping[str, Lane]) -> list[float]:
        """Edges of the part that the settings name; lanes lose what lies outside of it."""
        from_s, until_s = self.settings.part
        _check_start(path, edges[-1], from_s)
        inside = {
            number for number, (start_s, end_s) in enumerate(pairwise(edges)) if end_s > from_s and start_s < until_s
        }
        for lane in lanes.values():
            lane.keep(inside)
            lane.places = [place for place in lane.places if from_s <= place.time_s <= until_s]
        return [min(max(edge, from_s), until_s) for edge in edges]

    def with_settings(self, settings: TimelineSettings) -> "Recogniser":
        """The same recogniser with other thresholds; models and encoders are shared."""
        # Shallow: the networks are read-only and may be hundreds of megabytes.
        _check_weights(settings)
        other = copy(self)
        other.settings = settings
        other._rate_hz, other._length, other._hop = other._grid()
        return other

    def _setup(self) -> Setup:
        return Setup(
            encoders=self.encoders,
            directions=self._directions,
            settings=self.settings,
            detector=self.detector,
            identity=self.identity,
            rate_hz=self._rate_hz,
            stopwatch=self.stopwatch,
            voiceprint=Voiceprint(device=str(self.device)) if self.settings.voices > 1 else None,
        )

    def adapted(self, reading: "Reading", others: Sequence[Support] = ()) -> "Reading":
        """The same recording, each lane answered given the style of its person, as `style` says where from.

        Args:
            reading: what was read, with the answers of each window alone.
            others: windows of other recordings (`person`, `study`).
        """
        if self.style == "none":
            return reading
        assert isinstance(self.classifier, StyleReader), "any other model scores each window alone"
        lanes, styles = dict(reading.lanes), {}
        for name, lane in reading.lanes.items():
            if lane.representations:
                windows = reading.windows(name)
                with self.stopwatch("style"):
                    styles[name] = adapt(self.classifier, windows, others, scope=self.style)
                # Windows that were not answered (no face, no speech) have no representation and keep having no
                # probabilities.
                given = dict(zip(windows.numbers, styles[name].probabilities, strict=True))
                lanes[name] = replace(lane, probabilities=lane.probabilities | given)
        return replace(reading, lanes=lanes, styles=styles)

    def supports(self, path: Path | str, *, progress: Progress = silent) -> list[Support]:
        """Windows of a recording from which the style in other recordings may be read.

        Raises:
            MediaError: missing, empty, or no media.
        """
        reading = self.read(path, progress=progress, keep=False)
        return [reading.windows(name).support() for name, lane in reading.lanes.items() if lane.representations]

    def given_style(self, reading: "Reading", name: str, windows: Sequence[WindowInput]) -> Float[np.ndarray, "N K"]:
        """What changed windows of a lane would have been answered, given the style that its own answers rest on."""
        clips, style = [window.clip for window in windows], reading.styles.get(name)
        if style is None:
            return self.classifier.answer(clips).probabilities
        assert isinstance(self.classifier, StyleReader), "no other model reads a style"
        rows = [style.rows[window.number] for window in windows]
        return self.classifier.probabilities(clips, style.styles[rows], style.trust[rows])

    def timeline(self, reading: "Reading") -> Timeline:
        """Segments of what was read."""
        places = {name: tuple(lane.places) for name, lane in reading.lanes.items() if lane.places}
        header = replace(self.header(reading.path, reading.edges[-1]), **self._style_of(reading))
        windows = [
            window for name, lane in reading.lanes.items() for window in scored_windows(name, lane.cells(reading.edges))
        ]
        return Timeline(header, self._segments(reading), reading.path, places, series=tuple(windows))

    def _style_of(self, reading: "Reading") -> dict[str, Any]:
        """How many windows a style was read from, and what they look like."""
        notes = [
            f"{name}: they look like {self.emotions[style.looks_like]} alone"
            for name, style in reading.styles.items()
            if style.looks_like is not None
        ]
        n_windows = sum(style.n_windows for style in reading.styles.values())
        return {"style_windows": n_windows, "style_note": "; ".join(notes)}

    def _rebuilt(self, weights: Mapping[str, Path | str]) -> dict[str, Encoder]:
        encoders = {}
        for stream in STREAMS:
            description = getattr(self.specifications, f"{stream}_encoder")
            if description:
                # What the caller names comes first, then what a bundle carries, then the weights folder of this
                # machine.
                path = weights.get(description["name"])
                if path is None and self.folder is not None:
                    path = bundled_weights(self.folder, description)
                options = {} if path is None else {"weights": path}
                encoders[stream] = encoder_from(description, device=str(self.device), **options)
        if not encoders:
            raise CheckpointError("the model does not say which encoders it reads\n\nhint: train it with `cimeu train`")
        names = [encoder.name for encoder in encoders.values()]
        for name in weights:
            if name not in names:
                raise RecipeError(f"the model reads no encoder `{name}`\n\nhint: it reads {' and '.join(names)}")
        return encoders

    def _grid(self) -> tuple[float, int, int]:
        """Frames a second, window and hop in frames: a hop is whole strides of each encoder, to share windows."""
        rates = {rate_of(encoder) for encoder in self.encoders.values() if encoder.source != "sound"}
        if len(rates) > 1:
            raise CheckpointError(f"the encoders want frames at {sorted(rates)} Hz\n\nhint: one rate for both")
        rate_hz = rates.pop() if rates else FRAME_RATE_HZ
        length, hop = (max(1, round(time_s * rate_hz)) for time_s in (self.settings.window_s, self.settings.hop_s))
        windows = [encoder.window for encoder in self.encoders.values() if encoder.source != "sound" and encoder.window]
        # Windows of an encoder that lie on its stride were computed for the neighbouring window already.
        if windows:
            longest, stride = max(windows, key=attrgetter("length")), lcm(*(window.stride for window in windows))
            hop = stride * max(1, round(hop / stride))
            length = longest.length + longest.stride * max(0, round((length - longest.length) / longest.stride))
        return rate_hz, max(length, hop), hop

    def _reading_starts_s(self, from_s: float) -> float:
        """Where to begin for all to be settled then, with windows and detections as when read from the beginning."""
        # Crops are smoothed over REACH_S, and the first window reaches back by its length. Rounded down to the grid of
        # windows and detections, so that a part has the bytes of the same stretch of the whole.
        settled = round((from_s - REACH_S) * self._rate_hz) - self._length
        grid = lcm(self._hop, ceil(self._rate_hz / PLACES_HZ))
        return max(0, settled // grid * grid) / self._rate_hz

    @property
    def _directions(self) -> tuple[Direction, ...]:
        return self.ensemble.directions

    @property
    def reads_as(self) -> tuple[object, ...]:
        """Equal for recognisers whose windows have the same input, so that one reading serves them all."""
        encoders = tuple((stream, fingerprint(encoder)) for stream, encoder in self.encoders.items())
        grid = self._rate_hz, self._length, self._hop
        faces = self.detector.name, self.detector.version, self.identity.name
        return encoders, self._directions, grid, faces, str(self.device), self.settings

    def score(
        self, windows: Sequence[WindowInput], lanes: Mapping[str, Lane], *, keep: KeptSteps | None = None
    ) -> None:
        """Put what the model says of windows into their lanes; `keep` takes the windows that it will read again."""
        if not windows:
            return
        with self.stopwatch("models and fusion"):
            answers = self.answer(windows)
            ood_scores = self._ood_scores(windows, answers.representation)
        for row, window in enumerate(windows):
            lane = lanes[window.lane]
            lane.probabilities[window.number] = answers.probabilities[row]
            lane.ood_scores[window.number] = float(ood_scores[row])
            if answers.continuous is not None and np.isfinite(answers.continuous[row]).all():
                lane.continuous[window.number] = answers.continuous[row]
        if isinstance(self.classifier, StyleReader) and self.style != "none":
            x = self.classifier.embed([window.clip for window in windows])
            for row, window in enumerate(windows):
                lane = lanes[window.lane]
                lane.representations[window.number], lane.reach_s[window.number] = x[row], window.reach_s
                if keep is not None and self.classifier.reads_steps:
                    lane.kept[window.number] = keep.keep(window.clip)

    def answer(self, windows: Sequence[WindowInput]) -> Answers:
        """What the model says about each window alone."""
        return self.classifier.answer([window.clip for window in windows])

    def _ood_scores(
        self, windows: Sequence[WindowInput], primitives: Float32[np.ndarray, "N C"]
    ) -> Float[np.ndarray, " N"]:
        """Distance of each window from the training clips, above 1 where it is unlike them; NaN where none is known."""
        if self.familiarity is None:
            return np.full(len(windows), np.nan)
        return self.familiarity.ood_scores({PRIMITIVES: primitives} | self.stream_means(windows))

    def stream_means(self, windows: Sequence[WindowInput]) -> dict[str, Float32[np.ndarray, "N _"]]:
        """Of each stream, in the first direction, the mean over the steps of each window; NaN without the stream."""
        # Statistics of the training clips were taken from the first direction; the backward one has the same vectors in
        # another order.
        direction = self._directions[0]
        steps = {"first": [window.first.get(direction) for window in windows]}
        if "second" in self.encoders:
            steps["second"] = [window.second for window in windows]
        return {
            stream: np.stack([mean_step(vectors, self.encoders[stream].width) for vectors in rows])
            for stream, rows in steps.items()
        }

    @property
    def hop_s(self) -> float:
        """From one window to the next."""
        return self._hop / self._rate_hz

    @property
    def window_s(self) -> float:
        """Length of a window."""
        return self._length / self._rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second on which windows lie."""
        return self._rate_hz

    @property
    def abstain_below(self) -> float:
        """Confidence under which no emotion is named."""
        threshold = self.settings.abstain_below
        return self.ensemble.abstain_below if threshold is None else threshold

    def in_order_of_time(self, stream: str) -> bool:
        """Whether the vectors of a stream follow each other in time; tokens of a spectrogram do not."""
        return stream in self.encoders and self.encoders[stream].kind != "tokens"

    def _segments(self, reading: "Reading") -> tuple[Segment, ...]:
        segments: list[Segment] = []
        for name, lane in reading.lanes.items():
            segments += segments_of(
                name, list(lane.cells(reading.edges)), self.emotions, self.settings, self.abstain_below
            )
        return tuple(segments)

    def header(self, path: Path, duration_s: float) -> Header:
        """What stands above the results of a recording."""
        # Values as they were rounded to the encoder's stride, not as they were set: a result must be reproducible
        # from its header.
        in_effect: dict[str, float | None] = {
            "window_s": round(self._length / self._rate_hz, 4),
            "hop_s": round(self._hop / self._rate_hz, 4),
            "abstain_below": self.abstain_below,
        }
        if self.settings.part == (0.0, inf):
            in_effect |= {"start_s": None, "end_s": None}
        named = {name: value for name, value in (asdict(self.settings) | in_effect).items() if value is not None}
        return Header(
            media=path.name,
            content=content_of_file(path),
            duration_s=round(duration_s, 3),
            model=self.model_id,
            emotions=self.emotions,
            fingerprints={encoder.name: fingerprint(encoder) for encoder in self.encoders.values()},
            settings={name: float(value) for name, value in named.items()},
            demonstration=self.specifications.synthetic,
            version=version("cimeu"),
            faces=self._faces(),
            style=self.style,
            origin=origin_of(path),
            continuous=self.specifications.continuous,
        )

    def _faces(self) -> str:
        """What finds faces and what finds people again, for those who read the results."""
        if all(encoder.source != "face" for encoder in self.encoders.values()):
            return ""
        people = f"people are found again by {self.identity.name} (above {self.identity.same_above:g})"
        caution = ": after a cut, the same person may get a new name" if isinstance(self.identity, Appearance) else ""
        return f"found by {self.detector.name} {self.detector.version}; {people}{caution}"


def _check_weights(settings: TimelineSettings) -> None:
    """Raises WeightsMissing before the work, not in the middle of a recording."""
    if settings.speech_probability:
        find_weights(silero.NAME)
    if settings.voices > 1:
        find_weights(Voiceprint.name)


def _check_start(path: Path, end_s: float, start_s: float) -> None:
    """Raises MediaError where a recording ends before the part of it that is wanted."""
    if 0 < start_s >= end_s:
        raise MediaError(f"`{path}` ends at {end_s:.1f} s, before {start_s:g} s\n\nhint: choose an earlier start")


def _detector_of(encoders: Iterable[Encoder]) -> FaceDetector:
    """The detector that the encoders' crops came from; its version is part of their fingerprint."""
    named = [str(encoder.preprocessing["detector"]) for encoder in encoders if "detector" in encoder.preprocessing]
    return DETECTORS[named[0].split(" ")[0] if named else next(iter(DETECTORS))]()
