"""Bring the emotion primitives and a second stream together (RFA).

The second stream becomes 4, 2 and 1 tokens that stand beside the primitives; both streams then read each other in
cross-modal layers and settle in hybrid attention. Sources: CiMEU (overview figure), METER (CVPR 2022) for the layer,
PTH-Net (IEEE TIP 2024) for hybrid attention, AST (Interspeech 2021) for the audio tokens.

Axes: B clips, T time steps of all levels, N tokens, D input width, C channels.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cimeu.model.blocks import HEADS, Layout, Levels, TemporalBlock
from cimeu.model.config import ModelConfig
from cimeu.pyramid import STEPS, Stream

DROPOUT = 0.1
EPS = 1e-12
POOLED = 4


class TokenMap(nn.Module):
    """Audio tokens to the steps of each level: a learned mixture of tokens, then a linear layer."""

    def __init__(self, tokens: int, inputs: int, width: int) -> None:
        super().__init__()
        quarter = STEPS // POOLED
        self.lengths = (quarter, quarter // 2, quarter // 4)
        self.mixture = nn.Linear(tokens, sum(self.lengths))
        self.linear = nn.Linear(inputs, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Float[Tensor, "B N D"], present: Bool[Tensor, " B"]) -> Levels:
        mixed = self.mixture(tokens.transpose(1, 2)).transpose(1, 2)  # [B, 4 + 2 + 1, D]
        mask = present[:, None].expand(-1, sum(self.lengths))
        return Levels(self.norm(self.linear(mixed)), Layout(mask, self.lengths))


class StepMap(nn.Module):
    """Steps of any other second stream: means of four consecutive ones, then a linear layer."""

    def __init__(self, inputs: int, width: int, *, flip: bool) -> None:
        """`flip`: turn the order of a clip's steps, for a first stream that was played backward."""
        super().__init__()
        self.flip = flip
        self.linear = nn.Linear(inputs, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, stream: Stream) -> Levels:
        parts = []
        for stride in (1, 2, 4):
            features, mask = means_of_four(stream.features[:, ::stride], stream.mask[:, ::stride])
            parts.append(flipped(features, mask) if self.flip else (features, mask))
        features = torch.cat([part[0] for part in parts], dim=1)  # [B, 4 + 2 + 1, D]
        mask = torch.cat([part[1] for part in parts], dim=1)
        high, middle, low = (part[1].shape[1] for part in parts)
        return Levels(self.norm(self.linear(features)), Layout(mask, (high, middle, low)))


def means_of_four(
    features: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B U D"], Bool[Tensor, "B U"]]:
    """Mean over the real ones of every four steps; real if any of them is."""
    missing = -features.shape[1] % POOLED
    features = F.pad(features * mask.unsqueeze(-1), (0, 0, 0, missing)).unflatten(1, (-1, POOLED))
    mask = F.pad(mask, (0, missing)).unflatten(1, (-1, POOLED))
    return features.sum(dim=2) / mask.sum(dim=2, keepdim=True).clamp(min=1), mask.any(dim=2)


def flipped(
    features: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T D"], Bool[Tensor, "B T"]]:
    """The real steps of each clip in the opposite order, padding where it was."""
    places = (~mask).to(torch.int8).argsort(dim=1, stable=True)  # real places first, in order
    rank = mask.cumsum(dim=1) - 1
    opposite = (mask.sum(dim=1, keepdim=True) - 1 - rank).clamp(min=0, max=mask.shape[1] - 1)
    source = torch.where(mask, places.gather(1, opposite), torch.arange(mask.shape[1], device=mask.device))
    return features.gather(1, source.unsqueeze(-1).expand_as(features)), mask


class CrossLayer(nn.TransformerDecoderLayer):
    """METER's cross-modal layer, which is torch's decoder layer: look at oneself, at the other stream, think.

    Its two halves are callable on their own, because one form of fusion exchanges the streams between them. Masks are
    [B, 1, T, T], true where a step may look.
    """

    def __init__(self, width: int, feed_forward: int) -> None:
        super().__init__(
            width,
            HEADS,
            feed_forward,
            DROPOUT,
            activation="gelu",
            norm_first=False,
            batch_first=True,
            layer_norm_eps=EPS,
        )

    def look_at_oneself(self, x: Float[Tensor, "B T C"], layout: Layout) -> Float[Tensor, "B T C"]:
        """Self-attention within a level."""
        return self.norm1(x + self.dropout1(attend(self.self_attn, x, x, layout.attends)))

    def look_at_other(
        self, x: Float[Tensor, "B T C"], memory: Float[Tensor, "B M C"], seen: Bool[Tensor, "B 1 T M"]
    ) -> Float[Tensor, "B T C"]:
        """Attention to the other stream's real steps of the same level, of which there is one at least; then the MLP."""
        x = self.norm2(x + self.dropout2(attend(self.multihead_attn, x, memory, seen)))
        return self.norm3(x + self.dropout3(self.linear2(self.dropout(F.gelu(self.linear1(x))))))


class SelfLayer(nn.TransformerEncoderLayer):
    """The same layer where there is no other stream: torch's encoder layer of the same sizes."""

    def __init__(self, width: int, feed_forward: int) -> None:
        super().__init__(
            width,
            HEADS,
            feed_forward,
            DROPOUT,
            activation="gelu",
            norm_first=False,
            batch_first=True,
            layer_norm_eps=EPS,
        )

    def think(self, x: Float[Tensor, "B T C"], layout: Layout) -> Float[Tensor, "B T C"]:
        """Self-attention within a level, then the MLP."""
        x = self.norm1(x + self.dropout1(attend(self.self_attn, x, x, layout.attends)))
        return self.norm2(x + self.dropout2(self.linear2(self.dropout(F.gelu(self.linear1(x))))))


def attend(
    attention: nn.MultiheadAttention,
    x: Float[Tensor, "B T C"],
    memory: Float[Tensor, "B M C"],
    attends: Bool[Tensor, "B 1 T M"],
) -> Float[Tensor, "B T C"]:
    """Attention with the weights of torch's module; its own forward would build float masks in every layer."""
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if memory is x:
        q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)
    else:
        width = x.shape[-1]
        q = F.linear(x, weight[:width], bias[:width])
        k, v = F.linear(memory, weight[width:], bias[width:]).chunk(2, dim=-1)
    q, k, v = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
    chance = attention.dropout if attention.training else 0.0
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attends, dropout_p=chance)
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))


class Fusion(nn.Module):
    """Let two streams read each other, then settle: N cross-modal layers and hybrid attention, per stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.sizes
        self.form = config.fusion
        layers = 0 if config.fusion == "off" else size.layers
        blocks = size.layers if config.fusion == "figure" else 2
        streams = 1 if config.second is None else 2
        layer = SelfLayer if config.second is None else CrossLayer
        self.types = nn.Parameter(torch.randn(streams, size.width) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(layer(size.width, size.feed_forward) for _ in range(layers)) for _ in range(streams)
        )
        self.hybrid = nn.ModuleList(
            nn.ModuleList(
                TemporalBlock(size.width, size.temporal_mlp, 3, drop_path=config.drop_path) for _ in range(blocks)
            )
            for _ in range(streams)
        )

    def forward(self, streams: list[Levels]) -> list[Levels]:
        """One or two streams at 4, 2 and 1 steps, of the same lengths; every level has a real step."""
        streams = [s.map(lambda x, kind=kind: x + kind) for s, kind in zip(streams, self.types, strict=True)]
        for i in range(len(self.layers[0])):
            streams = self._layer(streams, [layers[i] for layers in self.layers])
            if self.form == "figure":
                streams = [blocks[i](s) for blocks, s in zip(self.hybrid, streams, strict=True)]
        if self.form != "figure":
            streams = [nn.Sequential(*blocks)(s) for blocks, s in zip(self.hybrid, streams, strict=True)]
        return streams

    def _layer(self, streams: list[Levels], layers: list[nn.Module]) -> list[Levels]:
        if len(streams) == 1:
            return [streams[0].map(lambda x: layers[0].think(x, streams[0].layout))]
        (first, second), (a, b) = streams, layers
        x, y = first.features, second.features
        seen_x, seen_y = a.look_at_oneself(x, first.layout), b.look_at_oneself(y, second.layout)
        memory_x, memory_y = (seen_x, seen_y) if self.form == "figure" else (x, y)
        return [
            Levels(a.look_at_other(seen_x, memory_y, second.layout.seen_from(first.layout)), first.layout),
            Levels(b.look_at_other(seen_y, memory_x, first.layout.seen_from(second.layout)), second.layout),
        ]
