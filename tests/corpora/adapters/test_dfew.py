from pathlib import Path

import pandas as pd
import pytest

from cimeu.corpora.adapters.dfew import COUNTS, EMOTIONS, from_dfew
from cimeu.corpora.folds import FoldsConfig, make_folds
from cimeu.errors import FoldLeak, ManifestError, UnknownLabel

VOTES = ("1happy", "2sad", "3neutral", "4angry", "5surprise", "6disgust", "7fear")


def lists(root: Path, labels: dict[str, str], fold_of: dict[str, int]) -> Path:
    for fold in range(1, 6):
        for part in ("train", "test"):
            path = root / "EmoLabel_DataSplit" / f"{part}(single-labeled)" / f"set_{fold}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [f"{clip},{label}" for clip, label in labels.items() if (fold_of[clip] == fold) == (part == "test")]
            path.write_text("\n".join(["video_name,label", *lines]) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """70 clips, fourteen a fold; some names with leading zeros."""
    clips = [f"{number:05d}" if number % 2 else str(number) for number in range(1, 71)]
    labels = {clip: str(index % 7 + 1) for index, clip in enumerate(clips)}
    return lists(tmp_path, labels, {clip: index // 14 + 1 for index, clip in enumerate(clips)})


def annotate(root: Path, changes: dict[str, list[int]] | None = None, columns: tuple[str, ...] = VOTES) -> None:
    """Votes in an order that is not that of the names."""
    rows = []
    for number in range(70, 0, -1):
        votes = [1] * 7
        votes[(number - 1) % 7] = 4
        rows.append([number, *(changes or {}).get(str(number), votes)])
    (root / "Annotation").mkdir()
    pd.DataFrame(rows, columns=["order", *columns]).to_excel(root / "Annotation" / "annotation.xlsx", index=False)


def test_a_whole_dfew_has_the_published_counts(fill, tmp_path: Path) -> None:
    labels = [label for label, emotion in EMOTIONS.items() for _ in range(COUNTS[emotion])]
    folds = [fold for fold in range(1, 6) for _ in range(COUNTS[f"fold {fold}"])]
    clips = [str(number) for number in range(1, 11_698)]
    lists(tmp_path, dict(zip(clips, labels, strict=True)), dict(zip(clips, folds, strict=True)))
    manifest = from_dfew(fill(tmp_path, [f"Clip/original/{clip}.mp4" for clip in clips]))
    assert len(manifest) == 11_697


def test_recordings_have_names_without_leading_zeros(small: Path, fill) -> None:
    fill(small, [f"Clip/original/{number}.mp4" for number in range(1, 71)])
    table = from_dfew(small, check_counts=False).table
    assert list(table["clip_id"][:2]) == ["Clip/original/1", "Clip/original/2"]
    assert set(table["problem"]) == {""}


def test_frames_are_in_folders_of_five_digits(small: Path, fill) -> None:
    fill(small, [f"Clip/clip_224x224/{number:05d}/00001.jpg" for number in range(1, 71)])
    table = from_dfew(small, check_counts=False).table
    assert table["path"].iloc[0] == "Clip/clip_224x224/00001"
    assert set(table["problem"]) == {""}


def test_labels_go_by_name(small: Path) -> None:
    emotions = list(from_dfew(small, check_counts=False).table["emotion"][:7])
    assert emotions == ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"]


def test_the_published_folds_are_used(small: Path, fill) -> None:
    fill(small, [f"Clip/original/{number}.mp4" for number in range(1, 71)])
    folds = make_folds(from_dfew(small, check_counts=False), FoldsConfig(protocol="official"))
    assert [len(fold.test) for fold in folds] == [14] * 5
    assert folds[0].note == "speakers unknown"


def test_votes_are_joined_by_name_not_by_row(small: Path) -> None:
    annotate(small)
    table = from_dfew(small, check_counts=False).table
    assert list(table["votes_happiness"][:3]) == ["4", "1", "1"]


def test_a_label_that_is_outvoted_is_an_error(small: Path) -> None:
    annotate(small, {"1": [0, 0, 0, 10, 0, 0, 0]})
    with pytest.raises(ManifestError, match=r"clip `1` of `dfew` is labelled happiness, but most .* chose anger"):
        from_dfew(small, check_counts=False)


def test_votes_in_another_order_are_refused(small: Path) -> None:
    annotate(small, columns=("1angry", "2disgust", "3fear", "4happy", "5neutral", "6sad", "7surprise"))
    with pytest.raises(ManifestError, match=r"counts votes for 1angry, 2disgust"):
        from_dfew(small, check_counts=False)


def test_a_clip_without_a_single_label_is_in_no_fold(small: Path) -> None:
    path = small / "EmoLabel_DataSplit" / "test(single-labeled)" / "set_1.csv"
    path.write_text(path.read_text() + "90,0\n")
    with pytest.raises(UnknownLabel, match=r"clip `90` of .* has the label `0`"):
        from_dfew(small, check_counts=False)


def test_a_clip_tested_twice_is_a_leak(small: Path) -> None:
    path = small / "EmoLabel_DataSplit" / "test(single-labeled)" / "set_2.csv"
    path.write_text(path.read_text() + "1,1\n")
    with pytest.raises(FoldLeak, match=r"clip `1` is in both train and test of fold 2"):
        from_dfew(small, check_counts=False)


def test_a_list_that_lacks_clips_is_not_the_published_one(small: Path) -> None:
    path = small / "EmoLabel_DataSplit" / "train(single-labeled)" / "set_2.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-3]) + "\n")
    with pytest.raises(ManifestError, match=r"fold 2 of `dfew` leaves out 3 clips"):
        from_dfew(small, check_counts=False)


def test_a_label_that_changes_between_lists_is_an_error(small: Path) -> None:
    path = small / "EmoLabel_DataSplit" / "train(single-labeled)" / "set_2.csv"
    path.write_text(path.read_text().replace("00001,1\n", "00001,2\n"))
    with pytest.raises(
        ManifestError, match=r"clip `1` is sadness in the training list of fold 2 .* happiness in its test"
    ):
        from_dfew(small, check_counts=False)


def test_a_part_says_what_was_expected_and_found(small: Path) -> None:
    with pytest.raises(ManifestError, match=r"clips: 11,697 expected, 70 found; happiness: 2,445 expected, 10 found"):
        from_dfew(small)


def test_without_openpyxl_the_way_out_is_shown(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    annotate(small)
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(ManifestError, match=r'without openpyxl\n\nhint: pip install "cimeu\[corpora\]"'):
        from_dfew(small, check_counts=False)
