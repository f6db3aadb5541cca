"""Batches: the same steps of both streams, standardised, padded, masked; noise only where it belongs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cimeu.batching.augment import AugmentationConfig
from cimeu.batching.collate import Batch, Collator
from cimeu.batching.dataset import Sample, Statistics
from cimeu.media.fbank import middle_segments
from cimeu.pyramid import Stream

QUIET = AugmentationConfig(noise=0.0, frequency_mask=0, time_mask=0)


def counting(n_steps: int, width: int = 2) -> np.ndarray:
    """Step t holds the number t."""
    return np.repeat(np.arange(n_steps, dtype=np.float32)[:, None], width, 1)


def sample(first: np.ndarray | None, second: np.ndarray | None = None, index: int = 0) -> Sample:
    return Sample(f"clip {index}", first, second, index % 2, -1, index)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


AS_THEY_ARE = Statistics.identity(2)
BOTH = Collator(AS_THEY_ARE, AS_THEY_ARE, augmentation=QUIET, shares_windows=True)


def first_of(batch: Batch) -> Stream:
    assert batch.first is not None
    return batch.first


def second_of(batch: Batch) -> Stream:
    assert batch.second is not None
    return batch.second


def test_short_clips_are_padded_with_zeros_and_masked() -> None:
    batch = first_of(Collator(AS_THEY_ARE, None)([sample(1 + counting(3)), sample(1 + counting(50), index=1)]))
    assert batch.features.shape == (2, 16, 2)
    assert batch.mask.sum(1).tolist() == [3, 16]
    assert batch.features[0, :, 0].tolist() == [1, 2, 3] + [0] * 13


def test_a_missing_stream_keeps_its_row() -> None:
    batch = BOTH([sample(counting(20), None), sample(None, counting(20), index=1)])
    for stream, present in ((first_of(batch), [True, False]), (second_of(batch), [False, True])):
        assert stream.present.tolist() == present
        assert stream.mask.any(1).tolist() == present
        absent = stream.features[~stream.present]
        assert absent.shape == (1, 16, 2)
        assert (absent == 0).all()


def test_padding_is_zero_after_standardising_and_noise() -> None:
    statistics = Statistics(np.array([5, 5], np.float32), np.array([2, 2], np.float32))
    collator = Collator(statistics, None, augmentation=AugmentationConfig(noise=1.0))
    batch = collator([sample(counting(3)), sample(None, index=1)], generator())
    stream = first_of(batch)
    assert (stream.features[~stream.mask] == 0).all()
    assert (stream.features[stream.mask] != 0).all()


def test_evaluation_takes_middle_steps_and_no_noise() -> None:
    noisy = replace(BOTH, augmentation=AugmentationConfig(noise=1.0))
    one, other = (noisy([sample(counting(80), counting(80))]) for _ in range(2))
    assert first_of(one).features[0, :, 0].tolist() == [5 * i + 2 for i in range(16)]
    assert torch.equal(first_of(one).features, first_of(other).features)
    assert one.target is first_of(one).features


def test_streams_that_share_windows_look_at_the_same_ones() -> None:
    batch = BOTH([sample(counting(90), counting(90))] * 20, generator())
    assert torch.equal(first_of(batch).features, second_of(batch).features)
    assert len(first_of(batch).features[:, :, 0].unique(dim=0)) == 20


def test_streams_without_shared_windows_draw_apart_in_the_same_segments() -> None:
    batch = replace(BOTH, shares_windows=False)([sample(counting(160), counting(320))] * 20, generator())
    first, second = first_of(batch).features[..., 0], second_of(batch).features[..., 0]
    assert torch.equal((first / 10).floor(), (second / 20).floor())
    assert not torch.equal((first / 10 % 1 * 10).floor(), (second / 20 % 1 * 10).floor())


@pytest.mark.parametrize("n_steps", [5, 16, 23, 90])
@pytest.mark.parametrize("training", [True, False])
def test_backward_the_second_stream_mirrors_the_windows_of_the_first(n_steps: int, training: bool) -> None:
    backward = replace(BOTH, direction="backward")
    batch = backward([sample(counting(n_steps), counting(n_steps))] * 9, generator() if training else None)
    first, second = first_of(batch), second_of(batch)
    kept = min(n_steps, 16)
    of_first = n_steps - 1 - first.features[:, :kept, 0]  # the stored window each reversed step looks at
    assert torch.equal(of_first.flip(1), second.features[:, :kept, 0])


def test_the_target_is_clean_and_the_input_is_not() -> None:
    noisy = replace(BOTH, augmentation=AugmentationConfig(noise=0.05))
    batch, clean = (
        noisy([sample(counting(40), counting(40))], generator()),
        BOTH([sample(counting(40), counting(40))], generator()),
    )
    assert batch.target is not None
    assert torch.equal(batch.target, first_of(clean).features)
    difference = first_of(batch).features - batch.target
    assert 0.01 < difference.std() < 0.1
    assert (second_of(batch).features != second_of(clean).features).all()


def test_raw_noise_is_measured_before_standardising() -> None:
    statistics = Statistics(np.zeros(2, np.float32), np.array([0.01, 1.0], np.float32))
    collator = Collator(statistics, None, augmentation=AugmentationConfig(noise=0.0, raw_noise=5e-4))
    batch = collator([sample(counting(400), index=i) for i in range(200)], generator())
    assert batch.target is not None
    deviation = (first_of(batch).features - batch.target).std((0, 1))
    assert deviation.tolist() == pytest.approx([0.05, 5e-4], rel=0.1)


def test_a_generator_decides_everything() -> None:
    noisy = replace(BOTH, augmentation=AugmentationConfig(mixup=0.4))
    clips = [sample(counting(40), counting(40), index=i) for i in range(6)]
    torch.manual_seed(1)
    one = noisy(clips, generator(4))
    torch.manual_seed(2)
    same, other = noisy(clips, generator(4)), noisy(clips, generator(5))
    assert torch.equal(first_of(one).features, first_of(same).features)
    assert torch.equal(second_of(one).features, second_of(same).features)
    assert not torch.equal(first_of(one).features, first_of(other).features)


def test_mixup_blends_streams_and_target_and_remembers_the_partner() -> None:
    mixing = replace(BOTH, augmentation=replace(QUIET, mixup=0.4))
    clips = [
        sample(np.full((20, 2), float(i), np.float32), np.full((20, 2), float(i), np.float32), index=i)
        for i in range(6)
    ]
    batch = mixing(clips, generator())
    assert batch.partner is not None
    assert 0.5 <= batch.share < 1
    blended = first_of(batch).features[:, 0, 0]
    partner = (blended - batch.share * torch.arange(6)) / (1 - batch.share)
    assert torch.equal(partner.round().long() % 2, batch.partner)
    assert batch.target is not None
    assert torch.equal(batch.target, first_of(batch).features)
    assert torch.equal(second_of(batch).features, first_of(batch).features)


def test_mixed_shares_of_votes_add_up_to_one_also_beside_a_clip_without_an_emotion() -> None:
    mixing = replace(BOTH, augmentation=replace(QUIET, mixup=0.4))
    votes = np.array([[0.7, 0.3], [0.2, 0.8], [0.0, 0.0], [0.5, 0.5], [0.0, 0.0], [1.0, 0.0]], np.float32)
    steps = np.zeros((20, 2), np.float32)
    clips = [
        replace(sample(steps, steps, index=i), emotion=int(row.argmax()) if row.any() else -1, shares=row)
        for i, row in enumerate(votes)
    ]
    batch = mixing(clips, generator())
    assert batch.partner is not None
    assert (batch.partner[batch.emotion >= 0] < 0).any(), "somebody is mixed with a clip without an emotion"
    assert batch.shares is not None
    torch.testing.assert_close(batch.shares[batch.emotion >= 0].sum(1), torch.ones(4))


def test_tokens_pass_as_they_are() -> None:
    tokens = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    collator = Collator(AS_THEY_ARE, AS_THEY_ARE, "tokens")
    stream = second_of(collator([sample(counting(20), tokens), sample(counting(20), None, index=1)]))
    assert torch.equal(stream.features[0], torch.from_numpy(tokens))
    assert stream.mask.all(1).tolist() == [True, False]


def test_a_batch_without_a_single_second_stream_keeps_its_shape() -> None:
    for kind, length in (("steps", 16), ("tokens", 300), ("filterbank", 256)):
        stream = second_of(Collator(AS_THEY_ARE, AS_THEY_ARE, kind)([sample(counting(20))]))
        assert stream.features.shape == (1, length, 2)
        assert not stream.present.any()


def test_training_blanks_tokens() -> None:
    collator = Collator(AS_THEY_ARE, AS_THEY_ARE, "tokens", AugmentationConfig(noise=0.0))
    stream = second_of(collator([sample(counting(20), np.ones((300, 2), np.float32))] * 8, generator()))
    assert 0 < (stream.features == 0).float().mean() < 0.5


@pytest.mark.parametrize("n_frames", [100, 256, 700])
def test_filterbanks_become_256_frames_from_the_middle(n_frames: int) -> None:
    bank = np.random.default_rng(0).normal(size=(n_frames, 2)).astype(np.float32)
    statistics = Statistics(np.array([1, 1], np.float32), np.array([4, 4], np.float32))
    stream = second_of(Collator(AS_THEY_ARE, statistics, "filterbank")([sample(counting(20), bank)]))
    torch.testing.assert_close(stream.features[0], (middle_segments(torch.from_numpy(bank)) - 1) / 4)


def test_filterbanks_differ_from_batch_to_batch_in_training() -> None:
    bank = np.random.default_rng(0).normal(size=(700, 2)).astype(np.float32)
    collator = Collator(AS_THEY_ARE, AS_THEY_ARE, "filterbank", QUIET)
    one, other = (second_of(collator([sample(counting(20), bank)], generator(seed))) for seed in range(2))
    assert not torch.equal(one.features, other.features)


def test_labels_and_places_travel_with_the_batch() -> None:
    batch = BOTH([sample(counting(20), index=i) for i in (4, 7)])
    assert batch.emotion.tolist() == [0, 1]
    assert batch.style.tolist() == [-1, -1]
    assert batch.index.tolist() == [4, 7]
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(first_of(moved).features, first_of(batch).features)
