from pathlib import Path

import pytest

from cimeu.corpora.adapters.mafw import COUNTS, from_mafw
from cimeu.errors import FoldLeak, ManifestError
from cimeu.labels import SPACES

SINGLE = SPACES["mafw"].emotions


def lists(root: Path, task: str, emotions: list[str], sizes: list[int], *, captions: bool = False) -> Path:
    """Clips 1, 2, ... with these emotions; the test parts of the folds follow each other."""
    names = [f"{number:05d}.mp4" for number in range(1, len(emotions) + 1)]
    starts = [sum(sizes[:fold]) for fold in range(6)]
    folder = root / "Train & Test Set" / task / ("with_caption" if captions else "no_caption")
    for fold in range(5):
        (folder / f"set_{fold + 1}").mkdir(parents=True)
        test = range(starts[fold], starts[fold + 1])
        for part in ("train", "test"):
            chosen = [index for index in range(len(names)) if (index in test) == (part == "test")]
            gap = "\t" if captions else " "
            end = "\t她睁大了眼睛。\tShe opens her eyes." if captions else ""
            lines = [f"{names[i]}{gap}{emotions[i]}{end}" for i in chosen]
            (folder / f"set_{fold + 1}" / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="gb18030")
    return root


def test_a_whole_mafw_has_the_published_counts(fill, tmp_path: Path) -> None:
    sizes = [COUNTS["single"][f"fold {fold}"] for fold in range(1, 6)]
    lists(tmp_path, "single", [SINGLE[index % 11] for index in range(9172)], sizes)
    manifest = from_mafw(fill(tmp_path, [f"data/clips/{number:05d}.mp4" for number in range(1, 9173)]))
    assert dict(manifest.table["fold"].value_counts()) == {str(fold + 1): size for fold, size in enumerate(sizes)}


def test_captions_are_read_in_their_own_encoding(tmp_path: Path) -> None:
    lists(tmp_path, "single", list(SINGLE[:10]), [2] * 5, captions=True)
    table = from_mafw(tmp_path, check_counts=False).table
    assert set(table["caption_zh"]) == {"她睁大了眼睛。"}
    assert set(table["caption_en"]) == {"She opens her eyes."}


def test_compound_emotions_are_joined_and_spelt_alike(tmp_path: Path) -> None:
    lists(tmp_path, "compound", ["Anger_Disgust", "fear_surprise"] * 5, [2] * 5)
    table = from_mafw(tmp_path, task="compound", check_counts=False).table
    assert set(table["emotion"]) == {"anger_disgust", "fear_surprise"}


def test_each_task_has_its_own_counts(tmp_path: Path) -> None:
    lists(tmp_path, "single", list(SINGLE[:10]), [2] * 5)
    lists(tmp_path, "compound", ["anger_disgust"] * 10, [2] * 5)
    with pytest.raises(ManifestError, match=r"clips: 9,172 expected, 10 found; emotions: 11 expected, 10 found"):
        from_mafw(tmp_path)
    with pytest.raises(ManifestError, match=r"clips: 8,996 expected, 10 found; emotions: 43 expected, 1 found"):
        from_mafw(tmp_path, task="compound")


def test_a_clip_in_two_test_parts_is_a_leak(tmp_path: Path) -> None:
    lists(tmp_path, "single", list(SINGLE[:10]), [2] * 5)
    first, second = (tmp_path / "Train & Test Set/single/no_caption" / f"set_{n}" for n in (1, 2))
    (second / "test.txt").write_text((first / "test.txt").read_text())
    (second / "train.txt").write_text((first / "train.txt").read_text())
    with pytest.raises(FoldLeak, match=r"clip `00001.mp4` is tested in fold 1 and in fold 2"):
        from_mafw(tmp_path)


def test_a_line_of_another_form_is_shown(tmp_path: Path) -> None:
    lists(tmp_path, "single", list(SINGLE[:10]), [2] * 5)
    (tmp_path / "Train & Test Set/single/no_caption/set_3/test.txt").write_text("anger\n")
    with pytest.raises(ManifestError, match=r"line 1 of .*test.txt` is `anger`"):
        from_mafw(tmp_path)


def test_missing_clips_are_counted(fill, tmp_path: Path) -> None:
    sizes = [COUNTS["single"][f"fold {fold}"] for fold in range(1, 6)]
    lists(tmp_path, "single", [SINGLE[index % 11] for index in range(9172)], sizes)
    fill(tmp_path, [f"data/clips/{number:05d}.mp4" for number in range(1, 9172)])
    with pytest.raises(ManifestError, match=r"1 of 9,172 files of `mafw` are missing, the first is .*09172.mp4"):
        from_mafw(tmp_path)
    assert (from_mafw(tmp_path, check_counts=False).table["problem"] == "missing file").sum() == 1
