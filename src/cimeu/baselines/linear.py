"""Logistic regression on standardised vectors, every emotion weighing the same.

Axes: E numbers of a vector, K emotions.
"""

from typing import TYPE_CHECKING

import torch

from cimeu.baselines.simple import Baseline, Settings
from cimeu.model.checkpoint import Specifications
from cimeu.model.rivals.pooled import NEVER, PooledLinear
from cimeu.model.rivals.rival import RivalConfig

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression


class Linear(Baseline):
    """Multinomial logistic regression; `C` is the inverse penalty."""

    name = "linear"
    # Validation speakers of the training cultures would choose the weakest penalty, which costs accuracy on others.
    grid = tuple({"C": inverse_penalty} for inverse_penalty in (0.003, 0.01))

    def classifier(self, settings: Settings, n_features: int, n_emotions: int, seed: int) -> "LogisticRegression":
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=settings["C"], class_weight="balanced", max_iter=2000, random_state=seed)

    def network(self, config: RivalConfig, specifications: Specifications | None = None) -> PooledLinear:
        network = PooledLinear(config, specifications)
        network.standardise_by(self.standardiser)
        weight, bias = torch.from_numpy(self.model.coef_), torch.from_numpy(self.model.intercept_)
        if len(bias) == 1:  # two emotions have one decision: half of it for one, half against the other
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        with torch.no_grad():
            network.head.weight.zero_()
            network.head.bias.fill_(NEVER)
            network.head.weight[self.model.classes_] = weight.float()
            network.head.bias[self.model.classes_] = bias.float()
        return network
