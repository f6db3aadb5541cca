"""Group DRO: minimise the error of the worst training group (Sagawa et al., ICLR 2020).

Each group has a weight that grows with its own error: q_g <- q_g exp(eta error_g), normalised; the update minimises
the weighted error. `eta` is the step of the weights.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from cimeu.baselines.erm import ERM
from cimeu.baselines.task import Task
from cimeu.batching.collate import Batch


class GroupDRO(ERM):
    """Weighted error of the groups; `weights` are part of the state."""

    name = "groupdro"
    meaning: ClassVar[str] = "the worst training group first"
    needs_groups: ClassVar[bool] = True
    weights: Tensor
    defaults: ClassVar[dict[str, float]] = {"eta": 0.01}

    def build(self, task: Task) -> None:
        self.register_buffer("weights", torch.full((task.groups,), 1 / task.groups))

    def losses(self, batches: Sequence[Batch]) -> dict[str, Float[Tensor, ""]]:
        errors = torch.stack(self.errors([self.logits(batch) for batch in batches], batches))
        raised = self.weights * (self.settings["eta"] * errors.detach()).exp()
        self.weights = raised / raised.sum()
        return {"error": (self.weights * errors).sum()}
