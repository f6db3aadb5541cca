"""Deep CORAL: groups should look alike in mean and covariance (Sun & Saenko, ECCV Workshops 2016; form of DomainBed).

Axes: B clips of one group, C channels.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from cimeu.baselines.erm import ERM
from cimeu.batching.collate import Batch


class CORAL(ERM):
    """ERM plus the mean squared distance of means and covariances over all pairs of groups, times `weight`."""

    name = "coral"
    meaning: ClassVar[str] = "equal moments across groups"
    needs_groups: ClassVar[bool] = True
    defaults: ClassVar[dict[str, float]] = {"weight": 1.0}

    def losses(self, batches: Sequence[Batch]) -> dict[str, Float[Tensor, ""]]:
        vectors = [self.backbone(batch.first, batch.second) for batch in batches]
        error = torch.stack(self.errors([self.head(z) for z in vectors], batches)).mean()
        distances = [moment_distance(first, second) for first, second in combinations(vectors, 2)]
        apart = torch.stack(distances).mean() if distances else error.new_zeros(())
        return {"error": error, "apart": self.settings["weight"] * apart}


def moment_distance(first: Float[Tensor, "B C"], second: Float[Tensor, "B2 C"]) -> Float[Tensor, ""]:
    """Mean squared difference of means plus that of covariances."""
    return (first.mean(0) - second.mean(0)).square().mean() + (covariance(first) - covariance(second)).square().mean()


def covariance(vectors: Float[Tensor, "B C"]) -> Float[Tensor, "C C"]:
    """Unbiased covariance; zeros for a single clip."""
    centred = vectors - vectors.mean(0)
    return centred.T @ centred / max(1, len(vectors) - 1)
