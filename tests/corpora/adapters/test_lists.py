from pathlib import Path

import pytest

from cimeu.corpora.adapters.lists import from_lists
from cimeu.corpora.folds import FoldsConfig, make_folds
from cimeu.errors import FoldLeak, ManifestError, UnknownLabel

LABELS = {"0": "happiness", "1": "sadness"}


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_list_with_numbers_of_steps(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["a/1.npy", "a/2.npy"])
    found = from_lists(tmp_path, lists={"train": written(tmp_path / "l.txt", "a/1 23 0\na/2 7 1\n")}, labels=LABELS)
    assert found.table[["clip_id", "path", "n_steps", "emotion"]].to_numpy().tolist() == [
        ["a/1", "a/1.npy", "23", "happiness"],
        ["a/2", "a/2.npy", "7", "sadness"],
    ]


def test_a_list_of_paths_that_hold_spaces(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["subject 1/s 2.mp4", "b.mp4"])
    lines = "subject 1/s 2.mp4 0\nb.mp4,1\n"
    found = from_lists(tmp_path, lists={"test": written(tmp_path / "l.csv", lines)}, labels=LABELS)
    assert list(found.table["path"]) == ["subject 1/s 2.mp4", "b.mp4"]
    assert set(found.table["split"]) == {"test"}


def test_a_list_of_video_and_sound(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["v/1.mp4", "a/1.wav", "v/2/0001.jpg", "a/2.wav"])
    lines = "v/1.mp4 a/1.wav Happy\nv/2 a/2.wav sad\n"
    found = from_lists(tmp_path, lists={"1": written(tmp_path / "l.csv", lines)})
    assert found.table[["path", "audio_path", "emotion", "fold"]].to_numpy().tolist() == [
        ["v/1.mp4", "a/1.wav", "happiness", "1"],
        ["v/2", "a/2.wav", "sadness", "1"],
    ]


def test_a_label_without_a_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownLabel, match=r"label `2` in line 1 .* has no name\n\nhint: name it, such as --label-map 2=happiness"
    ):
        from_lists(tmp_path, lists={"train": written(tmp_path / "l", "a.mp4 2\n")}, labels=LABELS)


def test_a_clip_of_two_parts_is_a_leak(fill, tmp_path: Path) -> None:
    one = written(tmp_path / "l", "a.mp4 0\n")
    with pytest.raises(FoldLeak, match=r"clip `a.mp4` is listed twice"):
        from_lists(fill(tmp_path, ["a.mp4"]), lists={"train": one, "test": one}, labels=LABELS)


def test_people_in_the_paths_show_that_published_lists_share_them(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["1001_a.mp4", "1001_b.mp4", "1002_a.mp4"])
    lists = {
        "train": written(tmp_path / "train", "1001_a.mp4 0\n1002_a.mp4 0\n"),
        "test": written(tmp_path / "test", "1001_b.mp4 0\n"),
    }
    found = from_lists(tmp_path, lists=lists, labels=LABELS, speaker=r"(\d+)_")
    assert list(found.table["speaker"]) == ["1001", "1002", "1001"]
    with pytest.raises(FoldLeak, match=r"speaker `1001` is in both"):
        make_folds(found, FoldsConfig(protocol="official"))


def test_missing_files_are_counted(tmp_path: Path) -> None:
    lists = {"train": written(tmp_path / "l", "/data/a.mp4 0\n")}
    with pytest.raises(ManifestError, match=r"1 of 1 files of `own` are missing, the first is `/data/a.mp4`"):
        from_lists(tmp_path, lists=lists, labels=LABELS, corpus="own")
    assert len(from_lists(tmp_path, lists=lists, labels=LABELS, check_counts=False)) == 1


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"dev": "l"}, "a list is called `dev`"),
        ({"train": "nowhere"}, "no list at"),
        ({}, "no clip in the lists"),
        ({"train": "l"}, "line 1 of .* is `alone`"),
    ],
)
def test_what_is_no_list_is_said(tmp_path: Path, lists: dict[str, str], message: str) -> None:
    written(tmp_path / "l", "alone\n")
    with pytest.raises(ManifestError, match=message):
        from_lists(tmp_path, lists={part: tmp_path / name for part, name in lists.items()})
