"""From a recording to a timeline: pictures and sound stream by once, and windows of them are recognised.

    pictures ── tracked faces ── crops ── prepared once ─┐
                                                         ├─ overlapping windows ─ forward, backward ─ fused ─ segments
    sound ───── blocks ───────── voice activity ─────────┘

Each window is encoded as a clip of its own, as in training. Every tracked face is a lane; `off screen` holds what is
heard, or why nothing is said, while nobody is seen. Where several people are seen, a voice belongs to the one whose
mouth follows it, or to none where that cannot be told. Only the last window of pictures and sound is in memory, however
long the recording.

Axes: N windows, K emotions, C width of the primitives.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import count, pairwise
from math import ceil, inf, lcm, nan
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from cimeu.corpora.content_hash import content_of_file
from cimeu.devices import choose_device
from cimeu.encoders.base import Encoder
from cimeu.encoders.description import fingerprint
from cimeu.encoders.registry import encoder_from
from cimeu.errors import CheckpointError, RecipeError
from cimeu.evaluation.ood import FILE, PRIMITIVES, Familiarity, mean_step
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.inference.bundle import bundled_weights, open_bundle
from cimeu.inference.face_path import REACH_S
from cimeu.inference.model_folder import open_model_folder
from cimeu.inference.model_store import model_id
from cimeu.inference.neighbours import TrainingClips
from cimeu.inference.own_style import Adapted, Scope, Support, Windows, adapt, scope_named
from cimeu.inference.reader import NO_FACE, NOBODY, PLACES_HZ, Lane, Question, Reader, rate_of
from cimeu.inference.reidentification import Identity, one_people
from cimeu.inference.stopwatch import Stopwatch
from cimeu.media.faces import DETECTORS, FaceDetector
from cimeu.media.video import probe
from cimeu.model.classifier import Answers, Classifier, StyleReader
from cimeu.progress import Progress, silent
from cimeu.pyramid import Direction
from cimeu.timeline.timeline import Cell, Header, Segment, Timeline, TimelineSettings, segments_of

logger = logging.getLogger(__name__)

STREAMS = ("first", "second")
BATCH_WINDOWS = 32
FRAME_RATE_HZ = 25.0
"""Grid of windows where no encoder of pictures sets one."""


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


@dataclass(frozen=True)
class Reading:
    """What one pass over a recording found: lanes by name in order of appearance, and the cells between `edges`."""

    path: Path
    lanes: dict[str, Lane]
    called: dict[str, tuple[str, ...]]
    """What the reader calls each lane in its questions; several names where a person came back after a cut."""
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
            np.stack([lane.answers[number] for number in numbers]),
        )


class Recogniser:
    """A trained ensemble that turns recordings into timelines; nothing is kept between two recordings."""

    def __init__(
        self,
        run: LoadedRun,
        *,
        settings: TimelineSettings | None = None,
        detector: FaceDetector | None = None,
        identity: Identity | None = None,
        style: str = "recording",
        weights: Mapping[str, Path | str] = MappingProxyType({}),
        device: str = "auto",
    ) -> None:
        """Build from a model in memory; `from_pretrained` is the usual way.

        Args:
            run: the trained model and what belongs to it.
            settings: thresholds of the timeline.
            detector: of faces; default the one the encoders were trained with.
            identity: tells who comes back after a cut; without one, a cut ends every person.
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
        self.detector, self.identity = detector or _detector_of(self.encoders.values()), identity
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
        detector: FaceDetector | None = None,
        identity: Identity | None = None,
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
            detector=detector,
            identity=identity,
            style=style,
            weights=weights,
            device=device,
        )

    def __call__(self, path: Path | str, *, progress: Progress = silent) -> Timeline:
        """Recognise one recording: a video with or without sound, or a sound file. Progress counts seconds of it.

        Raises:
            MediaError: missing, empty, or no media.
        """
        return self.timeline(self.adapted(self.read(path, progress=progress)))

    def read(
        self,
        path: Path | str,
        *,
        progress: Progress = silent,
        watch: Callable[[Sequence[Question]], None] | None = None,
        from_s: float = 0.0,
        until_s: float = inf,
    ) -> "Reading":
        """Ask about every window of a recording, or of a part of it.

        Args:
            path: the recording.
            progress: counts seconds of it.
            watch: sees every question that is asked, in batches.
            from_s: earlier windows are not read, but for a few seconds in which faces come to be followed.
            until_s: windows that start later are not read.

        Raises:
            MediaError: missing, empty, or no media.
        """
        path = Path(path)
        info = probe(path)
        from_s = self._reading_starts_s(from_s)
        reader = Reader(
            path,
            info,
            self.encoders,
            self._directions,
            self.settings,
            self.detector,
            self._rate_hz,
            from_s=from_s,
            identity=self.identity,
            stopwatch=self.stopwatch,
        )
        edges = [from_s]
        waiting: list[Question] = []
        total_s = max(0, ceil(min(info.duration_s, until_s) - from_s))

        def answer() -> None:
            self._answer(waiting, reader.lanes)
            if watch is not None and waiting:
                watch(waiting)
            waiting.clear()

        for look in reader.looks(self._length, self._hop):
            if from_s + look.start_s > until_s:
                break
            waiting += reader.ask(len(edges) - 1, look)
            edges.append(from_s + look.until_s)
            if len(waiting) >= BATCH_WINDOWS:
                answer()
            progress(path.name, min(total_s, int(look.end_s)), total_s)
        answer()
        progress(path.name, total_s, total_s)
        called = _named(reader.lanes, self.identity)
        lanes = {name: _joined([reader.lanes[face] for face in known]) for name, known in called.items()}
        return Reading(path, lanes, called, edges)

    def adapted(self, reading: "Reading", others: Sequence[Support] = ()) -> "Reading":
        """The same recording, each lane answered given the style of its person, as `style` says where from.

        Args:
            reading: what was read, with the answers of each window alone.
            others: windows of other recordings (`person`, `study`).
        """
        if self.style == "none":
            return reading
        assert isinstance(self.classifier, StyleReader), "any other model is asked about each window alone"
        lanes, styles = dict(reading.lanes), {}
        for name, lane in reading.lanes.items():
            if lane.representations:
                windows = reading.windows(name)
                with self.stopwatch("style"):
                    styles[name] = adapt(self.classifier, windows, others, scope=self.style)
                answers = dict(zip(windows.numbers, styles[name].probabilities, strict=True))
                lanes[name] = replace(lane, answers=lane.answers | answers)
        return replace(reading, lanes=lanes, styles=styles)

    def given_style(
        self,
        reading: "Reading",
        name: str,
        number: int,
        probabilities: Float[np.ndarray, " K"],
        representation: Float32[np.ndarray, " C"],
    ) -> Float[np.ndarray, " K"]:
        """What a changed window of a lane would have been answered, given the style that its own answer rests on."""
        if name not in reading.styles:
            return probabilities
        assert isinstance(self.classifier, StyleReader), "no other model reads a style"
        styles, row = reading.styles[name].styles, reading.styles[name].rows[number]
        return self.classifier.probabilities(representation[None], styles[row : row + 1])[0]

    def timeline(self, reading: "Reading") -> Timeline:
        """Segments of what was read."""
        places = {name: tuple(lane.places) for name, lane in reading.lanes.items() if lane.places}
        header = replace(self.header(reading.path, reading.edges[-1]), **self._style_of(reading))
        return Timeline(header, self._segments(reading), reading.path, places)

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
                found = weights.get(description["name"])
                if found is None and self.folder is not None:
                    found = bundled_weights(self.folder, description)
                encoders[stream] = encoder_from(
                    description, device=str(self.device), **({} if found is None else {"weights": found})
                )
        if not encoders:
            raise CheckpointError("the model does not say which encoders it reads\n\nhint: train it with `cimeu train`")
        names = [encoder.name for encoder in encoders.values()]
        for name in weights:
            if name not in names:
                raise RecipeError(f"the model reads no encoder `{name}`\n\nhint: it reads {' and '.join(names)}")
        return encoders

    def _grid(self) -> tuple[float, int, int]:
        """Rate of pictures, window and hop in frames: a hop is whole strides of each encoder, to share windows."""
        rates = {rate_of(encoder) for encoder in self.encoders.values() if encoder.source != "sound"}
        if len(rates) > 1:
            raise CheckpointError(f"the encoders want pictures at {sorted(rates)} Hz\n\nhint: one rate for both")
        rate_hz = rates.pop() if rates else FRAME_RATE_HZ
        length, hop = (max(1, round(time_s * rate_hz)) for time_s in (self.settings.window_s, self.settings.hop_s))
        windows = [encoder.window for encoder in self.encoders.values() if encoder.source != "sound" and encoder.window]
        if windows:
            longest, stride = max(windows, key=attrgetter("length")), lcm(*(window.stride for window in windows))
            hop = stride * max(1, round(hop / stride))
            length = longest.length + longest.stride * max(0, round((length - longest.length) / longest.stride))
        return rate_hz, max(length, hop), hop

    def _reading_starts_s(self, wanted_s: float) -> float:
        """Where to begin for all to be settled then, with windows and looks for faces as when read from the front."""
        settled = round((wanted_s - REACH_S) * self._rate_hz) - self._length
        grid = lcm(self._hop, ceil(self._rate_hz / PLACES_HZ))
        return max(0, settled // grid * grid) / self._rate_hz

    @property
    def _directions(self) -> tuple[Direction, ...]:
        return self.ensemble.directions

    def _answer(self, questions: Sequence[Question], lanes: Mapping[str, Lane]) -> None:
        if not questions:
            return
        with self.stopwatch("models and fusion"):
            answers = self.answer(questions)
            foreign = self._foreignness(questions, answers.representation)
        for row, question in enumerate(questions):
            lane = lanes[question.lane]
            lane.answers[question.number] = answers.probabilities[row]
            lane.foreign[question.number] = float(foreign[row])
            if self.style != "none":
                lane.representations[question.number] = answers.representation[row]
                lane.reach_s[question.number] = question.reach_s

    def answer(self, questions: Sequence[Question]) -> Answers:
        """What the model says about each window alone."""
        return self.classifier.answer([question.clip for question in questions])

    def _foreignness(
        self, questions: Sequence[Question], primitives: Float32[np.ndarray, "N C"]
    ) -> Float[np.ndarray, " N"]:
        if self.familiarity is None:
            return np.full(len(questions), np.nan)
        direction = self._directions[0]
        steps = {"first": [question.first.get(direction) for question in questions]}
        if "second" in self.encoders:
            steps["second"] = [question.second for question in questions]
        views = {
            stream: np.stack([mean_step(each, self.encoders[stream].width) for each in rows])
            for stream, rows in steps.items()
        }
        return self.familiarity.foreignness({PRIMITIVES: primitives} | views)

    @property
    def hop_s(self) -> float:
        """From one window to the next."""
        return self._hop / self._rate_hz

    def in_order_of_time(self, stream: str) -> bool:
        """Whether the vectors of a stream follow each other in time; tokens of a spectrogram do not."""
        return stream in self.encoders and self.encoders[stream].kind != "tokens"

    def _segments(self, reading: "Reading") -> tuple[Segment, ...]:
        threshold = self.settings.abstain_below
        abstain_below = self.ensemble.abstain_below if threshold is None else threshold
        owned = list(pairwise(reading.edges))
        segments: list[Segment] = []
        for name, lane in reading.lanes.items():
            cells = [
                Cell(*owned[n], lane.answers.get(n), *grounds, lane.foreign.get(n, nan))
                for n, grounds in sorted(lane.grounds.items())
            ]
            cells = cells if name in NOBODY else _while_there(cells)
            segments += segments_of(name, cells, self.emotions, self.settings, abstain_below)
        return tuple(segments)

    def header(self, path: Path, duration_s: float) -> Header:
        """What stands above the results of a recording."""
        in_effect = {
            "window_s": round(self._length / self._rate_hz, 4),
            "hop_s": round(self._hop / self._rate_hz, 4),
            "abstain_below": self.ensemble.abstain_below,
        }
        if self.settings.abstain_below is not None:
            in_effect["abstain_below"] = self.settings.abstain_below
        return Header(
            media=path.name,
            content=content_of_file(path),
            duration_s=round(duration_s, 3),
            model=self.model_id,
            emotions=self.emotions,
            fingerprints={encoder.name: fingerprint(encoder) for encoder in self.encoders.values()},
            settings=asdict(self.settings) | in_effect,
            demonstration=self.specifications.synthetic,
            version=version("cimeu"),
            faces=self._faces(),
            style=self.style,
        )

    def _faces(self) -> str:
        if all(encoder.source != "face" for encoder in self.encoders.values()):
            return ""
        found, known = f"found by {self.detector.name} {self.detector.version}", self.identity
        return found if known is None else f"{found}, recognised by {known.name} above {known.same_above:g}"


def _detector_of(encoders: Iterable[Encoder]) -> FaceDetector:
    """The detector that the encoders' crops came from; its version is part of their fingerprint."""
    named = [str(encoder.preprocessing["detector"]) for encoder in encoders if "detector" in encoder.preprocessing]
    return DETECTORS[named[0].split(" ")[0] if named else next(iter(DETECTORS))]()


def _named(lanes: Mapping[str, Lane], identity: Identity | None) -> dict[str, tuple[str, ...]]:
    """Names in order of appearance: faces that can be read for a moment at least become persons."""
    seen = {
        name: {number for number, (_, reason) in lane.grounds.items() if name in NOBODY or reason != NO_FACE}
        for name, lane in lanes.items()
    }
    seen = {name: seen[name] for name in sorted(seen, key=lambda name: min(seen[name], default=0)) if seen[name]}
    portraits = {name: lane.portrait for name, lane in lanes.items() if lane.portrait is not None}
    faces = {name: numbers for name, numbers in seen.items() if name not in NOBODY}
    people: dict[str, tuple[str, ...]] = {name: (name,) for name in seen}
    if identity is not None:
        alike = one_people(portraits, faces, identity.same_above)
        people = {name: alike.get(name, (name,)) for name in seen if name in alike or name in NOBODY}
    persons = count(1)
    return {name if name in NOBODY else f"person {next(persons)}": known for name, known in people.items()}


def _joined(lanes: Sequence[Lane]) -> Lane:
    """One person's lanes as one, each from first to last sight; they are never seen at once.

    A sight in one lane wins over its absence from another that goes on before and after.
    """
    if len(lanes) == 1:
        return lanes[0]
    joined = Lane()
    for lane in lanes:
        seen = [number for number, (_, reason) in lane.grounds.items() if reason != NO_FACE]
        first, last = min(seen), max(seen)
        for number, found in lane.grounds.items():
            if first <= number <= last and (found[1] != NO_FACE or number not in joined.grounds):
                joined.grounds[number] = found
        joined.answers |= lane.answers
        joined.foreign |= lane.foreign
        joined.representations |= lane.representations
        joined.reach_s |= lane.reach_s
        joined.places += lane.places
    joined.places.sort(key=lambda place: place.time_s)
    return joined


def _while_there(cells: Sequence[Cell]) -> list[Cell]:
    """Cells of a person from first to last sight."""
    there = [number for number, cell in enumerate(cells) if cell.reason != NO_FACE]
    return list(cells[there[0] : there[-1] + 1])
