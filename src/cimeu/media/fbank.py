"""Kaldi's log-mel filterbank, and the 256 frames of it that the audio encoder reads.

Each 25 ms frame loses its mean, is pre-emphasised and windowed; triangles evenly spaced on the mel scale gather its
power spectrum. 256 frames are kept of longer clips: 8 segments of 32, evenly spaced.

Source: Kaldi (compute-fbank-feats, HTK-compatible, Hann, no dither, edges snipped); AST, Interspeech 2021.
Axes: N samples, T frames 10 ms apart, D mel bins.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cimeu.media.threads import one_thread

LOWEST_HZ = 20.0
PREEMPHASIS = 0.97
FLOOR = 1.1920929e-7
SEGMENTS, SEGMENT_FRAMES = 8, 32
"""8 segments of 32 frames = the 256 frames of the audio encoder."""


def fbank(
    waveform: Float[Tensor, " N"] | Float[np.ndarray, " N"], rate_hz: int, *, n_bins: int = 128
) -> Float[Tensor, "T D"]:
    """Log-mel energies of samples in -1..1; under one frame (25 ms) of sound gives no frame at all.

    Computed on one thread: sums of several threads differ in their last bits, and stored features must not.
    """
    with one_thread():
        return _fbank(torch.as_tensor(waveform, dtype=torch.float32), rate_hz, n_bins)


def _fbank(samples: Float[Tensor, " N"], rate_hz: int, n_bins: int) -> Float[Tensor, "T D"]:
    length, hop = int(0.025 * rate_hz), int(0.010 * rate_hz)
    if len(samples) < length:
        return torch.zeros(0, n_bins)
    # Kaldi rounds the window up to a power of two; other lengths would give other bins.
    fft_size = 2 ** math.ceil(math.log2(length))
    # The mean of the clip first, then each frame's: kaldi's `remove_dc_offset`, preceded by AST's own centring.
    frames = (samples - samples.mean()).unfold(0, length, hop)
    frames = frames - frames.mean(dim=1, keepdim=True)
    # The first sample has no predecessor; kaldi takes the sample itself.
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    frames = (frames - PREEMPHASIS * before) * torch.hann_window(length, periodic=False)
    power = torch.fft.rfft(frames, n=fft_size).abs().square()  # [T, fft_size / 2 + 1]
    return (power @ mel_filters(rate_hz, fft_size, n_bins)).clamp(min=FLOOR).log()


@lru_cache
def mel_filters(rate_hz: int, fft_size: int, n_bins: int) -> Float[Tensor, "F D"]:
    """Weights of the F = fft_size / 2 + 1 frequencies in each bin: triangles on the mel scale, 20 Hz to Nyquist."""
    # Kaldi's mel scale, 1127 ln(1 + f / 700), in double precision: triangles at 20 Hz are narrow.
    mel = 1127.0 * torch.log1p(torch.arange(fft_size // 2 + 1, dtype=torch.float64) * rate_hz / fft_size / 700.0)
    low, high = (1127.0 * math.log1p(frequency_hz / 700.0) for frequency_hz in (LOWEST_HZ, rate_hz / 2))
    edges = torch.linspace(low, high, n_bins + 2, dtype=torch.float64)
    rising = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


def middle_segments(filterbank: Float[Tensor, "T D"]) -> Float[Tensor, "256 D"]:
    """The same 8 x 32 frames every time, from the middle of each eighth; under 256 frames are zero-padded first."""
    filterbank = padded(filterbank)
    # The last start that still leaves a whole segment, divided into eighths (PTH-Net's sampling).
    tick = (len(filterbank) - SEGMENT_FRAMES + 1) / SEGMENTS
    return _segments(filterbank, [int(tick / 2 + tick * index) for index in range(SEGMENTS)])


def random_segments(filterbank: Float[Tensor, "T D"], generator: torch.Generator) -> Float[Tensor, "256 D"]:
    """8 x 32 frames, each segment starting at random in its eighth; fewer than 256 frames are zero-padded first."""
    filterbank = padded(filterbank)
    width = (len(filterbank) - SEGMENT_FRAMES + 1) // SEGMENTS
    draws = torch.randint(width, (SEGMENTS,), generator=generator).tolist()
    return _segments(filterbank, [index * width + draw for index, draw in enumerate(draws)])


def padded(filterbank: Float[Tensor, "T D"]) -> Float[Tensor, "t D"]:
    """At least 256 frames: zeros after the last one."""
    missing = max(0, SEGMENTS * SEGMENT_FRAMES - len(filterbank))
    return torch.nn.functional.pad(filterbank, (0, 0, 0, missing))


def _segments(filterbank: Float[Tensor, "T D"], offsets: list[int]) -> Float[Tensor, "256 D"]:
    return torch.cat([filterbank[offset : offset + SEGMENT_FRAMES] for offset in offsets])
