from pathlib import Path

import pytest

from cimeu.corpora.adapters.affwild2 import from_affwild2
from cimeu.errors import ManifestError

HEADING = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n"


@pytest.fixture
def corpus(fill, tmp_path: Path) -> Path:
    """Videos of five frames at 25 a second, one of them of two people, and one without annotation."""
    fill(tmp_path, ["batch1/one.mp4", "batch2/two.mp4", "new_vids/three.mp4", "batch1/._one.mp4"])
    fill(tmp_path, ["cropped_aligned/one/00001.jpg", "cropped_aligned/one/00003.jpg"])
    labels = tmp_path / "6th ABAW Annotations"
    expr, va = labels / "EXPR_Recognition_Challenge", labels / "VA_Estimation_Challenge"
    for part in ("Train_Set", "Validation_Set"):
        (expr / part).mkdir(parents=True)
        (va / part).mkdir(parents=True)
    (expr / "Train_Set" / "one.txt").write_text(HEADING + "4\n4\n-1\n7\n7\n")
    (expr / "Train_Set" / "two_left.txt").write_text(HEADING + "0\n0\n0\n0\n0\n")
    (expr / "Validation_Set" / "two_right.txt").write_text(HEADING + "1\n1\n1\n1\n1\n")
    (expr / "Train_Set" / "._one.txt").write_bytes(b"\x00\x05")
    (va / "Train_Set" / "one.txt").write_text("valence,arousal\n0.5,0.1\n-5,-5\n0.3,0.3\n0.3,0.3\n0.3,0.3\n")
    return tmp_path


def test_stretches_follow_the_labels_and_count_every_frame(corpus: Path) -> None:
    table = from_affwild2(corpus, check_counts=False).table
    one = table[table["video"] == "one"]
    columns = ["emotion", "unlabelled", "first_frame", "last_frame", "start_s", "end_s"]
    assert one[columns].to_numpy().tolist() == [
        ["happiness", "", "1", "2", 0.0, 0.08],
        ["", "not annotated", "3", "3", 0.08, 0.12],
        ["others", "", "4", "5", 0.12, 0.2],
    ]
    assert set(table["problem"]) == {""}


def test_two_people_of_one_recording_are_one_group_and_share_its_video(corpus: Path) -> None:
    table = from_affwild2(corpus, check_counts=False).table
    two = table[table["recording"] == "two"]
    assert set(two["video"]) == {"two_left", "two_right"}
    assert set(two["speaker"]) == {"affwild2_two"}
    assert set(two["path"]) == {"batch2/two.mp4"}
    assert table["clip_id"].is_unique


def test_a_video_without_annotation_is_hidden_and_all_its_frames_are_there(corpus: Path) -> None:
    table = from_affwild2(corpus, check_counts=False).table
    three = table[table["video"] == "three"]
    assert three[["split", "unlabelled", "first_frame", "last_frame"]].to_numpy().tolist() == [
        ["test", "hidden", "1", "5"],
    ]


def test_frames_with_minus_five_are_left_out_of_the_mean(corpus: Path) -> None:
    table = from_affwild2(corpus, task="va", check_counts=False).table
    one = table[table["video"] == "one"].iloc[0]
    assert (one["valence"], one["arousal"], one["valid_frames"]) == ("0.3500", "0.2500", "4")
    assert one["emotion"] == ""


def test_both_tasks_make_one_table_whose_hidden_videos_are_there_once(corpus: Path) -> None:
    table = from_affwild2(corpus, task="both", check_counts=False).table
    assert table["clip_id"].is_unique
    one = table[table["video"] == "one"].set_index("clip_id")
    assert set(one.index) == {"one@1-2", "one@3-3", "one@4-5", "one@1-5:va"}
    assert one.loc["one@1-5:va", ["emotion", "valence", "unlabelled"]].tolist() == [
        "", "0.3500", "valence and arousal only",
    ]  # fmt: skip
    assert one.loc["one@1-2", ["emotion", "valence"]].tolist() == ["happiness", ""]
    assert set(one["speaker"]) == {"affwild2_one"}
    assert table["unlabelled"].tolist().count("hidden") == 1


def test_videos_that_were_never_counted_are_a_warning(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    from_affwild2(corpus)
    assert "`affwild2` expr: 248 videos of train expected, 2 found" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise\n1\n", "editions of seven classes are not read"),
        (HEADING + "1\n9\n", r"line 3 of `.*one.txt` is `9`"),
        (HEADING, "has no line of a frame"),
    ],
)
def test_other_annotations_are_named(corpus: Path, text: str, message: str) -> None:
    path = corpus / "6th ABAW Annotations" / "EXPR_Recognition_Challenge" / "Train_Set" / "one.txt"
    path.write_text(text)
    with pytest.raises(ManifestError, match=message):
        from_affwild2(corpus, check_counts=False)


def test_a_folder_without_annotations_shows_the_layout(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"no annotation of `va` below .*\n\nhint: .*VA_Estimation_Challenge/Train_Set"
    ):
        from_affwild2(tmp_path, task="va")
