"""Simple models of one vector per clip: both streams pooled over time, standardised, and read by a few tensors.

    linear      logits are W z + b
    rbf         one-against-one decisions of support vectors with a radial kernel, turned into one score per emotion
    majority    the shares of the emotions among the training clips, whatever the clip

They are trained by scikit-learn (`cimeu.baselines`); here are its decision functions, so that a model is tensors and no
pickle. An emotion that no training clip shows has the logit `NEVER`.

Axes: N clips, E numbers of a vector, K emotions, S support vectors, P pairs of emotions.
"""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from cimeu.model.checkpoint import Specifications
from cimeu.model.pooling import Standardiser, pool_steps
from cimeu.model.rivals.rival import Rival, RivalConfig

NEVER = -1e4
"""Logit of an emotion without a training clip: finite, as weights have to be, and without any probability."""


class Pooled(Rival):
    """A classifier of the standardised vector of a clip."""

    def __init__(self, config: RivalConfig, specifications: Specifications | None = None) -> None:
        super().__init__(config, specifications)
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(config.pooled_width))
        self.deviation: Tensor
        self.register_buffer("deviation", torch.ones(config.pooled_width))

    def standardise_by(self, standardiser: Standardiser) -> None:
        """Take over mean and deviation of the training clips."""
        self.mean.copy_(torch.from_numpy(standardiser.mean))
        self.deviation.copy_(torch.from_numpy(standardiser.deviation))

    def embed(self, *streams: Sequence[Float32[np.ndarray, "_ _"] | None]) -> Float32[np.ndarray, "N E"]:
        """The vector of each clip, as pooled: both streams side by side, NaN where there is nothing to measure."""
        parts = [
            pool_steps(clips, config.width, moments)
            for clips, config, moments in zip(streams, self.config.streams, self.config.moments, strict=False)
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def forward(self, vectors: Float[Tensor, "N E"]) -> Float[Tensor, "N K"]:
        """Logits of pooled vectors; what was not measurable counts as the training mean."""
        return self.logits(((vectors - self.mean) / self.deviation).nan_to_num(nan=0.0))

    @abstractmethod
    def logits(self, standardised: Float[Tensor, "N E"]) -> Float[Tensor, "N K"]:
        """Logits of standardised vectors."""


class PooledLinear(Pooled):
    """Multinomial logistic regression."""

    kind = "linear"

    def __init__(self, config: RivalConfig, specifications: Specifications | None = None) -> None:
        super().__init__(config, specifications)
        self.head = nn.Linear(config.pooled_width, len(config.emotions))

    def logits(self, standardised: Float[Tensor, "N E"]) -> Float[Tensor, "N K"]:
        return self.head(standardised)


class PooledKernel(Pooled):
    """Support vectors with a radial kernel, exp(-gamma |z - s|^2), one decision for each pair of emotions.

    Score of an emotion: its won pairs, plus the sum of its decisions squeezed below a third, so that confidence only
    orders emotions with equally many wins (as scikit-learn turns one-against-one into one-against-rest).
    """

    kind = "rbf"

    def __init__(self, config: RivalConfig, specifications: Specifications | None = None) -> None:
        super().__init__(config, specifications)
        self.supports, self.coefficients, self.intercepts, self.present, self.gamma, self.temperature = (
            nn.Parameter(torch.zeros(shape), requires_grad=False)
            for shape in (
                (config.supports, config.pooled_width),
                (config.pairs, config.supports),
                (config.pairs,),
                (len(config.emotions),),
                (),
                (),
            )
        )

    def logits(self, standardised: Float[Tensor, "N E"]) -> Float[Tensor, "N K"]:
        distances = torch.cdist(standardised, self.supports, compute_mode="donot_use_mm_for_euclid_dist").square()
        decisions = (-self.gamma * distances).exp() @ self.coefficients.T + self.intercepts
        emotions = self.present.nonzero()[:, 0].tolist()
        scores = standardised.new_full((len(standardised), len(self.config.emotions)), NEVER)
        scores[:, emotions] = self._one_against_rest(decisions, len(emotions)) / self.temperature
        return scores

    def _one_against_rest(self, decisions: Float[Tensor, "N P"], n_emotions: int) -> Float[Tensor, "N C"]:
        if n_emotions == 2:
            return torch.cat([-decisions, decisions], dim=1)
        votes = decisions.new_zeros((len(decisions), n_emotions))
        confidence = votes.clone()
        for pair, (one, other) in enumerate(combinations(range(n_emotions), 2)):
            decision = decisions[:, pair]
            votes[:, one] += decision >= 0
            votes[:, other] += decision < 0
            confidence[:, one] += decision
            confidence[:, other] -= decision
        return votes + confidence / (3 * (confidence.abs() + 1))


class Majority(Pooled):
    """The same answer for every clip."""

    kind = "majority"

    def __init__(self, config: RivalConfig, specifications: Specifications | None = None) -> None:
        super().__init__(config, specifications)
        self.log_shares: Tensor
        self.register_buffer("log_shares", torch.zeros(len(config.emotions)))

    def logits(self, standardised: Float[Tensor, "N E"]) -> Float[Tensor, "N K"]:
        return self.log_shares.expand(len(standardised), -1)
