"""Where the time goes, stage by stage."""

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

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time what is done within."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - started_s

    def each(self, stage: str, items: Iterable[Item]) -> Generator[Item, None, None]:
        """Time how long each item takes to come."""
        iterator = iter(items)
        end = object()
        while True:
            with self(stage):
                item = next(iterator, end)
            if item is end:
                return
            yield item  # type: ignore[misc]
