"""Count hits per emotion, then say how good they are.

Every figure here comes from three counts per emotion: how many clips show it (`truths`), how many were called it
(`guesses`), how many of those rightly (`hits`). Counts add up over clips, so the same four lines of arithmetic serve a
single figure and a thousand bootstrap resamples, and no figure is ever a mean over batches.

An emotion without a clip is left out of every average; it is neither 0 % nor 100 %. A clip that could not be used has
the prediction `UNUSED`: it stays in N and is wrong.

UAR is scikit-learn's `balanced_accuracy_score`, WAR its `accuracy_score`; F1 scores are averaged over the emotions that
have clips.

The number of emotions may be left out where only averages are asked for: absent ones change nothing.

Axes: N clips, K emotions; leading dimensions of counts are free (seeds, resamples).
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from numpy.typing import ArrayLike

UNUSED = -1
"""Prediction of a clip that could not be used."""

Metric = Literal["uar", "war", "macro_f1", "weighted_f1"]
Counts: TypeAlias = Num[np.ndarray, "*rest K"]


def uar_of(hits: Counts, truths: Counts, guesses: Counts) -> Float[np.ndarray, "*rest"]:
    """Mean recall of the emotions that have clips, 0..1."""
    return _mean_where(_ratio(hits, truths), truths > 0)


def war_of(hits: Counts, truths: Counts, guesses: Counts) -> Float[np.ndarray, "*rest"]:
    """Accuracy: share of clips whose predicted label is right, 0..1."""
    return _ratio(hits.sum(axis=-1), truths.sum(axis=-1))


def macro_f1_of(hits: Counts, truths: Counts, guesses: Counts) -> Float[np.ndarray, "*rest"]:
    """Mean F1 of the emotions that have clips, 0..1."""
    return _mean_where(_ratio(2 * hits, truths + guesses), truths > 0)


def weighted_f1_of(hits: Counts, truths: Counts, guesses: Counts) -> Float[np.ndarray, "*rest"]:
    """Mean F1 over emotions, each weighted by its clips, 0..1."""
    return _ratio((_ratio(2 * hits, truths + guesses, empty=0.0) * truths).sum(axis=-1), truths.sum(axis=-1))


METRICS: dict[Metric, Callable[[Counts, Counts, Counts], Float[np.ndarray, "..."]]] = {
    "uar": uar_of,
    "war": war_of,
    "macro_f1": macro_f1_of,
    "weighted_f1": weighted_f1_of,
}


def uar(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], n_classes: int | None = None) -> float:
    """Unweighted average recall, 0..1; not a number without clips.

    >>> uar(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    0.8333333333333333
    """
    return _single("uar", truth, predicted, n_classes)


def war(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], n_classes: int | None = None) -> float:
    """Weighted average recall, which is accuracy, 0..1; not a number without clips."""
    return _single("war", truth, predicted, n_classes)


def macro_f1(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], n_classes: int | None = None) -> float:
    """F1 averaged over the emotions that have clips, 0..1; not a number without clips."""
    return _single("macro_f1", truth, predicted, n_classes)


def weighted_f1(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], n_classes: int | None = None) -> float:
    """F1 averaged over clips, 0..1; not a number without clips."""
    return _single("weighted_f1", truth, predicted, n_classes)


def recalls(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], n_classes: int) -> Float[np.ndarray, " K"]:
    """Recall of each emotion, 0..1; not a number where an emotion has no clip."""
    hits, truths, _ = tally(truth, predicted, n_classes)
    return _ratio(hits, truths)


def confusion(
    truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], n_classes: int
) -> Int[np.ndarray, "K columns"]:
    """Clips by emotion shown (rows) and emotion called (K columns, then one of clips that could not be used)."""
    _check(truth, predicted)
    column = np.where(predicted == UNUSED, n_classes, predicted)
    # One number per cell of the table: a single pass counts them all.
    cells = np.bincount(truth * (n_classes + 1) + column, minlength=n_classes * (n_classes + 1))
    return cells.reshape(n_classes, n_classes + 1)


def tally(
    truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], n_classes: int
) -> tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"], Int[np.ndarray, " K"]]:
    """Hits, truths and guesses of each emotion."""
    _check(truth, predicted)
    return (
        np.bincount(truth[truth == predicted], minlength=n_classes),
        np.bincount(truth, minlength=n_classes),
        np.bincount(predicted[predicted != UNUSED], minlength=n_classes),
    )


def predicted_labels(probabilities: Float[np.ndarray, "*rest K"]) -> Int[np.ndarray, "*rest"]:
    """Index of the likeliest emotion; `UNUSED` where probabilities are not numbers."""
    answered = np.isfinite(probabilities).all(axis=-1)
    return np.where(answered, np.where(answered[..., None], probabilities, 0).argmax(axis=-1), UNUSED)


def _single(
    metric: Metric, truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], n_classes: int | None
) -> float:
    if n_classes is None:
        n_classes = int(max(truth.max(initial=0), predicted.max(initial=0))) + 1
    return float(METRICS[metric](*tally(truth, predicted, n_classes)))


def _check(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"]) -> None:
    assert truth.size == 0 or truth.min() >= 0, "a clip without an emotion cannot be scored"
    assert predicted.size == 0 or predicted.min() >= UNUSED, "predictions are indices, or UNUSED"


def _ratio(above: ArrayLike, below: ArrayLike, empty: float = np.nan) -> Float[np.ndarray, "..."]:
    """`above / below`, and `empty` where nothing is below."""
    # An emotion without clips is left out of a mean, never counted as 0 or as 1.
    return np.divide(above, below, out=np.full(np.shape(below), empty), where=np.asarray(below) > 0)


def _mean_where(values: Float[np.ndarray, "*rest K"], kept: Bool[np.ndarray, "*rest K"]) -> Float[np.ndarray, "*rest"]:
    return _ratio(np.where(kept, values, 0.0).sum(axis=-1), kept.sum(axis=-1))
