import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from cimeu.corpora.adapters.affwild2 import EMOTIONS as ABAW
from cimeu.corpora.manifest import HIDDEN, UNLABELLED, Manifest, build_manifest, read_manifest
from cimeu.errors import OutputError, RecipeError
from cimeu.experiments.run_folder import read_run
from cimeu.experiments.submit import BLEMORE_CODES, FORMS, Answered, submit

HIDDEN_CLIPS = 5


@pytest.fixture
def run(toy, tmp_path: Path) -> Path:
    """A finished run whose manifest also holds clips without a label: recordings of others under names of their own."""
    table = read_manifest(toy.manifest).table
    hidden = table.head(HIDDEN_CLIPS).copy()
    for number, path in enumerate(hidden["path"]):
        (tmp_path / f"test_{number:04}.mp4").symlink_to(toy.manifest.parent / path)
    hidden = hidden.assign(
        path=[str(tmp_path / f"test_{number:04}.mp4") for number in range(HIDDEN_CLIPS)],
        clip_id=[f"test_{number:04}" for number in range(HIDDEN_CLIPS)],
        emotion="",
        **{UNLABELLED: HIDDEN},
    )
    whole = pd.concat([table.assign(**{UNLABELLED: ""}), hidden])
    whole["path"] = [str(toy.manifest.parent / path) for path in whole["path"]]
    whole.to_csv(tmp_path / "manifest.csv", index=False)
    folder = tmp_path / "run"
    folder.mkdir()
    for entry in toy.run.iterdir():
        if entry.name != "recipe.yaml":
            (folder / entry.name).symlink_to(entry)
    recipe = yaml.safe_load((toy.run / "recipe.yaml").read_text())
    recipe["data"] |= {"manifest": str(tmp_path / "manifest.csv"), "root": None}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def test_every_clip_without_a_label_is_answered_as_its_labelled_twin(run: Path, toy, tmp_path: Path) -> None:
    submit([run], "table", tmp_path / "answers.csv")
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert list(answers["clip_id"]) == [f"test_{number:04}" for number in range(HIDDEN_CLIPS)]
    assert answers.filter(like="fused.").sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    predictions = pd.read_csv(toy.run / "predictions.csv").set_index("clip_id")
    twins = read_manifest(toy.manifest).table["clip_id"].head(HIDDEN_CLIPS)
    scored = [(row, twin) for row, twin in enumerate(twins) if twin in predictions.index]
    assert scored
    for row, twin in scored:
        for column in answers.filter(like="fused."):
            assert answers.loc[row, column] == pytest.approx(predictions.loc[twin, column], abs=2e-3)


def test_two_runs_answer_with_the_mean(run: Path, tmp_path: Path) -> None:
    one, two = (submit(runs, "table", tmp_path / f"{len(runs)}.csv") for runs in ([run], [run, run]))
    np.testing.assert_allclose(one.probabilities, two.probabilities)


def test_mer_reads_names_and_its_own_words(run: Path, tmp_path: Path) -> None:
    submit([run], "mer", tmp_path / "submission.csv")
    rows = pd.read_csv(tmp_path / "submission.csv")
    assert list(rows.columns) == ["name", "discrete"]
    assert rows["name"].iloc[0] == "test_0000"
    assert set(rows["discrete"]) <= {"angry", "happy", "neutral", "sad"}


def test_runs_of_other_emotions_are_no_submission_to_blemore(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not the emotions of BLEMORE"):
        submit([run], "blemore", tmp_path / "submission.json")


def test_blemore_reads_saliences_whose_thresholds_come_from_the_tests_of_the_runs(run: Path, tmp_path: Path) -> None:
    emotions = tuple(BLEMORE_CODES.values())
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["data"]["labels"] = "blemore"
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    clips = read_manifest(tmp_path / "manifest.csv")
    tested = list(clips.table["clip_id"][:3])
    # One emotion, an even blend and an uneven one, which the scores tell apart by wide margins.
    truth = np.array([[100, 0, 0, 0, 0, 0], [50, 50, 0, 0, 0, 0], [70, 0, 30, 0, 0, 0]])
    scores = np.array([[0.9, 0.1, 0, 0, 0, 0], [0.5, 0.49, 0.01, 0, 0, 0], [0.65, 0, 0.35, 0, 0, 0]])
    table = pd.read_csv(tmp_path / "manifest.csv", dtype=str, keep_default_na=False)
    for emotion, saliences in zip(emotions, truth.T, strict=True):
        votes = dict(zip(tested, saliences, strict=True))
        table[f"votes_{emotion}"] = [votes.get(clip_id, 0) for clip_id in clips.table["clip_id"]]
    table.to_csv(tmp_path / "manifest.csv", index=False)
    columns = {f"fused.{emotion}": scores[:, k] for k, emotion in enumerate(emotions)}
    predictions = pd.DataFrame({"clip_id": tested, "part": "test", **columns})
    answered = Answered(clips.select(tested), emotions, scores, 0)
    of_run = replace(read_run(run), emotions=emotions, predictions=predictions)
    rows = json.loads(FORMS["blemore"](answered, [of_run]))
    assert list(rows.values()) == [
        [{"emotion": "ang", "salience": 100.0}],
        [{"emotion": "ang", "salience": 50.0}, {"emotion": "disg", "salience": 50.0}],
        [{"emotion": "ang", "salience": 70.0}, {"emotion": "fea", "salience": 30.0}],
    ]


def test_a_manifest_without_hidden_labels_is_refused(toy, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no clip whose label is hidden[^\0]*`hidden` in the column `unlabelled`"):
        submit([toy.run], "table", tmp_path / "answers.csv")


def test_an_unknown_format_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match="unknown format `abaw`\n\nhint: one of table, blemore, mer, abaw-expr, abaw-va, msp"
    ):
        submit([tmp_path / "none"], "abaw", tmp_path / "x")


def test_a_file_of_somebody_else_is_kept(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"mine\.csv"):
        submit([run], "table", tmp_path / "mine.csv")


def hidden_frames(tmp_path: Path, stretches: list[tuple[str, int, int]]) -> Manifest:
    """Stretches of frames of videos without a label, as `cimeu prepare affwild2` lists them."""
    rows = [
        {
            "clip_id": f"{video}@{first}-{last}",
            "path": f"{video}.mp4",
            "emotion": "",
            UNLABELLED: HIDDEN,
            "video": video,
            "first_frame": str(first),
            "last_frame": str(last),
        }
        for video, first, last in stretches
    ]
    return build_manifest(pd.DataFrame(rows), tmp_path)


def test_abaw_gets_valence_and_arousal_of_every_frame_between_the_middles_of_stretches(tmp_path: Path) -> None:
    manifest = hidden_frames(tmp_path, [("b", 1, 2), ("a_left", 4, 6), ("a_left", 1, 3)])
    values = np.array([[0.5, -0.5], [0.6, 0.0], [0.0, 0.3]])
    scales = {"arousal": (-1.0, 1.0), "valence": (-1.0, 1.0)}
    answered = Answered(manifest, ABAW, np.full((3, 8), 0.125), 0, scales, values[:, ::-1])
    assert FORMS["abaw-va"](answered, []).splitlines() == [
        "image_location,valence,arousal",
        "a_left/00001.jpg,0.0,0.3",
        "a_left/00002.jpg,0.0,0.3",
        "a_left/00003.jpg,0.2,0.2",
        "a_left/00004.jpg,0.4,0.1",
        "a_left/00005.jpg,0.6,0.0",
        "a_left/00006.jpg,0.6,0.0",
        "b/00001.jpg,0.5,-0.5",
        "b/00002.jpg,0.5,-0.5",
    ]


def test_abaw_gets_the_number_of_an_emotion_for_every_frame(tmp_path: Path) -> None:
    manifest = hidden_frames(tmp_path, [("a", 1, 2), ("a", 3, 4)])
    scores = np.full((2, 8), 0.02)
    scores[0, ABAW.index("happiness")] = scores[1, ABAW.index("others")] = 0.86
    assert FORMS["abaw-expr"](Answered(manifest, ABAW, scores, 0), []).splitlines() == [
        "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
        "a/00001.jpg,4",
        "a/00002.jpg,4",
        "a/00003.jpg,7",
        "a/00004.jpg,7",
    ]


def test_a_video_with_a_gap_is_no_submission(tmp_path: Path) -> None:
    manifest = hidden_frames(tmp_path, [("a", 1, 2), ("a", 4, 5)])
    with pytest.raises(RecipeError, match="the stretches of video `a` leave frames out or share some"):
        FORMS["abaw-expr"](Answered(manifest, ABAW, np.full((2, 8), 0.125), 0), [])


def test_valence_on_another_scale_is_no_submission_to_abaw(tmp_path: Path) -> None:
    manifest = hidden_frames(tmp_path, [("a", 1, 2)])
    scales = {"valence": (1.0, 7.0), "arousal": (1.0, 7.0)}
    answered = Answered(manifest, ABAW, np.full((1, 8), 0.125), 0, scales, np.full((1, 2), 4.0))
    with pytest.raises(
        RecipeError, match=r"the runs give no `valence` from -1 to 1\n\nhint: train with data\.continuous"
    ):
        FORMS["abaw-va"](answered, [])


def test_msp_podcast_gets_letters_and_attributes_in_its_own_order(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["MSP-PODCAST_test3_0001.wav"], "emotion": [""], UNLABELLED: [HIDDEN]})
    manifest = build_manifest(table, tmp_path)
    emotions, scores = ("anger", "contempt"), np.array([[0.2, 0.8]])
    scales = dict.fromkeys(("valence", "arousal", "dominance"), (1.0, 7.0))
    answered = Answered(manifest, emotions, scores, 0, scales, np.array([[2.5, 4.0, 6.0]]))
    assert FORMS["msp"](answered, []).splitlines() == [
        "FileName,EmoClass,EmoAct,EmoVal,EmoDom",
        "MSP-PODCAST_test3_0001.wav,C,4.0,2.5,6.0",
    ]
    labels_alone = Answered(manifest, emotions, scores, 0)
    assert FORMS["msp"](labels_alone, []).splitlines() == ["FileName,EmoClass", "MSP-PODCAST_test3_0001.wav,C"]
    with pytest.raises(RecipeError, match="`calm` is no class of MSP-Podcast"):
        FORMS["msp"](replace(labels_alone, emotions=("anger", "calm")), [])
