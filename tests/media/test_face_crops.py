"""Following faces and cutting them out, with a detector whose answers are known."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch
from skimage.measure import label, regionprops

from cimeu.media.face_crops import HOLD_S, MARGIN, TrackedFrame, crop, square, stretched, track_faces
from cimeu.media.faces import Box
from cimeu.media.video import Frame


class BrightSquares:
    """Finds the white rectangles of a picture, and counts how often it looked."""

    name, version = "bright squares", "1"

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, pixels: np.ndarray) -> list[Box]:
        self.looks += 1
        found = [region.bbox for region in regionprops(label(pixels[:, :, 0] > 250))]
        return [Box(float(x), float(y), float(x2 - x), float(y2 - y), 1.0) for y, x, y2, x2 in found]


def scene(*corners: tuple[int, int], background: int = 60, size: int = 20) -> np.ndarray:
    """A 100 x 160 picture with white squares at these (x, y)."""
    pixels = np.full((100, 160, 3), background, np.uint8)
    for x, y in corners:
        pixels[y : y + size, x : x + size] = 255
    return pixels


def at_25_hz(pictures: Iterable[np.ndarray]) -> Iterator[Frame]:
    return (Frame(index / 25, pixels) for index, pixels in enumerate(pictures))


def tracked(pictures: Iterable[np.ndarray]) -> list[TrackedFrame]:
    return list(track_faces(at_25_hz(pictures), BrightSquares()))


def test_every_picture_comes_out_once_and_in_order() -> None:
    assert [one.frame.time_s for one in tracked([scene()] * 23)] == pytest.approx(np.arange(23) / 25)


def test_detection_runs_at_its_own_rate() -> None:
    detector = BrightSquares()
    list(track_faces(at_25_hz([scene((10, 10))] * 50), detector, detect_rate_hz=5.0))
    assert detector.looks == 10


def test_a_moving_face_keeps_its_id_and_its_place_between_detections() -> None:
    pictures = tracked([scene((10 + index, 30)) for index in range(31)])
    assert {face for one in pictures for face in one.boxes} == {0}
    assert [one.boxes[0].left for one in pictures] == pytest.approx(10 + np.arange(31))


def test_two_faces_keep_their_own_ids() -> None:
    pictures = tracked([scene((10 + index, 10), (120 - index, 60)) for index in range(26)])
    assert all(set(one.boxes) == {0, 1} for one in pictures)
    assert pictures[-1].boxes[0].left == 35
    assert pictures[-1].boxes[1].left == 95


def test_a_shot_cut_ends_every_id() -> None:
    pictures = tracked([scene((10, 10))] * 13 + [scene((10, 10), background=200)] * 12)
    assert [list(one.boxes) for one in pictures] == [[0]] * 13 + [[1]] * 12


def test_a_short_miss_keeps_the_box() -> None:
    pictures = tracked([scene((10, 10))] * 10 + [scene()] * 5 + [scene((10, 10))] * 10)
    assert all(set(one.boxes) == {0} for one in pictures)


def test_a_long_loss_ends_the_id() -> None:
    pictures = tracked([scene((10, 10))] * 10 + [scene()] * 30 + [scene((10, 10))] * 10)
    empty = [one.frame.time_s for one in pictures if not one.boxes]
    last_detection_s, interval_s = 0.2, 0.2
    assert last_detection_s + HOLD_S < min(empty) <= last_detection_s + HOLD_S + interval_s
    assert list(pictures[-1].boxes) == [1]


def test_it_looks_no_further_ahead_than_the_next_detection() -> None:
    pulled = []

    def endless() -> Iterator[Frame]:
        for index in range(1000):
            pulled.append(index)
            yield Frame(index / 25, scene((10, 10)))

    next(track_faces(endless(), BrightSquares()))
    assert len(pulled) <= 6


def test_the_square_has_a_margin_around_the_longer_side() -> None:
    left, top, extent = square(Box(40.0, 30.0, 20.0, 40.0, 1.0))
    assert extent == pytest.approx(40 * (1 + 2 * MARGIN))
    assert (left + extent / 2, top + extent / 2) == pytest.approx((50, 50))


def test_a_crop_shows_the_face_in_its_middle() -> None:
    cut = crop(scene((70, 40)), Box(70.0, 40.0, 20.0, 20.0, 1.0), 24)
    assert cut.shape == (24, 24, 3)
    assert (cut[2:22, 2:22] == 255).all()
    assert (cut[0] == 60).all()


def test_beyond_the_picture_its_edge_repeats() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    cut = stretched(pixels, -4, -4, 16, 16, 16)
    assert np.array_equal(cut, np.pad(pixels, ((4, 4), (4, 4), (0, 0)), mode="edge"))


def test_a_square_wholly_beyond_the_picture_is_its_corner() -> None:
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
