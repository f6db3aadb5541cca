"""Where the time goes, stage by stage."""

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Stopwatch:
    """Seconds on the clock by stage; stages do not contain each other, but one in a thread runs beside the others."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._started_s, self._started_cpu_s = time.perf_counter(), time.process_time()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time what is done within."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - started_s

    def timed(self, stage: str, items: Iterable[Item]) -> Generator[Item, None, None]:
        """Time how long each item takes to come."""
        iterator = iter(items)
        end = object()
        while True:
            with self(stage):
                item = next(iterator, end)
            if item is end:
                return
            yield item  # type: ignore[misc]

    def lines(self) -> list[str]:
        """A line for each stage, the longest first, then all since the stopwatch was made."""
        ranked = sorted(self.seconds.items(), key=lambda one: -one[1])
        wall_s, cpu_s = time.perf_counter() - self._started_s, time.process_time() - self._started_cpu_s
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return [
            *(f"{seconds:9.2f} s  {stage}" for stage, seconds in ranked),
            f"{wall_s:9.2f} s  in all on the clock, {cpu_s:.2f} s of the processor, {memory / 2**20:.0f} MB at most",
        ]
