"""Pieces of clips to vectors: windows are cut as frames arrive and computed in batches across clips.

Axes: T steps of a clip, N windows, D width of the vectors.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from cimeu.encoders.base import Encoder
from cimeu.encoders.encoding import BATCH_WINDOWS
from cimeu.errors import CheckpointError, RecipeError
from cimeu.features.sources import Piece, reason_of
from cimeu.features.windows import Cutter
from cimeu.pyramid import Direction

NO_ENCODER = (CheckpointError, RecipeError)
"""What is wrong with the encoder and not with a clip: it stops the run before any clip is blamed for it."""


@dataclass(frozen=True)
class Finished:
    """The vectors `[T, D]` of one clip, encoder and direction, or why there are none."""

    clip: int
    place: int
    direction: Direction
    features: np.ndarray | None
    problem: str
    duration_s: float


@dataclass
class _Job:
    """Vectors of one clip, encoder and direction, as they come in."""

    clip: int
    place: int
    direction: Direction
    missing: int
    duration_s: float
    vectors: np.ndarray | None = None
    problem: str = ""

    def finished(self) -> Finished:
        vectors = None if self.problem else self.vectors
        duration_s = 0.0 if self.problem else self.duration_s
        return Finished(self.clip, self.place, self.direction, vectors, self.problem, duration_s)


@dataclass
class _Open:
    """An encoder's view of a clip of which not all frames are here."""

    cutter: Cutter
    jobs: dict[Direction, _Job] = field(default_factory=dict)


class Computing:
    """Computes vectors of several clips whose pieces arrive in any order.

    `tell` hears, after every batch of a heavy encoder, the windows done, the windows of the clips seen so far, and the
    number of these clips.
    """

    def __init__(self, encoders: Sequence[Encoder], *, tell: Callable[[int, int, int], None] | None = None) -> None:
        self._encoders, self._tell = encoders, tell
        self._open: dict[tuple[int, int, tuple[Direction, ...]], _Open] = {}
        self._waiting: dict[int, list[tuple[_Job, int, np.ndarray]]] = {i: [] for i in range(len(encoders))}
        self._clips: set[int] = set()
        self.expected = self.done = 0

    def take(self, clip: int, piece: Piece) -> Iterator[Finished]:
        """What a piece completes."""
        key = (clip, piece.place, piece.directions)
        encoder = self._encoders[piece.place]
        if piece.frames is None:
            self._open.pop(key, None)
            for direction in piece.directions:
                yield Finished(clip, piece.place, direction, None, piece.problem, 0.0)
            return
        if key not in self._open:
            mirrored = encoder.source != "sound"
            view = _Open(Cutter(encoder.window, piece.n_frames, piece.directions, mirrored=mirrored))
            steps = view.cutter.steps
            view.jobs = {d: _Job(clip, piece.place, d, steps, piece.duration_s) for d in piece.directions}
            self._open[key] = view
            if encoder.heavy:
                self.expected += steps * len(piece.directions)
                self._clips.add(clip)
        view = self._open[key]
        for direction, places, windows in view.cutter.add(piece.frames):
            job = view.jobs[direction]
            if encoder.window is None:
                yield from self._compute_whole(encoder, job, windows)
            elif encoder.heavy:
                for place, window in zip(places.tolist(), windows, strict=True):
                    self._waiting[piece.place].append((job, place, window))
                    if len(self._waiting[piece.place]) >= getattr(encoder, "batch_size", 1):
                        yield from self._flush(piece.place)
            else:
                for start in range(0, len(windows), BATCH_WINDOWS):
                    part = slice(start, start + BATCH_WINDOWS)
                    yield from self._compute(encoder, [(job, places[part])], windows[part])
        if not any(job.missing for job in view.jobs.values()):
            self._open.pop(key, None)

    def forget(self, clip: int) -> None:
        """Drop a clip whose pieces will come again from the first on."""
        for key in [key for key in self._open if key[0] == clip]:
            del self._open[key]
        for place, waiting in self._waiting.items():
            self._waiting[place] = [entry for entry in waiting if entry[0].clip != clip]

    def flush(self) -> Iterator[Finished]:
        """Compute what still waits for a batch to fill."""
        for place in self._waiting:
            yield from self._flush(place)

    def _flush(self, place: int) -> Iterator[Finished]:
        waiting, self._waiting[place] = self._waiting[place], []
        if waiting:
            of_jobs = [(job, np.array([index])) for job, index, _ in waiting]
            yield from self._compute(self._encoders[place], of_jobs, np.stack([window for _, _, window in waiting]))

    def _compute(
        self, encoder: Encoder, parts: list[tuple[_Job, np.ndarray]], windows: np.ndarray
    ) -> Iterator[Finished]:
        """Vectors of the windows of one or several jobs; an error is the reason of those it belongs to."""
        try:
            vectors = encoder(windows)
        except NO_ENCODER:
            raise
        except Exception as error:
            if len(parts) > 1:  # each on its own, so that the error names its clip
                for index, part in enumerate(parts):
                    yield from self._compute(encoder, [part], windows[index : index + 1])
                return
            parts[0][0].problem = parts[0][0].problem or reason_of(error)
            vectors = np.zeros((len(windows), encoder.width), np.float32)
        self._count(encoder, len(windows))
        first = 0
        for job, places in parts:
            if job.vectors is None:
                steps = job.missing
                job.vectors = np.empty((steps, vectors.shape[1]), np.float32)
            job.vectors[places] = vectors[first : first + len(places)]
            first += len(places)
            job.missing -= len(places)
            if not job.missing:
                yield job.finished()

    def _compute_whole(self, encoder: Encoder, job: _Job, windows: np.ndarray) -> Iterator[Finished]:
        """The rows of a clip that is seen at once."""
        try:
            job.vectors = encoder(windows)
        except NO_ENCODER:
            raise
        except Exception as error:
            job.problem = reason_of(error)
        self._count(encoder, 1)
        job.missing = 0
        yield job.finished()

    def _count(self, encoder: Encoder, windows: int) -> None:
        if encoder.heavy:
            self.done += windows
            if self._tell:
                self._tell(self.done, self.expected, len(self._clips))
