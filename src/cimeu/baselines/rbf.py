"""Support vectors with a radial kernel on standardised features, every emotion weighing the same.

Probabilities are a softmax of the one-against-rest decision values at a temperature fitted on the validation clips,
so the most probable emotion is the one decided for.

Axes: N clips, E numbers of a vector, C emotions seen in training, P pairs of them, S support vectors.
"""

from dataclasses import replace
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
import scipy
import torch
from jaxtyping import Float, Int

from cimeu.baselines.simple import Baseline, Settings
from cimeu.model.checkpoint import Specifications
from cimeu.model.rivals.pooled import PooledKernel
from cimeu.model.rivals.rival import RivalConfig

if TYPE_CHECKING:
    from sklearn.svm import SVC

TEMPERATURES = tuple(np.geomspace(0.1, 10, 25))


class RadialSupportVectors(Baseline):
    """`C` is the inverse penalty, `gamma` in units of 1 / D: the kernel sees squared distances of about 2D."""

    name = "rbf"
    grid = tuple({"C": c, "gamma": gamma} for c, gamma in product((0.3, 1.0, 3.0, 10.0), (0.3, 1.0, 3.0)))

    def classifier(self, settings: Settings, n_features: int, n_emotions: int, seed: int) -> "SVC":
        from sklearn.svm import SVC

        gamma = settings["gamma"] / n_features  # a number, so that the fitted kernel can be written down
        return SVC(C=settings["C"], gamma=gamma, class_weight="balanced", break_ties=n_emotions > 2, random_state=seed)

    def calibrate(self, validation: Float[np.ndarray, "V E"], labels: Int[np.ndarray, " V"]) -> Settings:
        """The temperature under which the validation labels are likeliest (labels unseen in training left out)."""
        trained = np.isin(labels, self.model.classes_)
        columns = np.searchsorted(self.model.classes_, labels[trained])
        decisions = self._decisions(validation)[trained]

        def negative_log_likelihood(temperature: float) -> float:
            return -float(
                scipy.special.log_softmax(decisions / temperature, axis=1)[np.arange(len(columns)), columns].mean()
            )

        self._temperature = float(min(TEMPERATURES, key=negative_log_likelihood)) if trained.any() else 1.0
        return {"temperature": self._temperature}

    def network(self, config: RivalConfig, specifications: Specifications | None = None) -> PooledKernel:
        supports, intercepts = self.model.support_vectors_, self.model.intercept_
        config = replace(config, supports=len(supports), pairs=len(intercepts))
        network = PooledKernel(config, specifications)
        network.standardise_by(self.standardiser)
        network.gamma.fill_(self.model.gamma)
        network.temperature.fill_(self._temperature)
        network.present[self.model.classes_] = 1.0
        network.supports.copy_(torch.from_numpy(supports))
        network.intercepts.copy_(torch.from_numpy(intercepts))
        network.coefficients.copy_(torch.from_numpy(self._coefficients()))
        return network

    def _coefficients(self) -> Float[np.ndarray, "P S"]:
        """Weight of each support vector in the decision of each pair of emotions; 0 for those of other emotions.

        libsvm keeps them by support vector: row r of `dual_coef_` is its part against the r-th of the other emotions.
        """
        dual, counts = self.model.dual_coef_, self.model.n_support_
        if len(counts) == 2:
            return dual
        ends = np.cumsum(counts)
        spans = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        pairs = list(combinations(range(len(counts)), 2))
        weights = np.zeros((len(pairs), dual.shape[1]))
        for pair, (one, other) in enumerate(pairs):
            weights[pair, spans[one]] = dual[other - 1, spans[one]]
            weights[pair, spans[other]] = dual[one, spans[other]]
        return weights

    def shares(self, standardised: Float[np.ndarray, "N E"]) -> Float[np.ndarray, "N C"]:
        """Softmax of the decision values over the fitted temperature."""
        return scipy.special.softmax(self._decisions(standardised) / self._temperature, axis=1)

    def _decisions(self, standardised: Float[np.ndarray, "N E"]) -> Float[np.ndarray, "N C"]:
        decisions = self.model.decision_function(standardised)
        return np.stack([-decisions, decisions], axis=1) if decisions.ndim == 1 else decisions
