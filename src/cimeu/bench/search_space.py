"""Where random configurations come from: the settings of each row that are worth trying, and their ranges.

Names with dots are settings of the recipe, others the method's own. Ranges lie around the defaults, wide enough that
the best of a few draws is rarely at an end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cimeu.bench.rows import Row


@dataclass(frozen=True)
class Between:
    """Any number between two ends; by default evenly on a logarithmic scale."""

    low: float
    high: float
    logarithmic: bool = True

    def draw(self, generator: np.random.Generator) -> float:
        ends = (np.log(self.low), np.log(self.high)) if self.logarithmic else (self.low, self.high)
        drawn = generator.uniform(*ends)
        return float(f"{np.exp(drawn) if self.logarithmic else drawn:.4g}")


@dataclass(frozen=True)
class OneOf:
    """One of a few values, all equally likely."""

    values: tuple[Any, ...]

    def draw(self, generator: np.random.Generator) -> Any:
        return self.values[generator.integers(len(self.values))]


Space = Mapping[str, Between | OneOf]

BUDGET: Space = {
    "training.optimiser.learning_rate": Between(3e-4, 3e-3),
    "training.optimiser.weight_decay": Between(0.1, 10.0),
    "training.batch_size": OneOf((32, 64, 128)),
    "training.augmentation.noise": Between(0.0, 0.3, logarithmic=False),
}
"""What every trained network has. Decay is multiplied by the rate: below 0.1, a run of 150 updates shrinks nothing."""

CIMEU: Space = {
    **BUDGET,
    "model.drop_path": Between(0.0, 0.3, logarithmic=False),
    "model.stream_dropout": Between(0.0, 0.4, logarithmic=False),
    "training.label_smoothing": OneOf((0.0, 0.1)),
    "training.weights.reconstruction": Between(0.03, 3.0),
    "training.weights.alignment": Between(0.01, 1.0),
    "training.weights.mining_weight": Between(0.03, 3.0),
    "training.weights.style": Between(0.01, 1.0),
    "training.weights.style_adversary": Between(0.003, 1.0),
    "training.weights.emotion_adversary": Between(0.003, 1.0),
    "training.weights.covariance": Between(0.01, 10.0),
}

OWN: Mapping[str, Space] = {
    "linear": {"C": Between(1e-4, 10.0)},
    "rbf": {"C": Between(0.1, 30.0), "gamma": Between(0.1, 10.0)},
    "erm_balanced": {"cap": Between(2.0, 50.0)},
    "logit_adjustment": {"strength": Between(0.25, 2.0)},
    "coral": {"weight": Between(0.1, 100.0)},
    "dann": {"weight": Between(0.03, 3.0), "steps": OneOf((1.0, 2.0, 5.0)), "haste": Between(1.0, 30.0)},
    "groupdro": {"eta": Between(1e-3, 1e-1)},
    "mixstyle": {"chance": OneOf((0.25, 0.5, 1.0)), "alpha": Between(0.05, 1.0)},
}
"""What a baseline or method has beside the budget."""


def space_of(row: Row) -> Space:
    """The settings of a row that are tried; what the row itself fixes is not among them. Empty: nothing to tune."""
    if row.kind == "cimeu":
        return {name: values for name, values in CIMEU.items() if name not in row.overrides}
    own = OWN.get(row.algorithm, {})
    return own if row.kind == "baseline" else {**BUDGET, **own}


def configuration(row: Row, number: int) -> dict[str, Any]:
    """The settings of one configuration; number 0 is what the recipe says."""
    if number == 0:
        return {}
    generator = np.random.default_rng((number, *row.name.encode()))
    return {name: values.draw(generator) for name, values in space_of(row).items()}
