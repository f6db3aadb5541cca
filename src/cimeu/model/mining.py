"""Ask every level for an answer, and mix the answers of the streams (LRM and the decision).

Each level keeps its own head, so that slow and fast views of a clip must both tell the emotion; the loss that keeps
their representations diverse reads `pooled` and lives in training. Source: CiMEU (overview figure).

Axes: B clips, C channels, K emotions.
"""

from math import log

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cimeu.model.config import PUBLISHED_SECOND_SHARE, ModelConfig
from cimeu.pyramid import LEVELS


class LevelHeads(nn.Module):
    """One linear head per level."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(config.sizes.width, len(config.emotions)) for _ in LEVELS)

    def forward(self, pooled: tuple[Float[Tensor, "B C"], ...]) -> tuple[Float[Tensor, "B K"], ...]:
        return tuple(head(x).float() for head, x in zip(self.heads, pooled, strict=True))


class Gate(nn.Module):
    """Share a of the second stream in a level's logits; starts at the published 0.2."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.sizes.width
        self.learned = config.mixing == "gated"
        if self.learned:
            output = nn.Linear(width, 1)
            nn.init.zeros_(output.weight)
            nn.init.constant_(output.bias, log(PUBLISHED_SECOND_SHARE / (1 - PUBLISHED_SECOND_SHARE)))
            self.share = nn.Sequential(nn.Linear(2 * width + 2, width), nn.GELU(), output)

    def forward(
        self, first: Float[Tensor, "B C"], second: Float[Tensor, "B C"], present: Bool[Tensor, "B 2"]
    ) -> Float[Tensor, " B"]:
        """All of it goes to the stream that is there, where only one is."""
        if self.learned:
            seen = torch.cat((first, second, present.to(first.dtype)), dim=-1)  # [B, 2 C + 2]
            share = self.share(seen).squeeze(-1).float().sigmoid()
        else:
            share = first.new_full((len(first),), PUBLISHED_SECOND_SHARE, dtype=torch.float32)
        only_first, only_second = present[:, 0] & ~present[:, 1], present[:, 1] & ~present[:, 0]
        return share.masked_fill(only_first, 0.0).masked_fill(only_second, 1.0)


def mixed(
    first: tuple[Float[Tensor, "B K"], ...],
    second: tuple[Float[Tensor, "B K"], ...],
    gate: tuple[Float[Tensor, " B"], ...],
) -> tuple[Float[Tensor, "B K"], ...]:
    """Logits of each level: (1 - a) first + a second."""
    triples = zip(first, second, gate, strict=True)
    return tuple((1 - a[:, None]) * one + a[:, None] * two for one, two, a in triples)
