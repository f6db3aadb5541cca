"""All randomness of a batch, drawn from one generator that is handed in.

The same generator state gives the same batch, so a resumed run sees what an undisturbed one would have seen.

Source: segments with a random step each are those of temporal segment networks (ECCV 2016) and PTH-Net (TIP 2024);
masks over time and frequency are SpecAugment (Interspeech 2019); mixup is ICLR 2018.

Axes: B clips, T steps of a clip as stored, S sampled steps (16), D channels.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from cimeu.pyramid import STEPS
from cimeu.ranges import Within, check_values

TOKEN_GRID = (12, 25)  # bands, times of AST tokens of one filterbank
FRAMES, BINS = 256, 128  # of that filterbank


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """How training batches differ from what is stored; evaluation batches never do."""

    noise: Annotated[float, Within(0)] = 0.05
    """Standard deviation of the noise on standardised features."""
    raw_noise: Annotated[float, Within(0)] = 0.0
    """Standard deviation of noise on the features as stored (published: 5e-4, with `noise` 0)."""
    mixup: Annotated[float, Within(0)] = 0.0
    """Concentration of the beta distribution that mixes pairs of clips; 0 is off."""
    frequency_mask: Annotated[int, Within(0)] = 24
    """Widest band of filterbank bins (of 128) that SpecAugment blanks; tokens in proportion."""
    time_mask: Annotated[int, Within(0)] = 48
    """Longest stretch of filterbank frames (of 256) that SpecAugment blanks; tokens in proportion."""

    def __post_init__(self) -> None:
        check_values(self, "training.augmentation")


def draw_moments(n_clips: int, generator: torch.Generator | None) -> Float[np.ndarray, "B 16"]:
    """Which position of each of 16 segments to take, 0 to 1 (exclusive); without a generator, NaN: the middle step."""
    if generator is None:
        return np.full((n_clips, STEPS), np.nan)
    return torch.rand(n_clips, STEPS, generator=generator, dtype=torch.float64).numpy()


def draw_steps(n_steps: int, moments: Float[np.ndarray, " 16"]) -> Int64[np.ndarray, " S"]:
    """One step of each of 16 equal segments of a clip; all of them where there are no more than 16.

    >>> draw_steps(32, np.full(16, np.nan))[:4]
    array([0, 2, 4, 6])
    >>> draw_steps(3, np.full(16, np.nan))
    array([0, 1, 2])
    """
    if n_steps <= STEPS:
        return np.arange(n_steps)
    # Integer arithmetic: segments of 16 equal parts differ by one step at most, and cover the clip.
    edges = np.arange(STEPS + 1) * n_steps // STEPS
    lengths = np.diff(edges)
    offsets = np.where(np.isnan(moments), (lengths - 1) // 2, np.nan_to_num(moments) * lengths)
    return edges[:-1] + offsets.astype(np.int64)


def noise(features: Float[Tensor, "B S D"], deviation: float, generator: torch.Generator) -> Float[Tensor, "B S D"]:
    """Add white noise."""
    if deviation == 0:
        return features
    return features + deviation * torch.randn(features.shape, generator=generator)


def spec_augment(
    features: Float[Tensor, "B T D"], config: AugmentationConfig, generator: torch.Generator
) -> Float[Tensor, "B T D"]:
    """Blank one stretch of time and one band of bins of every filterbank."""
    n_clips, n_frames, n_bins = features.shape
    time = _stretches(n_clips, n_frames, config.time_mask, generator)[:, :, None]
    band = _stretches(n_clips, n_bins, config.frequency_mask, generator)[:, None, :]
    return features.masked_fill(time | band, 0.0)


def mask_tokens(
    tokens: Float[Tensor, "B N D"], config: AugmentationConfig, generator: torch.Generator
) -> Float[Tensor, "B N D"]:
    """SpecAugment where only tokens are stored: blank those of one stretch and one band of each clip's grid.

    The last 300 tokens are a grid of 12 bands by 25 times, frequency first (AST on 256 frames); any before them
    (cls, distillation) stay.
    """
    bands, times = TOKEN_GRID
    n_clips, n_tokens, _ = tokens.shape
    time = _stretches(n_clips, times, round(times * config.time_mask / FRAMES), generator)[:, None, :]
    band = _stretches(n_clips, bands, round(bands * config.frequency_mask / BINS), generator)[:, :, None]
    blank = torch.zeros(n_clips, n_tokens, dtype=torch.bool)
    blank[:, n_tokens - bands * times :] = (time | band).flatten(1)
    return tokens.masked_fill(blank[..., None], 0.0)


def _stretches(n_clips: int, length: int, longest: int, generator: torch.Generator) -> Bool[Tensor, "B n"]:
    # Width first, then a start that leaves room for it: every place is as likely.
    widths = (torch.rand(n_clips, 1, generator=generator) * (min(longest, length) + 1)).long()
    starts = (torch.rand(n_clips, 1, generator=generator) * (length - widths + 1)).long()
    places = torch.arange(length)[None]
    return (places >= starts) & (places < starts + widths)


def roll(features: Float[Tensor, "B T D"], furthest: int, generator: torch.Generator) -> Float[Tensor, "B T D"]:
    """Shift every clip in time by up to `furthest` frames, around the end."""
    n_clips, n_frames, _ = features.shape
    shifts = torch.randint(-furthest, furthest + 1, (n_clips, 1), generator=generator)
    source = (torch.arange(n_frames)[None] - shifts) % n_frames
    return features.gather(1, source[..., None].expand_as(features))


def draw_mixture(n_clips: int, concentration: float, generator: torch.Generator) -> tuple[Int64[Tensor, " B"], float]:
    """A partner for every clip and the share (at least a half) the clip keeps of itself."""
    order = torch.randperm(n_clips, generator=generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    # numpy has a Beta distribution that takes a seed; torch's reads the global generator.
    share = float(np.random.default_rng(seed).beta(concentration, concentration))
    return order, max(share, 1 - share)


def mix(
    features: Float32[Tensor, "B T D"], mask: Bool[Tensor, "B T"], order: Int64[Tensor, " B"], share: float
) -> Tensor:
    """Blend every clip with its partner on the steps both have."""
    shared = (mask & mask[order])[..., None]
    return torch.where(shared, share * features + (1 - share) * features[order], features)
