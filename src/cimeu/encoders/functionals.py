"""Two hundred numbers about an utterance, or about every phrase of it: how the voice moves, more than how it sounds.

| dimensions | what |
|---|---|
| 0 to 79 | 20 cepstra: means, deviations, deviations of their change from frame to frame, skewness |
| 80 to 111 | spectrum of the loud half of the frames minus that of the quiet half, 32 mel bands |
| 112 to 167 | modulation: log power of the envelopes of 8 mel bands at 7 rates, 0.2 to 50 Hz; by rate, then by band |
| 168 to 175 | log pitch: mean, 10th and 90th percentile, deviation, slope and curvature in time, reach up and down |
| 176 to 179 | its change from frame to frame: mean size, 90th percentile of the size, median, share that rises |
| 180, 181 | its mean in the first and in the last quarter, less that of the whole |
| 182 to 189 | share of voiced frames by distance of log pitch from its median, 8 bins from -1/2 to 1/2 |
| 190 to 192 | voicing: mean, deviation, share of voiced frames |
| 193 to 195 | voiced stretches: mean and deviation of their length in seconds, number a second |
| 196 to 198 | log energy: deviation, spread from 10th to 90th percentile, mean size of its change |
| 199 | correlation of log energy with log pitch |

A clip with fewer than 4 voiced frames has no pitch contour: NaN in dimensions 168 to 189 and 199. Length and level of a
clip are left out, for they name the corpus and sometimes the class.

Axes: N samples or clips, F frames (10 ms), C channels of a frame.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import scipy.fft
from jaxtyping import Bool, Float, Float32

from cimeu.encoders.base import SHIFT_SAMPLES, SOUND_RATE_HZ, Window
from cimeu.encoders.pitch import track_pitch
from cimeu.encoders.spectral import BINS, SpeechWindows, log_mel

CEPSTRA = 20
BANDS = 32
ENVELOPES = 8
MODULATION_HZ = (0.2, 0.8, 1.6, 3.2, 6.3, 12.5, 25.0, 50.0)
"""Borders of the rates at which the voice comes and goes: phrases, words, syllables, sounds."""
FRAMES_FOR_A_CONTOUR = 4
PITCH_BINS = np.linspace(-0.5, 0.5, 9)
WIDTH = 200
_CONTOUR = (*range(168, 190), 199)
_FRAME_S = SHIFT_SAMPLES / SOUND_RATE_HZ


@dataclass(frozen=True)
class Functionals(SpeechWindows):
    """Functionals of cepstra, bands, pitch, voicing and energy over the whole clip: one step, D = 200."""

    name: ClassVar[str] = "functionals"
    width: ClassVar[int] = WIDTH
    window: ClassVar[Window | None] = None
    optional: ClassVar[tuple[int, ...]] = _CONTOUR

    def prepare(self, source: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "F 131"]:
        """The filterbank, then log pitch, voicing and log energy of each frame."""
        return np.concatenate([log_mel(source), track_pitch(source)], axis=1)

    def __call__(self, windows: Float32[np.ndarray, "N F 131"]) -> Float32[np.ndarray, "N 200"]:
        """The functionals of each clip."""
        return np.stack([_functionals(frames) for frames in windows])


@dataclass(frozen=True)
class WindowedFunctionals(Functionals):
    """The same over windows of 640 ms every 160 ms: long enough for syllables and a pitch contour."""

    name: ClassVar[str] = "functionals-windowed"
    window: ClassVar[Window | None] = Window(64, 16)


def _functionals(frames: Float32[np.ndarray, "F 131"]) -> Float32[np.ndarray, " 200"]:
    mel, (log_pitch, voicing, energy) = frames[:, :BINS], frames[:, BINS:].T
    voiced = np.isfinite(log_pitch)
    blocks: list[np.ndarray] = [_cepstra(mel), _loud_against_quiet(mel, energy), _modulation(mel)]
    if voiced.sum() < FRAMES_FOR_A_CONTOUR:
        contour, agreement = np.full(22, np.nan), np.nan
    else:
        contour, agreement = _contour(log_pitch, voiced), _correlation(log_pitch[voiced], energy[voiced])
    # Percentiles: the extremes of energy are clicks and digital silence.
    low, high = np.percentile(energy, (10, 90))
    blocks += [
        contour,
        _voicing(voicing, voiced),
        np.array([energy.std(), high - low, np.abs(_change(energy)).mean(), agreement]),
    ]
    return np.concatenate(blocks).astype(np.float32)


def _cepstra(mel: Float32[np.ndarray, "F 128"]) -> Float[np.ndarray, " 80"]:
    # Orthonormal, so that coefficients do not grow with the number of bins.
    cepstra = scipy.fft.dct(mel, axis=1, norm="ortho")[:, :CEPSTRA]
    deviation = cepstra.std(axis=0)
    # The small number: a constant cepstrum has no skewness.
    skewness = ((cepstra - cepstra.mean(axis=0)) ** 3).mean(axis=0) / (deviation**3 + 1e-6)
    return np.concatenate([cepstra.mean(axis=0), deviation, _change(cepstra).std(axis=0), skewness])


def _loud_against_quiet(
    mel: Float32[np.ndarray, "F 128"], energy: Float32[np.ndarray, " F"]
) -> Float[np.ndarray, " 32"]:
    bands = mel.reshape(len(mel), BANDS, -1).mean(axis=2)
    # Half of the frames on either side, whatever the level of the recording.
    loud = energy > np.median(energy)
    return bands[loud].mean(axis=0) - bands[~loud].mean(axis=0) if loud.any() else np.zeros(BANDS)


def _modulation(mel: Float32[np.ndarray, "F 128"]) -> Float[np.ndarray, " 56"]:
    envelopes = mel.reshape(len(mel), ENVELOPES, -1).mean(axis=2)
    # 512 frames of 10 ms resolve 0.2 Hz, the lowest border: zeros behind a short clip give its rates the same bands.
    length = max(512, len(mel))
    power = np.abs(scipy.fft.rfft(envelopes - envelopes.mean(axis=0), n=length, axis=0)) ** 2 / len(mel)
    border = np.searchsorted(scipy.fft.rfftfreq(length, _FRAME_S), MODULATION_HZ)
    # A band narrower than one bin still gets that bin.
    means = [power[start : max(end, start + 1)].mean(axis=0) for start, end in pairwise(border)]
    return np.log(np.stack(means) + 1e-6).ravel()


def _contour(log_pitch: Float32[np.ndarray, " F"], voiced: Bool[np.ndarray, " F"]) -> Float[np.ndarray, " 22"]:
    pitch = log_pitch[voiced]
    mean = pitch.mean()
    low, high = np.percentile(pitch, (10, 90))
    # Over -1..1 whatever the length, which would otherwise be in the numbers.
    curvature, slope, _ = np.polyfit(np.linspace(-1, 1, len(pitch)), pitch, 2)
    change = _change(log_pitch)
    change = change[np.isfinite(change)]
    if not len(change):
        change = np.zeros(1)
    quarter = len(pitch) // 4
    bins = np.histogram(pitch - np.median(pitch), PITCH_BINS)[0] / len(pitch)
    return np.array(
        [
            *(mean, low, high, pitch.std(), slope, curvature, pitch.max() - mean, mean - pitch.min()),
            *(np.abs(change).mean(), np.percentile(np.abs(change), 90), np.median(change), (change > 0).mean()),
            *(pitch[:quarter].mean() - mean, pitch[-quarter:].mean() - mean),
            *bins,
        ]
    )


def _voicing(voicing: Float32[np.ndarray, " F"], voiced: Bool[np.ndarray, " F"]) -> Float[np.ndarray, " 6"]:
    # Unvoiced on either side, so that each voiced stretch has a beginning and an end.
    turns = np.flatnonzero(np.diff(voiced.astype(int), prepend=0, append=0))
    lengths_s = (turns[1::2] - turns[::2]) * _FRAME_S if len(turns) else np.zeros(1)  # beginnings and ends alternate
    stretches = len(turns) / 2 / (len(voiced) * _FRAME_S)
    return np.array([voicing.mean(), voicing.std(), voiced.mean(), lengths_s.mean(), lengths_s.std(), stretches])


def _change(x: Float32[np.ndarray, "F *C"]) -> Float32[np.ndarray, "G *C"]:
    """From frame to frame; zero for a single frame."""
    return np.diff(x, axis=0) if len(x) > 1 else np.zeros_like(x)


def _correlation(x: Float32[np.ndarray, " V"], y: Float32[np.ndarray, " V"]) -> float:
    """0 where one of them does not move."""
    return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else 0.0
