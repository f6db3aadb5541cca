"""One vector per clip: stored steps pooled over time, and their standardisation over the training clips.

Axes: N clips, T steps of a clip, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from cimeu.batching.dataset import ClipDataset
from cimeu.errors import FeatureError

DEVIATION_FLOOR = 1e-3


@dataclass(frozen=True)
class Standardiser:
    """Mean and deviation of the training clips; what is not measurable (NaN) becomes the training mean."""

    mean: Float[np.ndarray, " D"]
    deviation: Float[np.ndarray, " D"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "N D"]) -> "Standardiser":
        measured = np.isfinite(features)
        count = np.maximum(measured.sum(axis=0), 1)
        mean = np.where(measured, features, 0).sum(axis=0) / count
        variance = np.where(measured, (features - mean) ** 2, 0).sum(axis=0) / count
        return cls(mean, np.maximum(np.sqrt(variance), DEVIATION_FLOOR))

    def apply(self, features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        return np.nan_to_num((features - self.mean) / self.deviation, nan=0.0)


def pool_steps(streams: Sequence[Float[np.ndarray, "_ D"]]) -> Float[np.ndarray, "N E"]:
    """One vector per clip: mean over its measurable steps, and their deviation where clips have more than one step.

    A dimension without any measurable step stays NaN. E is D or 2D.
    """
    moments = [_moments(steps) for steps in streams]
    if any(len(steps) > 1 for steps in streams):
        return np.stack([np.concatenate(moment) for moment in moments])
    return np.stack([mean for mean, _ in moments])


@lru_cache(maxsize=6)  # baselines of a fold read the same vectors
def pooled(dataset: ClipDataset) -> Float[np.ndarray, "N D"]:
    """One vector per usable clip: the pooled steps of both streams; a stream that a clip lacks is not a number.

    Raises:
        FeatureError: no clip of the dataset has features.
    """
    if not len(dataset.usable):
        raise FeatureError(
            f"none of {len(dataset)} clips has features\n\nhint: extract features first (`cimeu extract`)"
        )
    samples = [dataset[int(row)] for row in dataset.usable]
    streams = [[sample.first for sample in samples], [sample.second for sample in samples]]
    return np.concatenate([_pooled_stream(stream) for stream in streams if any(x is not None for x in stream)], axis=1)


def _pooled_stream(stream: Sequence[np.ndarray | None]) -> Float[np.ndarray, "N D"]:
    there = [steps for steps in stream if steps is not None]
    found = pool_steps([steps.astype(np.float64) for steps in there])
    vectors = np.full((len(stream), found.shape[1]), np.nan)
    vectors[[steps is not None for steps in stream]] = found
    return vectors


def _moments(steps: Float[np.ndarray, "T D"]) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    measured: Bool[np.ndarray, "T D"] = np.isfinite(steps)
    count = measured.sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.where(measured, steps, 0).sum(axis=0) / count
        deviation = np.sqrt(np.where(measured, (steps - mean) ** 2, 0).sum(axis=0) / count)
    return mean, deviation
