"""Any system's predictions, scored by the rules of the project."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from cimeu.errors import FoldLeak, ManifestError, RecipeError, UnknownLabel
from cimeu.reports.scoring import score_predictions, score_table, write_score

EMOTIONS = ("anger", "neutral", "sadness")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """60 clips of 10 speakers in two cultures."""
    rows = [
        {"clip_id": f"c{clip:02}", "path": f"c{clip:02}.wav", "emotion": EMOTIONS[clip % 3], "corpus": "little"}
        | {"speaker": f"s{clip // 6}", "culture": "ab"[clip // 30]}
        for clip in range(60)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path / "manifest.csv"


def said(right: int) -> dict[str, str]:
    """A label for every clip, the first `right` of each culture rightly."""
    return {f"c{clip:02}": EMOTIONS[(clip + (clip % 30 >= right)) % 3] for clip in range(60)}


def labels(path: Path, told: dict[str, str]) -> Path:
    pd.DataFrame({"clip_id": list(told), "label": list(told.values())}).to_csv(path, index=False)
    return path


def test_labels_are_scored_as_scikit_learn_does_in_each_group(manifest: Path, tmp_path: Path) -> None:
    told = said(20)
    score = score_predictions(labels(tmp_path / "p.csv", told), manifest)
    by_group = [
        balanced_accuracy_score([EMOTIONS[clip % 3] for clip in clips], [told[f"c{clip:02}"] for clip in clips])
        for clips in (range(30), range(30, 60))
    ]
    assert score.mean["uar"].value == pytest.approx(np.mean(by_group))
    assert [score.groups[name]["uar"].value for name in "ab"] == pytest.approx(by_group)
    assert (score.n_clips, score.n_missing, score.n_speakers, score.speakers_known) == (60, 0, 10, True)


def test_probabilities_and_the_labels_they_amount_to_score_the_same(manifest: Path, tmp_path: Path) -> None:
    told = said(17)
    table = pd.DataFrame(
        {"clip_id": list(told), **{n: [0.8 if x == n else 0.1 for x in told.values()] for n in EMOTIONS}}
    )
    table.to_csv(tmp_path / "shares.csv", index=False)
    shares = score_predictions(tmp_path / "shares.csv", manifest)
    assert shares.mean == score_predictions(labels(tmp_path / "p.csv", told), manifest).mean
    assert shares.calibration_error is not None


def test_a_clip_without_an_answer_is_wrong_and_a_foreign_one_is_ignored(manifest: Path, tmp_path: Path) -> None:
    told = {clip: label for clip, label in said(30).items() if clip not in ("c00", "c31")} | {"zz": "anger", "c05": ""}
    score = score_predictions(labels(tmp_path / "p.csv", told), manifest)
    assert (score.n_missing, score.n_ignored) == (3, 1)
    assert score.mean["war"].value == pytest.approx((28 / 30 + 29 / 30) / 2)
    assert "3 without an answer (wrong)" in score_table(score).notes[0]


def test_the_predictions_of_a_run_are_scored_on_their_test_clips(toy) -> None:
    score = score_predictions(toy.run / "predictions.csv", toy.manifest)
    tested = pd.read_csv(toy.run / "predictions.csv")["part"].value_counts()["test"]
    assert score.n_clips - score.n_missing == tested
    assert score.groups["east"]["uar"].value > 0
    assert score.groups["north"]["war"].value == 0  # not answered in this fold


def test_a_better_system_is_told_from_a_worse_one_on_the_same_draws(manifest: Path, tmp_path: Path) -> None:
    better, worse = labels(tmp_path / "better.csv", said(28)), labels(tmp_path / "worse.csv", said(12))
    score = score_predictions(better, manifest, against=worse)
    assert score.difference is not None
    assert score.p is not None
    assert score.improved is not None
    assert score.difference["war"].value == pytest.approx(16 / 30)
    assert score.improved["war"] == 2
    back = score_predictions(worse, manifest, against=better).difference
    assert back is not None
    assert back["uar"].value == pytest.approx(-score.difference["uar"].value)
    assert back["uar"].low == pytest.approx(-(score.difference["uar"].high or 0))


def test_all_forms_are_written_and_say_the_same(manifest: Path, tmp_path: Path) -> None:
    score = score_predictions(
        labels(tmp_path / "p.csv", said(20)), manifest, against=labels(tmp_path / "q.csv", said(9))
    )
    paths = write_score(score, tmp_path / "out")
    assert [path.name for path in paths] == ["score.json", "score.csv", "score.html"]
    stored = json.loads(paths[0].read_text())
    assert stored["mean"]["uar"]["value"] == score.mean["uar"].value
    rows = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert [row["culture"] for row in rows] == ["a", "b", "mean", "minus the other", "p", "better in"]
    assert rows[2]["UAR [95 %]"] in paths[2].read_text()


def test_speakers_that_are_not_known_are_told(manifest: Path, tmp_path: Path) -> None:
    table = pd.read_csv(manifest)
    table.loc[table["culture"] == "b", "speaker"] = ""
    table.to_csv(manifest, index=False)
    score = score_predictions(labels(tmp_path / "p.csv", said(20)), manifest)
    assert not score.speakers_known
    assert any("too narrow" in note for note in score_table(score).notes)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("clip,label\nc00,anger\n", RecipeError, "has no column `clip_id`\n\nhint: its columns are clip, label"),
        ("clip_id,label\nc00,anger\nc00,anger\n", RecipeError, "answers clip `c00` twice"),
        ("clip_id,said\nc00,anger\n", RecipeError, "has neither `label` nor `anger`"),
        ("clip_id,label\nc00,fury\n", UnknownLabel, "emotion `fury` is not in the label space"),
    ],
)
def test_a_table_that_cannot_be_scored_is_told(
    manifest: Path, tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(error, match=message):
        score_predictions(tmp_path / "p.csv", manifest)


@pytest.mark.parametrize("cell", ["high", "inf", "-inf", "nan"])
def test_a_probability_that_is_no_number_is_refused(manifest: Path, tmp_path: Path, cell: str) -> None:
    (tmp_path / "p.csv").write_text(f"clip_id,anger,neutral,sadness\nc00,0.5,{cell},0.1\n")
    with pytest.raises(RecipeError, match=f"holds `{cell}` as a probability\n\nhint: numbers, or nothing"):
        score_predictions(tmp_path / "p.csv", manifest, labels=EMOTIONS)


def test_an_emotion_with_a_cell_that_is_no_number_stays_in_the_label_space(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("clip_id,anger,neutral,sadness\nc00,nan,0.2,0.1\nc01,0.1,0.8,0.1\n")
    with pytest.raises(RecipeError, match="holds `nan` as a probability"):
        score_predictions(tmp_path / "p.csv", manifest)
    (tmp_path / "p.csv").write_text("clip_id,anger,neutral,sadness\nc00,,0.2,0.1\nc01,,0.8,0.1\n")
    score = score_predictions(tmp_path / "p.csv", manifest)
    assert (score.emotions, score.n_clips, score.n_missing, score.n_outside) == (EMOTIONS, 60, 60, 0)


@pytest.mark.parametrize(
    ("renamed", "hint"),
    [
        (lambda name: name.lstrip("0"), "a table program has dropped leading zeros: import the column as text"),
        (lambda name: f"{name}.wav", "a clip_id has no suffix of a file: write `clip`, not `clip.wav`"),
        (lambda name: f"x{name}", "take the column clip_id of the manifest"),
    ],
)
def test_answers_on_no_clip_of_the_manifest_are_an_error(
    tmp_path: Path, renamed: Callable[[str], str], hint: str
) -> None:
    names = ["0001", "0002", "0003"]
    table = pd.DataFrame({"clip_id": names, "path": [f"{n}.wav" for n in names], "emotion": ["anger", "sad", "anger"]})
    table.to_csv(tmp_path / "m.csv", index=False)
    answers = labels(tmp_path / "p.csv", {renamed(name): "anger" for name in names})
    with pytest.raises(RecipeError, match=r"no clip_id of .* against `0001`, `0002`, `0003`\n") as error:
        score_predictions(answers, tmp_path / "m.csv")
    assert str(error.value).endswith(f"hint: {hint}")


def test_clips_that_no_answer_meets_are_named(manifest: Path, tmp_path: Path) -> None:
    told = {clip: label for clip, label in said(30).items() if clip not in ("c00", "c31")} | {"zz": "anger"}
    score = score_predictions(labels(tmp_path / "p.csv", told), manifest)
    assert (score.missing, score.ignored) == (("c00", "c31"), ("zz",))
    notes = " ".join(score_table(score).notes)
    assert "2 without an answer (wrong): `c00`, `c31`. Percent" in notes
    assert "1 answers are on clips that the manifest lacks: `zz`." in notes


def test_predictions_are_read_as_table_programs_save_them(manifest: Path, tmp_path: Path) -> None:
    table = pd.DataFrame({"clip_id": list(said(17)), "label": list(said(17).values())})
    shares = pd.DataFrame({name: [0.75 if x == name else 0.125 for x in table["label"]] for name in EMOTIONS})
    pd.concat([table[["clip_id"]], shares], axis=1).to_csv(
        tmp_path / "german.csv", index=False, sep=";", decimal=",", encoding="utf-8-sig"
    )
    shares.map(lambda share: str(share).replace(".", ",")).assign(clip_id=table["clip_id"]).to_csv(
        tmp_path / "quoted.csv", index=False
    )
    plain = score_predictions(labels(tmp_path / "p.csv", said(17)), manifest)
    for name in ("german", "quoted"):
        found = score_predictions(tmp_path / f"{name}.csv", manifest)
        assert found.mean == plain.mean
        assert found.calibration_error is not None


def test_a_missing_table_or_group_is_told(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no predictions at `.*none\.csv`"):
        score_predictions(tmp_path / "none.csv", manifest)
    with pytest.raises(ManifestError, match="manifest without a column `tribe`"):
        score_predictions(labels(tmp_path / "p.csv", said(9)), manifest, group="tribe")


def test_no_clip_of_the_label_space_is_told(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no clip shows one of fear, disgust; they show anger, neutral, sadness"):
        score_predictions(labels(tmp_path / "p.csv", said(9)), manifest, labels=["fear", "disgust"])


def test_answers_on_clips_that_were_trained_on_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.wav").write_bytes(name.encode())
    (tmp_path / "again.wav").write_bytes(b"a")
    (tmp_path / "tested.csv").write_text("path,emotion\nagain.wav,anger\nb.wav,sad\n")
    (tmp_path / "trained.csv").write_text("path,emotion\na.wav,anger\nc.wav,sad\n")
    answers = labels(tmp_path / "p.csv", {"again": "anger", "b": "sadness"})
    with pytest.raises(FoldLeak, match=r"1 of 2 clips hold recordings that .* was trained on: `again` \(there `a`\)"):
        score_predictions(answers, tmp_path / "tested.csv", trained_on=tmp_path / "trained.csv")
    unanswered = labels(tmp_path / "q.csv", {"b": "sadness"})
    score_predictions(unanswered, tmp_path / "tested.csv", trained_on=tmp_path / "trained.csv")


def test_clips_that_only_one_side_has_are_counted_and_named(manifest: Path, tmp_path: Path) -> None:
    told = {clip: label.replace("sadness", "neutral") for clip, label in said(20).items()}
    other = {clip: label for clip, label in told.items() if clip != "c07"}
    score = score_predictions(
        labels(tmp_path / "p.csv", told),
        manifest,
        against=labels(tmp_path / "other.csv", other),
        labels=["anger", "neutral"],
    )
    notes = score_table(score).notes
    assert f"`{tmp_path / 'other.csv'}` leaves 1 clips without an answer (wrong): `c07`." in notes
    assert "20 clips show sadness, which the label space lacks: left out." in notes
    assert score.n_ignored == 0
