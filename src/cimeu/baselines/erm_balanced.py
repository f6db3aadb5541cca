"""Empirical risk minimisation in which every emotion of every group weighs the same.

Cheap insurance against label shift between groups: where anger is common in one group, the network would otherwise
learn that its microphone means anger. Weights are inverse training frequencies, at most `cap` times the smallest in a
group.
"""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from cimeu.baselines.erm import ERM, emotion_error
from cimeu.baselines.task import Task
from cimeu.batching.collate import Batch


class BalancedERM(ERM):
    """Cross-entropy weighted by the inverse frequency of each emotion in the clip's group."""

    name = "erm_balanced"
    meaning: ClassVar[str] = "every emotion of every group weighs the same"
    weights: Tensor
    defaults: ClassVar[dict[str, float]] = {"cap": 20.0}

    def build(self, task: Task) -> None:
        inverse = 1 / task.counts.clamp(min=1).float()
        capped = inverse.minimum(self.settings["cap"] * inverse.amin(1, keepdim=True))
        self.register_buffer("weights", capped)

    def errors(self, logits: Sequence[Float[Tensor, "_ K"]], batches: Sequence[Batch]) -> list[Float[Tensor, ""]]:
        return [
            emotion_error(scores, batch, weights)
            for scores, batch, weights in zip(logits, batches, self.weights.unbind(), strict=True)
        ]
