"""Logistic regression on standardised features, every emotion weighing the same.

Axes: N clips, D features, K emotions.
"""

from sklearn.linear_model import LogisticRegression

from cimeu.baselines.simple import Baseline, Settings


class Linear(Baseline):
    """Multinomial logistic regression; `C` is the inverse penalty."""

    name = "linear"
    grid = tuple({"C": inverse_penalty} for inverse_penalty in (0.001, 0.01, 0.1, 1.0))

    def classifier(self, settings: Settings, n_features: int, n_emotions: int, seed: int) -> LogisticRegression:
        return LogisticRegression(C=settings["C"], class_weight="balanced", max_iter=2000, random_state=seed)
