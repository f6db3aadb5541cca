"""Steady crops of one face while it streams by.

Crops are made as in training: one size, on a smoothed path. A whole clip is not there to look at, so path and size are
smoothed over the neighbouring `REACH_S` on both sides.

Axes: S side of a crop, P side of the surroundings that are kept.
"""

import numpy as np
from jaxtyping import UInt8

from cimeu.encoders.base import Encoder
from cimeu.inference.people import Identity, Portrait
from cimeu.inference.stopwatch import Stopwatch
from cimeu.inference.tracks import PictureTrack
from cimeu.inference.voice import MouthMotion
from cimeu.media.crops import Resampling, TrackedFrame, square, stretched
from cimeu.media.regions import ROOM, STEADY_S

REACH_S = 3 * STEADY_S


class FacePath:
    """Steady crops of one face: they leave `REACH_S` after they came in, when the path around them is known."""

    def __init__(
        self, encoder: Encoder, rate_hz: float, *, identity: Identity | None = None, stopwatch: Stopwatch | None = None
    ) -> None:
        self.track = PictureTrack(encoder)
        self.mouth = MouthMotion()
        self.portrait = None if identity is None else Portrait(identity, rate_hz)
        self._side, self._resampling = side_of(encoder), resampling_of(encoder)
        self._deviation, self._reach = STEADY_S * rate_hz, REACH_S * rate_hz
        self._stopwatch = stopwatch or Stopwatch()
        self._near: list[tuple[int, np.ndarray, UInt8[np.ndarray, "P P 3"]]] = []
        self._released = 0  # how many of these have left as crops

    def add(self, index: int, picture: TrackedFrame, face: int) -> None:
        """Keep the surroundings of the face in frame `index`."""
        left, top, extent = square(picture.boxes[face])
        spare, room = extent * (ROOM - 1) / 2, extent * ROOM
        with self._stopwatch("cut out and steady faces"):
            pixels = stretched(picture.frame.pixels, left - spare, top - spare, room, room, round(self._side * ROOM))
        self._near.append((index, np.array([left + extent / 2, top + extent / 2, extent]), pixels))

    def release(self, before: float) -> None:
        """Pass the crops of frames before this one on to the track."""
        while self._released < len(self._near) and self._near[self._released][0] < before:
            self._pass_on(self._released)
            self._released += 1
            while self._near[0][0] < self._near[self._released - 1][0] - self._reach:
                self._near.pop(0)
                self._released -= 1

    def forget(self, before: int) -> None:
        """Drop frames before this one."""
        self.track.forget(before)
        self.mouth.forget(before)

    def _pass_on(self, number: int) -> None:
        index, (x, y, extent), patch = self._near[number]
        away = np.array([other - index for other, _, _ in self._near], float)
        close = np.abs(away) <= self._reach
        weights = np.exp(-0.5 * (away / self._deviation) ** 2) * close
        places = np.stack([place for _, place, _ in self._near])
        smooth_x, smooth_y = weights @ places[:, :2] / weights.sum()
        size = float(np.median(places[close, 2]))
        scale = len(patch) / (extent * ROOM)
        left = (smooth_x - size / 2 - x) * scale + len(patch) / 2
        top = (smooth_y - size / 2 - y) * scale + len(patch) / 2
        size *= scale
        with self._stopwatch("cut out and steady faces"):
            crop = stretched(patch, left, top, size, size, self._side, resampling=self._resampling)
        self.track.add(index, crop)
        self.mouth.add(index, crop)
        if self.portrait is not None:
            self.portrait.add(index, crop)


def side_of(encoder: Encoder) -> int:
    """Side of the pictures that an encoder looks at."""
    side = encoder.preprocessing["side"]
    assert isinstance(side, int), "encoders of pictures say how large their crops are"
    return side


def resampling_of(encoder: Encoder) -> Resampling:
    """How its pictures are scaled."""
    return "bilinear" if encoder.preprocessing.get("resampling") == "bilinear" else "area"
