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
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import count, pairwise
from math import ceil, inf, lcm, nan
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from cimeu.batching.dataset import Sample
from cimeu.corpora.content_hash import content_of_file
from cimeu.devices import choose_device
from cimeu.encoders.base import Encoder
from cimeu.encoders.description import fingerprint
from cimeu.encoders.registry import encoder_from
from cimeu.errors import CheckpointError, RecipeError
from cimeu.evaluation.ood import FILE, PRIMITIVES, Familiarity, mean_step
from cimeu.evaluation.predict import EnsembleSettings, Scores, evaluation_collator, fused_probabilities
from cimeu.inference.bundle import bundled_weights, open_bundle
from cimeu.inference.face_path import REACH_S
from cimeu.inference.model_store import model_id
from cimeu.inference.neighbours import TrainingClips
from cimeu.inference.reader import NO_FACE, NOBODY, PLACES_HZ, Lane, Question, Reader, rate_of
from cimeu.inference.reidentification import Identity, one_people
from cimeu.inference.stopwatch import Stopwatch
from cimeu.media.faces import DETECTORS, FaceDetector
from cimeu.media.threads import one_thread
from cimeu.media.video import probe
from cimeu.model.network import CiMEU, Output
from cimeu.progress import Progress, silent
from cimeu.pyramid import DIRECTIONS, Direction
from cimeu.timeline.timeline import Cell, Header, Segment, Timeline, TimelineSettings, segments_of

logger = logging.getLogger(__name__)

STREAMS = ("first", "second")
BATCH_WINDOWS = 32
FRAME_RATE_HZ = 25.0
"""Grid of windows where no encoder of pictures sets one."""


@dataclass(frozen=True)
class Reading:
    """What one pass over a recording found: lanes by name in order of appearance, and the cells between `edges`."""

    path: Path
    lanes: dict[str, Lane]
    called: dict[str, tuple[str, ...]]
    """What the reader calls each lane in its questions; several names where a person came back after a cut."""
    edges: list[float]
    """Stretch n goes from edge n to edge n + 1, in seconds."""


class Recogniser:
    """A trained ensemble that turns recordings into timelines; nothing is kept between two recordings."""

    def __init__(
        self,
        models: Mapping[Direction, CiMEU],
        ensemble: EnsembleSettings,
        *,
        model_id: str,
        folder: Path | None = None,
        settings: TimelineSettings | None = None,
        detector: FaceDetector | None = None,
        identity: Identity | None = None,
        weights: Mapping[str, Path | str] = MappingProxyType({}),
        device: str = "auto",
    ) -> None:
        """Build from models; `from_pretrained` is the usual way.

        Args:
            models: by direction, with the specifications they were saved with.
            ensemble: how their answers are put together.
            model_id: stands in every export.
            folder: where the run or the unpacked bundle lies, for what else it holds.
            settings: thresholds of the timeline.
            detector: of faces; default the one the encoders were trained with.
            identity: tells who comes back after a cut; without one, a cut ends every person.
            weights: where the weights of an encoder lie, by its name, if not in the weights folder.
            device: what computes encoders and models: `auto`, `cpu`, `cuda` or `cuda:N`.

        Raises:
            CheckpointError: no model, or models of different encoders.
            RecipeError: weights of an encoder that the models do not read, or no such device.
            FingerprintMismatch, WeightsMissing: the encoders cannot be rebuilt here.
        """
        if not models:
            raise CheckpointError("an ensemble without a model\n\nhint: train `forward`, `backward` or both")
        self.device = choose_device(device)
        self.models = {d: models[d].eval().to(self.device) for d in DIRECTIONS if d in models}
        self.ensemble, self.model_id, self.folder = ensemble, model_id, folder
        self.specifications = next(iter(self.models.values())).specifications
        self.emotions = tuple(self.specifications.emotions)
        self.encoders = self._rebuilt(weights)
        self.settings = settings or TimelineSettings()
        self.detector, self.identity = detector or _detector_of(self.encoders.values()), identity
        self.familiarity = Familiarity.load(folder) if folder is not None else None
        self.training_clips = TrainingClips.load(folder) if folder is not None else None
        self.stopwatch = Stopwatch()
        """Time spent in each stage, over all recordings read so far."""
        self._rate_hz, self._length, self._hop = self._grid()

    @classmethod
    def from_pretrained(
        cls,
        run_folder: Path | str,
        *,
        settings: TimelineSettings | None = None,
        detector: FaceDetector | None = None,
        identity: Identity | None = None,
        weights: Mapping[str, Path | str] = MappingProxyType({}),
        device: str = "auto",
    ) -> "Recogniser":
        """Read a run folder (`forward/`, `backward/`, one or both, and `ensemble.json`), or a bundle (`.zip`) of one.

        Encoders of the hub remember what their model folder held and not where it lay: `weights` says where.

        Raises:
            CheckpointError: a part is missing or damaged.
            RecipeError: weights of an encoder that the run does not read, or no such device.
            FingerprintMismatch, WeightsMissing: its encoders cannot be rebuilt here.
        """
        folder = Path(run_folder)
        if folder.suffix == ".zip" and folder.is_file():
            folder = open_bundle(folder)
        if not folder.is_dir():
            raise CheckpointError(f"no run folder `{folder}`\n\nhint: name the folder that `cimeu train` wrote")
        ensemble = EnsembleSettings.load(folder)
        models = {direction: CiMEU.from_pretrained(folder / direction) for direction in ensemble.directions}
        name = model_id(folder, ensemble)
        if not (folder / FILE).is_file():
            logger.warning("`%s` has no %s: nothing is marked as unlike its training clips", folder, FILE)
        return cls(
            models,
            ensemble,
            model_id=name,
            folder=folder,
            settings=settings,
            detector=detector,
            identity=identity,
            weights=weights,
            device=device,
        )

    def __call__(self, path: Path | str, *, progress: Progress = silent) -> Timeline:
        """Recognise one recording: a video with or without sound, or a sound file. Progress counts seconds of it.

        Raises:
            MediaError: missing, empty, or no media.
        """
        return self.timeline(self.read(path, progress=progress))

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
            tuple(self.models),
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

    def timeline(self, reading: "Reading") -> Timeline:
        """Segments of what was read."""
        places = {name: tuple(lane.places) for name, lane in reading.lanes.items() if lane.places}
        return Timeline(self.header(reading.path, reading.edges[-1]), self._segments(reading), reading.path, places)

    def _rebuilt(self, weights: Mapping[str, Path | str]) -> dict[str, Encoder]:
        encoders = {}
        for stream in STREAMS:
            descriptions = [getattr(model.specifications, f"{stream}_encoder") for model in self.models.values()]
            if any(description != descriptions[0] for description in descriptions):
                raise CheckpointError(
                    f"forward and backward model have different {stream} encoders\n\nhint: train both in one run"
                )
            if descriptions[0]:
                found = weights.get(descriptions[0]["name"])
                if found is None and self.folder is not None:
                    found = bundled_weights(self.folder, descriptions[0])
                encoders[stream] = encoder_from(
                    descriptions[0], device=str(self.device), **({} if found is None else {"weights": found})
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

    def _answer(self, questions: Sequence[Question], lanes: Mapping[str, Lane]) -> None:
        if not questions:
            return
        with self.stopwatch("models and fusion"):
            probabilities, primitives = self._ask(questions)
            foreign = self._foreignness(questions, primitives)
        for question, answer, distance in zip(questions, probabilities, foreign, strict=True):
            lanes[question.lane].answers[question.number] = answer
            lanes[question.lane].foreign[question.number] = float(distance)

    def probabilities(self, questions: Sequence[Question]) -> Float[np.ndarray, "N K"]:
        """What the ensemble answers to each question."""
        return self._ask(questions)[0]

    def _ask(self, questions: Sequence[Question]) -> tuple[Float[np.ndarray, "N K"], Float32[np.ndarray, "N C"]]:
        """Probabilities, and the emotion primitives of the first direction, NaN without a first stream."""
        answers = {direction: self._scores(questions, direction) for direction in self.models}
        scores = {direction: each[0] for direction, each in answers.items()}
        fused = fused_probabilities(scores.get("forward"), scores.get("backward"), self.ensemble)["fused"]
        return fused, next(iter(answers.values()))[1]

    def _foreignness(
        self, questions: Sequence[Question], primitives: Float32[np.ndarray, "N C"]
    ) -> Float[np.ndarray, " N"]:
        if self.familiarity is None:
            return np.full(len(questions), np.nan)
        direction, model = next(iter(self.models.items()))
        views = {PRIMITIVES: primitives}
        first = [mean_step(question.first.get(direction), model.config.first.width) for question in questions]
        views["first"] = np.stack(first)
        if model.config.second is not None:
            width = model.config.second.width
            views["second"] = np.stack([mean_step(question.second, width) for question in questions])
        return self.familiarity.foreignness(views)

    @property
    def hop_s(self) -> float:
        """From one window to the next."""
        return self._hop / self._rate_hz

    def in_order_of_time(self, stream: str) -> bool:
        """Whether the vectors of a stream follow each other in time; tokens of a spectrogram do not."""
        configs = [getattr(model.config, stream) for model in self.models.values()]
        return all(config is not None and config.kind != "tokens" for config in configs)

    def primitives(
        self, questions: Sequence[Question]
    ) -> tuple[Float32[np.ndarray, "N C"], Float32[np.ndarray, "N C"] | None]:
        """Emotion and style primitives by the first direction's network; NaN without a disentangled stream."""
        direction = next(iter(self.models))
        output, present = self._output(questions, direction), self._present(questions, direction)
        there = present[:, : len(output.emotion)].any(axis=1, keepdims=True)  # streams with primitives of their own
        emotion = np.where(there, output.emotion_pooled[0].numpy(), np.float32(np.nan))
        if output.style_pooled is None:
            return emotion, None
        return emotion, np.where(there, output.style_pooled[0].numpy(), np.float32(np.nan))

    def _output(self, questions: Sequence[Question], direction: Direction) -> Output:
        model = self.models[direction]
        samples = [
            Sample(f"{question.lane} {question.number}", question.first.get(direction), question.second, -1, -1, index)
            for index, question in enumerate(questions)
        ]
        batch = evaluation_collator(model)(samples).to(self.device)
        assert batch.first is not None, "every model has a first stream"
        with torch.inference_mode(), one_thread():
            return model(batch.first, batch.second).map(Tensor.cpu)

    def _present(self, questions: Sequence[Question], direction: Direction) -> Bool[np.ndarray, "N 2"]:
        return np.array([[direction in question.first, question.second is not None] for question in questions])

    def _scores(self, questions: Sequence[Question], direction: Direction) -> tuple[Scores, Float32[np.ndarray, "N C"]]:
        output, present = self._output(questions, direction), self._present(questions, direction)
        second = None if output.second_logits is None else torch.stack(output.second_logits).numpy()
        first, gate = torch.stack(output.first_logits).numpy(), torch.stack(output.gate).numpy()
        there = present[:, : len(output.emotion)].any(axis=1, keepdims=True)
        primitives = np.where(there, output.emotion_pooled[0].numpy(), np.float32(np.nan))
        names = tuple(f"{question.lane} {question.number}" for question in questions)
        return Scores(names, first, second, gate, present), primitives

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
        joined.places += lane.places
    joined.places.sort(key=lambda place: place.time_s)
    return joined


def _while_there(cells: Sequence[Cell]) -> list[Cell]:
    """Cells of a person from first to last sight."""
    there = [number for number, cell in enumerate(cells) if cell.reason != NO_FACE]
    return list(cells[there[0] : there[-1] + 1])
