"""The card says who was trained on, how well it does for whom, and what it is not for."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from cimeu.corpora.folds import Fold
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.experiments.card import model_card
from cimeu.experiments.recipe import load_recipe
from cimeu.inference.timeline import USE_LIMITS
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.network import CiMEU, Specifications

EMOTIONS = ("anger", "sadness")
SAID = Specifications(
    emotions=EMOTIONS, first_encoder={"name": "hog"}, second_encoder={"name": "spectral"}, corpora=["one", "two"]
)
FOLD = Fold("east", ("a", "b", "c"), ("d",), ("e", "f", "g"), speakers_known=True, note="")
TABLE = pd.DataFrame(
    [
        ("d", "validation", "anger", "west", "f", 0.9, 0.1),
        ("e", "test", "anger", "east", "f", 0.8, 0.2),
        ("f", "test", "sadness", "east", "m", 0.4, 0.6),
        ("g", "test", "sadness", "east", "", 0.7, 0.3),
        ("h", "test", "sadness", "east", "m", None, None),
    ],
    columns=["clip_id", "part", "emotion", "culture", "gender", "fused.anger", "fused.sadness"],
)


@pytest.fixture
def card(recipe_file: Path):
    recipe = load_recipe(recipe_file)
    streams = {"first": StreamConfig(width=4), "second": StreamConfig(width=3)}

    def write(said: Specifications = SAID, fold: Fold = FOLD, table: pd.DataFrame = TABLE) -> str:
        model = CiMEU(ModelConfig(emotions=EMOTIONS, size="tiny", **streams), said)
        return model_card(recipe, fold, EnsembleSettings(mu=0.25, selection="validation"), table, model)

    return write


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: least\ndata: {root: r}\nstreams: {first: {encoder: hog}}\nfolds: {}\ntraining: {}\n")
    return path


def test_the_limits_of_use_stand_at_the_top(card) -> None:
    assert card().splitlines()[4] == USE_LIMITS


def test_a_synthetic_model_is_called_a_demonstration(card) -> None:
    assert "Trained on synthetic clips: a demonstration" in card(replace(SAID, synthetic=True))


def test_a_model_of_real_clips_is_not_called_synthetic(card) -> None:
    assert "synthetic" not in card()


def test_uar_counts_a_clip_that_cannot_be_used_as_wrong(card) -> None:
    wrong_or_missing = balanced_accuracy_score(
        ["anger", "sadness", "sadness", "sadness"], [*("anger", "sadness"), *("anger", "anger")]
    )
    assert f"| all | {100 * wrong_or_missing:.1f} | 4 |" in card()


def test_every_group_of_the_test_clips_has_its_row(card) -> None:
    rows = [line for line in card().splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == ["| all", "| culture east", "| gender f", "| gender m"]


def test_validation_clips_are_no_result(card) -> None:
    assert "culture west" not in card()


def test_it_says_what_the_model_is_made_of(card) -> None:
    text = card()
    for fact in ("- Emotions: anger, sadness", "- Streams: hog and spectral", "- Trained on 3 clips of one, two"):
        assert fact in text
    assert "- Held out: east (speaker-independent)" in text
    assert "chosen on validation clips: mu 0.25" in text


def test_unknown_speakers_are_said(card) -> None:
    assert "- Speakers: speakers unknown" in card(fold=replace(FOLD, speakers_known=False, note="speakers unknown"))
    assert "- Speakers: disjoint in training, validation and test" in card()
