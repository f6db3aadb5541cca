"""Work done ahead of need, in a thread."""

import threading
from collections.abc import Generator
from threading import Event

import pytest

from cimeu.media.prefetch import read_ahead


def test_items_come_in_order() -> None:
    assert list(read_ahead((number for number in range(50)), 4)) == list(range(50))


def test_they_are_made_before_they_are_asked_for_but_not_without_bound() -> None:
    fourth = Event()
    made: list[int] = []

    def numbers() -> Generator[int, None, None]:
        for number in range(50):
            made.append(number)
            if number == 4:
                fourth.set()
            yield number

    ahead = read_ahead(numbers(), 4)
    assert next(ahead) == 0
    assert fourth.wait(10), "the first item was taken, so the fifth is made"
    assert len(made) == 5


def test_an_error_comes_in_its_place() -> None:
    def broken() -> Generator[int, None, None]:
        yield 1
        raise ValueError("no second")

    ahead = read_ahead(broken(), 3)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="no second"):
        next(ahead)


def test_stopping_early_closes_the_source_and_ends_the_thread() -> None:
    closed = Event()

    def endless() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    ahead = read_ahead(endless(), 3)
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if "read ahead" in thread.name]
