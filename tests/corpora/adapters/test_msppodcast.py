from pathlib import Path

import pytest

from cimeu.corpora.adapters.msppodcast import RELEASES, from_msppodcast
from cimeu.errors import ManifestError

CONSENSUS = (
    "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1\n"
    "MSP-PODCAST_0002_0033.wav,X,5.2,1.0,5.6,Unknown,Female,Train\n"
    "MSP-PODCAST_0002_0039.wav,O,3.0,3.0,3.0,31,Female,Train\n"
    "MSP-PODCAST_1686_0137_0005.wav,C,3.0,3.0,3.0,32,Female,Development\n"
    "MSP-PODCAST_test3_0001.wav,X,4.0,4.0,4.0,Unknown,Unknown,Test3\n"
)
BY_RATER = (
    "FileName,WorkerID,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom\n"
    'MSP-PODCAST_0001_0008.wav,W1,Neutral,"Neutral,Sad",2,4,3\n'
    "MSP-PODCAST_0001_0008.wav,W2,Sad,Sad,2,4,3\n"
    "MSP-PODCAST_0001_0008.wav,W3,Other-bored,Other,2,4,3\n"
    "MSP-PODCAST_0001_0008.wav,W4,Neutral,Neutral,2,4,3\n"
)
AS_STRINGS = (
    "FileName,EmoDetail\n"
    'MSP-PODCAST_0001_0008.wav,"WORKER1; Neutral; Neutral,Confused; A:1; V:4; D:2;"\n'
    'MSP-PODCAST_0001_0008.wav,"WORKER2; Sad; Sad; A:1; V:4; D:2;"\n'
    'MSP-PODCAST_0001_0008.wav,"WORKER3; Neutral; Neutral; A:1; V:4; D:2;"\n'
)


def corpus(
    fill, root: Path, *, labels: str = "Labels", table: str = "labels_consensus.csv", detailed: str = ""
) -> Path:
    (root / labels).mkdir(parents=True)
    (root / labels / table).write_text(CONSENSUS)
    if detailed:
        (root / labels / "labels_detailed.csv").write_text(detailed)
    names = [line.split(",")[0] for line in CONSENSUS.splitlines()[1:]]
    return fill(root, [f"Audios/{name}" for name in names])


def test_x_o_and_hidden_turns_keep_their_row_without_a_label(fill, tmp_path: Path) -> None:
    table = from_msppodcast(corpus(fill, tmp_path), check_counts=False).table
    assert table[["emotion", "unlabelled", "split", "partition"]].to_numpy().tolist() == [
        ["neutral", "", "test", "Test1"],
        ["", "no agreement", "train", "Train"],
        ["", "other", "train", "Train"],
        ["contempt", "", "validation", "Development"],
        ["", "hidden", "test", "Test3"],
    ]


def test_attributes_come_as_activation_valence_dominance_and_a_dummy_of_test3_is_dropped(fill, tmp_path: Path) -> None:
    table = from_msppodcast(corpus(fill, tmp_path), check_counts=False).table
    assert table[["arousal", "valence", "dominance"]].to_numpy().tolist()[0] == ["2.2", "4.0", "2.6"]
    assert table[["arousal", "valence", "dominance"]].to_numpy().tolist()[-1] == ["", "", ""]


def test_speakers_are_numbers_or_unknown_and_the_podcast_is_the_second_field(fill, tmp_path: Path) -> None:
    table = from_msppodcast(corpus(fill, tmp_path), check_counts=False).table
    assert list(table["speaker"]) == ["msppodcast_30", "", "msppodcast_31", "msppodcast_32", ""]
    assert list(table["podcast"]) == ["0001", "0002", "0002", "1686", "test3"]


@pytest.mark.parametrize("detailed", [BY_RATER, AS_STRINGS], ids=["a row per rater", "strings"])
def test_votes_are_counted_in_both_shapes_without_other(fill, tmp_path: Path, detailed: str) -> None:
    table = from_msppodcast(corpus(fill, tmp_path, detailed=detailed), check_counts=False).table
    votes = table.iloc[0].filter(like="votes_")
    assert {name: count for name, count in votes.items() if count != "0"} == {
        "votes_neutral": "2",
        "votes_sadness": "1",
    }
    assert set(table.iloc[1].filter(like="votes_")) == {""}


@pytest.mark.parametrize(
    ("labels", "table"), [("Labels/Labels", "labels_consensus.csv"), ("label", "labels_concensus.csv")]
)
def test_doubled_folders_and_the_misspelt_name_are_read(fill, tmp_path: Path, labels: str, table: str) -> None:
    assert len(from_msppodcast(corpus(fill, tmp_path, labels=labels, table=table), check_counts=False)) == 5


def test_counts_are_those_of_the_nearest_release(fill, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"clips: 151,654 expected, 5 found; split train: 84,030 expected, 2 found"):
        from_msppodcast(corpus(fill, tmp_path))
    assert sum(RELEASES["1.11"][f"split {part}"] for part in ("train", "validation", "test")) == 151_654


def test_another_partition_is_named(fill, tmp_path: Path) -> None:
    root = corpus(fill, tmp_path)
    path = root / "Labels" / "labels_consensus.csv"
    path.write_text(path.read_text().replace("Development", "Dev"))
    with pytest.raises(ManifestError, match=r"is in `Dev` with the class `C`\n\nhint: expected Train, Development"):
        from_msppodcast(root, check_counts=False)
