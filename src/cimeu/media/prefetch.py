"""Work done a little ahead, in a thread: FFmpeg decodes without Python's lock, so another core can do it meanwhile."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

Item = TypeVar("Item")


def read_ahead(items: Generator[Item, None, None], depth: int) -> Iterator[Item]:
    """The same items in the same order; up to `depth` of them are made before they are asked for.

    What `items` raises is raised here in its place. It is closed when this is, whatever was left.
    """
    end = object()
    with closing(items), ThreadPoolExecutor(1, thread_name_prefix="read ahead") as thread:
        due: deque[Future[Any]] = deque(thread.submit(next, items, end) for _ in range(depth))
        try:
            while (item := due.popleft().result()) is not end:
                due.append(thread.submit(next, items, end))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)  # before `items` is closed: a generator cannot be while it runs
