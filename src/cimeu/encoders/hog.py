"""Histograms of oriented gradients of a face: where its edges lie and how they run (Dalal and Triggs, CVPR 2005).

A 64 px crop in grey is cut in 8 x 8 cells of 8 px with 8 orientations each, normalised as one block so that brightness
and contrast do not count: 512 numbers a frame. A window of 16 frames gives the mean of its first half, of its second
half, and of the whole, so that direction in time shows: D = 1536.

For a first run without weights, not for results.

Axes: F frames, S side of a crop, N windows, L frames of a window.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float32, UInt8
from skimage.feature import hog

from cimeu.encoders.base import Window
from cimeu.encoders.inputs import picture_input
from cimeu.media.faces import DEFAULT_DETECTOR
from cimeu.media.video import FRAME_RATE_HZ

SIDE = 64
CELLS = 8
ORIENTATIONS = 8
GREY = np.array([0.2125, 0.7154, 0.0721], np.float32)
"""Luminance of linear RGB, as scikit-image weighs it."""


@dataclass(frozen=True)
class Hog:
    """HOG of face crops.

    With `source="frame"` the whole frame is seen instead. `detector` and `rate_hz` as for `picture_input`.

    Raises:
        RecipeError: an unknown detector or source.
        FingerprintMismatch: another version of the detector is installed.
    """

    detector: str = DEFAULT_DETECTOR
    source: Literal["face", "frame"] = "face"
    rate_hz: float | int = FRAME_RATE_HZ

    name: ClassVar[str] = "hog"
    version: ClassVar[str] = "1"
    width: ClassVar[int] = 3 * CELLS * CELLS * ORIENTATIONS
    window: ClassVar[Window] = Window(16, 4)
    kind: ClassVar[Literal["steps"]] = "steps"
    optional: ClassVar[tuple[int, ...]] = ()
    heavy: ClassVar[bool] = False

    def __post_init__(self) -> None:
        input_settings = picture_input(self.name, source=self.source, detector=self.detector, rate_hz=self.rate_hz)
        # The detector with its version and the rate as a number: two ways to write one encoder are equal.
        for setting, value in input_settings.items():
            object.__setattr__(self, setting, value)

    @property
    def preprocessing(self) -> Mapping[str, object]:
        """Crop, frame rate and face detector."""
        whole = {"side": SIDE, "rate_hz": self.rate_hz}
        return whole if self.source == "frame" else whole | {"detector": self.detector}

    def prepare(self, source: UInt8[np.ndarray, "F S S 3"]) -> Float32[np.ndarray, "F 512"]:
        """Gradients of every frame."""
        return np.stack([_gradients(pixels @ GREY) for pixels in source])

    def __call__(self, windows: Float32[np.ndarray, "N L 512"]) -> Float32[np.ndarray, "N 1536"]:
        """Means of the first half, the second half and the whole."""
        # A mean alone would be the same forward and backward.
        half = windows.shape[1] // 2
        parts = windows[:, :half], windows[:, half:], windows
        return np.concatenate([part.mean(axis=1) for part in parts], axis=1)


def _gradients(grey: Float32[np.ndarray, "S S"]) -> Float32[np.ndarray, " 512"]:
    side = len(grey) // CELLS
    vector = hog(
        grey, orientations=ORIENTATIONS, pixels_per_cell=(side, side), cells_per_block=(CELLS, CELLS), channel_axis=None
    )
    return vector.astype(np.float32)
