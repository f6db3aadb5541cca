"""Following faces, with a detector whose answers are known."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from skimage.measure import label, regionprops

from cimeu.media.face_tracks import HOLD_S, TrackedFrame, track_faces
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


def scene(*corners: tuple[int, int], background: int = 60, size: int = 20, shade: int = 255) -> np.ndarray:
    """A 100 x 160 frame with squares at these (x, y); those above 250 are faces."""
    pixels = np.full((100, 160, 3), background, np.uint8)
    for x, y in corners:
        pixels[y : y + size, x : x + size] = shade
    return pixels


def at_25_hz(pictures: Iterable[np.ndarray]) -> Iterator[Frame]:
    return (Frame(index / 25, pixels) for index, pixels in enumerate(pictures))


def tracked(pictures: Iterable[np.ndarray]) -> list[TrackedFrame]:
    return list(track_faces(at_25_hz(pictures), BrightSquares()))


def test_every_frame_comes_out_once_and_in_order() -> None:
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
    pictures = tracked([scene((10, 10))] * 10 + [scene((10, 10), shade=249)] * 5 + [scene((10, 10))] * 10)
    assert all(set(one.boxes) == {0} for one in pictures)


def test_a_long_loss_ends_the_id() -> None:
    pictures = tracked([scene((10, 10))] * 10 + [scene((10, 10), shade=249)] * 30 + [scene((10, 10))] * 10)
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


def test_a_face_that_is_not_found_again_is_held_and_says_so() -> None:
    tracked_frames = tracked([scene((10, 10))] * 10 + [scene((10, 10), shade=249)] * 5 + [scene((10, 10))] * 10)
    held = [index for index, one in enumerate(tracked_frames) if 0 in one.held]
    assert all(set(one.boxes) == {0} for one in tracked_frames)
    assert held == list(range(6, 15))


def test_a_face_that_changes_at_once_ends_its_track_and_no_other() -> None:
    striped = scene((10, 10), (100, 60))
    striped[10:30, 10:30, 1:] = 90  # still found by its red channel
    tracked_frames = tracked([scene((10, 10), (100, 60))] * 13 + [striped] * 12)
    assert [sorted(one.boxes) for one in tracked_frames] == [[0, 1]] * 13 + [[1, 2]] * 12
    assert [sorted(one.cut_off) for one in tracked_frames if one.cut_off] == [[0]]


def test_something_before_a_part_of_a_face_does_not_end_its_track() -> None:
    hidden = scene((10, 10))
    hidden[:, 18:30, 1:] = 90  # sixty per cent of it, still found by its red channel
    tracked_frames = tracked([scene((10, 10))] * 13 + [hidden] * 12)
    assert {face for shown in tracked_frames for face in shown.boxes} == {0}


def lit(gain: float) -> np.ndarray:
    """A face before a wall that is not of one brightness."""
    pixels = np.tile(np.linspace(40, 120, 160)[None, :, None], (90, 1, 3))
    pixels[10:30, 10:30] = 255 / gain  # a bright square is found whatever the light
    pixels[14:20, 14:26] = 250 / gain
    return (pixels * gain).astype(np.uint8)


def test_a_lamp_that_is_switched_on_is_no_cut() -> None:
    tracked_frames = tracked([lit(1.0)] * 13 + [lit(1.9)] * 12)
    assert {face for shown in tracked_frames for face in shown.boxes} == {0}


def test_a_face_that_changes_little_by_little_keeps_its_track() -> None:
    def fading() -> Iterator[np.ndarray]:
        for index in range(40):
            pixels = scene((10, 10))
            pixels[10:30, 10:30, 1:] = 255 - 4 * index
            yield pixels

    assert {face for one in tracked(fading()) for face in one.boxes} == {0}


def test_faces_of_the_last_frames_are_not_held() -> None:
    assert not any(one.held for one in tracked([scene((10, 10))] * 13))
