"""Make 70 % mean seven times out of ten.

One temperature on the logarithm of the probabilities, fitted on validation clips (Guo et al., *On Calibration of
Modern Neural Networks*, ICML 2017). It never changes which emotion is called. The expected calibration error and the
reliability table compare confidence with accuracy in bins of equal width.

Axes: N clips, K emotions. Clips whose probabilities are not numbers are left out; they have no confidence to judge.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are used
from jaxtyping import Float, Int

_SMALLEST = 1e-12
_LOG_RANGE = (np.log(0.05), np.log(20.0))


@dataclass(frozen=True)
class Bin:
    """Clips whose confidence lies in (low, high]: their mean confidence and accuracy (not numbers when empty)."""

    low: float
    high: float
    n_clips: int
    confidence: float
    accuracy: float


def at_temperature(probabilities: Float[np.ndarray, "N K"], temperature: float) -> Float[np.ndarray, "N K"]:
    """softmax(log p / t): flatter above 1, sharper below."""
    logits = np.log(np.maximum(probabilities, _SMALLEST)) / temperature
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def negative_log_likelihood(probabilities: Float[np.ndarray, "N K"], truth: Int[np.ndarray, " N"]) -> float:
    """Mean of -log p of the true emotion, in nats; not a number without a usable clip."""
    probabilities, truth = _usable(probabilities, truth)
    if not len(truth):
        return float("nan")
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], _SMALLEST)).mean())


def fit_temperature(probabilities: Float[np.ndarray, "N K"], truth: Int[np.ndarray, " N"]) -> float:
    """The temperature in 0.05..20 with the least surprise; 1 without a usable clip."""
    probabilities, truth = _usable(probabilities, truth)
    if not len(truth):
        return 1.0
    fit = scipy.optimize.minimize_scalar(
        lambda log_t: negative_log_likelihood(at_temperature(probabilities, float(np.exp(log_t))), truth),
        bounds=_LOG_RANGE,
        method="bounded",
    )
    return float(np.exp(fit.x))


def reliability(
    probabilities: Float[np.ndarray, "N K"], truth: Int[np.ndarray, " N"], *, n_bins: int = 10
) -> list[Bin]:
    """Confidence against accuracy in `n_bins` bins of equal width."""
    probabilities, truth = _usable(probabilities, truth)
    confidence = probabilities.max(axis=-1, initial=0.0)
    is_correct = probabilities.argmax(axis=-1) == truth
    # Bins are open below and closed above, so a confidence of 1 is in the last one.
    bin_of = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    bins = []
    for number in range(n_bins):
        inside = bin_of == number
        filled = bool(inside.any())
        bins.append(
            Bin(
                low=number / n_bins,
                high=(number + 1) / n_bins,
                n_clips=int(inside.sum()),
                confidence=float(confidence[inside].mean()) if filled else float("nan"),
                accuracy=float(is_correct[inside].mean()) if filled else float("nan"),
            )
        )
    return bins


def expected_calibration_error(
    probabilities: Float[np.ndarray, "N K"], truth: Int[np.ndarray, " N"], *, n_bins: int = 10
) -> float:
    """Mean distance of confidence and accuracy over clips, 0..1; not a number without a usable clip."""
    bins = [bucket for bucket in reliability(probabilities, truth, n_bins=n_bins) if bucket.n_clips]
    if not bins:
        return float("nan")
    n_clips = sum(bucket.n_clips for bucket in bins)
    return sum(bucket.n_clips * abs(bucket.confidence - bucket.accuracy) for bucket in bins) / n_clips


def _usable(
    probabilities: Float[np.ndarray, "N K"], truth: Int[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, "U K"], Int[np.ndarray, " U"]]:
    usable = np.isfinite(probabilities).all(axis=-1)
    return probabilities[usable], truth[usable]
