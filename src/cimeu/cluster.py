"""Work that outgrows one machine: every n-th item for job arrays, or the workers of a running Ray cluster.

Paths travel to the workers and results come back; files lie in folders that all machines see. Each worker has one item
at a time. One that dies is started again, anywhere, and its item tried again, twice at most: an item that kills its
worker costs no other item.

Source: Ray core (actors with `max_restarts` and `max_task_retries`).
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

from cimeu.errors import RecipeError

Item = TypeVar("Item")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
REACHED_S = 5.0
"""Within which a cluster answers."""
LOST = "the workers that had it died (out of memory, or a broken codec)"


class Event(Enum):
    """What happened to a task, between its messages."""

    DONE = auto()
    AGAIN = auto()
    """Its worker died: everything about it will be said again from the first message on."""
    LOST = auto()
    """Its second worker died too."""


class WorkerLost(Exception):
    """The worker of a task died, and so did the one that tried again."""


@dataclass(frozen=True)
class Machines:
    """Which of several machines does what."""

    shard: tuple[int, int] = (1, 1)
    """(i, n): every n-th item from the i-th on, for n processes that share a folder."""
    ray: str = ""
    """Address of a running Ray cluster that sees the same files, `auto` for that of this machine; empty: none."""


HERE = Machines()
"""All of it on this machine."""


def part_of(items: Sequence[Item], shard: tuple[int, int]) -> Sequence[Item]:
    """Every n-th item from the i-th on, of (i, n).

    >>> part_of("abcdefg", (2, 3))
    'be'

    Raises:
        RecipeError: no such part.
    """
    number, count = shard
    if not 1 <= number <= count:
        raise RecipeError(f"no shard {number} of {count}\n\nhint: shards are counted from 1, such as 1/{max(count, 1)}")
    return items[number - 1 :: count]


def on_ray(
    tasks: Iterable[Any], work: Callable[[Any], list[Any]], address: str, workers: int = 0, *, heavy: bool = False
) -> Iterator[tuple[Any, object]]:
    """Each result of `work(task)` with its task, then `Event.DONE`; only `Event.LOST` for one whose workers died.

    Args:
        tasks: taken as workers become free.
        work: travels to every worker once.
        address: as for `RayPool`.
        workers: as for `RayPool`.
        heavy: as for `RayPool`.

    Raises:
        RecipeError: Ray is not installed, or no cluster runs.
    """
    waiting = iter(tasks)
    with RayPool(address, workers, heavy=heavy, initializer=_keep, initargs=(work,)) as pool:
        in_hand = {pool.submit(_do, task): task for task in islice(waiting, pool.workers)}
        while in_hand:
            for future in wait(in_hand, return_when=FIRST_COMPLETED).done:
                task = in_hand.pop(future)
                in_hand |= {pool.submit(_do, following): following for following in islice(waiting, 1)}
                try:
                    results = future.result()
                except WorkerLost:
                    yield task, Event.LOST
                else:
                    yield from ((task, result) for result in results)
                    yield task, Event.DONE


class RayPool(Executor):
    """Workers on a running Ray cluster, used as a `ProcessPoolExecutor` is, in a `with` block.

    At most `workers` tasks may be in hand at a time. A future whose worker was lost raises `WorkerLost`.

    Args:
        address: of the cluster, as HOST:6379; `auto`: the one of this machine.
        workers: how many; 0 takes one for each graphics card or, without one, for each node (`heavy`) or core.
        heavy: whether a worker uses a whole card or all cores it is given.
        one_thread: whether whatever a worker computes uses one thread.
        initializer: called once in each worker, with `initargs`.
        initargs: travel to each worker once.

    Raises:
        RecipeError: Ray is not installed, or no cluster runs.
    """

    def __init__(
        self,
        address: str,
        workers: int = 0,
        *,
        heavy: bool = False,
        one_thread: bool = False,
        initializer: Callable[..., None],
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self._ray = ray = _connected(address)
        resources = ray.cluster_resources()
        cores, cards = max(1, int(resources.get("CPU", 1))), int(resources.get("GPU", 0))
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if not workers:
            workers = (cards or len(nodes)) if heavy else cores
        self.workers = min(workers, cores)  # one that no node has room for would be waited for without end
        smallest = min(int(node["Resources"].get("CPU", 1)) for node in nodes)
        threads = dict.fromkeys(THREAD_VARIABLES, "1") if one_thread else {}
        worker = ray.remote(
            num_cpus=max(1, min(cores // self.workers, smallest)),
            num_gpus=min(1, cards / self.workers) if heavy else 0,
            max_restarts=-1,
            max_task_retries=2,  # one that comes while the worker is being started again may be lost too
            runtime_env={"env_vars": threads} if threads else None,
        )(_Worker)
        # Kept: a worker that is started again asks for it, and Ray forgets what nobody refers to.
        self._start = ray.put((initializer, initargs))
        self._actors = [worker.remote(os.getcwd(), self._start) for _ in range(self.workers)]
        self._idle = list(self._actors)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        actor, future = self._idle.pop(), Future[Any]()

        def settle(answer: Future[Any]) -> None:
            self._idle.append(actor)  # before anybody hears of the result and submits the next task
            error = answer.exception()
            if isinstance(error, self._ray.exceptions.RayActorError):
                future.set_exception(WorkerLost(LOST))
            elif error is not None:
                future.set_exception(getattr(error, "cause", None) or error)  # Ray's own has neither hint nor errno
            else:
                future.set_result(answer.result())

        actor.do.remote(fn, args, named).future().add_done_callback(settle)
        return future

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._actors:
            self._ray.kill(actor)


class _Worker:
    """A process somewhere."""

    def __init__(self, folder: str, start: tuple[Callable[..., None], tuple[Any, ...]]) -> None:
        with contextlib.suppress(OSError):  # where it is not there, absolute paths still lead somewhere
            os.chdir(folder)  # relative paths start from that of the command
        initializer, initargs = start
        initializer(*initargs)

    def do(self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return function(*args, **named)


_work: Callable[[Any], list[Any]]
"""What this process is at, sent once."""


def _keep(work: Callable[[Any], list[Any]]) -> None:
    global _work
    _work = work


def _do(task: Any) -> list[Any]:
    return _work(task)


def _connected(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise RecipeError("Ray is not installed\n\nhint: pip install 'cimeu[ray]'") from error
    if not ray.is_initialized():
        where = "here" if address == "auto" else f"at `{address}`"
        try:
            if address != "auto":  # Ray itself keeps trying for minutes
                _reach(address)
            ray.init(address=address, log_to_driver=False)
        except (OSError, ValueError) as error:
            raise RecipeError(
                f"no Ray cluster runs {where}"
                "\n\nhint: `ray start --head` on one machine, `ray start --address=...` on the others"
            ) from error
        except RuntimeError as error:
            raise RecipeError(
                f"the Ray cluster {where} cannot be used: {error}"
                "\n\nhint: install the same versions of Python and Ray on all machines"
            ) from error
    return ray


def _reach(address: str) -> None:
    """Raises OSError where nobody listens, ValueError where the address is none."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    socket.create_connection((host, int(port)), timeout=REACHED_S).close()
