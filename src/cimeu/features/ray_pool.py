"""Tasks to the workers of a running Ray cluster: each reads its clips from the shared folders and sends rows back.

Each worker has one task at a time. One that dies is started again, anywhere, and its task tried once more, so a clip
that kills its worker costs no other clip; only the driver writes, and it takes one answer a task.

Source: Ray core (actors with `max_restarts` and `max_task_retries`).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from cimeu.errors import RecipeError
from cimeu.features.worker_pool import Event


def on_ray(
    tasks: Iterable[Any], work: Callable[[Any], list[Any]], workers: int, *, heavy: bool
) -> Iterator[tuple[Any, object]]:
    """Each result of `work(task)` with its task, then `Event.DONE`, as they are finished.

    Args:
        tasks: taken as workers become free.
        work: travels to every worker once.
        workers: how many; 0 takes one for each graphics card or, without one, for each node (`heavy`) or core.
        heavy: whether a worker uses a whole card or all cores it is given.

    Raises:
        RecipeError: Ray is not installed, or no cluster runs.
    """
    ray = _connected()
    resources = ray.cluster_resources()
    cores, cards = max(1, int(resources.get("CPU", 1))), int(resources.get("GPU", 0))
    if not workers:
        nodes = sum(node["Alive"] for node in ray.nodes())
        workers = (cards or nodes) if heavy else cores
    workers = min(workers, cores)  # one that no node has room for would be waited for without end
    smallest = min(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"])
    worker = ray.remote(
        num_cpus=max(1, min(cores // workers, smallest)),
        num_gpus=min(1, cards / workers) if heavy else 0,
        max_restarts=-1,
        max_task_retries=1,
    )(_Worker)
    waiting = iter(tasks)
    actors = [worker.remote(work) for _ in range(workers)]
    in_hand: dict[Any, tuple[Any, Any]] = {}
    try:
        for actor, task in zip(actors, waiting, strict=False):
            in_hand[actor.do.remote(task)] = task, actor
        while in_hand:
            (answer,), _ = ray.wait(list(in_hand), num_returns=1)
            task, actor = in_hand.pop(answer)
            for following in islice(waiting, 1):
                in_hand[actor.do.remote(following)] = following, actor
            try:
                results = ray.get(answer)
            except ray.exceptions.RayActorError:
                yield task, Event.LOST
            else:
                yield from ((task, result) for result in results)
                yield task, Event.DONE
    finally:
        for actor in actors:
            ray.kill(actor)


class _Worker:
    """A process somewhere."""

    def __init__(self, work: Callable[[Any], list[Any]]) -> None:
        self._work = work

    def do(self, task: Any) -> list[Any]:
        return self._work(task)


def _connected() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise RecipeError("Ray is not installed\n\nhint: pip install 'cimeu[ray]'") from error
    if not ray.is_initialized():
        try:
            ray.init(address="auto", log_to_driver=False)
        except ConnectionError as error:
            raise RecipeError(
                "no Ray cluster runs here"
                "\n\nhint: `ray start --head` on one machine, `ray start --address=...` on the others"
            ) from error
    return ray
