"""The filterbank against Kaldi's numbers and an independent implementation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor

from cimeu.media.audio import read_sound
from cimeu.media.fbank import fbank, mel_filters, middle_segments, random_segments


def test_it_reproduces_kaldi(fixtures: Path) -> None:
    expected = np.load(fixtures / "fbank_a_16k.npz")["fbank"]
    assert np.abs(fbank(read_sound(fixtures / "fbank_a_16k.wav"), 16_000).numpy() - expected).max() < 5e-4


@pytest.mark.filterwarnings("ignore:At least one mel filter")  # true: 128 bins are finer than the lowest frequencies
def test_it_agrees_with_the_released_extractor(fixtures: Path) -> None:
    samples = read_sound(fixtures / "fbank_a_16k.wav")
    ours = fbank(samples, 16_000).numpy()
    extractor = ASTFeatureExtractor(do_normalize=False, max_length=len(ours))
    theirs = extractor(samples - samples.mean(), sampling_rate=16_000, return_tensors="np")["input_values"][0]
    assert np.abs(ours - theirs).max() < 5e-4


def test_the_middle_segments_are_the_published_ones(fixtures: Path) -> None:
    golden = np.load(fixtures / "fbank_a_16k.npz")
    segments = middle_segments(fbank(read_sound(fixtures / "fbank_a_16k.wav"), 16_000))
    normalised = (segments.numpy() + 6.04) / (2 * 3.45)
    assert np.abs(normalised - golden["test256"].reshape(256, 128)).max() < 5e-4


def test_an_offset_changes_nothing() -> None:
    samples = torch.randn(16_000) * 0.1
    assert torch.allclose(fbank(samples, 16_000), fbank(samples + 0.3, 16_000), atol=1e-3)


@pytest.mark.parametrize(("n_samples", "n_frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)])
def test_edges_are_snipped(n_samples: int, n_frames: int) -> None:
    assert fbank(torch.zeros(n_samples), 16_000).shape == (n_frames, 128)


def test_silence_is_the_floor() -> None:
    assert torch.allclose(fbank(torch.zeros(800), 16_000), torch.tensor(1.1920929e-7).log())


def test_other_rates_and_bins_keep_25_ms_and_10_ms() -> None:
    assert fbank(torch.zeros(22_050), 22_050, n_bins=40).shape == (1 + (22_050 - 551) // 220, 40)


def test_no_sound_below_20_hz_counts() -> None:
    filters = mel_filters(16_000, 512, 128)
    assert filters.shape == (257, 128)
    assert not filters[0].any()
    assert not filters[-1].any()


def test_short_clips_are_padded_with_zeros() -> None:
    segments = middle_segments(torch.ones(100, 128))
    assert segments.shape == (256, 128)
    assert segments.sum() < 256 * 128


def test_random_segments_follow_their_generator() -> None:
    frames = torch.arange(600.0)[:, None].expand(-1, 4)
    one, again, other = (random_segments(frames, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_random_segments_are_runs_of_32_in_order_within_the_clip() -> None:
    frames = torch.arange(256.0)[:, None]
    for seed in range(20):
        segments = random_segments(frames, torch.Generator().manual_seed(seed)).reshape(8, 32)
        assert torch.equal(segments - segments[:, :1], torch.arange(32.0).expand(8, -1))
        assert (segments[:, 0] // 28 == torch.arange(8)).all()
