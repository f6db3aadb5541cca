"""Run the cells of a bench that are not there yet, in one process or many, on one machine or several.

A process that works on a cell holds a lock on one byte of `bench.lock`; the system lets go of it when the process ends,
however it ends. A cell that another process holds is left for last: it is waited for, and run here if the other one
died. So the same command may be started twice on one folder, and both return when every cell is there.

A cell that reads the run of another becomes ready when that one is done; nobody waits for a whole round. Every process
uses one thread, so that the number of workers changes no bit of a result.
"""

import hashlib
import heapq
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import torch
from threadpoolctl import threadpool_limits

from cimeu.atomic import NO_ROOM, ROOM, locked
from cimeu.bench.cells import CellResult
from cimeu.bench.comparison import Bench, Cell, open_bench, read_cell, write_cell
from cimeu.cluster import HERE, LOST, THREAD_VARIABLES, Machines, RayPool, WorkerLost
from cimeu.errors import CimeuError, RecipeError
from cimeu.features.worker_pool import end_with_parent
from cimeu.progress import Progress, silent

logger = logging.getLogger(__name__)


@runtime_checkable
class Task(Protocol):
    """A piece of work that leaves files: a cell, or one trial of tuning. Order and equality tell tasks apart."""

    @property
    def stem(self) -> Path:
        """Its files below the bench's folder, without suffix."""

    @property
    def lock(self) -> str:
        """Name of what a process that works on it holds; tasks of one name are done one after the other."""

    @property
    def after(self) -> "Task | None":
        """The task whose files this one reads."""


@runtime_checkable
class Work(Protocol):
    """How tasks of one kind are looked up and done; sent to worker processes once, so it must be picklable."""

    @property
    def folder(self) -> Path:
        """Of the bench."""

    def is_done(self, task: Any) -> bool:
        """Whether its files are there, whole and of this bench."""

    def do(self, task: Any) -> None:
        """Do it and leave the files. Raises CimeuError where the task fails for a reason of its own."""


@dataclass(frozen=True)
class BenchReport:
    """How many cells were run now, how many were there already, and which failed and why."""

    done: int
    kept: int
    failures: dict[Any, str]
    """Reasons by cell, or by trial where a choice of settings failed."""
    wall_s: float = 0.0
    """Seconds that all of it took here."""
    elsewhere: int = 0
    """Cells of other parts that are not there yet."""


@dataclass(frozen=True)
class CellWork:
    """The cells of a bench."""

    bench: Bench
    run_cell: Callable[[Cell], CellResult]
    folder: Path

    def is_done(self, task: Cell) -> bool:
        return read_cell(self.bench, task, self.folder) is not None

    def do(self, task: Cell) -> None:
        started = time.process_time()
        result = self.run_cell(task)
        write_cell(self.bench, task, replace(result, cpu_s=time.process_time() - started), self.folder)


def run_bench(
    bench: Bench,
    run_cell: Callable[[Cell], CellResult],
    folder: Path,
    *,
    machines: Machines = HERE,
    workers: int = 1,
    progress: Progress = silent,
) -> BenchReport:
    """Run the cells that are not there yet.

    A cell that fails is logged and reported, whatever it raises, and the others are run; only a full disk stops them.

    Args:
        bench: what is compared.
        run_cell: runs one cell; with several workers it is sent to processes, so it must be picklable.
        folder: of the bench.
        machines: the part of the cells that is meant, or whose workers run them.
        workers: processes, with one thread each; 1 runs everything here, unless there is a cluster. A cell whose worker
            dies is tried once more; the second death is its failure.
        progress: called after every cell.

    Raises:
        RecipeError: the folder holds another bench, or the shard is none.
    """
    mine = bench.cells(machines.shard)
    work = CellWork(open_bench(bench, folder), run_cell, folder)
    report = do_all(work, mine, workers=workers, ray=machines.ray, step="bench", progress=progress)
    others = set(bench.cells()) - set(mine)
    return replace(report, elsewhere=sum(not work.is_done(cell) for cell in others))


def do_all(
    work: Work, tasks: Sequence[Any], *, workers: int, ray: str = "", step: str = "bench", progress: Progress = silent
) -> BenchReport:
    """Do every task that is not done, those that another process holds last."""
    started = time.monotonic()
    missing = [task for task in tasks if not work.is_done(task)]
    kept = len(tasks) - len(missing)
    failures: dict[Any, str] = {}
    progress(step, kept, len(tasks))
    for ended, (task, outcome) in enumerate(_outcomes(work, missing, workers, ray) if missing else (), start=kept + 1):
        if outcome == KEPT:
            kept += 1
        elif outcome != DONE:
            logger.warning("%s failed: %s", task, outcome)
            failures[task] = outcome
        progress(step, ended, len(tasks))
    done = len(tasks) - kept - len(failures)
    return BenchReport(done, kept, failures, time.monotonic() - started)


DONE, KEPT, BUSY = "", "kept", "busy"
"""Outcomes of a task; any other text is the reason of a failure. `kept`: another process did it meanwhile."""


def _outcomes(work: Work, tasks: Sequence[Any], workers: int, ray: str) -> Iterator[tuple[Any, str]]:
    """Each task as it ends, in the order given as far as they wait for no other."""
    busy: list[Any] = []
    with _pool(work, workers, ray, len(tasks)) as (pool, workers):
        for task, outcome in _as_they_end(pool, tasks, workers, wait_for_others=False):
            if outcome == BUSY:
                busy.append(task)
            else:
                yield task, outcome
        yield from _as_they_end(pool, busy, workers, wait_for_others=True)


def _as_they_end(
    pool: Executor, tasks: Sequence[Any], workers: int, *, wait_for_others: bool
) -> Iterator[tuple[Any, str]]:
    order = {task: place for place, task in enumerate(tasks)}
    ready = [place for task, place in order.items() if task.after not in order]
    heapq.heapify(ready)
    running: dict[Future[str], Any] = {}
    while ready or running:
        while ready and len(running) < max(1, workers):
            task = tasks[heapq.heappop(ready)]
            running[pool.submit(_attempt, task, wait_for_others)] = task
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            try:
                outcome = future.result()
            except WorkerLost as lost:
                outcome = str(lost)
            yield task, outcome
            # What waited for this task becomes ready, or fails with it.
            for other in (other for other in tasks if other.after == task):
                if outcome in (DONE, KEPT):
                    heapq.heappush(ready, order[other])
                else:
                    yield other, BUSY if outcome == BUSY else f"{task} failed"


_work: Work
"""What this process is at: set once, so that manifests and features are opened once."""


def _begin(work: Work) -> None:
    global _work
    _work = work
    torch.set_num_threads(1)
    end_with_parent()


def _attempt(task: Any, wait_for_others: bool) -> str:
    with _held(_work.folder, task, wait_for_others=wait_for_others) as held:
        if not held:
            return BUSY
        if _work.is_done(task):
            return KEPT
        try:
            _work.do(task)
        except CimeuError as error:
            return str(error)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise  # no other task could write its files either
            logger.exception("%s failed", task)
            return f"unexpected {type(error).__name__}: {error}"
        return DONE


@contextmanager
def _held(folder: Path, task: Task, *, wait_for_others: bool) -> Iterator[bool]:
    """Hold the task's lock; False where another process does."""
    name = hashlib.sha256(task.lock.encode()).hexdigest()[:16]
    with locked(folder / ROOM / "tasks" / name, wait=wait_for_others) as held:
        yield held


@contextmanager
def _pool(work: Work, workers: int, ray: str, n_tasks: int) -> Iterator[tuple[Executor, int]]:
    """Where tasks are done, and how many at a time: here, by processes or on a cluster; one thread each in any case."""
    if ray:
        with RayPool(ray, workers, one_thread=True, initializer=_begin, initargs=(work,)) as cluster:
            yield cluster, cluster.workers
        return
    if workers <= 1:
        with one_thread(), _Here(work) as here:
            yield here, 1
        return
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # libraries read them when a worker loads them
    try:
        workers = min(workers, n_tasks)  # each takes seconds to start
        with _Processes(workers, work) as pool:
            yield pool, workers
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


class _Processes(Executor):
    """Processes that each have one task in hand; one that dies costs no other task.

    Its task is tried once more in a fresh process; a second death ends its future with `WorkerLost`.

    Raises:
        RecipeError: no process can be started.
    """

    def __init__(self, workers: int, work: Work) -> None:
        # Forked workers would inherit locks of threads that no longer exist in them (OpenMP, Arrow).
        context = multiprocessing.get_context("spawn")
        # Pools of one process: a pool of several is lost as a whole with any of them.
        self._new = partial(ProcessPoolExecutor, 1, mp_context=context, initializer=_begin, initargs=(work,))
        self._idle = [self._new() for _ in range(workers)]
        self._all = set(self._idle)
        # Of `_all` and `_closing`: several pools may break at once, each in a thread of its own.
        self._lock = threading.Lock()
        self._closing = False
        try:
            for ready in [pool.submit(os.getpid) for pool in self._idle]:
                ready.result()
        except BrokenProcessPool as error:
            self.shutdown(wait=False)
            raise RecipeError(
                "worker processes could not start\n\n"
                'hint: guard the script that asks for them with `if __name__ == "__main__":`, or use one worker'
            ) from error

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        future = Future[Any]()
        self._try(future, partial(fn, *args, **named), is_last=False)
        return future

    def _try(self, future: Future[Any], call: Callable[[], Any], *, is_last: bool) -> None:
        pool, running = self._begun(call)

        def settle(answer: Future[Any]) -> None:
            try:
                error = CancelledError() if answer.cancelled() else answer.exception()
                if not isinstance(error, BrokenProcessPool):
                    self._idle.append(pool)  # before anybody hears of the result and submits the next task
                elif self._replace(pool) and not is_last:
                    self._try(future, call, is_last=True)
                    return
                else:
                    error = WorkerLost(LOST)
            except Exception as failure:  # or the future would never end: a pool only logs what a callback raises
                error = failure
            if error is None:
                future.set_result(answer.result())
            else:
                future.set_exception(error)

        running.add_done_callback(settle)

    def _begun(self, call: Callable[[], Any]) -> tuple[ProcessPoolExecutor, Future[Any]]:
        """The call in the hands of a process that lives; one that died while it had no task is replaced."""
        while True:
            pool = self._idle.pop()
            try:
                return pool, pool.submit(call)
            except BrokenProcessPool:
                if not self._replace(pool):
                    raise WorkerLost(LOST) from None

    def _replace(self, broken: ProcessPoolExecutor) -> bool:
        """A fresh process instead of one that died; none, and False, after a shutdown.

        The broken pool has shut itself down, and from Python 3.12 it holds its own lock while it says so: to shut it
        down here would wait for that lock forever.
        """
        with self._lock:
            self._all.discard(broken)
            if self._closing:
                return False
            fresh = self._new()
            self._all.add(fresh)
        self._idle.append(fresh)
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._closing = True
            pools = list(self._all)
        for pool in pools:  # without the lock: a pool that breaks meanwhile asks for it
            pool.shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After Ctrl-C cells under way end by themselves, and none is begun.
        self.shutdown(wait=kind is None, cancel_futures=kind is not None)


class _Here(Executor):
    """Does a task at once, in this process."""

    def __init__(self, work: Work) -> None:
        _begin(work)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **named))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for everything that computes, as in a worker: sums of two threads differ in their last bits."""
    threads = torch.get_num_threads()
    limit: AbstractContextManager[Any] = threadpool_limits(1)
    with limit:
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def failures_text(failures: dict[Any, str]) -> str:
    """One line per failed cell."""
    return "\n".join(f"{cell}: {reason.splitlines()[0]}" for cell, reason in failures.items())
