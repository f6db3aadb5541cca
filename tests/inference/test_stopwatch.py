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
    for item in stopwatch.each("count", range(3)):
        items.append(item)
        time.sleep(0.02)
    assert items == [0, 1, 2]
    assert stopwatch.seconds["count"] < 0.02


def test_a_stage_that_fails_is_timed_too() -> None:
    stopwatch = Stopwatch()
    with pytest.raises(ValueError, match="broken"), stopwatch("fail"):
        raise ValueError("broken")
    assert "fail" in stopwatch.seconds
