"""Tasks to worker processes and what they say about them, as it comes.

Each worker has a pipe and one task at a time. It works ahead only as far as the pipe takes its messages, so memory is
bounded by what one task holds. When a worker dies its task is known: it is tried once more in a fresh process, and the
second death names it. Workers end with the process that started them, even when that is killed.
"""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from typing import Any

from cimeu.cluster import Event
from cimeu.errors import RecipeError

Work = Callable[[Any], Iterator[object]]
"""Messages about a task; it and its messages travel between processes."""


@dataclass
class _Worker:
    """A process, our end of its pipe, and what it has in hand."""

    process: BaseProcess
    connection: Connection
    task: Any = None
    tries: int = 0


def in_processes(tasks: Iterable[Any], work: Work, workers: int) -> Iterator[tuple[Any, object]]:
    """Each message of `work(task)` with its task, then `Event.DONE`; tasks are taken as workers become free.

    With 0 workers everything happens here.

    Raises:
        RecipeError: no process can be started, or fewer than none.
    """
    if workers < 0:
        raise RecipeError(f"workers is {workers}\n\nhint: a number of 0 or more")
    if not workers:
        for task in tasks:
            yield from ((task, message) for message in work(task))
            yield task, Event.DONE
        return
    waiting = iter(tasks)
    again: list[tuple[Any, int]] = []
    busy: dict[Connection, _Worker] = {}
    idle: list[_Worker] = []

    def next_task() -> tuple[Any, int] | None:
        if again:
            return again.pop()
        return next(((task, 1) for task in waiting), None)

    try:
        while True:
            while len(busy) < workers and (drawn := next_task()) is not None:
                worker = idle.pop() if idle else _started(work)
                worker.task, worker.tries = drawn
                with contextlib.suppress(OSError):  # it died meanwhile: its pipe says so
                    worker.connection.send(worker.task)
                busy[worker.connection] = worker
            if not busy:
                return
            for connection in wait_for(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                try:
                    message = worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    del busy[worker.connection]
                    _end(worker)
                    if worker.tries == 1:
                        again.append((worker.task, 2))
                    yield worker.task, Event.AGAIN if worker.tries == 1 else Event.LOST
                    continue
                if message is Event.DONE:
                    idle.append(busy.pop(worker.connection))
                yield worker.task, message
    finally:
        for worker in [*busy.values(), *idle]:
            _end(worker)


def _started(work: Work) -> _Worker:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cimeu.features.extract", "torch"])  # imported once, not once per process
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    process.start()
    theirs.close()
    try:
        ours.recv()
    except EOFError as error:
        raise RecipeError(
            "worker processes could not start\n\n"
            'hint: guard the script that asks for them with `if __name__ == "__main__":`, or use 0 workers'
        ) from error
    return _Worker(process, ours)


def _end(worker: _Worker) -> None:
    worker.connection.close()
    worker.process.kill()
    worker.process.join()


def _serve(connection: Connection, work: Work) -> None:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
    end_with_parent()
    connection.send(Event.DONE)
    with contextlib.suppress(EOFError, ConnectionError):  # the run is over
        while True:
            for message in work(connection.recv()):
                connection.send(message)
            connection.send(Event.DONE)


def end_with_parent() -> None:
    """End this worker as soon as the process that started it has ended, however that happened.

    A worker that waits for tasks would not notice: it holds the other end of its queue itself.
    """
    parent = multiprocessing.parent_process()
    if parent is None:  # not a worker
        return

    def end() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
