"""Domain-adversarial training: a discriminator must not be able to name the group (Ganin et al., JMLR 2016).

Its gradient is reversed on the way to the backbone, with the paper's factor 2 / (1 + exp(-10 u)) - 1 over the share u
of planned updates. A discriminator that lags behind is dodged, not satisfied: the groups stay readable for a fresh
one. So it learns faster, and a few steps on its own before each update (as in DomainBed). Where emotion and group
correlate this can delete emotion; the table shows whether it does.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cimeu.baselines.erm import ERM
from cimeu.baselines.task import Task
from cimeu.batching.collate import Batch
from cimeu.model.disentangle import ReverseGradient
from cimeu.model.rivals.backbone import CHANNELS
from cimeu.training.optim import reversal_factor

MOMENTA = (0.5, 0.9)
"""Adam's for the discriminator: its target moves."""


class DANN(ERM):
    """ERM plus a two-layer discriminator behind a reversed gradient, times `weight`.

    The discriminator takes `steps` of its own before each update, at `haste` times the learning rate.
    """

    name = "dann"
    meaning: ClassVar[str] = "groups must not be readable"
    needs_groups: ClassVar[bool] = True
    defaults: ClassVar[dict[str, float]] = {"weight": 1.0, "steps": 2.0, "haste": 10.0}

    def build(self, task: Task) -> None:
        self.discriminator = nn.Sequential(nn.Linear(CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, task.groups))
        rate = self.settings["haste"] * task.optimiser.learning_rate
        self.pursuit = torch.optim.AdamW(self.discriminator.parameters(), rate, betas=MOMENTA)

    def update(self, batches: Sequence[Batch]) -> dict[str, float]:
        with torch.no_grad():
            vectors = [self.backbone(batch.first, batch.second) for batch in batches]
        for _ in range(round(self.settings["steps"])):
            self.pursuit.zero_grad(set_to_none=True)
            self.naming_error(vectors).backward()
            self.pursuit.step()
        return super().update(batches)

    def losses(self, batches: Sequence[Batch]) -> dict[str, Float[Tensor, ""]]:
        vectors = [self.backbone(batch.first, batch.second) for batch in batches]
        error = torch.stack(self.errors([self.head(z) for z in vectors], batches)).mean()
        factor = reversal_factor(self.updates_done, self.task.updates)
        naming = self.naming_error([ReverseGradient.apply(z, factor) for z in vectors])  # type: ignore[no-untyped-call]
        return {"error": error, "group": self.settings["weight"] * naming}

    def naming_error(self, vectors: Sequence[Float[Tensor, "_ C"]]) -> Float[Tensor, ""]:
        """Cross-entropy of the discriminator, mean over groups."""
        errors = [
            F.cross_entropy(self.discriminator(z), torch.full((len(z),), group, device=z.device))
            for group, z in enumerate(vectors)
        ]
        return torch.stack(errors).mean()
