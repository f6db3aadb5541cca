"""A run that was trained with supports keeps the rule, and answers with it as a bench does."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cimeu.bench.cell_runner import Answerer
from cimeu.bench.style_offset import answers_with_supports, draw_supports, support_protocols
from cimeu.evaluation.behind_rule import BehindRule
from cimeu.experiments.prepare import prepare
from cimeu.experiments.recipe import load_recipe
from cimeu.experiments.run import evaluate_run, run_recipe
from cimeu.experiments.run_folder import read_run
from cimeu.inference.model_folder import open_model_folder
from cimeu.model.classifier import Clip
from cimeu.training.episodes import SupportReader


@pytest.fixture(scope="module", params=["cimeu", "erm"])
def run(request: pytest.FixtureRequest, toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = [f"method={request.param}", f"output={tmp_path_factory.mktemp('supports')}", "evaluation.probes=false"]
    (folder,) = run_recipe(load_recipe(toy.recipe, [*changes, "training.epochs=1", "training.supports=true"]))
    return folder


def test_the_rule_in_a_run_answers_test_clips_as_a_bench_does(run: Path) -> None:
    prepared, fold = prepare(load_recipe(run / "recipe.yaml")), read_run(run).fold_facts
    clips = {way: prepared.dataset(fold["test"], way) for way in prepared.directions}
    rules = {way: prepared.style_rule(fold["train"], way) for way in prepared.directions}
    (protocol,) = support_protocols("person-3")
    bench = Answerer.of(run, prepared)
    expected = answers_with_supports(rules, clips, bench, bench, [protocol])[0]

    first = next(iter(clips.values()))
    supports = draw_supports(SupportReader(next(iter(rules.values())), first), protocol)
    marked = np.zeros((len(first), len(first)), bool)
    for row, support in enumerate(supports):
        assert support is not None
        marked[row, support] = True
    model = open_model_folder(run).classifier
    assert isinstance(model, BehindRule)
    windows = [
        Clip({way: each.first_features[row] for way, each in clips.items()}, first.second_features[row])
        for row in range(len(first))
    ]
    x = model.embed(windows)
    given = model.adapt(x, x, marked, windows)
    fused = expected[[f"fused.{emotion}" for emotion in model.specifications.emotions]].to_numpy()
    np.testing.assert_allclose(given.probabilities, fused, atol=1e-5)
    assert np.abs(given.probabilities - bench(clips)).max() > 1e-3


def test_figures_of_the_run_are_of_clips_alone_and_its_card_says_so(run: Path) -> None:
    prepared, fold = prepare(load_recipe(run / "recipe.yaml")), read_run(run).fold_facts
    alone = Answerer.of(run, prepared)({way: prepared.dataset(fold["test"], way) for way in prepared.directions})
    table = read_run(run).predictions
    fused = table.loc[table["part"] == "test"].filter(regex=r"^fused\.").to_numpy()
    np.testing.assert_allclose(fused, alone, atol=2e-6)
    assert "figures below are of clips alone" in " ".join((run / "MODEL_CARD.md").read_text().split())


def test_evaluating_the_run_again_changes_neither_rule_nor_predictions(run: Path) -> None:
    before, rule = pd.read_csv(run / "predictions.csv"), (run / "forward/style/model.safetensors").read_bytes()
    evaluate_run(run)
    pd.testing.assert_frame_equal(pd.read_csv(run / "predictions.csv"), before)
    assert (run / "forward/style/model.safetensors").read_bytes() == rule
    open_model_folder(run)


def test_a_run_that_was_trained_without_supports_has_no_rule(toy) -> None:
    assert not list(toy.run.rglob("style"))
    assert not isinstance(open_model_folder(toy.run).classifier, BehindRule)
