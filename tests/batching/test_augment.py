"""Steps and noise: what is drawn, what is not, and that a generator decides alone."""

import numpy as np
import pytest
import torch

from cimeu.batching.augment import (
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
from cimeu.errors import RecipeError

MIDDLE = np.full(16, np.nan)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n_steps", [17, 31, 32, 100, 1000])
def test_one_step_comes_from_each_of_sixteen_segments(n_steps: int) -> None:
    edges = [segment * n_steps // 16 for segment in range(17)]
    for moments in draw_moments(50, generator()):
        steps = draw_steps(n_steps, moments)
        assert all(low <= step < high for low, step, high in zip(edges[:-1], steps, edges[1:], strict=True))


def test_every_step_of_a_segment_can_be_drawn() -> None:
    drawn = np.array([draw_steps(64, moments) for moments in draw_moments(200, generator())])
    assert all(set(drawn[:, segment]) == set(range(4 * segment, 4 * segment + 4)) for segment in range(16))


def test_without_a_generator_the_middle_step_is_taken() -> None:
    assert np.isnan(draw_moments(2, None)).all()
    np.testing.assert_array_equal(draw_steps(80, MIDDLE), 5 * np.arange(16) + 2)


@pytest.mark.parametrize("n_steps", [1, 15, 16])
def test_short_clips_keep_every_step(n_steps: int) -> None:
    np.testing.assert_array_equal(draw_steps(n_steps, draw_moments(1, generator())[0]), np.arange(n_steps))


def test_noise_has_the_deviation_asked_for() -> None:
    clean = torch.zeros(100, 16, 20)
    assert noise(clean, 0.05, generator()).std().item() == pytest.approx(0.05, rel=0.02)
    assert noise(clean, 0.0, generator()) is clean


def test_spec_augment_blanks_one_stretch_and_one_band_no_longer_than_asked_for() -> None:
    config = AugmentationConfig(time_mask=48, frequency_mask=24)
    blank = spec_augment(torch.ones(200, 256, 128), config, generator()) == 0
    frames, bins = blank.all(2), blank.all(1)
    assert frames.sum(1).max() == 48
    assert bins.sum(1).max() == 24
    for rows in (frames, bins):
        assert ((rows[:, 1:] & ~rows[:, :-1]).sum(1) + rows[:, 0] <= 1).all()
    assert (blank == frames[:, :, None] | bins[:, None, :]).all()


def test_token_masks_follow_the_grid_and_spare_class_tokens() -> None:
    blank = (mask_tokens(torch.ones(200, 302, 6), AugmentationConfig(), generator()) == 0).all(2)
    assert not blank[:, :2].any()
    grid = blank[:, 2:].reshape(200, 12, 25)
    times, bands = grid.all(1), grid.all(2)
    assert times.sum(1).max() == 5
    assert bands.sum(1).max() == 2
    assert (grid == times[:, None, :] | bands[:, :, None]).all()


def test_rolling_moves_frames_and_loses_none() -> None:
    frames = torch.arange(20.0)[None, :, None].repeat(50, 1, 3)
    rolled = roll(frames, 4, generator())
    assert (rolled.sort(1).values == frames).all()
    shifts = (rolled[:, 0, 0]).long()
    assert set(shifts.tolist()) == {0, 1, 2, 3, 4, 16, 17, 18, 19}


def test_a_mixture_keeps_the_larger_share_of_the_clip_itself() -> None:
    for seed in range(20):
        order, share = draw_mixture(8, 0.4, generator(seed))
        assert 0.5 <= share <= 1
        assert sorted(order.tolist()) == list(range(8))


def test_mixing_leaves_steps_alone_that_the_partner_lacks() -> None:
    features = torch.tensor([[[1.0], [1.0]], [[3.0], [0.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    mixed = mix(features, mask, torch.tensor([1, 0]), 0.75)
    assert mixed.squeeze(-1).tolist() == [[1.5, 1.0], [2.5, 0.0]]


@pytest.mark.parametrize("setting", [{"noise": -1.0}, {"raw_noise": -1.0}, {"mixup": -1.0}, {"time_mask": -1}])
def test_negative_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=f"`training.augmentation.{next(iter(setting))}` is -1"):
        AugmentationConfig(**setting)
