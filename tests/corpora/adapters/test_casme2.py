from pathlib import Path

import pandas as pd
import pytest

from cimeu.corpora.adapters.casme2 import COUNTS, from_casme2
from cimeu.errors import ManifestError, UnknownLabel

CLASSES = ("happiness", "surprise", "repression", "others", "disgust")


def coding(root: Path, rows: list[tuple[object, str, str]]) -> Path:
    table = pd.DataFrame(rows, columns=["Subject", "Filename", "Estimated Emotion"])
    table["OnsetFrame"], table["ApexFrame"], table["OffsetFrame"], table["Action Units"] = 46, "/", 86, "4+L10"
    table.to_excel(root / "CASME2-coding-updated.xlsx", index=False)
    return root


def test_a_whole_casme2_has_246_clips_of_five_classes(fill, tmp_path: Path) -> None:
    emotions = [emotion for emotion in CLASSES for _ in range(COUNTS[emotion])] + ["fear"] * 2 + ["sadness"] * 7
    rows = [(index % 26 + 1, f"EP{index // 26 + 1:02d}_01", emotion) for index, emotion in enumerate(emotions)]
    fill(tmp_path, [f"Cropped/sub{subject:02d}/{clip}/reg_img46.jpg" for subject, clip, _ in rows])
    manifest = from_casme2(coding(tmp_path, rows))
    assert manifest.table["fold"].nunique() == 26
    assert set(manifest.table["problem"]) == {""}


def test_a_clip_name_of_two_people_is_two_clips(tmp_path: Path) -> None:
    table = from_casme2(
        coding(tmp_path, [(1, "EP02_01f", "happiness"), ("sub02", "EP02_01f", "others")]), check_counts=False
    ).table
    assert list(table["clip_id"]) == ["Cropped/sub01/EP02_01f", "Cropped/sub02/EP02_01f"]
    assert list(table["speaker"]) == ["casme2_01", "casme2_02"]
    assert list(table["apex_frame"]) == ["/", "/"]


def test_an_emotion_outside_the_coding_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownLabel, match=r"clip `EP01` of .* has the emotion `confusion`"):
        from_casme2(coding(tmp_path, [(1, "EP01", "confusion")]), check_counts=False)


def test_a_part_says_what_was_expected_and_found(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"clips: 246 expected, 1 found; speakers: 26 expected, 1 found"):
        from_casme2(coding(tmp_path, [(1, "EP01", "disgust")]))


def test_no_coding_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nothing at .*CASME2-coding-updated.xlsx"):
        from_casme2(tmp_path)
