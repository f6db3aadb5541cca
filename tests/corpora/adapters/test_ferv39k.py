from pathlib import Path

import pytest

from cimeu.corpora.adapters.ferv39k import from_ferv39k
from cimeu.errors import FoldLeak, ManifestError


def lists(root: Path, train: str, test: str) -> Path:
    folder = root / "4_setups" / "All_scenes"
    folder.mkdir(parents=True)
    (folder / "train_All.csv").write_text(train)
    (folder / "test_All.csv").write_text(test)
    return root


TRAIN, TEST = "Action/Sad/0010 Sad\nWar/Sad/0010 Sad\n", "Action/Happy/0010 Happy\n"


def test_numbers_that_come_again_in_other_scenes_are_other_clips(fill, tmp_path: Path) -> None:
    fill(
        lists(tmp_path, TRAIN, TEST), [f"2_ClipsforFaceCrop/{c}/0001.jpg" for c in ("Action/Sad/0010", "War/Sad/0010")]
    )
    table = from_ferv39k(tmp_path, check_counts=False).table
    assert list(table["clip_id"]) == [
        "2_ClipsforFaceCrop/Action/Sad/0010",
        "2_ClipsforFaceCrop/War/Sad/0010",
        "2_ClipsforFaceCrop/Action/Happy/0010",
    ]
    assert list(table["problem"]) == ["", "", "missing file"]
    assert list(table["split"]) == ["train", "train", "test"]
    assert list(table["scene"]) == ["Action", "War", "Action"]


def test_recordings_come_before_frames(fill, tmp_path: Path) -> None:
    fill(
        lists(tmp_path, TRAIN, TEST), ["0_7_LabelClips/Action/Sad/0010.mp4", "2_ClipsforFaceCrop/Action/Sad/0010/1.jpg"]
    )
    assert from_ferv39k(tmp_path, check_counts=False).table["path"].iloc[0] == "0_7_LabelClips/Action/Sad/0010.mp4"


def test_a_clip_in_both_parts_is_a_leak(tmp_path: Path) -> None:
    with pytest.raises(FoldLeak, match=r"clip `War/Sad/0010` is in both train and test"):
        from_ferv39k(lists(tmp_path, TRAIN, "War/Sad/0010 Sad\n"), check_counts=False)


@pytest.mark.parametrize("line", ["Action/Sad/0010 Happy", "0010 Sad", "Action/Sad/0010"])
def test_a_line_that_contradicts_itself_is_shown(tmp_path: Path, line: str) -> None:
    with pytest.raises(ManifestError, match=rf"line 1 of .* is `{line}`"):
        from_ferv39k(lists(tmp_path, line + "\n", TEST), check_counts=False)


def test_a_part_says_what_was_expected_and_found(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"clips: 38,935 expected, 3 found.*split train: 31,088 expected, 2 found"):
        from_ferv39k(lists(tmp_path, TRAIN, TEST))
