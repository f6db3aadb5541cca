"""MixStyle: mix mean and deviation over time between clips of different groups (Zhou et al., ICLR 2021).

After the first stage of each stream the moments of a channel over time, which carry microphone and speaker, are
replaced by a mixture with those of a clip of another group (of any clip where there is one group only). Only while
training, in `chance` of the updates, with shares from Beta(`alpha`, `alpha`).

Axes: B clips of one group, T steps, C channels.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from cimeu.baselines.erm import ERM
from cimeu.batching.collate import Batch
from cimeu.model.rivals.backbone import Steps

DEVIATION_FLOOR = 1e-3


class MixStyle(ERM):
    """ERM on clips that borrow each other's moments."""

    name = "mixstyle"
    meaning: ClassVar[str] = "moments over time mixed across clips"
    defaults: ClassVar[dict[str, float]] = {"chance": 0.5, "alpha": 0.1}

    def losses(self, batches: Sequence[Batch]) -> dict[str, Float[Tensor, ""]]:
        opened = [self.backbone.open(batch.first, batch.second) for batch in batches]
        if float(torch.rand(())) < self.settings["chance"]:
            by_stream = [self._mixed(groups) for groups in zip(*opened, strict=True)]
            opened = [list(streams) for streams in zip(*by_stream, strict=True)]
        logits = [self.head(self.backbone.close(streams)) for streams in opened]
        return {"error": torch.stack(self.errors(logits, batches)).mean()}

    def _mixed(self, groups: Sequence[Steps]) -> list[Steps]:
        beta = torch.distributions.Beta(self.settings["alpha"], self.settings["alpha"])
        statistics = [moments(steps) for steps in groups]
        mixed = []
        for own, (steps, (mean, deviation)) in enumerate(zip(groups, statistics, strict=True)):
            others = [group for group in range(len(groups)) if group != own] or [own]
            donors = torch.cat([groups[group].present.nonzero()[:, 0] for group in others])
            means = torch.cat([statistics[group][0][groups[group].present] for group in others])
            deviations = torch.cat([statistics[group][1][groups[group].present] for group in others])
            if not len(donors):
                mixed.append(steps)
                continue
            partner = torch.randint(len(donors), (len(mean),), device=mean.device)
            share = beta.sample((len(mean), 1)).to(mean.device)
            new_mean = share * mean + (1 - share) * means[partner]
            new_deviation = share * deviation + (1 - share) * deviations[partner]
            plain = (steps.features - mean[:, None]) / deviation[:, None]
            mixed.append(replace(steps, features=plain * new_deviation[:, None] + new_mean[:, None]))
        return mixed


def moments(steps: Steps) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
    """Mean and deviation (floor 1e-3) of each channel over the valid steps, without gradient."""
    features, weights = steps.features.detach(), steps.mask[..., None].to(steps.features.dtype)
    count = weights.sum(1).clamp(min=1)
    mean = (features * weights).sum(1) / count
    variance = ((features - mean[:, None]).square() * weights).sum(1) / count
    return mean, variance.sqrt().clamp(min=DEVIATION_FLOOR)
