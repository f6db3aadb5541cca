from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cimeu.baselines.fit import FittedMethod, fit
from cimeu.baselines.registry import METHODS
from cimeu.batching.augment import AugmentationConfig
from cimeu.bench.cells import Parts, foreign_cell, mean_of
from cimeu.evaluation.metrics import predicted_labels, uar
from cimeu.training.config import TrainingConfig
from cimeu.training.optim import OptimiserConfig

CONFIG = TrainingConfig(
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
    assert uar(parts.validation.emotions[parts.validation.usable], predicted_labels(said)) == fitted.validation_uar


def test_the_same_seed_gives_the_same_weights(fitted: FittedMethod, parts: Parts) -> None:
    again = fit(METHODS["erm"], parts.train, parts.validation, CONFIG)
    for name, tensor in fitted.method.state_dict().items():
        assert torch.equal(tensor, again.method.state_dict()[name]), name


def test_another_seed_gives_other_weights(fitted: FittedMethod, parts: Parts) -> None:
    other = fit(METHODS["erm"], parts.train, parts.validation, replace(CONFIG, seed=1))
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


def test_with_selection_last_the_last_epoch_is_kept(parts: Parts) -> None:
    found = fit(METHODS["erm"], parts.train, parts.validation, replace(CONFIG, selection="last", epochs=3))
    assert found.epoch == len(found.history) == 3


def test_a_mean_of_members_sums_what_they_cost(parts: Parts) -> None:
    members = [foreign_cell("erm", parts, replace(CONFIG, seed=seed)) for seed in (0, 1)]
    mean = mean_of(members)
    assert mean.updates == sum(member.updates for member in members)
    column = "fused.anger"
    expected = (members[0].predictions[column] + members[1].predictions[column]) / 2
    np.testing.assert_allclose(mean.predictions[column], expected)
