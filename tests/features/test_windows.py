"""Windows cut from frames as they arrive are those of the whole clip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimeu.encoders.base import Window
from cimeu.encoders.encoding import cut_windows
from cimeu.features.windows import Cutter
from cimeu.pyramid import DIRECTIONS


@given(st.integers(1, 70), st.integers(1, 20), st.integers(1, 6), st.integers(1, 40))
def test_windows_are_those_of_the_whole_clip(n_frames: int, length: int, stride: int, piece: int) -> None:
    frames, window = np.arange(n_frames), Window(length, stride)
    cutter = Cutter(window, n_frames, DIRECTIONS, mirrored=True)
    found = {direction: np.full((cutter.steps, length), -1) for direction in DIRECTIONS}
    for start in range(0, n_frames, piece):
        for direction, places, windows in cutter.add(frames[start : start + piece]):
            assert (found[direction][places] == -1).all()
            found[direction][places] = windows

    assert np.array_equal(found["forward"], cut_windows(frames, window))
    assert np.array_equal(found["backward"], cut_windows(frames[::-1], window))


def test_a_whole_clip_comes_as_one_window() -> None:
    cutter = Cutter(None, 5, ("forward",), mirrored=False)

    assert not list(cutter.add(np.arange(3)))
    ((direction, _, windows),) = cutter.add(np.arange(3, 5))
    assert (direction, windows.tolist()) == ("forward", [[0, 1, 2, 3, 4]])


def test_no_more_is_held_than_the_window_in_hand() -> None:
    cutter = Cutter(Window(16, 4), 10_000, DIRECTIONS, mirrored=True)
    for _ in range(100):
        list(cutter.add(np.zeros((64, 3))))
        assert sum(map(len, cutter._held)) < 16


def test_reversed_sound_is_cut_as_it_comes() -> None:
    cutter = Cutter(Window(2, 1), 4, ("backward",), mirrored=False)
    ((_, places, windows),) = cutter.add(np.array([3, 2, 1, 0]))
    assert places.tolist() == [0, 1, 2]
    assert windows.tolist() == [[3, 2], [2, 1], [1, 0]]


def test_reversed_sound_never_comes_with_the_other_direction() -> None:
    with pytest.raises(AssertionError, match="reversed sound has frames of its own"):
        Cutter(Window(2, 1), 4, DIRECTIONS, mirrored=False)
