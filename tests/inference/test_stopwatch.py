import time

import pytest

from cimeu.inference.stopwatch import Stopwatch


def test_stages_add_up() -> None:
    stopwatch = Stopwatch()
    for _ in range(2):
        with stopwatch("wait"):
            time.sleep(0.01)
    assert stopwatch.seconds["wait"] >= 0.02


def test_items_pass_unchanged_and_only_their_making_is_timed() -> None:
    stopwatch, items = Stopwatch(), []
    for item in stopwatch.timed("count", range(3)):
        items.append(item)
        time.sleep(0.02)
    assert items == [0, 1, 2]
    assert stopwatch.seconds["count"] < 0.02


def test_a_stage_that_fails_is_timed_too() -> None:
    stopwatch = Stopwatch()
    with pytest.raises(ValueError, match="broken"), stopwatch("fail"):
        raise ValueError("broken")
    assert "fail" in stopwatch.seconds


def test_the_longest_stage_is_told_first_and_the_whole_last() -> None:
    stopwatch = Stopwatch()
    stopwatch.seconds |= {"short": 1.0, "long": 2.0}
    longest, shortest, whole = stopwatch.lines()
    assert longest.split() == ["2.00", "s", "long"]
    assert shortest.endswith("short")
    assert "of the processor" in whole
    assert "MB at most" in whole
