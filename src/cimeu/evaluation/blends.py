"""Blended emotions: which ones are present, and how strongly each.

A prediction is made of probabilities in the published way: the two likeliest emotions, unless the second one is too
unlikely or one of them never blends; saliences are 50/50 where the two are about equal, else 70/30. Both thresholds are
chosen on clips that are not scored. The published baseline chose them on the scored fold, which flatters salience.

Source: BLEMORE, arXiv 2601.13225, and its repository (metrics, thresholds, grid).
Axes: N clips, K emotions. Saliences are percent: 0, 30, 50, 70 or 100.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

GRID = tuple(np.linspace(0.05, 0.95, 20))
"""Values tried for each threshold."""
NEVER_BLENDS = "neutral"


@dataclass(frozen=True)
class BlendThresholds:
    """Least probability of a second emotion, and least difference of two that are not equally salient."""

    presence: float
    difference: float


def blends(
    probabilities: Float[np.ndarray, "N K"], emotions: Sequence[str], thresholds: BlendThresholds
) -> Num[np.ndarray, "N K"]:
    """Saliences of each clip in percent; a row that is not a number has none.

    >>> blends(np.array([[0.6, 0.3, 0.1]]), ("anger", "fear", "neutral"), BlendThresholds(0.2, 0.1)).tolist()
    [[70, 30, 0]]
    """
    saliences = np.zeros(probabilities.shape, np.int64)
    rows = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    first, second = np.argsort(-probabilities[rows], axis=1, kind="stable")[:, :2].T
    stronger, weaker = probabilities[rows, first], probabilities[rows, second]
    never = np.array([emotion == NEVER_BLENDS for emotion in emotions])
    is_single = (weaker < thresholds.presence) | never[first] | never[second]
    is_even = ~is_single & (stronger - weaker < thresholds.difference)
    saliences[rows, first] = np.select([is_single, is_even], [100, 50], 70)
    saliences[rows, second] = np.select([is_single, is_even], [0, 50], 30)
    return saliences


def presence_accuracy(truth: Num[np.ndarray, "N K"], predicted: Num[np.ndarray, "N K"]) -> float:
    """ACC_presence: share of all clips whose set of emotions is exactly the true one; 0..1.

    >>> presence_accuracy(np.array([[100, 0], [70, 30]]), np.array([[100, 0], [50, 50]]))
    1.0
    """
    return float(((truth > 0) == (predicted > 0)).all(axis=1).mean()) if len(truth) else float("nan")


def salience_accuracy(truth: Num[np.ndarray, "N K"], predicted: Num[np.ndarray, "N K"]) -> float:
    """ACC_salience: share of true blends predicted as the same two emotions with the same rounded percentages; 0..1.

    Shares of 1 in place of percent round to 0 and score nothing, as published.

    >>> salience_accuracy(np.array([[100, 0], [70, 30]]), np.array([[100, 0], [50, 50]]))
    0.0
    """
    is_blend = (truth > 0).sum(axis=1) == 2
    if not is_blend.any():
        return float("nan")
    true_saliences, predicted_saliences = np.rint(truth[is_blend]), np.rint(predicted[is_blend])
    two_predicted = (predicted[is_blend] > 0).sum(axis=1) == 2
    return float((two_predicted & (true_saliences == predicted_saliences).all(axis=1)).mean())


def choose_thresholds(
    probabilities: Float[np.ndarray, "N K"], truth: Num[np.ndarray, "N K"], emotions: Sequence[str]
) -> BlendThresholds:
    """The pair of the grid with the best mean of both accuracies; the first of equal ones. Give no scored clip."""

    def worth(thresholds: BlendThresholds) -> float:
        predicted = blends(probabilities, emotions, thresholds)
        return float(np.nanmean([presence_accuracy(truth, predicted), salience_accuracy(truth, predicted)]))

    return max((BlendThresholds(float(one), float(other)) for one in GRID for other in GRID), key=worth)
