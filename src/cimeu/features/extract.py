"""Clips to feature stores, once: what is there stays, what fails says why and stops nothing else.

The parent reads what a clip holds (its key), sends out the clips that lack a row, and is the only writer; workers
decode a clip once, encode it with every encoder in every direction it lacks, and send the vectors back. A killed run
loses the clips in hand; the next run does the rest.

Axes: T steps of a clip, D width of the vectors.
"""

import logging
import multiprocessing
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice
from multiprocessing.connection import wait as wait_for
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from cimeu.corpora.manifest import Clip, Manifest
from cimeu.encoders.base import Encoder, describe, encode_each, fingerprint
from cimeu.errors import CimeuError, FeatureError, RecipeError
from cimeu.features.sources import Source, read_sources, stream_of
from cimeu.features.store import FeatureStore, Row, content_of, row_key
from cimeu.progress import Progress, silent
from cimeu.pyramid import DIRECTIONS, Direction

CLIPS_AHEAD = 2
"""Clips sent out per worker before a result is waited for: bounds the memory, and what a killed run loses."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """What an extraction did: clips worked on (`done`), clips that had every row before (`kept`), and what failed.

    `failures` has the columns clip_id, stream (`video`, `sound`, or `manifest` for a clip ruled out there) and reason,
    and includes clips that failed in an earlier run.
    """

    done: int
    kept: int
    failures: pd.DataFrame


@dataclass(frozen=True)
class _Task:
    """A clip, and for each encoder (by its place) the directions it lacks."""

    clip: Clip
    content: str
    lacking: tuple[tuple[int, tuple[Direction, ...]], ...]


def extract(
    manifest: Manifest,
    encoders: Sequence[Encoder],
    folder: Path,
    *,
    directions: Sequence[Direction] = DIRECTIONS,
    second: Collection[str] = (),
    progress: Progress = silent,
    workers: int = 0,
    shard: tuple[int, int] = (1, 1),
) -> Extraction:
    """Fill the stores `folder/<encoder name>/` with the clips of a manifest.

    Args:
        manifest: clips; one with a `problem` is reported and left alone.
        encoders: read the same decoded clip.
        folder: where the stores are, or will be.
        directions: directions of the first stream.
        second: names of the encoders of the second stream, which is never reversed.
        progress: told after every clip.
        workers: processes that decode and encode, one thread each; 0 works in this process. A script that asks for
            workers has to guard its entry with `if __name__ == "__main__":`.
        shard: (i, n) takes every n-th clip from the i-th on, for n machines that share the folder.

    Raises:
        FeatureError: the disk takes no more, or a store is damaged; rows written before are kept.
        FingerprintMismatch: a store holds features made with other settings.
        RecipeError: encoders with the same name, or an impossible shard.
    """
    _check(encoders, second, shard)
    clips = manifest.clips()[shard[0] - 1 :: shard[1]]
    fingerprints = [fingerprint(encoder) for encoder in encoders]
    wanted = {i: ("forward",) if e.name in second else tuple(directions) for i, e in enumerate(encoders)}
    rows_of: dict[str, list[tuple[int, str]]] = {}
    done = completed = 0

    def count_clip() -> None:
        nonlocal completed
        completed += 1
        progress("extract", completed, len(clips))

    with ExitStack() as stack:
        stores = [
            stack.enter_context(FeatureStore.open(folder / encoder.name, describe(encoder), writable=True))
            for encoder in encoders
        ]

        def lacking() -> Iterator[_Task]:
            """The clips that lack a row, found as they are asked for."""
            claimed: set[str] = set()
            for clip in clips:
                if clip.problem:
                    count_clip()
                    continue
                content = content_of(clip)
                keys = {(i, d): row_key(content, fingerprints[i], d) for i in wanted for d in wanted[i]}
                rows_of[clip.clip_id] = [(i, key) for (i, _), key in keys.items()]
                absent = {at for at, key in keys.items() if key not in stores[at[0]] and key not in claimed}
                claimed.update(keys[at] for at in absent)
                if not absent:
                    count_clip()
                    continue
                yield _Task(clip, content, tuple((i, tuple(d for d in wanted[i] if (i, d) in absent)) for i in wanted))

        for task, rows in _work_through(lacking(), encoders, workers):
            for place, row in rows:
                stores[place].add(
                    row_key(task.content, fingerprints[place], row.direction), _checked(stores[place], row)
                )
            done += 1
            count_clip()
        failures = _failures(clips, rows_of, encoders, stores)
    return Extraction(done, len(rows_of) - done, failures)


def _check(encoders: Sequence[Encoder], second: Collection[str], shard: tuple[int, int]) -> None:
    names = [encoder.name for encoder in encoders]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"two encoders are called `{name}`\n\nhint: extract them into two folders")
    for name in second:
        if name not in names:
            raise RecipeError(f"second stream `{name}` is not among the encoders\n\nhint: one of {', '.join(names)}")
    number, count = shard
    if not 1 <= number <= count:
        raise RecipeError(f"no shard {number} of {count}\n\nhint: shards are counted from 1, such as 1/{max(count, 1)}")


def _checked(store: FeatureStore, row: Row) -> Row:
    """The row, or in its place the reason why the store cannot hold it."""
    try:
        store.check(row)
    except FeatureError as error:
        return replace(row, features=None, problem=_reason(error))
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


def _rows(task: _Task, encoders: Sequence[Encoder]) -> list[tuple[int, Row]]:
    """Decode a clip once and encode it; anything that goes wrong becomes the reason in its rows."""
    clip = task.clip
    asked = [(encoders[place], place, directions) for place, directions in task.lacking if directions]
    try:
        sources = read_sources(
            clip.path,
            [encoder for encoder, _, _ in asked],
            audio_path=clip.audio_path,
            start_s=clip.start_s,
            end_s=clip.end_s,
        )
    except Exception as error:
        return _failed(task, _reason(error))
    return [
        (place, Row(clip.clip_id, vectors, problem, source.duration_s, direction))
        for (encoder, place, directions), source in zip(asked, sources, strict=True)
        for direction, (vectors, problem) in _encoded(encoder, source, directions).items()
    ]


def _encoded(
    encoder: Encoder, source: Source, directions: Sequence[Direction]
) -> dict[Direction, tuple[np.ndarray | None, str]]:
    """Vectors of each direction, or why there are none."""
    if source.content is None:
        return dict.fromkeys(directions, (None, source.problem))
    try:
        features = encode_each(encoder, source.content, directions)
    except Exception as error:
        return dict.fromkeys(directions, (None, _reason(error)))
    return {direction: (features[direction], "") for direction in directions}


def _failed(task: _Task, reason: str) -> list[tuple[int, Row]]:
    return [
        (place, Row(task.clip.clip_id, None, reason, 0.0, direction))
        for place, directions in task.lacking
        for direction in directions
    ]


def _reason(error: Exception) -> str:
    """First line of a message of ours; an error nobody foresaw is logged in full and named."""
    if isinstance(error, CimeuError):
        return str(error).splitlines()[0]
    _logger.warning("an error nobody foresaw", exc_info=error)
    return f"{type(error).__name__}: {error}".splitlines()[0]


# Processes


def _work_through(
    tasks: Iterable[_Task], encoders: Sequence[Encoder], workers: int
) -> Iterator[tuple[_Task, list[tuple[int, Row]]]]:
    """Each task with its rows, in the order they are finished."""
    if not workers:
        for task in tasks:
            yield task, _rows(task, encoders)
        return
    tasks = iter(tasks)
    first = next(tasks, None)
    if first is None:
        return  # nothing lacks a row: no process is started
    tasks, crashed = chain([first], tasks), True
    while crashed:
        suspects: list[_Task] = []
        yield from _until_a_crash(tasks, encoders, workers, suspects)
        crashed = bool(suspects)
        for suspect in suspects:  # each on its own, so that the next crash names its clip
            culprit: list[_Task] = []
            yield from _until_a_crash(iter([suspect]), encoders, 1, culprit)
            if culprit:
                yield suspect, _failed(suspect, "the process that read it died (out of memory, or a broken codec)")


def _until_a_crash(
    tasks: Iterator[_Task], encoders: Sequence[Encoder], workers: int, suspects: list[_Task]
) -> Iterator[tuple[_Task, list[tuple[int, Row]]]]:
    """Hand out tasks to fresh processes; when one dies, those in hand become suspects."""
    in_hand: dict[Future[list[tuple[int, Row]]], _Task] = {}
    with _pool(encoders, workers) as pool:
        try:
            while True:
                for task in islice(tasks, CLIPS_AHEAD * workers - len(in_hand)):
                    suspects.append(task)
                    in_hand[pool.submit(_rows_in_worker, task)] = suspects.pop()
                if not in_hand:
                    return
                for future in wait(in_hand, return_when=FIRST_COMPLETED).done:
                    rows = future.result()
                    yield in_hand.pop(future), rows
        except BrokenProcessPool:
            suspects += in_hand.values()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _pool(encoders: Sequence[Encoder], workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once, not once per process
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(tuple(encoders),))
    try:
        pool.submit(int).result()
    except BrokenProcessPool as error:
        raise RecipeError(
            f"{workers} worker processes could not start\n\n"
            'hint: guard the script that asks for them with `if __name__ == "__main__":`, or use 0 workers'
        ) from error
    return pool


_encoders: tuple[Encoder, ...] = ()


def _start_worker(encoders: tuple[Encoder, ...]) -> None:
    global _encoders
    _encoders = encoders
    torch.set_num_threads(1)
    threadpool_limits(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in workers only"
    wait_for([parent.sentinel])
    os._exit(1)


def _rows_in_worker(task: _Task) -> list[tuple[int, Row]]:
    return _rows(task, _encoders)
