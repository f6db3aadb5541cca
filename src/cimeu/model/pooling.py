"""One vector per clip: its steps pooled over time, and the standardisation of such vectors.

Axes: N clips, T steps of a clip, D features of a step, E numbers of a vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

DEVIATION_FLOOR = 1e-3


@dataclass(frozen=True)
class Standardiser:
    """Mean and deviation of the training clips; what is not measurable (NaN) becomes the training mean."""

    mean: Float[np.ndarray, " E"]
    deviation: Float[np.ndarray, " E"]

    @classmethod
    def of(cls, vectors: Float[np.ndarray, "N E"]) -> "Standardiser":
        measured = np.isfinite(vectors)
        count = np.maximum(measured.sum(axis=0), 1)
        mean = np.where(measured, vectors, 0).sum(axis=0) / count
        variance = np.where(measured, (vectors - mean) ** 2, 0).sum(axis=0) / count
        return cls(mean, np.maximum(np.sqrt(variance), DEVIATION_FLOOR))

    def apply(self, vectors: Float[np.ndarray, "N E"]) -> Float[np.ndarray, "N E"]:
        return np.nan_to_num((vectors - self.mean) / self.deviation, nan=0.0)


def pool_steps(clips: Sequence[Float[np.ndarray, "_ D"] | None], width: int, moments: int) -> Float[np.ndarray, "N E"]:
    """Mean over the measurable steps of each clip and, with two moments, their deviation.

    A dimension without a measurable step is NaN, and so is a clip without this stream. E is D or 2 D.
    """
    vectors = np.full((len(clips), width * moments), np.nan)
    for row, steps in enumerate(clips):
        if steps is None:
            continue
        measured = np.isfinite(steps)
        count = measured.sum(axis=0)
        with np.errstate(invalid="ignore"):  # 0 / 0 where nothing could be measured
            mean = np.where(measured, steps.astype(np.float64), 0).sum(axis=0) / count
            vectors[row, :width] = mean
            if moments == 2:
                spread = np.where(measured, (steps - mean) ** 2, 0).sum(axis=0) / count
                vectors[row, width:] = np.sqrt(spread)
    return vectors
