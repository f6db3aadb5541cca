"""Empirical risk minimisation: pool all source domains (DomainBed, ICLR 2021, its reference).

Every group counts the same in an update, whatever its size. The other methods add to this one: they override
`losses`, or what happens inside the network.

Axes: B clips of one group, K emotions.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cimeu.baselines.task import Task
from cimeu.batching.collate import Batch
from cimeu.errors import RecipeError
from cimeu.model.rivals.backbone import CHANNELS, Backbone
from cimeu.training.losses import class_error
from cimeu.training.optim import build_optimiser, learning_rate, set_learning_rate


class ERM(nn.Module):
    """`update` takes one batch per training group and returns named numbers; `logits` predicts a batch."""

    name = "erm"
    meaning: ClassVar[str] = "shared backbone, all groups together"
    """What a table says of the method."""
    needs_groups: ClassVar[bool] = False
    """Whether it has nothing to do where all training clips are one group."""
    defaults: ClassVar[dict[str, float]] = {}

    def __init__(self, task: Task) -> None:
        super().__init__()
        for key in task.settings:
            if key not in self.defaults:
                options = ", ".join(self.defaults) or "it has none"
                raise RecipeError(f"method `{self.name}` has no setting `{key}`\n\nhint: its settings: {options}")
        self.settings = {**self.defaults, **task.settings}
        self.task = task
        self.updates_done = 0
        self.backbone = Backbone(task.first, task.second)
        self.head = nn.Linear(CHANNELS, task.emotions)
        self.build(task)
        self.optimiser = build_optimiser(task.optimiser, self.parameters())

    def build(self, task: Task) -> None:
        """Add what the method needs beyond backbone and head."""

    def update(self, batches: Sequence[Batch]) -> dict[str, float]:
        """One optimiser step on one batch per group; the named terms and their `total`."""
        terms = self.losses(batches)
        total = torch.stack(list(terms.values())).sum()
        set_learning_rate(self.optimiser, learning_rate(self.task.optimiser, self.updates_done, self.task.updates))
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        if self.task.optimiser.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters(), self.task.optimiser.clip_norm)
        self.optimiser.step()
        self.updates_done += 1
        return {"total": total.item(), **{name: value.item() for name, value in terms.items()}}

    def logits(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Scores of the emotions; nothing about the group of a clip is known here."""
        return self.head(self.backbone(batch.first, batch.second))

    def losses(self, batches: Sequence[Batch]) -> dict[str, Float[Tensor, ""]]:
        """Terms whose sum is minimised."""
        return {"error": torch.stack(self.errors([self.logits(batch) for batch in batches], batches)).mean()}

    def errors(self, logits: Sequence[Float[Tensor, "_ K"]], batches: Sequence[Batch]) -> list[Float[Tensor, ""]]:
        """Cross-entropy of each group."""
        return [emotion_error(scores, batch) for scores, batch in zip(logits, batches, strict=True)]


def emotion_error(
    logits: Float[Tensor, "B K"], batch: Batch, weights: Float[Tensor, " K"] | None = None
) -> Float[Tensor, ""]:
    """Cross-entropy of one group's batch, with mixup where the batch is mixed."""
    errors = class_error(
        [logits],
        batch.emotion,
        partner=batch.partner,
        share=batch.share,
        shares=batch.shares,
        class_weights=weights,
    )
    assert errors is not None, "training clips have an emotion"
    return errors[0]
