"""Late fusion: each level and stream has a classifier of its own, and a gate weighs the logits of the streams.

Every level keeps its own head (LRM), so that slow and fast views of a clip must both tell the emotion; the loss that
keeps their representations diverse lives in training. An unbounded gate gives up one stream within a few epochs (0.97
to 0.99 for the second stream on four speech corpora), so the default keeps each share between 0.2 and 0.8.
Source: CiMEU (overview figure).

Axes: B clips, C channels, K emotions.
"""

from math import log

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cimeu.model.config import PUBLISHED_SECOND_SHARE, ModelConfig
from cimeu.pyramid import LEVELS

SHARES = (0.2, 0.8)
"""Smallest and largest share of the second stream with a bounded gate."""


class LevelHeads(nn.Module):
    """One linear classifier per level."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.head_dropout)
        self.heads = nn.ModuleList(nn.Linear(config.sizes.width, len(config.emotions)) for _ in LEVELS)

    def forward(self, pooled: tuple[Float[Tensor, "B C"], ...]) -> tuple[Float[Tensor, "B K"], ...]:
        return tuple(head(self.dropout(x)).float() for head, x in zip(self.heads, pooled, strict=True))


class Gate(nn.Module):
    """Share of the second stream in a level's logits. Learned shares start at 0.5 (bounded) or the published 0.2."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.sizes.width
        self.learned = config.late_fusion in ("bounded", "gated")
        self.lowest, self.highest = SHARES if config.late_fusion == "bounded" else (0.0, 1.0)
        self.fixed = 0.5 if config.late_fusion == "equal" else PUBLISHED_SECOND_SHARE
        if self.learned:
            output = nn.Linear(width, 1)
            start = 0.5 if config.late_fusion == "bounded" else PUBLISHED_SECOND_SHARE
            # Zero weights: every clip starts with the same share, and the gate learns only what differs between
            # clips.
            nn.init.zeros_(output.weight)
            nn.init.constant_(output.bias, log(start / (1 - start)))
            self.share = nn.Sequential(nn.Linear(2 * width + 2, width), nn.GELU(), output)

    def forward(
        self, first: Float[Tensor, "B C"], second: Float[Tensor, "B C"], present: Bool[Tensor, "B 2"]
    ) -> Float[Tensor, " B"]:
        """A clip with one stream gives it the whole share."""
        if self.learned:
            # Presence is an input too, because an absent stream is a learned token and not zeros.
            seen = torch.cat((first, second, present.to(first.dtype)), dim=-1)  # [B, 2 C + 2]
            share = self.share(seen).squeeze(-1).float().sigmoid()
            # Without these bounds the gate ended at 0.97 to 0.99 on speech: one stream decided nothing.
            share = self.lowest + (self.highest - self.lowest) * share
        else:
            share = first.new_full((len(first),), self.fixed, dtype=torch.float32)
        # Overrides whatever was learned: a missing stream has no say.
        only_first, only_second = present[:, 0] & ~present[:, 1], present[:, 1] & ~present[:, 0]
        return share.masked_fill(only_first, 0.0).masked_fill(only_second, 1.0)


def weighted_logits(
    first: tuple[Float[Tensor, "B K"], ...],
    second: tuple[Float[Tensor, "B K"], ...],
    gate: tuple[Float[Tensor, " B"], ...],
) -> tuple[Float[Tensor, "B K"], ...]:
    """Logits of each level: (1 - a) first + a second."""
    triples = zip(first, second, gate, strict=True)
    return tuple((1 - a[:, None]) * one + a[:, None] * two for one, two, a in triples)
