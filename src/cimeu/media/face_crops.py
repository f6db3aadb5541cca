"""Cut faces, or any rectangle, out of frames at fractions of pixels.

Axes: H rows, W columns, 3 colours (RGB), S side of the crop, L pixels of an axis that matter.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy  # its parts are imported when they are used
from jaxtyping import UInt8

from cimeu.media.faces import Box

if TYPE_CHECKING:
    from scipy.sparse import csr_array

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
    lines = row_weights @ region.reshape(len(region), -1)
    # Columns become rows, so that the second product is one of a sparse matrix and a dense one too.
    by_column = lines.reshape(side, -1, 3).swapaxes(0, 1).reshape(-1, 3 * side)
    mean = (column_weights @ by_column).reshape(side, side, 3).swapaxes(0, 1)
    return np.ascontiguousarray(np.rint(mean), np.uint8)


def _weights(
    start: float | int, extent: float | int, side: int, size: int, resampling: Resampling
) -> "tuple[slice, csr_array]":
    """Which L pixels of an axis matter, and the share of each in each new pixel, S x L.

    A new pixel averages a stretch around its centre. One pixel wide, the stretch is bilinear interpolation; as wide as
    the new pixel, it is the area average. Sparse, since a new pixel takes few of the old: a crop of 560 pixels to 96
    takes a third of the time of the dense product.
    """
    step = extent / side
    width = max(step, 1.0) if resampling == "area" else 1.0
    low = (start + (np.arange(side) + 0.5) * step - width / 2)[:, None]
    covered = np.floor(low) + np.arange(int(np.ceil(width)) + 1)
    shares = (np.minimum(low + width, covered + 1) - np.maximum(low, covered)).clip(min=0) / width
    indices = covered.clip(0, size - 1).astype(np.int32)  # beyond the frame its edge repeats
    first, last = int(indices.min()), int(indices.max()) + 1
    ends = np.arange(0, indices.size + 1, indices.shape[1], dtype=np.int32)
    weights = (shares.astype(np.float32).ravel(), (indices - first).ravel(), ends)
    return slice(first, last), scipy.sparse.csr_array(weights, shape=(side, last - first))
