"""Schedules are functions of the step alone."""

import math

import pytest
import torch
from torch import nn

from cimeu.errors import RecipeError
from cimeu.training.optim import (
    OptimiserConfig,
    add_to_mean,
    build_optimiser,
    learning_rate,
    reversal_factor,
    set_learning_rate,
)


def test_the_cosine_rises_then_falls_to_nothing() -> None:
    config = OptimiserConfig(learning_rate=1.0, warm_up=0.1)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[9] == rates[10] == max(rates) == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001
    assert rates[0] > 0


def test_the_published_rate_falls_to_a_tenth_four_times() -> None:
    config = OptimiserConfig(schedule="published", learning_rate=0.01)
    rates = [learning_rate(config, epoch * 7, 30 * 7) for epoch in range(30)]
    expected = [0.01] * 10 + [0.001] * 5 + [1e-4] * 5 + [1e-5] * 5 + [1e-6] * 5
    assert rates == pytest.approx(expected)


def test_the_published_optimiser_is_sgd_with_momentum() -> None:
    optimiser = build_optimiser(OptimiserConfig(schedule="published"), nn.Linear(2, 2).parameters())
    assert isinstance(optimiser, torch.optim.SGD)
    assert optimiser.defaults["momentum"] == 0.9
    assert [group["weight_decay"] for group in optimiser.param_groups] == [1e-4]


def test_biases_and_norms_do_not_decay() -> None:
    layer, norm = nn.Linear(2, 3), nn.LayerNorm(3)
    optimiser = build_optimiser(OptimiserConfig(weight_decay=0.5), [*layer.parameters(), *norm.parameters()])
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decay[id(layer.weight)] == 0.5
    assert decay[id(layer.bias)] == decay[id(norm.weight)] == 0.0


def test_frozen_parameters_are_not_optimised() -> None:
    layer = nn.Linear(2, 3)
    layer.weight.requires_grad_(False)
    optimiser = build_optimiser(OptimiserConfig(), layer.parameters())
    assert [p for group in optimiser.param_groups for p in group["params"]] == [layer.bias]


def test_a_rate_reaches_every_group() -> None:
    optimiser = build_optimiser(OptimiserConfig(), nn.Linear(2, 3).parameters())
    set_learning_rate(optimiser, 0.25)
    assert [group["lr"] for group in optimiser.param_groups] == [0.25, 0.25]


def test_reversal_grows_from_nothing_towards_one() -> None:
    factors = [reversal_factor(step, 50) for step in range(51)]
    assert factors == sorted(factors)
    assert factors[0] == 0
    assert factors[-1] == pytest.approx(0.99991, abs=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"learning_rate": 0.0}, "`training.optimiser.learning_rate` is 0.0\n\nhint: a number above 0, up to 100"),
        ({"warm_up": 1.0}, "warm_up` is 1.0\n\nhint: a number from 0 to below 1"),
        ({"weight_decay": -0.1}, "weight_decay` is -0.1\n\nhint: a number of 0 or more"),
        ({"clip_norm": math.nan}, "clip_norm` is nan\n\nhint: a number of 0 or more"),
    ],
)
def test_impossible_settings_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        OptimiserConfig(**setting)


def test_the_mean_of_weights_is_that_of_the_epochs_added() -> None:
    epochs = [{"w": torch.tensor([float(n)]), "count": torch.tensor(n)} for n in (1, 2, 6)]
    mean: dict[str, torch.Tensor] = {}
    for number, weights in enumerate(epochs, 1):
        add_to_mean(mean, weights, number)
    assert mean["w"].item() == pytest.approx(3)
    assert mean["count"].item() == 6
