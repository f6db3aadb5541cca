"""Clips to feature stores, once: what is there stays, what fails says why and stops nothing else.

    clips that lack a row ──> workers: decode, cut out, prepare ──> this process: networks ──> this process: stores
                                       light encoders: vectors ─────────────────────────────┘

This process reads what a clip holds (its key), sends out the clips that lack a row, computes the heavy encoders on all
cores, and is the only writer. Workers decode a clip once for all encoders and directions, and hand over its frames a
piece at a time. On a Ray cluster workers are anywhere and do both; paths travel, pixels do not. A killed
run loses the clips in hand; the next run does the rest.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pandas as pd

from cimeu.cluster import HERE, Event, Machines, on_ray, part_of
from cimeu.corpora.content_hash import content_of
from cimeu.corpora.manifest import Clip, Manifest
from cimeu.encoders.base import Encoder
from cimeu.encoders.description import describe, fingerprint
from cimeu.errors import FeatureError, RecipeError
from cimeu.features.batched_encoding import Computing, Finished
from cimeu.features.sources import Piece, Request, read_pieces, reason_of, stream_of
from cimeu.features.store import FeatureStore, Row, row_key
from cimeu.features.worker_pool import in_processes
from cimeu.progress import Progress, silent
from cimeu.pyramid import DIRECTIONS, Direction

LOST = "the process that read it died (out of memory, or a broken codec)"


@dataclass(frozen=True)
class Extraction:
    """What an extraction did: clips worked on (`done`), clips that had every row before (`kept`), and what failed.

    `failures` has the columns clip_id, stream (`video`, `sound`, or `manifest` for a clip ruled out there) and reason,
    and includes clips that failed in an earlier run. `windows` counts those that heavy encoders computed.
    """

    done: int
    kept: int
    failures: pd.DataFrame
    windows: int = 0


@dataclass(frozen=True)
class Task:
    """A clip, and for each encoder (by its place) the directions it lacks."""

    number: int
    clip: Clip
    content: str
    lacking: tuple[tuple[int, tuple[Direction, ...]], ...]


@dataclass(frozen=True)
class Failed:
    """Nothing more can be had of a clip."""

    reason: str


def extract(
    manifest: Manifest,
    encoders: Sequence[Encoder],
    folder: Path | str,
    *,
    directions: Sequence[Direction] = DIRECTIONS,
    second: Collection[str] = (),
    progress: Progress = silent,
    workers: int = 0,
    machines: Machines = HERE,
) -> Extraction:
    """Fill the stores `folder/<store name>/` with the clips of a manifest.

    Args:
        manifest: clips; one with a `problem` is reported and left alone.
        encoders: read the same decoded clip.
        folder: where the stores are, or will be (`store_name`).
        directions: directions of the first stream.
        second: names of the encoders of the second stream, which is never reversed.
        progress: called after every clip (`extract`), and after every batch of a heavy encoder (`windows`).
        workers: processes that decode, and compute light encoders, one thread each; 0 works in this process. A script
            that asks for workers has to guard its entry with `if __name__ == "__main__":`.
        machines: the part of the clips that is meant, or whose workers do the work.

    Raises:
        CheckpointError: weights of an encoder do not fit it.
        FeatureError: the disk takes no more, or a store is damaged; rows written before are kept.
        FingerprintMismatch: a store holds features made with other settings.
        RecipeError: encoders with the same name, an impossible shard, or no cluster.
    """
    _check(encoders, second)
    clips = part_of(manifest.clips(), machines.shard)
    played = [("forward",) if encoder.name in second else tuple(directions) for encoder in encoders]
    with ExitStack() as stack:
        stores = [
            stack.enter_context(FeatureStore.open(Path(folder) / store_name(encoder), describe(encoder), writable=True))
            for encoder in encoders
        ]
        work = _Work(clips, encoders, stores, played, progress)
        computing = Computing(encoders, tell=work.count_windows)
        for task, finished in _work_through(work.lacking(), encoders, computing, workers, machines.ray):
            work.store(task, finished)
        if computing.done:
            progress("windows", computing.done, computing.done)
        failures = _failures(clips, work.rows_of, encoders, stores)
    return Extraction(work.done, len(work.rows_of) - work.done, failures, computing.done)


class _Work:
    """The clips of an extraction: what each lacks, what was stored, and how far it is."""

    def __init__(
        self,
        clips: Sequence[Clip],
        encoders: Sequence[Encoder],
        stores: Sequence[FeatureStore],
        directions: Sequence[tuple[Direction, ...]],
        progress: Progress,
    ) -> None:
        self._clips, self._stores, self._progress = clips, stores, progress
        self._fingerprints = [fingerprint(encoder) for encoder in encoders]
        self._wanted = [(place, direction) for place, several in enumerate(directions) for direction in several]
        self._owed: dict[int, int] = {}
        self._completed = 0
        self.done = 0
        self.rows_of: dict[str, list[tuple[int, str]]] = {}
        """By clip: the store, by its place, and the key of each row that it should have."""

    def lacking(self) -> Iterator[Task]:
        """The clips that lack a row; each is looked up when the next one is requested."""
        claimed: set[str] = set()  # two clips of one content have one row
        for number, clip in enumerate(self._clips):
            if clip.problem:
                self._count_clip()
                continue
            content = content_of(clip)
            keys = {(i, d): row_key(content, self._fingerprints[i], d) for i, d in self._wanted}
            self.rows_of[clip.clip_id] = [(i, key) for (i, _), key in keys.items()]
            absent = [at for at, key in keys.items() if key not in self._stores[at[0]] and key not in claimed]
            claimed.update(keys[at] for at in absent)
            if not absent:
                self._count_clip()
                continue
            by_place = [(place, tuple(d for _, d in ats)) for place, ats in groupby(absent, key=itemgetter(0))]
            self._owed[number] = len(absent)
            yield Task(number, clip, content, tuple(by_place))

    def store(self, task: Task, finished: Finished) -> None:
        """Keep one row."""
        store = self._stores[finished.place]
        row = Row(task.clip.clip_id, finished.features, finished.problem, finished.duration_s, finished.direction)
        store.add(row_key(task.content, self._fingerprints[finished.place], row.direction), _checked(store, row))
        self._owed[task.number] -= 1
        if not self._owed[task.number]:
            self.done += 1
            self._count_clip()

    def count_windows(self, n_done: int, n_expected: int, n_clips: int) -> None:
        """Report windows of heavy encoders; clips that were not looked at yet count as lacking."""
        to_do = len(self._clips) - (self._completed - self.done)
        self._progress("windows", n_done, max(n_done, round(n_expected / n_clips * to_do)))

    def _count_clip(self) -> None:
        self._completed += 1
        self._progress("extract", self._completed, len(self._clips))


def store_name(encoder: Encoder) -> str:
    """Folder of an encoder's store: its name, with `-frame` behind it where it sees whole frames."""
    return f"{encoder.name}-frame" if encoder.source == "frame" else encoder.name


def _check(encoders: Sequence[Encoder], second: Collection[str]) -> None:
    names = [store_name(encoder) for encoder in encoders]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"two encoders are called `{name}`\n\nhint: extract them into two folders")
    for name in second:
        if name not in [encoder.name for encoder in encoders]:
            raise RecipeError(f"second stream `{name}` is not among the encoders\n\nhint: one of {', '.join(names)}")


def _checked(store: FeatureStore, row: Row) -> Row:
    """The row, or in its place the reason why the store cannot hold it."""
    try:
        store.check(row)
    except FeatureError as error:
        return replace(row, features=None, problem=reason_of(error))
    return row


def _failures(
    clips: Sequence[Clip],
    rows_of: dict[str, list[tuple[int, str]]],
    encoders: Sequence[Encoder],
    stores: Sequence[FeatureStore],
) -> pd.DataFrame:
    failures: list[tuple[str, str, str]] = []
    for clip in clips:
        if clip.problem:
            failures.append((clip.clip_id, "manifest", clip.problem))
        problems = [(stream_of(encoders[i]), stores[i].problem(key)) for i, key in rows_of.get(clip.clip_id, ())]
        failures += [(clip.clip_id, stream, problem) for stream, problem in dict.fromkeys(problems) if problem]
    return pd.DataFrame(failures, columns=["clip_id", "stream", "reason"])


def _work_through(
    tasks: Iterable[Task], encoders: Sequence[Encoder], computing: Computing, workers: int, ray: str
) -> Iterator[tuple[Task, Finished]]:
    """Every row of every task once, as they are finished."""
    if ray:
        heavy = any(encoder.heavy for encoder in encoders)
        messages = on_ray(tasks, partial(rows_of_task, tuple(encoders)), ray, workers, heavy=heavy)
    else:
        messages = in_processes(tasks, partial(messages_about, tuple(encoders)), workers)
    at_work: dict[int, _AtWork] = {}

    def owed_ones(finished: Iterable[Finished]) -> Iterator[tuple[Task, Finished]]:
        for one in finished:
            owner = at_work.get(one.clip)
            if owner is None or (one.place, one.direction) not in owner.owed:
                continue  # a clip that is read again says some of it twice
            owner.owed.remove((one.place, one.direction))
            yield owner.task, one
            if owner.read and not owner.owed:
                del at_work[one.clip]

    for task, message in messages:
        if task.number not in at_work:
            at_work[task.number] = _AtWork(task, {(i, d) for i, directions in task.lacking for d in directions})
        mine = at_work[task.number]
        yield from owed_ones(_understood(task, message, mine.owed, computing))
        if message in (Event.DONE, Event.LOST):
            mine.read = True
            if not mine.owed:
                at_work.pop(task.number, None)
    yield from owed_ones(computing.flush())
    assert not at_work, f"{len(at_work)} clips without their rows"


@dataclass
class _AtWork:
    """A task, the rows it owes, and whether all of its clip was read."""

    task: Task
    owed: set[tuple[int, Direction]]
    read: bool = False


def _understood(
    task: Task, message: object, owed: Collection[tuple[int, Direction]], computing: Computing
) -> Iterator[Finished]:
    """The rows that a message about a task completes."""
    match message:
        case Finished():
            yield replace(message, clip=task.number)
        case Piece():
            yield from computing.take(task.number, message)
        case Failed(reason):
            computing.forget(task.number)
            yield from (Finished(task.number, place, d, None, reason, 0.0) for place, d in tuple(owed))
        case Event.LOST:
            yield from _understood(task, Failed(LOST), owed, computing)
        case Event.AGAIN:
            computing.forget(task.number)


def messages_about(encoders: Sequence[Encoder], task: Task) -> Iterator[object]:
    """Decode a clip once: the rows of light encoders, the pieces for heavy ones; what goes wrong is a message too."""
    clip = task.clip
    requests = [Request(place, encoders[place], directions) for place, directions in task.lacking]
    light = Computing(encoders)
    try:
        for piece in read_pieces(
            clip.path, requests, audio_path=clip.audio_path, start_s=clip.start_s, end_s=clip.end_s
        ):
            if encoders[piece.place].heavy:
                yield piece
            else:
                yield from light.take(task.number, piece)
    except Exception as error:
        yield Failed(reason_of(error))


def rows_of_task(encoders: Sequence[Encoder], task: Task) -> list[Finished]:
    """Decode and compute a clip in this process."""
    return [finished for _, finished in _work_through([task], encoders, Computing(encoders), 0, "")]
