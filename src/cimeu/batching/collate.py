"""From clips as stored to one batch: 16 steps of each, standardised, padded and masked.

Both streams are cut into the same 16 segments and, where they share windows, read the same window of each. In the
backward model the first stream runs from the end of the clip and the second from its beginning, so the second mirrors
the first one's choice.

Axes: B clips, T steps in a batch (16, or what the kind of stream has), D channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cimeu.batching.augment import (
    FRAMES,
    TOKEN_GRID,
    AugmentationConfig,
    draw_mixture,
    draw_moments,
    draw_steps,
    mask_tokens,
    mix,
    noise,
    roll,
    spec_augment,
)
from cimeu.batching.dataset import ClipDataset, Sample, Statistics
from cimeu.media.fbank import middle_segments, random_segments
from cimeu.pyramid import STEPS, Direction, Stream

Kind = Literal["steps", "tokens", "filterbank"]


@dataclass(frozen=True)
class Batch:
    """What one optimiser step sees.

    `target` and `second_target` are the streams before noise, what reconstruction is compared with (None for a second
    stream of tokens or a filterbank, which the network turns into steps first). With mixup, a clip
    keeps `share` of itself and takes the rest from the clip whose emotion is in `partner`. `shares`, where shares are
    learned, take the place of `emotion` in the class error, and are mixed already. `continuous` labels, from -1 to 1
    and NaN where unknown, are mixed as well: half of an unknown value is unknown.
    """

    first: Stream | None
    second: Stream | None
    emotion: Int[Tensor, " B"]
    style: Int[Tensor, " B"]
    index: Int[Tensor, " B"]
    target: Float[Tensor, "B T D"] | None = None
    second_target: Float[Tensor, "B T D2"] | None = None
    partner: Int[Tensor, " B"] | None = None
    share: float = 1.0
    shares: Float[Tensor, "B K"] | None = None
    continuous: Float[Tensor, "B V"] | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(**{name: _to(value, device) for name, value in vars(self).items()})

    @property
    def first_present(self) -> Tensor:
        """Which clips have a first stream."""
        return torch.zeros_like(self.emotion, dtype=torch.bool) if self.first is None else self.first.present


@dataclass(frozen=True)
class Collator:
    """Make batches of samples; statistics are those of the training clips (None: the setting has no such stream)."""

    first: Statistics | None
    second: Statistics | None
    second_kind: Kind = "steps"
    augmentation: AugmentationConfig | None = None
    shares_windows: bool = False
    direction: Direction = "forward"

    def __call__(self, samples: Sequence[Sample], generator: torch.Generator | None = None) -> Batch:
        """A training batch, or without a generator an evaluation batch: middle steps, no augmentation."""
        moments = draw_moments(len(samples), generator)
        first = second = None
        if self.first is not None:
            first = _steps([sample.first for sample in samples], moments, self.first, mirrored=False)
        if self.second is not None:
            clips = [sample.second for sample in samples]
            if self.second_kind == "steps":
                if not self.shares_windows:
                    moments = draw_moments(len(samples), generator)
                second = _steps(clips, moments, self.second, mirrored=self.direction == "backward")
            else:
                second = _whole(clips, self.second, self.second_kind, generator)
        emotion, style, index = (
            torch.tensor([getattr(sample, name) for sample in samples]) for name in ("emotion", "style", "index")
        )
        # Before noise: reconstruction learns to remove it, not to reproduce it.
        target = None if first is None else first.features
        second_target = second.features if second is not None and self.second_kind == "steps" else None
        shares = _stacked([sample.shares for sample in samples])
        continuous = _stacked([sample.continuous for sample in samples])
        batch = Batch(first, second, emotion, style, index, target, second_target, shares=shares, continuous=continuous)
        if generator is None or self.augmentation is None:
            return batch
        return self._augmented(batch, self.augmentation, generator)

    def _augmented(self, batch: Batch, config: AugmentationConfig, generator: torch.Generator) -> Batch:
        if config.mixup:
            batch = _mixed(batch, config.mixup, generator)
        first = None if batch.first is None else batch.first.features
        second = None if batch.second is None else batch.second.features
        if first is not None and self.first is not None:
            first = _noisy(first, config, self.first, generator)
        if second is not None and self.second is not None:
            if self.second_kind == "steps":
                second = _noisy(second, config, self.second, generator)
            elif self.second_kind == "tokens":
                second = mask_tokens(second, config, generator)
            else:
                # The order of the AST release: mask, noise, roll.
                second = roll(noise(spec_augment(second, config, generator), config.noise, generator), ROLL, generator)
        return replace(batch, first=_replaced(batch.first, first), second=_replaced(batch.second, second))


def collator_of(training_clips: ClipDataset, augmentation: AugmentationConfig | None = None) -> Collator:
    """The collator that belongs to these training clips: their statistics, kinds and windows."""
    first, second = training_clips.statistics()
    kind = "steps" if training_clips.second is None else training_clips.second.description["kind"]
    shared, direction = training_clips.shares_windows, training_clips.direction
    return Collator(first, second, kind, augmentation, shared, direction)  # type: ignore[arg-type]


def evaluation_batches(dataset: ClipDataset, collator: Collator, batch_size: int) -> Iterator[Batch]:
    """All usable clips once, in order, without randomness."""
    for start in range(0, len(dataset.usable), batch_size):
        yield collator([dataset[int(index)] for index in dataset.usable[start : start + batch_size]])


ROLL = 10  # frames (100 ms) a filterbank moves at most


def _noisy(features: Tensor, config: AugmentationConfig, statistics: Statistics, generator: torch.Generator) -> Tensor:
    features = noise(features, config.noise, generator)
    if config.raw_noise:
        # Noise in the features' own unit: quiet dimensions get as much as loud ones.
        features = features + noise(torch.zeros_like(features), config.raw_noise, generator) / torch.from_numpy(
            statistics.deviation
        )
    return features


def _mixed(batch: Batch, concentration: float, generator: torch.Generator) -> Batch:
    order, share = draw_mixture(len(batch.emotion), concentration, generator)

    def mixed(stream: Stream | None) -> Stream | None:
        return None if stream is None else replace(stream, features=mix(stream.features, stream.mask, order, share))

    first, second = mixed(batch.first), mixed(batch.second)
    return replace(
        batch,
        first=first,
        second=second,
        target=None if first is None else first.features,
        second_target=None if second is None or batch.second_target is None else second.features,
        partner=batch.emotion[order],
        share=share,
        shares=None if batch.shares is None else share * batch.shares + (1 - share) * _partners(batch, order),
        continuous=None
        if batch.continuous is None
        else share * batch.continuous + (1 - share) * batch.continuous[order],
    )


def _partners(batch: Batch, order: Tensor) -> Tensor:
    """Shares of each clip's partner; its own where the partner has no emotion, so that shares still add up to 1."""
    assert batch.shares is not None
    return torch.where(batch.emotion[order, None] >= 0, batch.shares[order], batch.shares)


def _stacked(targets: Sequence[np.ndarray | None]) -> Tensor | None:
    """Targets of all clips, where they have any."""
    present = [target for target in targets if target is not None]
    return torch.from_numpy(np.stack(present)) if present else None


def _steps(
    clips: Sequence[np.ndarray | None], moments: np.ndarray, statistics: Statistics, *, mirrored: bool
) -> Stream:
    features = np.zeros((len(clips), STEPS, len(statistics.mean)), np.float32)
    mask = np.zeros((len(clips), STEPS), bool)
    for row, clip in enumerate(clips):
        if clip is not None:
            steps = draw_steps(len(clip), moments[row])
            if mirrored:
                # A backward first stream takes steps from the other end, so that both streams still show the same
                # moments.
                steps = len(clip) - 1 - steps[::-1]
            features[row, : len(steps)] = clip[steps]
            mask[row, : len(steps)] = True
    # Standardising turns the zeros of padding into numbers; the mask makes them zeros again.
    features = statistics.apply(features) * mask[..., None]
    present = np.array([clip is not None for clip in clips])
    return Stream(torch.from_numpy(features), torch.from_numpy(mask), torch.from_numpy(present))


def _whole(
    clips: Sequence[np.ndarray | None], statistics: Statistics, kind: Kind, generator: torch.Generator | None
) -> Stream:
    inputs = [
        None if clip is None else _filterbank(clip, generator) if kind == "filterbank" else clip for clip in clips
    ]
    length = next(
        (len(clip) for clip in inputs if clip is not None), FRAMES if kind == "filterbank" else int(np.prod(TOKEN_GRID))
    )
    present = np.array([clip is not None for clip in inputs])
    features = np.zeros((len(inputs), length, len(statistics.mean)), np.float32)
    for row, clip in enumerate(inputs):
        if clip is not None:
            features[row] = statistics.apply(clip)
    mask = np.repeat(present[:, None], length, 1)
    return Stream(torch.from_numpy(features), torch.from_numpy(mask), torch.from_numpy(present))


def _filterbank(clip: np.ndarray, generator: torch.Generator | None) -> np.ndarray:
    """256 frames: zero-padded, or 8 segments of 32."""
    padded = torch.from_numpy(np.pad(clip, ((0, max(0, FRAMES - len(clip))), (0, 0))))
    cut = middle_segments(padded) if generator is None else random_segments(padded, generator)
    return cut.numpy()


def _replaced(stream: Stream | None, features: Tensor | None) -> Stream | None:
    if stream is None or features is None:
        return None
    return replace(stream, features=features * stream.mask[..., None])  # noise must not fill padding


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Stream):
        return Stream(*(tensor.to(device) for tensor in (value.features, value.mask, value.present)))
    return value.to(device) if isinstance(value, Tensor) else value
