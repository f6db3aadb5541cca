"""Cut faces, or any rectangle, out of frames at fractions of pixels.

Axes: H rows, W columns, 3 colours (RGB), S side of the crop, L pixels of an axis that matter.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from cimeu.media.faces import Box
from cimeu.media.threads import one_thread

MARGIN = 0.1
"""Part of the face's longer side added on each side of the square that is cut out."""

Resampling = Literal["area", "bilinear"]


def crop(
    pixels: UInt8[np.ndarray, "H W 3"], box: Box, side: int, *, resampling: Resampling = "area"
) -> UInt8[np.ndarray, "S S 3"]:
    """The square around a face, with a margin, `side` pixels wide; beyond the frame its edge repeats."""
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
    """A rectangle at fractions of pixels, stretched to a square; beyond the frame its edge repeats.

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
