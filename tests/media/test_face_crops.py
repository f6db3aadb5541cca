"""Cutting faces out of frames."""

import numpy as np
import pytest
import torch

from cimeu.media.face_crops import MARGIN, crop, square, stretched
from cimeu.media.faces import Box

from .test_face_tracks import scene


def test_the_square_has_a_margin_around_the_longer_side() -> None:
    left, top, extent = square(Box(40.0, 30.0, 20.0, 40.0, 1.0))
    assert extent == pytest.approx(40 * (1 + 2 * MARGIN))
    assert (left + extent / 2, top + extent / 2) == pytest.approx((50, 50))


def test_a_crop_shows_the_face_in_its_middle() -> None:
    cut = crop(scene((70, 40)), Box(70.0, 40.0, 20.0, 20.0, 1.0), 24)
    assert cut.shape == (24, 24, 3)
    assert (cut[2:22, 2:22] == 255).all()
    assert (cut[0] == 60).all()


def test_beyond_the_frame_its_edge_repeats() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    cut = stretched(pixels, -4, -4, 16, 16, 16)
    assert np.array_equal(cut, np.pad(pixels, ((4, 4), (4, 4), (0, 0)), mode="edge"))


def test_a_square_wholly_beyond_the_frame_is_its_corner() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    assert (stretched(pixels, 50, 50, 4, 4, 4) == pixels[-1, -1]).all()


def test_making_smaller_averages_areas() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8)
    blocks = pixels.reshape(4, 3, 4, 5, 3).mean(axis=(1, 3))
    assert np.abs(stretched(pixels, 0, 0, 20, 12, 4) - blocks).max() <= 0.51


@pytest.mark.parametrize("side", [7, 40])
def test_bilinear_is_bilinear(side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (18, 26, 3), dtype=np.uint8)
    expected = torch.nn.functional.interpolate(
        torch.tensor(pixels).permute(2, 0, 1)[None].double(), (side, side), mode="bilinear", align_corners=False
    )[0].permute(1, 2, 0)
    ours = stretched(pixels, 0, 0, 26, 18, side, resampling="bilinear")
    assert np.abs(ours - expected.numpy()).max() <= 0.51
