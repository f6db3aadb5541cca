"""Two small views of speech that need no weights, on the same windows of 160 ms every 40 ms.

`spectral` describes the timbre: of each of 128 log-mel bins the mean, the deviation, the slope and the means of the
first and the second half. `prosody` describes the melody: log pitch, voicing and energy, and their slopes. Both are for
speech corpora without video, and for a first run; they are no substitute for a trained encoder.

Clips are trimmed of silence and scaled to one level first unless `trim` or `level` is false: the length of silence and
the level of a recording name the corpus, and sometimes the class.

Axes: N samples or windows, F filterbank frames (10 ms), L frames of a window (16), C channels of a frame.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, Float32

from cimeu.encoders.base import SHIFT_SAMPLES, SOUND_RATE_HZ, Window
from cimeu.encoders.inputs import sound_input
from cimeu.encoders.pitch import track_pitch
from cimeu.media.fbank import fbank

BINS = 128
FRAMES_FOR_A_SLOPE = 3
_FRAME_S = SHIFT_SAMPLES / SOUND_RATE_HZ


@dataclass(frozen=True)
class SpeechWindows:
    """What the encoders of speech share: their windows, and how the sound is prepared."""

    trim: bool = True
    level: bool = True

    version: ClassVar[str] = "1"
    window: ClassVar[Window | None] = Window(16, 4)
    source: ClassVar[Literal["sound"]] = "sound"
    kind: ClassVar[Literal["steps", "filterbank"]] = "steps"
    optional: ClassVar[tuple[int, ...]] = ()
    heavy: ClassVar[bool] = False

    @property
    def preprocessing(self) -> Mapping[str, object]:
        """Rate, trimming and level of the sound."""
        return sound_input(trim=self.trim, level=self.level)


@dataclass(frozen=True)
class Spectral(SpeechWindows):
    """Log-mel statistics: D = 640, in blocks of 128 mean, deviation, slope per second, first half, second half."""

    name: ClassVar[str] = "spectral"
    width: ClassVar[int] = 5 * BINS

    def prepare(self, source: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "F 128"]:
        """Log-mel filterbank."""
        return log_mel(source)

    def __call__(self, windows: Float32[np.ndarray, "N L 128"]) -> Float32[np.ndarray, "N 640"]:
        """Statistics of each bin over the window."""
        weights = _statistics_weights(windows.shape[1])
        # One matrix product for four statistics of all windows.
        mean, slope, first, second = np.moveaxis(np.matmul(weights, windows), 1, 0)
        deviation = np.sqrt(np.mean((windows - mean[:, None]) ** 2, axis=1))
        return np.concatenate([mean, deviation, slope, first, second], axis=1)


@dataclass(frozen=True)
class Prosody(SpeechWindows):
    """Log pitch (mean over voiced frames), voicing, log energy, and the slope per second of each: D = 6.

    A window without a voiced frame has no log pitch: NaN in dimension 0.
    """

    name: ClassVar[str] = "prosody"
    width: ClassVar[int] = 6
    optional: ClassVar[tuple[int, ...]] = (0,)

    def prepare(self, source: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "F 3"]:
        """Log pitch, voicing and log energy of each frame."""
        return track_pitch(source)

    def __call__(self, windows: Float32[np.ndarray, "N L 3"]) -> Float32[np.ndarray, "N 6"]:
        """Mean and slope of each over the frames where it is measured."""
        means, slopes = line_through(windows)
        return np.concatenate([means, slopes], axis=1)


def log_mel(samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "F 128"]:
    """The filterbank as an array."""
    return fbank(samples, SOUND_RATE_HZ, n_bins=BINS).numpy()


def line_through(windows: Float[np.ndarray, "N L C"]) -> tuple[Float32[np.ndarray, "N C"], Float32[np.ndarray, "N C"]]:
    """Mean and least-squares slope per second over the finite frames of each window.

    The mean is NaN where no frame is finite, the slope 0 where fewer than three are.
    """
    finite = np.isfinite(windows)
    count = finite.sum(axis=1)
    values = np.where(finite, windows, 0.0)
    times = _FRAME_S * np.arange(windows.shape[1])[None, :, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 0 / 0 is NaN on purpose
        with np.errstate(invalid="ignore"):
            mean = values.sum(axis=1) / count
            centred = np.where(finite, times - (finite * times).sum(axis=1, keepdims=True) / count[:, None], 0.0)
            slope = (centred * values).sum(axis=1) / (centred**2).sum(axis=1)
    return mean.astype(np.float32), np.where(count >= FRAMES_FOR_A_SLOPE, slope, 0.0).astype(np.float32)


def _statistics_weights(length: int) -> Float32[np.ndarray, "4 L"]:
    """Rows that give mean, slope per second, and the means of the first and second half of a window."""
    # Times around their mean: the slope of a line through the values is then a weighted sum of them, like the means.
    times = _FRAME_S * (np.arange(length) - (length - 1) / 2)
    halves = np.arange(length) < length // 2
    rows = [np.full(length, 1 / length), times / np.sum(times**2), halves / halves.sum(), ~halves / (~halves).sum()]
    return np.stack(rows).astype(np.float32)
