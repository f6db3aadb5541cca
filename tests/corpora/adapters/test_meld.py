from pathlib import Path

import pytest

from cimeu.corpora.adapters.layout import checked
from cimeu.corpora.adapters.meld import from_meld
from cimeu.corpora.folds import FoldsConfig, make_folds
from cimeu.errors import FoldLeak, ManifestError

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


@pytest.fixture
def meld(fill, tmp_path: Path) -> Path:
    """Two utterances of the same numbers in each part."""
    for part, folder in FOLDERS.items():
        (tmp_path / f"{part}_sent_emo.csv").write_bytes(
            HEADER.encode()
            + b'1,"It\x92s me, really",Monica,joy,positive,0,0,8,21,"00:16:16,059","00:16:21,731"\n'
            + b"2,Oh no,All,anger,negative,0,1,8,21,x,y\n"
        )
        fill(tmp_path, [f"{folder}/dia0_utt0.mp4", f"{folder}/dia0_utt1.mp4"])
    return tmp_path


def test_the_same_number_in_another_part_is_another_clip(meld: Path) -> None:
    table = from_meld(meld, check_counts=False).table
    assert list(table["clip_id"][::2]) == [f"{folder}/dia0_utt0" for folder in FOLDERS.values()]
    assert list(table["split"][::2]) == ["train", "validation", "test"]


def test_joy_is_happiness_and_a_crowd_is_no_speaker(meld: Path) -> None:
    table = from_meld(meld, check_counts=False).table
    assert list(table["emotion"][:2]) == ["happiness", "anger"]
    assert list(table["speaker"][:2]) == ["meld_Monica", ""]
    assert list(table["gender"][:2]) == ["f", ""]


def test_the_published_split_is_refused_because_it_shares_people(meld: Path) -> None:
    with pytest.raises(FoldLeak, match=r"speaker `meld_Monica` is in both"):
        make_folds(from_meld(meld, check_counts=False), FoldsConfig(protocol="official"))


def test_the_published_split_is_used_where_the_recipe_allows_shared_people(meld: Path) -> None:
    config = FoldsConfig(protocol="official", allow_shared_speakers=True)
    (fold,) = make_folds(from_meld(meld, check_counts=False), config)
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (2, 2, 2)
    assert fold.note == "speakers unknown for 3 of 6 clips; speakers shared: 1 of 1 test speakers are trained on"


def test_a_part_says_what_was_expected_and_found(meld: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"clips: 13,708 expected, 6 found.*split validation: 1,109 expected, 2 found"
    ):
        from_meld(meld)


def test_a_missing_folder_is_named(meld: Path) -> None:
    for path in (meld / "dev_splits_complete").iterdir():
        path.unlink()
    with pytest.raises(ManifestError, match=r"no `dev_splits_complete` below"):
        from_meld(meld, check_counts=False)


def test_the_clip_that_was_never_released_says_so_in_its_part_only(meld: Path) -> None:
    for part in ("train", "dev"):
        with (meld / f"{part}_sent_emo.csv").open("a") as table:
            table.write('3,Gone,Ross,sadness,negative,110,7,8,21,"x","y"\n')
    manifest = from_meld(meld, check_counts=False)
    assert list(manifest.table["problem"]) == ["", "", "missing file", "", "", "never released", "", ""]
    with pytest.raises(
        ManifestError, match=r"1 of 8 files of `meld` are missing, the first is .*train_splits/dia110_utt7"
    ):
        checked(manifest, {})
