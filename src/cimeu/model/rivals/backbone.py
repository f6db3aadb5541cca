"""The small network that every domain method shares, so that only what they add differs.

Per stream: a linear map of each step, two residual convolutions over time, the mean over valid steps. Both streams are
joined and mapped to one vector `z` per clip; a linear head predicts the emotion. A stream that a clip lacks is one
learned vector. Filterbanks and tokens are read like steps.

Axes: B clips, T steps of a stream, D features, C channels, K emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cimeu.model.blocks import masked_mean
from cimeu.model.checkpoint import Specifications
from cimeu.model.rivals.rival import Rival, RivalConfig
from cimeu.pyramid import Stream

CHANNELS = 64
DROPOUT = 0.2


@dataclass(frozen=True)
class Steps:
    """One stream inside the network."""

    features: Float[Tensor, "B T C"]
    mask: Bool[Tensor, "B T"]
    present: Bool[Tensor, " B"]


class Convolution(nn.Module):
    """Residual masked convolution over time: padding never reaches a valid step."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, channels, 3, padding=1)
        self.norm = nn.LayerNorm(channels)

    def forward(self, steps: Steps) -> Steps:
        masked = steps.features * steps.mask[..., None]
        convolved = self.convolution(masked.transpose(1, 2)).transpose(1, 2)
        return Steps(steps.features + F.relu(self.norm(convolved)), steps.mask, steps.present)


class Reader(nn.Module):
    """One stream to one vector per clip, in two stages; methods may change the steps in between."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(width, channels)
        self.early, self.late = Convolution(channels), Convolution(channels)
        self.missing = nn.Parameter(torch.zeros(channels))

    def open(self, stream: Stream) -> Steps:
        """The first stage."""
        return self.early(Steps(self.narrow(stream.features), stream.mask, stream.present))

    def close(self, steps: Steps) -> Float[Tensor, "B C"]:
        """The second stage, and the mean over valid steps."""
        late = self.late(steps)
        return torch.where(late.present[:, None], masked_mean(late.features, late.mask), self.missing)


class Backbone(nn.Module):
    """Both streams to one vector per clip."""

    def __init__(self, first: int, second: int | None, channels: int = CHANNELS) -> None:
        super().__init__()
        widths = [first] if second is None else [first, second]
        self.readers = nn.ModuleList(Reader(width, channels) for width in widths)
        self.join = nn.Sequential(nn.Linear(channels * len(widths), channels), nn.ReLU(), nn.Dropout(DROPOUT))

    def open(self, first: Stream | None, second: Stream | None) -> list[Steps]:
        """The first stage of each stream."""
        streams = [first, second][: len(self.readers)]
        steps = []
        for reader, stream in zip(self.readers, streams, strict=True):
            assert isinstance(reader, Reader)
            assert stream is not None, "the batch lacks a stream the task promised"
            steps.append(reader.open(stream))
        return steps

    def close(self, streams: Sequence[Steps]) -> Float[Tensor, "B C"]:
        """The second stage of each stream, joined."""
        pooled = [reader.close(steps) for reader, steps in zip(self.readers, streams, strict=True)]  # type: ignore[operator]
        return self.join(torch.cat(pooled, dim=1))

    def forward(self, first: Stream | None, second: Stream | None) -> Float[Tensor, "B C"]:
        return self.close(self.open(first, second))


class BackboneClassifier(Rival):
    """The backbone and a linear head."""

    kind = "backbone"

    def __init__(self, config: RivalConfig, specifications: Specifications | None = None) -> None:
        super().__init__(config, specifications)
        self.backbone = Backbone(config.first.width, None if config.second is None else config.second.width)
        self.head = nn.Linear(CHANNELS, len(config.emotions))

    def forward(self, first: Stream | None, second: Stream | None) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B C"]]:
        """Logits, and the vectors that they are read from."""
        vectors = self.backbone(first, second)
        return self.head(vectors), vectors
