"""A run of a rival is a model like any other: it is predicted with, explained, bundled, evaluated again, reported."""

from pathlib import Path

import pandas as pd
import pytest

from cimeu.corpora.manifest import read_manifest
from cimeu.errors import RecipeError
from cimeu.experiments.recipe import load_recipe
from cimeu.experiments.run import evaluate_run, run_recipe
from cimeu.inference.bundle import write_bundle
from cimeu.inference.explain import explain
from cimeu.inference.recogniser import Recogniser
from cimeu.reports.report import report


@pytest.fixture(scope="module", params=["linear", "erm"])
def run(request: pytest.FixtureRequest, toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("rivals")
    changes = [f"method={request.param}", f"output={output}", "training.epochs=1"]
    (folder,) = run_recipe(load_recipe(toy.recipe, changes))
    return folder


def test_a_rival_makes_a_timeline_with_reasons_and_so_does_its_bundle(
    run: Path, toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = read_manifest(toy.manifest).clips()[0].path
    recogniser = Recogniser.from_pretrained(run)
    timeline = recogniser(clip)
    scored = [segment for segment in timeline.segments if segment.scores]
    assert scored
    assert set(scored[0].scores) == {"anger", "happiness", "neutral", "sadness"}
    explanation = explain(recogniser, timeline, scored[0])
    assert explanation.streams
    assert len(explanation.neighbours) == 5
    monkeypatch.setenv("CIMEU_HOME", str(tmp_path / "home"))
    bundled = Recogniser.from_pretrained(write_bundle(run, tmp_path / "rival.zip"))(clip)
    assert [segment.scores for segment in bundled.segments] == [segment.scores for segment in timeline.segments]


def test_evaluating_a_rival_again_gives_the_same_predictions(run: Path) -> None:
    before = pd.read_csv(run / "predictions.csv")
    pd.testing.assert_frame_equal(pd.read_csv(evaluate_run(run) / "predictions.csv"), before)


def test_a_rival_is_reported(run: Path, tmp_path: Path) -> None:
    assert "fused" in report([run], tmp_path).with_suffix(".md").read_text()


def test_settings_of_a_rival_without_one_are_refused(toy) -> None:
    with pytest.raises(RecipeError, match="`method_settings` belong to a rival, and `method` is `cimeu`"):
        load_recipe(toy.recipe, ["method_settings.C=1"])
