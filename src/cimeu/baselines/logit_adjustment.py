"""Logit adjustment: learn what an emotion sounds like beyond how often a group shows it (Menon et al., ICLR 2021).

While training, the logarithm of the group's own emotion frequencies is added to the scores; when testing it is not,
so the classifier that remains minimises the balanced error. `strength` is tau of the paper; an emotion that a group
lacks counts as half a clip.
"""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from cimeu.baselines.erm import ERM
from cimeu.baselines.task import Task
from cimeu.batching.collate import Batch


class LogitAdjustment(ERM):
    """Cross-entropy on scores shifted by the log priors of the group."""

    name = "logit_adjustment"
    meaning: ClassVar[str] = "log priors of each group while training"
    log_priors: Tensor
    defaults: ClassVar[dict[str, float]] = {"strength": 1.0}

    def build(self, task: Task) -> None:
        counts = task.counts.float().clamp(min=0.5)
        self.register_buffer("log_priors", (counts / counts.sum(1, keepdim=True)).log())

    def errors(self, logits: Sequence[Float[Tensor, "_ K"]], batches: Sequence[Batch]) -> list[Float[Tensor, ""]]:
        shifts = (self.settings["strength"] * self.log_priors).unbind()
        return super().errors([scores + shift for scores, shift in zip(logits, shifts, strict=True)], batches)
