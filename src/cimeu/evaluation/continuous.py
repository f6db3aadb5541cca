"""Figures of labels that are numbers: agreement of valence and arousal, and sentiment cut into classes.

Pool the frames or clips of all recordings before you call one of these: a mean over recordings is another figure, and a
recording in which nothing changes has no agreement at all.

Sources: Lin, A concordance correlation coefficient, Biometrics 1989; Kollias et al., ABAW (pooled frames); the code of
CH-SIMS v2 (0 counts as negative, bands); Lian et al., MER 2023 (combined score).
Axes: N clips or frames.
"""

import numpy as np
from jaxtyping import Float

SENTIMENT_BANDS = {2: (0.0,), 3: (-0.1, 0.1), 5: (-0.7, -0.1, 0.1, 0.7)}
"""Upper ends of all classes but the last; a value on an end belongs below it."""
WEAK = 0.4
"""`weak` figures are those of truths no further from 0."""
MSE_WEIGHT = 0.25
"""Weight of the squared error of valence in the score of MER2023."""


def concordance(truth: Float[np.ndarray, " N"], predicted: Float[np.ndarray, " N"]) -> float:
    """CCC, -1..1: correlation that also pays for a shift and for another scale; not a number under 2 values.

    >>> round(concordance(np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])), 4)
    0.5714
    """
    if len(truth) < 2:
        return float("nan")
    # From the first value on: the mean of equal values, such as 0.7, is rounded, and noise would be all that varies.
    truth, predicted = truth - truth[0], predicted - truth[0]
    covariance = np.mean((truth - truth.mean()) * (predicted - predicted.mean()))
    spread = truth.var() + predicted.var() + (truth.mean() - predicted.mean()) ** 2
    return float(2 * covariance / spread) if spread else float("nan")


def sentiment_accuracy(
    truth: Float[np.ndarray, " N"], predicted: Float[np.ndarray, " N"], classes: int = 2, *, weak: bool = False
) -> float:
    """Share of clips in the right class of 2, 3 or 5, values clipped to [-1, 1]; 0 is negative among two; 0..1.

    >>> sentiment_accuracy(np.array([0.0, 0.2, -1.0]), np.array([-0.3, 0.0, -0.1]))
    0.6666666666666666
    """
    kept = np.abs(truth) <= WEAK if weak else np.ones(len(truth), bool)
    if not kept.any():
        return float("nan")
    truths, guesses = (_band(values[kept], classes) for values in (truth, predicted))
    return float((truths == guesses).mean())


def sentiment_classes(values: Float[np.ndarray, " N"], classes: int = 2) -> list[int]:
    """Class of each value, from the most negative (0), for figures such as the weighted F1 of two classes."""
    return [int(band) for band in _band(values, classes)]


def mer_score(weighted_f1: float, squared_error: float) -> float:
    """Combined score of MER2023: the F1 of the emotions less a quarter of the squared error of valence."""
    return weighted_f1 - MSE_WEIGHT * squared_error


def _band(values: Float[np.ndarray, " N"], classes: int) -> np.ndarray:
    # `right=True` puts a value that equals an end into the class below: 0 is negative
    return np.digitize(np.clip(values, -1, 1), SENTIMENT_BANDS[classes], right=True)
