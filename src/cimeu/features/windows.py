"""The windows of a clip, cut as its frames arrive: forward and backward at once, each window once.

Backward windows start where the reversed clip starts, so which of the frames begin one depends on how many there are:
that number has to be known from the first frame on. Only the frames of the window in hand are held.

Axes: F frames that arrive, N windows, L frames of a window.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cimeu.encoders.base import Window
from cimeu.encoders.encoding import cut_windows
from cimeu.pyramid import Direction


class Stretch(NamedTuple):
    """Windows `[N, L, ...]` of one direction, and the place of each among the windows of that direction."""

    direction: Direction
    places: np.ndarray
    windows: np.ndarray


class Cutter:
    """Cuts the windows of one clip.

    Args:
        window: length and stride; None is the whole clip.
        n_frames: frames that will arrive in all.
        directions: which are wanted.
        mirrored: whether backward windows are those of the reversed frames (pictures); else the frames that arrive are
            those of the one direction that is requested (sound, reversed before it was prepared).
    """

    def __init__(
        self, window: Window | None, n_frames: int, directions: Sequence[Direction], *, mirrored: bool
    ) -> None:
        assert mirrored or len(directions) == 1, "reversed sound has frames of its own"
        self._window, self._n_frames, self._directions, self._mirrored = window, n_frames, directions, mirrored
        self._held: list[np.ndarray] = []
        self._first = self._next = 0  # the first frame held; the first frame no window was begun at
        self.steps = 1 if window is None else max(0, n_frames - window.length) // window.stride + 1

    def add(self, frames: np.ndarray) -> Iterator[Stretch]:
        """The windows that the next frames `[F, ...]` complete."""
        self._held.append(frames)
        end = self._first + sum(map(len, self._held))
        assert end <= self._n_frames, f"{end} frames of {self._n_frames}"
        if self._window is None or self._n_frames <= self._window.length:
            if end == self._n_frames:
                yield from self._whole(np.concatenate(self._held))
            return
        length, stride = self._window.length, self._window.stride
        stop = end - length + 1
        if stop <= self._next:
            return
        held = np.concatenate(self._held) if len(self._held) > 1 else self._held[0]
        views = np.moveaxis(np.lib.stride_tricks.sliding_window_view(held, length, axis=0), -1, 1)
        for direction in self._directions:
            reverse = self._mirrored and direction == "backward"
            last = self._n_frames - length
            start = self._next + ((last if reverse else 0) - self._next) % stride
            starts = np.arange(start, stop, stride)
            if len(starts):
                windows = views[starts[0] - self._first :: stride][: len(starts)]
                places = (last - starts) // stride if reverse else starts // stride
                yield Stretch(direction, places, windows[:, ::-1] if reverse else windows)
        self._held = [held[stop - self._first :]]
        self._first = self._next = stop

    def _whole(self, frames: np.ndarray) -> Iterator[Stretch]:
        for direction in self._directions:
            reverse = self._mirrored and direction == "backward"
            windows = cut_windows(frames[::-1] if reverse else frames, self._window)
            yield Stretch(direction, np.arange(len(windows)), windows)
