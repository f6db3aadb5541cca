"""The simplest things that could work: classifiers on one vector per clip.

Any network has to beat these on the same clips and folds before its parts are worth discussing. They read the stored
steps of both streams pooled to their means, are fitted on the training clips of a fold, and choose their few
settings on its validation speakers.

Axes: N clips, E numbers of a vector, K emotions, C emotions that some training clip shows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Float, Int

from cimeu.batching.dataset import ClipDataset
from cimeu.errors import FeatureError
from cimeu.evaluation.metrics import uar
from cimeu.model.checkpoint import Specifications
from cimeu.model.pooling import Standardiser, pool_steps
from cimeu.model.rivals.pooled import Pooled
from cimeu.model.rivals.rival import RivalConfig

Settings = dict[str, float]
Model = TypeVar("Model")


class Baseline(ABC):
    """A classifier of vectors that chooses its few settings on validation clips, unless they are given.

    A subclass names itself, its `grid` (candidates, the simplest first, so that a tie keeps it), builds the
    `classifier` of some settings, and writes a fitted one as tensors. `settings` holds what was chosen.
    """

    name: ClassVar[str]
    grid: ClassVar[tuple[Settings, ...]] = ({},)

    def __init__(self, emotions: int, given: Settings | None = None) -> None:
        self.emotions = emotions
        self.candidates = (given,) if given else self.grid
        self.settings: Settings = {}

    @abstractmethod
    def classifier(self, settings: Settings, n_features: int, n_emotions: int, seed: int) -> Any:
        """An untrained scikit-learn classifier; `n_emotions` are those among the training clips."""

    @abstractmethod
    def network(self, config: RivalConfig, specifications: Specifications | None = None) -> Pooled:
        """The fitted classifier as tensors."""

    def fit(
        self,
        vectors: Float[np.ndarray, "N E"],
        labels: Int[np.ndarray, " N"],
        validation_vectors: Float[np.ndarray, "V E"],
        validation_labels: Int[np.ndarray, " V"],
        seed: int,
        episodes: Sequence[Float[np.ndarray, "N E"]] = (),
    ) -> None:
        """Learn from the training clips; choose settings by UAR on the validation clips.

        `episodes` are other readings of the training clips, which are then learned from in their place.
        """
        self.standardiser = Standardiser.of(vectors)
        standardised, validation = map(self.standardiser.apply, (vectors, validation_vectors))
        n_emotions = len(np.unique(labels))
        # Less its style, a clip keeps the units of the clip alone: dimensions in which people differ weigh no more.
        fitted_on = standardised
        if episodes:
            fitted_on = np.concatenate([self.standardiser.apply(episode) for episode in episodes])
        copies = max(1, len(episodes))
        # Copies are no further evidence: the penalty weighs as much against a clip as without them.
        weights = np.full(len(fitted_on), 1 / copies)

        def fitted(settings: Settings) -> Any:
            classifier = self.classifier(settings, vectors.shape[1], n_emotions, seed)
            return classifier.fit(fitted_on, np.tile(labels, copies), sample_weight=weights)

        self.settings, self.model = choose_on_validation(self.candidates, fitted, validation, validation_labels)
        self.settings = self.settings | self.calibrate(validation, validation_labels)

    def calibrate(self, validation: Float[np.ndarray, "V E"], labels: Int[np.ndarray, " V"]) -> Settings:
        """What is fitted on validation clips afterwards, by name; nothing here."""
        return {}

    def probabilities(self, vectors: Float[np.ndarray, "N E"]) -> Float[np.ndarray, "N K"]:
        """Probability of each emotion; rows sum to 1, an emotion never seen in training gets 0."""
        whole = np.zeros((len(vectors), self.emotions))
        whole[:, self.model.classes_] = self.shares(self.standardiser.apply(vectors))
        return whole

    def shares(self, standardised: Float[np.ndarray, "N E"]) -> Float[np.ndarray, "N C"]:
        """Probabilities of the emotions seen in training."""
        return self.model.predict_proba(standardised)


def choose_on_validation(
    candidates: Iterable[Settings],
    fit: Callable[[Settings], Model],
    vectors: Float[np.ndarray, "V E"],
    labels: Int[np.ndarray, " V"],
) -> tuple[Settings, Model]:
    """Fit every candidate and keep the one with the best validation UAR; the earlier one wins a tie."""
    best: tuple[float, Settings, Model] | None = None
    for settings in candidates:
        model: Any = fit(settings)
        score = uar(labels, model.predict(vectors))
        if best is None or score > best[0]:
            best = (score, settings, model)
    assert best is not None, "no candidate settings"
    return best[1], best[2]


def pooled(dataset: ClipDataset) -> Float[np.ndarray, "N E"]:
    """One vector per usable clip: the means over the steps of both streams; a stream that a clip lacks is NaN.

    The deviation over the steps is left out: across cultures it costs accuracy, and a person's style is in it too,
    which a support set does not take out.

    Raises:
        FeatureError: no clip of the dataset has features.
    """
    if not len(dataset.usable):
        raise FeatureError(
            f"none of {len(dataset)} clips has features\n\nhint: extract features first (`cimeu extract`)"
        )
    parts = []
    for store, clips in zip((dataset.first, dataset.second), dataset.streams, strict=True):
        if store is not None:
            usable = [clips[row] for row in dataset.usable.tolist()]
            parts.append(pool_steps(usable, int(store.description["width"]), 1))  # type: ignore[call-overload]
    return np.concatenate(parts, axis=1)
