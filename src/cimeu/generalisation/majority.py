"""Always answer the commonest emotion of the training clips: what no model may fall below.

Axes: N clips, D features, K emotions.
"""

import numpy as np
from jaxtyping import Float, Int


class Majority:
    """Every clip gets the shares of the emotions among the training clips."""

    name = "majority"

    def __init__(self, emotions: int) -> None:
        self.emotions = emotions
        self.settings: dict[str, float] = {}
        self._shares = np.full(emotions, 1 / emotions)

    def fit(
        self,
        features: Float[np.ndarray, "N D"],
        labels: Int[np.ndarray, " N"],
        validation_features: Float[np.ndarray, "V D"],
        validation_labels: Int[np.ndarray, " V"],
        seed: int,
    ) -> None:
        """Count the training labels."""
        self._shares = np.bincount(labels, minlength=self.emotions) / len(labels)

    def probabilities(self, features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        """The same shares for every clip."""
        return np.tile(self._shares, (len(features), 1))
