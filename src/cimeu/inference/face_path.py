"""Steady crops of one face while it streams by.

Crops are made as in training: one size, on a smoothed path. The whole clip is not there yet, so path and size are
smoothed over the neighbouring `REACH_S` on both sides.

Axes: S side of a crop, P side of the surroundings that are kept.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from cimeu.encoders.base import Encoder
from cimeu.inference.buffers import FrameBuffer
from cimeu.inference.stopwatch import Stopwatch
from cimeu.media.face_crops import Resampling, square
from cimeu.media.face_tracks import TrackedFrame
from cimeu.media.regions import STEADY_S, crop_of, patch_around

REACH_S = 3 * STEADY_S


class FacePath:
    """Steady crops of one face: they leave `REACH_S` after they came in, when the path around them is known."""

    def __init__(
        self,
        encoder: Encoder,
        rate_hz: float,
        *,
        watch: Sequence[Callable[[int, np.ndarray], None]] = (),
        stopwatch: Stopwatch | None = None,
    ) -> None:
        """Each of `watch` is called with every crop and the number of its frame."""
        self.buffer, self._watch = FrameBuffer(encoder), watch
        self._side, self._resampling = side_of(encoder), resampling_of(encoder)
        self._deviation, self._reach = STEADY_S * rate_hz, REACH_S * rate_hz
        self._stopwatch = stopwatch or Stopwatch()
        self._near: list[tuple[int, np.ndarray, UInt8[np.ndarray, "P P 3"]]] = []
        self._released = 0  # how many of these have left as crops

    def add(self, index: int, tracked: TrackedFrame, face: int) -> None:
        """Keep the surroundings of the face in frame `index`."""
        left, top, extent = square(tracked.boxes[face])
        with self._stopwatch("cut out and steady faces"):
            pixels = patch_around(tracked.frame.pixels, left, top, extent, self._side)
        self._near.append((index, np.array([left + extent / 2, top + extent / 2, extent]), pixels))

    def release(self, before: float) -> None:
        """Pass the crops of frames before this one on to the buffer."""
        while self._released < len(self._near) and self._near[self._released][0] < before:
            self._pass_on(self._released)
            self._released += 1
            while self._near[0][0] < self._near[self._released - 1][0] - self._reach:
                self._near.pop(0)
                self._released -= 1

    def _pass_on(self, number: int) -> None:
        index, (x, y, extent), patch = self._near[number]
        away = np.array([other - index for other, _, _ in self._near], float)
        close = np.abs(away) <= self._reach
        weights = np.exp(-0.5 * (away / self._deviation) ** 2) * close
        places = np.stack([place for _, place, _ in self._near])
        smooth_x, smooth_y = weights @ places[:, :2] / weights.sum()
        size = float(np.median(places[close, 2]))
        moved = (smooth_x - size / 2 - x, smooth_y - size / 2 - y)
        with self._stopwatch("cut out and steady faces"):
            crop = crop_of(patch, extent, moved, size, self._side, self._resampling)
        self.buffer.add(index, crop)
        for watch in self._watch:
            watch(index, crop)


def side_of(encoder: Encoder) -> int:
    """Side of the crops that an encoder reads."""
    side = encoder.preprocessing["side"]
    assert isinstance(side, int), "encoders of frames say how large their crops are"
    return side


def resampling_of(encoder: Encoder) -> Resampling:
    """How its crops are scaled."""
    return "bilinear" if encoder.preprocessing.get("resampling") == "bilinear" else "area"
