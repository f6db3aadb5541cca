"""Follow faces through a video, and cut them out of it.

Detection is the dear part, so it runs about five times a second; a box that overlaps an earlier one is the same face,
and between two detections it moves in a straight line. A shot cut ends every face: no person is followed across one.

A cut is a change of more than `CUT_CHANGE` in the colours of a 16 x 16 mosaic from one picture to the next.
In six studio recordings of a talking head (25 pictures a second) the largest change was 0.02.

Axes: H rows, W columns, 3 colours (RGB), S side of the crop.
"""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from itertools import count
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from cimeu.media.faces import Box, FaceDetector
from cimeu.media.threads import one_thread
from cimeu.media.video import Frame

SAME_FACE_IOU = 0.3
"""Boxes of two detections that overlap at least this much are one face."""
HOLD_S = 0.5
"""A face not found again keeps its last box this long, then its id ends."""
CUT_CHANGE = 0.1
"""Share of the full colour range that the mosaic changes by at a shot cut."""
MARGIN = 0.1
"""Part of the face's longer side added on each side of the square that is cut out."""

Resampling = Literal["area", "bilinear"]


@dataclass(frozen=True)
class TrackedFrame:
    """A picture with the faces on it. An id stays with a face until a shot cut or a loss of more than `HOLD_S`."""

    frame: Frame
    boxes: dict[int, Box]


def track_faces(
    frames: Iterable[Frame], detector: FaceDetector, *, detect_rate_hz: float | int = 5.0
) -> Iterator[TrackedFrame]:
    """Faces of every picture. Streams: it looks ahead to the next detection only."""
    ids = count()
    live: dict[int, Box] = {}
    seen_s: dict[int, float] = {}
    waiting: list[Frame] = []  # the picture of the last detection and those since
    mosaic: np.ndarray | None = None
    for frame in frames:
        previous, mosaic = mosaic, _mosaic(frame.pixels)
        cut = previous is not None and float(np.abs(mosaic - previous).mean()) / 255 > CUT_CHANGE
        if waiting and not cut and frame.time_s < waiting[0].time_s + 1 / detect_rate_hz - 1e-6:
            waiting.append(frame)
            continue
        found = detector(frame.pixels)
        again, new = ({}, found) if cut else _matched(live, found)
        yield from _released(waiting, live, again, frame.time_s)
        held = {} if cut else {face: box for face, box in live.items() if frame.time_s - seen_s[face] <= HOLD_S}
        fresh = {next(ids): box for box in new}
        seen_s |= dict.fromkeys([*again, *fresh], frame.time_s)
        live = held | again | fresh
        waiting = [frame]
    yield from _released(waiting, live, {}, np.inf)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    across = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    down = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    shared = max(0.0, across) * max(0.0, down)
    return shared / (one.width * one.height + other.width * other.height - shared)


def crop(
    pixels: UInt8[np.ndarray, "H W 3"], box: Box, side: int, *, resampling: Resampling = "area"
) -> UInt8[np.ndarray, "S S 3"]:
    """The square around a face, with a margin, `side` pixels wide; beyond the picture its edge repeats."""
    left, top, extent = square(box)
    return stretched(pixels, left, top, extent, extent, side, resampling=resampling)


def square(box: Box) -> tuple[float, float, float]:
    """Left, top and side of the square around a box, `MARGIN` included."""
    extent = max(box.width, box.height) * (1 + 2 * MARGIN)
    return box.left + (box.width - extent) / 2, box.top + (box.height - extent) / 2, extent


def stretched(
    pixels: UInt8[np.ndarray, "H W 3"],
    left: float | int,
    top: float | int,
    width: float | int,
    height: float | int,
    side: int,
    *,
    resampling: Resampling = "area",
) -> UInt8[np.ndarray, "S S 3"]:
    """A rectangle at fractions of pixels, stretched to a square; beyond the picture its edge repeats.

    `area` averages what falls into each new pixel; `bilinear` blends the two nearest rows and columns at its centre.
    """
    rows, row_weights = _weights(top, height, side, pixels.shape[0], resampling)
    columns, column_weights = _weights(left, width, side, pixels.shape[1], resampling)
    region = pixels[rows, columns].astype(np.float32)
    with one_thread():
        lines = (row_weights @ region.reshape(len(region), -1)).reshape(side, -1, 3)
        return np.rint(column_weights @ lines).astype(np.uint8)


def _weights(
    start: float | int, extent: float | int, side: int, size: int, resampling: Resampling
) -> tuple[slice, Float32[np.ndarray, "S L"]]:
    """Which pixels of an axis matter, and the share of each in each new pixel.

    A new pixel averages a stretch around its centre. One pixel wide, the stretch is bilinear interpolation; as wide as
    the new pixel, it is the area average.
    """
    step = extent / side
    width = max(step, 1.0) if resampling == "area" else 1.0
    low = start + (np.arange(side) + 0.5) * step - width / 2
    first = int(np.clip(np.floor(start - 1), 0, size - 1))
    last = int(np.clip(np.ceil(start + extent + 1), first + 1, size))
    edges = np.arange(first, last + 1, dtype=np.float64)
    edges[0], edges[-1] = -np.inf, np.inf
    shares = np.minimum(low[:, None] + width, edges[1:]) - np.maximum(low[:, None], edges[:-1])
    return slice(first, last), (shares.clip(min=0) / width).astype(np.float32)


def _mosaic(pixels: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "16 16 3"]:
    """16 x 16 tiles, each the mean of 4 x 4 pixels spread over it."""
    rows, columns = (np.linspace(0, size - 1, 64).astype(int) for size in pixels.shape[:2])
    return pixels[np.ix_(rows, columns)].reshape(16, 4, 16, 4, 3).mean(axis=(1, 3), dtype=np.float32)


def _matched(live: dict[int, Box], found: list[Box]) -> tuple[dict[int, Box], list[Box]]:
    """Faces found again, by id, and the boxes that are new: the best overlaps first."""
    pairs = sorted(
        ((overlap(box, other), face, index) for face, box in live.items() for index, other in enumerate(found)),
        reverse=True,
    )
    again: dict[int, int] = {}
    for fit, face, index in pairs:
        if fit >= SAME_FACE_IOU and face not in again and index not in again.values():
            again[face] = index
    new = [box for index, box in enumerate(found) if index not in again.values()]
    return {face: found[index] for face, index in again.items()}, new


def _released(
    waiting: list[Frame], before: dict[int, Box], after: dict[int, Box], after_s: float
) -> Iterator[TrackedFrame]:
    """Pictures between two detections: faces found in both move in a straight line, others stay where they were."""
    for frame in waiting:
        share = (frame.time_s - waiting[0].time_s) / (after_s - waiting[0].time_s)
        yield TrackedFrame(frame, {face: _between(box, after.get(face, box), share) for face, box in before.items()})


def _between(one: Box, other: Box, share: float) -> Box:
    return Box(*((1 - share) * a + share * b for a, b in zip(astuple(one), astuple(other), strict=True)))
