from pathlib import Path

import pytest

from cimeu.corpora.adapters.blemore import from_blemore
from cimeu.errors import ManifestError

ROWS = (
    "filename,video_id,gender,mix,emotion_1,version,intensity_level,situation,emotion_2,emotion_1_salience,"
    "emotion_2_salience,fold\n"
    "A102_ang_int1_ver1,A102,f,0,ang,1,1.0,,,,,1\n"
    "A411_mix_hap_ang_30_70_ver1,A411,m,1,hap,1,,,ang,30.0,70.0,0\n"
    "A411_mix_ang_hap_50_50_ver1,A411,m,1,ang,1,,,hap,50,50,0\n"
    "A102_neu_sit1_ver1,A102,f,0,neu,1,,1.0,,,,1\n"
)


@pytest.fixture
def corpus(fill, tmp_path: Path) -> Path:
    names = [line.split(",")[0] for line in ROWS.splitlines()[1:]]
    fill(tmp_path, [f"train/{name}.mov" for name in names] + ["test/test_0001.mov", "test/._test_0001.mov"])
    (tmp_path / "train_metadata.csv").write_text(ROWS)
    return tmp_path


def test_a_blend_is_one_unordered_pair_with_its_saliences(corpus: Path) -> None:
    table = from_blemore(corpus, check_counts=False).table
    columns = ["emotion", "votes_anger", "votes_happiness", "votes_neutral", "blend", "speaker", "fold"]
    assert table[columns].to_numpy().tolist()[:4] == [
        ["anger", "100", "0", "0", "no", "blemore_A102", "1"],
        ["anger_happiness", "70", "30", "0", "yes", "blemore_A411", "0"],
        ["anger_happiness", "50", "50", "0", "yes", "blemore_A411", "0"],
        ["neutral", "0", "0", "100", "no", "blemore_A102", "1"],
    ]


def test_anonymous_test_clips_are_rows_without_label_fold_or_speaker(corpus: Path) -> None:
    last = from_blemore(corpus, check_counts=False).table.iloc[-1]
    assert last[["clip_id", "emotion", "unlabelled", "fold", "speaker", "problem"]].tolist() == [
        *("test/test_0001", "", "hidden", "", "", ""),
    ]


def test_test_clips_of_the_table_without_a_file_are_rows_too(corpus: Path) -> None:
    (corpus / "test_metadata.csv").write_text("filename\ntest_0001\ntest_0002\n")
    table = from_blemore(corpus, check_counts=False).table
    assert list(table["problem"][table["emotion"] == ""]) == ["", "missing file"]


def test_the_published_counts_are_expected(corpus: Path) -> None:
    with pytest.raises(ManifestError, match=r"clips: 3,050 expected, 5 found; unlabelled: 594 expected, 1 found"):
        from_blemore(corpus)


def test_the_code_of_disgust_has_four_letters(corpus: Path) -> None:
    path = corpus / "train_metadata.csv"
    path.write_text(path.read_text().replace(",neu,", ",dis,"))
    with pytest.raises(ManifestError, match=r"`A102_neu_sit1_ver1` of .* has the emotion `dis`\n\nhint: .*disg"):
        from_blemore(corpus, check_counts=False)
