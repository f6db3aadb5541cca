import logging
from pathlib import Path

import pytest

from cimeu.corpora.adapters.mer import COUNTS, from_mer
from cimeu.errors import ManifestError


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def mer2023(fill, tmp_path: Path) -> Path:
    fill(tmp_path, ["mer2023train/train/sample_00002721.avi", "mer2023train/train/._sample_00002721.avi"])
    fill(tmp_path, ["test1/sample_1.avi", "test2/sample_2.mp4", "mer2023train/test3/samplenew_3.mp4"])
    written(tmp_path / "mer2023train" / "train-label.csv", "name,discrete,valence\nsample_00002721,worried,-1.5\n")
    written(tmp_path / "test-labels" / "test1-label.csv", "name,discrete,valence\nsample_1,angry,-3.2\n")
    written(tmp_path / "test-labels" / "test3-label.csv", "name,discrete,valence\nsamplenew_3,happy,-10\n")
    return tmp_path


def test_three_tests_of_2023_have_their_names_and_hidden_labels_stay_hidden(mer2023: Path) -> None:
    table = from_mer(mer2023, check_counts=False).table
    assert table[["corpus", "emotion", "valence", "split", "part", "unlabelled"]].to_numpy().tolist() == [
        ["mer2023", "worry", "-1.5", "train", "", ""],
        ["mer2023", "anger", "-3.2", "test", "MULTI", ""],
        ["mer2023", "", "", "test", "NOISE", "hidden"],
        ["mer2023", "happiness", "", "test", "SEMI", ""],
    ]
    assert set(table["problem"]) == {""}


def test_2024_hides_the_labels_of_its_unlabelled_videos(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["video-labeled/samplenew3_1.mp4", "video-unlabeled-with-test2noise/samplenew3_2.mp4"])
    written(tmp_path / "label-disdim.csv", "name,discrete,valence\nsamplenew3_1,neutral,0\n")
    written(tmp_path / "label-transcription.csv", "name,chinese,english\nsamplenew3_1,好,fine\n")
    table = from_mer(tmp_path, check_counts=False).table
    assert table[["corpus", "emotion", "split", "unlabelled", "text_en"]].to_numpy().tolist() == [
        ["mer2024", "neutral", "train", "", "fine"],
        ["mer2024", "", "test", "hidden", ""],
    ]


def test_candidates_of_2025_without_a_file_keep_their_row(fill, tmp_path: Path) -> None:
    fill(tmp_path, ["video/a.mp4", "video/b.mp4"])
    written(tmp_path / "track1_train_disdim.csv", "name,discrete,valence\na,sad,-2\n")
    written(tmp_path / "track_all_candidates.csv", "name\nb\nc\n")
    table = from_mer(tmp_path, check_counts=False).table
    assert table[["clip_id", "emotion", "problem"]].to_numpy().tolist() == [
        ["video/a", "sadness", ""],
        ["video/b", "", ""],
        ["video/c", "", "missing file"],
    ]


def test_the_counts_of_each_year_are_expected_and_add_up_to_the_next_training_set(mer2023: Path) -> None:
    with pytest.raises(ManifestError, match=r"split train: 3,373 expected, 1 found; split test: 1,657 expected, 3"):
        from_mer(mer2023)
    assert sum(COUNTS["mer2023"].values()) == COUNTS["mer2024"]["split train"]


def test_counts_that_were_derived_are_a_warning(fill, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    fill(tmp_path, ["video-labeled/a.mp4"])
    written(tmp_path / "label-disdim.csv", "name,discrete,valence\na,neutral,0\n")
    with pytest.raises(ManifestError, match="split train: 5,030 expected, 1 found"):
        from_mer(tmp_path)
    assert "neutral: 1,248 expected, 1 found (this count was never checked against the release)" in caplog.text


def test_another_folder_shows_the_three_layouts(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"no MER2023, MER2024 or MER2025 at .*\n\nhint: expected `train-label.csv`"
    ):
        from_mer(tmp_path)
