"""Support vectors with a radial kernel on standardised features, every emotion weighing the same.

Probabilities are a softmax of the one-against-rest decision values at a temperature fitted on the validation clips,
so the most probable emotion is the one decided for.

Axes: N clips, D features, C emotions seen in training.
"""

from itertools import product

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax, softmax
from sklearn.svm import SVC

from cimeu.baselines.simple import Baseline, Settings

TEMPERATURES = tuple(np.geomspace(0.1, 10, 25))


class RadialSupportVectors(Baseline):
    """`C` is the inverse penalty, `gamma` in units of 1 / D: the kernel sees squared distances of about 2D."""

    name = "rbf"
    grid = tuple({"C": c, "gamma": gamma} for c, gamma in product((0.3, 1.0, 3.0, 10.0), (0.3, 1.0, 3.0)))

    def classifier(self, settings: Settings, n_features: int, n_emotions: int, seed: int) -> SVC:
        gamma = settings["gamma"] / n_features
        return SVC(C=settings["C"], gamma=gamma, class_weight="balanced", break_ties=n_emotions > 2, random_state=seed)

    def calibrate(self, validation: Float[np.ndarray, "V D"], labels: Int[np.ndarray, " V"]) -> Settings:
        """The temperature under which the validation labels are likeliest (labels unseen in training left out)."""
        known = np.isin(labels, self._model.classes_)
        columns = np.searchsorted(self._model.classes_, labels[known])
        decisions = self._decisions(validation)[known]

        def surprise(temperature: float) -> float:
            return -float(log_softmax(decisions / temperature, axis=1)[np.arange(len(columns)), columns].mean())

        self._temperature = float(min(TEMPERATURES, key=surprise)) if known.any() else 1.0
        return {"temperature": self._temperature}

    def shares(self, standardised: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N C"]:
        """Softmax of the decision values over the fitted temperature."""
        return softmax(self._decisions(standardised) / self._temperature, axis=1)

    def _decisions(self, standardised: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N C"]:
        decisions = self._model.decision_function(standardised)
        return np.stack([-decisions, decisions], axis=1) if decisions.ndim == 1 else decisions
