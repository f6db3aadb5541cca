"""The simplest things that could work: classifiers on one vector per clip.

Any network has to beat these on the same clips and folds before its parts are worth discussing. They see either the 67
hand-made functionals of an utterance or the stored steps of both streams pooled to means and deviations, are fitted
on the training clips of a fold, and choose their few settings on its validation speakers.

Axes: N clips, D features, K emotions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Float, Int

from cimeu.batching.pooling import Standardiser
from cimeu.evaluation.metrics import uar

Settings = dict[str, float]
Model = TypeVar("Model")


class Baseline(ABC):
    """A classifier of vectors that chooses its few settings on validation clips, unless they are given.

    A subclass names itself, its `grid` (candidates, the simplest first, so that a tie keeps it), and builds the
    `classifier` of some settings. `settings` holds what was chosen, ready for a table.
    """

    name: ClassVar[str]
    grid: ClassVar[tuple[Settings, ...]] = ({},)

    def __init__(self, emotions: int, given: Settings | None = None) -> None:
        self.emotions = emotions
        self.candidates = self.grid if given is None else (given,)
        self.settings: Settings = {}

    @abstractmethod
    def classifier(self, settings: Settings, n_features: int, n_emotions: int, seed: int) -> Any:
        """An untrained scikit-learn classifier; `n_emotions` are those among the training clips."""

    def fit(
        self,
        features: Float[np.ndarray, "N D"],
        labels: Int[np.ndarray, " N"],
        validation_features: Float[np.ndarray, "V D"],
        validation_labels: Int[np.ndarray, " V"],
        seed: int,
    ) -> None:
        """Learn from the training clips; choose settings by UAR on the validation clips."""
        self._standardiser = Standardiser.of(features)
        standardised, validation = map(self._standardiser.apply, (features, validation_features))
        n_emotions = len(np.unique(labels))
        self.settings, self._model = choose_on_validation(
            self.candidates,
            lambda settings: self.classifier(settings, features.shape[1], n_emotions, seed).fit(standardised, labels),
            validation,
            validation_labels,
        )
        self.settings = self.settings | self.calibrate(validation, validation_labels)

    def calibrate(self, validation: Float[np.ndarray, "V D"], labels: Int[np.ndarray, " V"]) -> Settings:
        """What is fitted on validation clips afterwards, by name; nothing here."""
        return {}

    def probabilities(self, features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        """Probability of each emotion; rows sum to 1, an emotion never seen in training gets 0."""
        shares = self.shares(self._standardiser.apply(features))
        whole = np.zeros((len(features), self.emotions))
        whole[:, self._model.classes_] = shares
        return whole

    def shares(self, standardised: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N C"]:
        """Probabilities of the emotions seen in training."""
        return self._model.predict_proba(standardised)


def choose_on_validation(
    candidates: Iterable[Settings],
    fit: Callable[[Settings], Model],
    features: Float[np.ndarray, "V D"],
    labels: Int[np.ndarray, " V"],
) -> tuple[Settings, Model]:
    """Fit every candidate and keep the one with the best validation UAR; the earlier one wins a tie."""
    best: tuple[float, Settings, Model] | None = None
    for settings in candidates:
        model: Any = fit(settings)
        score = uar(labels, model.predict(features))
        if best is None or score > best[0]:
            best = (score, settings, model)
    assert best is not None, "no candidate settings"
    return best[1], best[2]
