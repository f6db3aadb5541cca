from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cimeu.baselines.fit import FitConfig, FittedMethod, budget_of, fit
from cimeu.baselines.registry import METHODS
from cimeu.batching.augment import AugmentationConfig
from cimeu.batching.dataset import ClipDataset
from cimeu.batching.pooling import pooled
from cimeu.bench.cells import Parts, baseline_cell, mean_of, method_cell
from cimeu.errors import FeatureError, RecipeError
from cimeu.evaluation.metrics import called, uar
from cimeu.training.config import TrainingConfig
from cimeu.training.optim import OptimiserConfig

CONFIG = FitConfig(
    epochs=4, batch_size=24, optimiser=OptimiserConfig(learning_rate=3e-3), augmentation=AugmentationConfig()
)


@pytest.fixture(scope="module")
def parts(world: Any) -> Parts:
    return world.parts(world.folds[0])


@pytest.fixture(scope="module")
def fitted(parts: Parts) -> FittedMethod:
    return fit(METHODS["erm"], parts.train, parts.validation, CONFIG)


def test_a_fitted_method_knows_speakers_it_has_not_seen(fitted: FittedMethod) -> None:
    assert fitted.validation_uar > 0.8


def test_the_best_epoch_on_validation_is_kept(fitted: FittedMethod, parts: Parts) -> None:
    scores = [epoch["validation_uar"] for epoch in fitted.history]
    assert fitted.validation_uar == max(scores)
    assert fitted.epoch == 1 + scores.index(max(scores))
    said = fitted.probabilities(parts.validation)[parts.validation.usable]
    assert uar(parts.validation.emotions[parts.validation.usable], called(said)) == fitted.validation_uar


def test_the_same_seed_gives_the_same_weights(fitted: FittedMethod, parts: Parts) -> None:
    again = fit(METHODS["erm"], parts.train, parts.validation, CONFIG)
    for name, tensor in fitted.method.state_dict().items():
        assert torch.equal(tensor, again.method.state_dict()[name]), name


def test_another_seed_gives_other_weights(fitted: FittedMethod, parts: Parts) -> None:
    other = fit(METHODS["erm"], parts.train, parts.validation, CONFIG, seed=1)
    assert any(
        not torch.equal(a, b) for a, b in zip(fitted.method.parameters(), other.method.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", list(METHODS))
def test_what_the_held_out_group_says_never_reaches_the_weights(
    world: Any, spoil: Callable[..., Any], name: str
) -> None:
    """The leak test: the test clips are replaced by nonsense, and nothing changes."""
    spoiled = spoil(world.folds[0].name)
    weights = []
    for each in (world, spoiled):
        parts = each.parts(each.folds[0])
        weights.append(fit(METHODS[name], parts.train, parts.validation, CONFIG).method.state_dict())
    test = [each.first.get(f"{world.folds[0].test[0]}-imported-forward").features for each in (world, spoiled)]
    assert not np.array_equal(*test)
    for key, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][key]), key


def test_spoiled_training_clips_do_change_the_weights(world: Any, spoil: Callable[..., Any]) -> None:
    spoiled = spoil(world.folds[1].name)
    weights = []
    for each in (world, spoiled):
        parts = each.parts(each.folds[0])
        weights.append(fit(METHODS["erm"], parts.train, parts.validation, CONFIG).method.state_dict())
    assert any(not torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())


@pytest.mark.parametrize("name", ["majority", "linear", "rbf", "erm"])
def test_a_cell_keeps_every_clip_and_leaves_the_unusable_blank(parts: Parts, name: str) -> None:
    result = method_cell(name, parts, CONFIG) if name in METHODS else baseline_cell(name, parts)
    table = result.predictions
    test = table[table["part"] == "test"]
    assert list(test["clip_id"]) == list(parts.test.clip_ids)
    probabilities = test[[f"fused.{emotion}" for emotion in parts.test.labels]].to_numpy()
    blank = np.isnan(probabilities).all(axis=1)
    assert (blank == (test["problem"] != "").to_numpy()).all()
    assert blank.sum() == 1
    np.testing.assert_allclose(probabilities[~blank].sum(axis=1), 1)


def test_a_method_gets_the_budget_of_the_training_it_is_compared_with() -> None:
    training = TrainingConfig(epochs=7, batch_size=9, patience=2, selection="last")
    budget = budget_of(training, "corpus")
    assert (budget.epochs, budget.batch_size, budget.patience, budget.selection) == (7, 9, 2, "last")
    assert (budget.optimiser, budget.augmentation, budget.group) == (
        training.optimiser,
        training.augmentation,
        "corpus",
    )


def test_methods_are_never_selected_on_test_clips() -> None:
    with pytest.raises(RecipeError, match="domain methods are never selected on test clips"):
        budget_of(TrainingConfig(selection="oracle"), "culture")


def test_with_selection_last_the_last_epoch_is_kept(parts: Parts) -> None:
    found = fit(METHODS["erm"], parts.train, parts.validation, replace(CONFIG, selection="last", epochs=3))
    assert found.epoch == len(found.history) == 3


def test_a_dataset_without_features_is_an_error(world: Any) -> None:
    broken = world.manifest.select(["c0/s0/8"])
    dataset = ClipDataset(broken, world.labels, first=world.first, second=None, direction="forward")
    with pytest.raises(FeatureError, match="none of 1 clips has features"):
        pooled(dataset)


def test_pooled_vectors_hold_mean_and_deviation_of_both_streams(parts: Parts) -> None:
    assert pooled(parts.train).shape == (len(parts.train.usable), 2 * (8 + 3))


def test_a_mean_of_members_sums_what_they_cost(parts: Parts) -> None:
    members = [method_cell("erm", parts, CONFIG, seed=seed) for seed in (0, 1)]
    mean = mean_of(members)
    assert mean.updates == sum(member.updates for member in members)
    column = "fused.anger"
    expected = (members[0].predictions[column] + members[1].predictions[column]) / 2
    np.testing.assert_allclose(mean.predictions[column], expected)
