"""Pitch, voicing and energy of speech, frame by frame.

A voiced sound repeats itself: the lag at which a stretch of it is most similar to itself is its period. Similarity is
the normalised square difference of McLeod and Wyvill, "A smarter way to find pitch" (ICMC 2005): 2 r(lag) / m(lag) is 1
for perfect repetition, about 0 for noise, and the same forward and backward. The first peak that comes close to the
highest is the period (a later one would be an octave too low), refined by a parabola through its neighbours.

Frames are those of the filterbank: frame i is centred on the middle of samples 160 i to 160 i + 400 at 16 kHz.

Axes: N samples, F frames, W samples of a stretch.
"""

import numpy as np
import scipy.fft
from jaxtyping import Float32

from cimeu.encoders.base import FRAME_SAMPLES, SHIFT_SAMPLES, SOUND_RATE_HZ

LOWEST_HZ = 60.0
HIGHEST_HZ = 500.0
VOICED_FROM = 0.5
"""Similarity from which a frame counts as voiced."""

QUIET_DB = 40.0
"""Frames that much below the 98th percentile of energy are never voiced."""

CLOSE_TO_HIGHEST = 0.9
ENERGY_FLOOR = 1e-10

# Periods of at least 2 ms need no more than half of the rate, which halves stretches and lags.
_DECIMATION = 2
_RATE_HZ = SOUND_RATE_HZ // _DECIMATION
# Similarity at a lag compares the two ends of a stretch: at one period of the lowest pitch, 1.5 periods are left of it.
_STRETCH = round(2.5 * _RATE_HZ / LOWEST_HZ)
# A lag more at either end, so that a period at the limit is still a peak between two neighbours.
_LAGS = (int(_RATE_HZ / HIGHEST_HZ) - 1, int(_RATE_HZ / LOWEST_HZ) + 2)
# A windowed sinc at half of the rate: without it, what lies above 4 kHz folds back when every second sample is dropped.
_LOWPASS = (np.sinc(np.arange(-15, 16) / _DECIMATION) / _DECIMATION * np.hamming(31)).astype(np.float32)
# Room for the longest lag behind the stretch, or the circular product would wrap around.
_FFT = scipy.fft.next_fast_len(_STRETCH + _LAGS[1], real=True)


def track_pitch(samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "F 3"]:
    """Log pitch (of Hz, NaN where unvoiced), voicing (0..1) and log energy of each frame.

    Args:
        samples: at least one frame (400 samples) of sound at 16 kHz.

    Returns:
        One row per filterbank frame: `1 + (N - 400) // 160` rows.
    """
    energy = _energies(samples)
    period_s, voicing = _periods(_similarity(_stretches(samples)))
    # The percentile, not the maximum: a click would make everything else quiet. Energies are natural logarithms of
    # power, hence ln(10) / 10 a decibel.
    loud = energy > np.percentile(energy, 98) - QUIET_DB * np.log(10) / 10
    voiced = (voicing >= VOICED_FROM) & loud & (period_s >= 1 / HIGHEST_HZ) & (period_s <= 1 / LOWEST_HZ)
    log_pitch = np.where(voiced, -np.log(np.maximum(period_s, 1e-4)), np.nan)
    return np.stack([log_pitch, voicing, energy], axis=1).astype(np.float32)


def _energies(samples: np.ndarray) -> np.ndarray:
    # Without the offset that cheap microphones add: nobody hears it, and it would drown the pauses.
    centred = samples - samples.mean(dtype=np.float64).astype(samples.dtype)
    frames = np.lib.stride_tricks.sliding_window_view(centred, FRAME_SAMPLES)[::SHIFT_SAMPLES]
    power = np.einsum("ft,ft->f", frames, frames) / FRAME_SAMPLES
    return np.log(np.maximum(power, ENERGY_FLOOR))


def _stretches(samples: np.ndarray) -> np.ndarray:
    """Overlapping stretches `[F, W]` at the lower rate, each centred on its frame, without their mean."""
    n_frames = 1 + (len(samples) - FRAME_SAMPLES) // SHIFT_SAMPLES
    lower = np.convolve(samples, _LOWPASS, mode="same")[::_DECIMATION]
    before = _STRETCH // 2 - FRAME_SAMPLES // (2 * _DECIMATION)
    padded = np.pad(lower, (max(0, before), _STRETCH))
    stretches = np.lib.stride_tricks.sliding_window_view(padded, _STRETCH)[:: SHIFT_SAMPLES // _DECIMATION][:n_frames]
    return stretches - stretches.mean(axis=1, keepdims=True)


def _similarity(stretches: np.ndarray) -> np.ndarray:
    """n(lag) of each stretch at the lags between the shortest and the longest period, `[F, lags]`."""
    spectrum = scipy.fft.rfft(stretches, _FFT, axis=1)
    product = scipy.fft.irfft(spectrum.real**2 + spectrum.imag**2, _FFT, axis=1)[:, _LAGS[0] : _LAGS[1] + 1]
    # Differences of running sums lose what is small in single precision.
    until = np.cumsum(stretches**2, axis=1, dtype=np.float64)
    total = until[:, -1:]
    lags = np.arange(_LAGS[0], _LAGS[1] + 1)
    both = until[:, _STRETCH - 1 - lags] + total - until[:, lags - 1]
    return np.where(both > ENERGY_FLOOR, 2 * product / np.maximum(both, ENERGY_FLOOR), 0.0)


def _periods(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Period in seconds and similarity at its peak; a stretch without a peak has voicing 0."""
    before, here, after = similarity[:, :-2], similarity[:, 1:-1], similarity[:, 2:]
    peaks = np.where((here > before) & (here >= after), here, 0.0)
    # argmax of booleans is the first peak that is high enough.
    chosen = np.argmax(peaks >= CLOSE_TO_HIGHEST * peaks.max(axis=1, keepdims=True), axis=1)
    rows = np.arange(len(similarity))
    left, middle, right = before[rows, chosen], here[rows, chosen], after[rows, chosen]
    bend = np.minimum(left - 2 * middle + right, -1e-9)
    shift = np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
    height = np.where(peaks[rows, chosen] > 0, middle - 0.25 * (left - right) * shift, 0.0)
    return (_LAGS[0] + 1 + chosen + shift) / _RATE_HZ, np.clip(height, 0.0, 1.0)
