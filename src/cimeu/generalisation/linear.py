"""Logistic regression on standardised features, every emotion weighing the same.

Axes: N clips, D features, K emotions.
"""

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression

from cimeu.generalisation.simple import Standardiser, choose_on_validation, spread

INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Grid of scikit-learn's C, strongest penalty first, so that a tie keeps the simpler model."""


class Linear:
    """Multinomial logistic regression; the penalty is chosen on the validation clips."""

    name = "linear"

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
        """Fit one model per penalty and keep the best on validation."""
        self._standardiser = Standardiser.of(features)
        standardised = self._standardiser.apply(features)

        def fitted(settings: dict[str, float]) -> LogisticRegression:
            model = LogisticRegression(C=settings["C"], class_weight="balanced", max_iter=2000, random_state=seed)
            return model.fit(standardised, labels)

        self.settings, self._model = choose_on_validation(
            ({"C": penalty} for penalty in INVERSE_PENALTIES),
            fitted,
            self._standardiser.apply(validation_features),
            validation_labels,
        )

    def probabilities(self, features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        """Softmax of the linear scores."""
        probabilities = self._model.predict_proba(self._standardiser.apply(features))
        return spread(probabilities, self._model.classes_, self.emotions)
