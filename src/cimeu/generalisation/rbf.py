"""Support vectors with a radial kernel on standardised features, every emotion weighing the same.

Probabilities are a softmax of the one-against-rest decision values at a temperature fitted on the validation clips,
so the most probable emotion is the one decided for.

Axes: N clips, D features, K emotions.
"""

from itertools import product

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax, softmax
from sklearn.svm import SVC

from cimeu.generalisation.simple import Standardiser, choose_on_validation, spread

PENALTIES = (0.3, 1.0, 3.0, 10.0)
WIDTHS = (0.3, 1.0, 3.0)
"""Grid of gamma, in units of 1 / D: the kernel sees squared distances of about 2D between standardised clips."""
TEMPERATURES = tuple(np.geomspace(0.1, 10, 25))


class RadialSupportVectors:
    """C and gamma are chosen on the validation clips, then the temperature of the probabilities."""

    name = "rbf"

    def __init__(self, emotions: int) -> None:
        self.emotions = emotions
        self.settings: dict[str, float] = {}

    def fit(
        self,
        features: Float[np.ndarray, "N D"],
        labels: Int[np.ndarray, " N"],
        validation_features: Float[np.ndarray, "V D"],
        validation_labels: Int[np.ndarray, " V"],
        seed: int,
    ) -> None:
        """Fit the grid and keep the best on validation."""
        self._standardiser = Standardiser.of(features)
        standardised = self._standardiser.apply(features)
        validation = self._standardiser.apply(validation_features)
        n_features = features.shape[1]

        def fitted(settings: dict[str, float]) -> SVC:
            model = SVC(
                C=settings["C"],
                gamma=settings["gamma"] / n_features,
                class_weight="balanced",
                break_ties=len(np.unique(labels)) > 2,
                random_state=seed,
            )
            return model.fit(standardised, labels)

        chosen, self._model = choose_on_validation(
            ({"C": penalty, "gamma": width} for penalty, width in product(PENALTIES, WIDTHS)),
            fitted,
            validation,
            validation_labels,
        )
        self._temperature = self._coolest_fit(self._decisions(validation), validation_labels)
        self.settings = chosen | {"temperature": self._temperature}

    def probabilities(self, features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        """Softmax of the decision values over the fitted temperature."""
        decisions = self._decisions(self._standardiser.apply(features))
        return spread(softmax(decisions / self._temperature, axis=1), self._model.classes_, self.emotions)

    def _decisions(self, standardised: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N C"]:
        decisions = self._model.decision_function(standardised)
        return np.stack([-decisions, decisions], axis=1) if decisions.ndim == 1 else decisions

    def _coolest_fit(self, decisions: Float[np.ndarray, "V C"], labels: Int[np.ndarray, " V"]) -> float:
        """The temperature under which the validation labels are likeliest (labels unseen in training left out)."""
        known = np.isin(labels, self._model.classes_)
        columns = np.searchsorted(self._model.classes_, labels[known])

        def surprise(temperature: float) -> float:
            return -float(log_softmax(decisions[known] / temperature, axis=1)[np.arange(len(columns)), columns].mean())

        return float(min(TEMPERATURES, key=surprise)) if known.any() else 1.0
