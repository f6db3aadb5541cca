"""Bring the emotion primitives and a second stream together (RFA).

The second stream becomes 4, 2 and 1 tokens that stand beside the primitives; both streams then read each other in
cross-modal layers and settle in hybrid attention. Sources: CiMEU (overview figure), METER (CVPR 2022) for the layer,
PTH-Net (IEEE TIP 2024) for hybrid attention, AST (Interspeech 2021) for the audio tokens.

Axes: B clips, T time steps of all levels, N tokens, D input width, C channels.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cimeu.model.attention import attention
from cimeu.model.blocks import HEADS, Layout, Levels, TemporalBlock
from cimeu.model.config import ModelConfig
from cimeu.pyramid import STEPS, Stream

DROPOUT = 0.1
METER: dict[str, Any] = {"activation": "gelu", "norm_first": False, "batch_first": True, "layer_norm_eps": 1e-12}
"""What the layers that read another stream and those without one share."""
POOLED = 4
BANDS = 12
"""Frequency bands of AST tokens: patches of 16 bins every 10 of 128."""


class TokenMap(nn.Module):
    """Audio tokens to the steps of each level: a learned mixture of tokens, then a linear layer."""

    def __init__(self, tokens: int, inputs: int, width: int) -> None:
        super().__init__()
        # Steps of the first stream after its two poolings, at H, M and L.
        quarter = STEPS // POOLED
        self.lengths = (quarter, quarter // 2, quarter // 4)
        self.mixture = nn.Linear(tokens, sum(self.lengths))
        self.linear = nn.Linear(inputs, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Float[Tensor, "B N D"], present: Bool[Tensor, " B"]) -> Levels:
        mixed = self.mixture(tokens.transpose(1, 2)).transpose(1, 2)  # [B, 4 + 2 + 1, D]
        # Tokens cover the whole clip, so every step is real where the stream is there at all.
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
        # The same steps that H, M and L of the first stream are made of.
        for stride in (1, 2, 4):
            features, mask = means_of_four(stream.features[:, ::stride], stream.mask[:, ::stride])
            # A first stream that was played backward runs against the sound, which is never reversed.
            parts.append(flipped(features, mask) if self.flip else (features, mask))
        features = torch.cat([part[0] for part in parts], dim=1)  # [B, 4 + 2 + 1, D]
        mask = torch.cat([part[1] for part in parts], dim=1)
        high, middle, low = (part[1].shape[1] for part in parts)
        return Levels(self.norm(self.linear(features)), Layout(mask, (high, middle, low)))


class PrimitiveMap(nn.Module):
    """Emotion primitives of a second stream with an encoder of its own, brought to the scale of the first one's."""

    def __init__(self, width: int, *, flip: bool) -> None:
        """`flip`: reverse each clip's steps, for a first stream that was played backward."""
        super().__init__()
        self.flip = flip
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, emotion: Levels) -> Levels:
        if self.flip:
            lengths = emotion.layout.lengths
            pairs = zip(emotion.features.split(lengths, dim=1), emotion.layout.mask.split(lengths, dim=1), strict=True)
            emotion = Levels(torch.cat([flipped(x, mask)[0] for x, mask in pairs], dim=1), emotion.layout)
        return emotion.map(lambda x: self.norm(self.linear(x)))


def token_steps(tokens: Float[Tensor, "B N D"], present: Bool[Tensor, " B"]) -> Stream:
    """Audio tokens as 16 steps: the mean over frequency bands, then over neighbouring times.

    Tokens of the AST are frequency-major (12 bands by T times), so a mean over the bands leaves one vector per time.
    """
    times = tokens.unflatten(1, (BANDS, -1)).mean(dim=1)  # [B, T, D]
    steps = F.adaptive_avg_pool1d(times.transpose(1, 2), STEPS).transpose(1, 2)  # [B, 16, D]
    mask = present[:, None].expand(-1, STEPS)
    return Stream(steps * mask.unsqueeze(-1), mask, present)


def means_of_four(
    features: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B U D"], Bool[Tensor, "B U"]]:
    """Mean over the real ones of every four steps; real if any of them is."""
    missing = -features.shape[1] % POOLED  # steps up to the next multiple of four
    features = F.pad(features * mask.unsqueeze(-1), (0, 0, 0, missing)).unflatten(1, (-1, POOLED))
    mask = F.pad(mask, (0, missing)).unflatten(1, (-1, POOLED))
    return features.sum(dim=2) / mask.sum(dim=2, keepdim=True).clamp(min=1), mask.any(dim=2)


def flipped(
    features: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T D"], Bool[Tensor, "B T"]]:
    """The real steps of each clip in the opposite order, padding where it was."""
    # A stable sort keeps real steps in order; of int8, because not every device sorts bool.
    places = (~mask).to(torch.int8).argsort(dim=1, stable=True)  # real places first, in order
    rank = mask.cumsum(dim=1) - 1
    # The k-th real step takes the place of the k-th from the end; clamped where there is padding, which is not used.
    opposite = (mask.sum(dim=1, keepdim=True) - 1 - rank).clamp(min=0, max=mask.shape[1] - 1)
    source = torch.where(mask, places.gather(1, opposite), torch.arange(mask.shape[1], device=mask.device))
    return features.gather(1, source.unsqueeze(-1).expand_as(features)), mask


class CrossLayer(nn.TransformerDecoderLayer):
    """METER's cross-modal layer, which is torch's decoder layer: self-attention, cross-attention, feed-forward.

    Its two halves are callable on their own, because one form of fusion exchanges the streams between them.
    """

    def __init__(self, width: int, feed_forward: int) -> None:
        super().__init__(width, HEADS, feed_forward, DROPOUT, **METER)

    def look_at_oneself(self, x: Float[Tensor, "B T C"], layout: Layout) -> Float[Tensor, "B T C"]:
        """Self-attention within a level."""
        return self.norm1(x + self.dropout1(attend(self.self_attn, x, x, layout, layout)))

    def look_at_other(
        self, x: Float[Tensor, "B T C"], memory: Float[Tensor, "B M C"], layout: Layout, other: Layout
    ) -> Float[Tensor, "B T C"]:
        """Attention to the other stream's real steps of the same level, one at least; then the MLP."""
        x = self.norm2(x + self.dropout2(attend(self.multihead_attn, x, memory, layout, other)))
        return self.norm3(x + self.dropout3(self.linear2(self.dropout(F.gelu(self.linear1(x))))))


class SelfLayer(nn.TransformerEncoderLayer):
    """The same layer where there is no other stream: torch's encoder layer of the same sizes."""

    def __init__(self, width: int, feed_forward: int) -> None:
        super().__init__(width, HEADS, feed_forward, DROPOUT, **METER)

    def think(self, x: Float[Tensor, "B T C"], layout: Layout) -> Float[Tensor, "B T C"]:
        """Self-attention within a level, then the MLP."""
        x = self.norm1(x + self.dropout1(attend(self.self_attn, x, x, layout, layout)))
        return self.norm2(x + self.dropout2(self.linear2(self.dropout(F.gelu(self.linear1(x))))))


def attend(
    module: nn.MultiheadAttention,
    x: Float[Tensor, "B T C"],
    memory: Float[Tensor, "B M C"],
    layout: Layout,
    other: Layout,
) -> Float[Tensor, "B T C"]:
    """Attention with the weights of torch's module; its own forward would build float masks in every layer."""
    weight, bias = module.in_proj_weight, module.in_proj_bias
    if memory is x:
        q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)
    else:
        # torch keeps the weights of query, key and value in one matrix.
        width = x.shape[-1]
        q = F.linear(x, weight[:width], bias[:width])
        k, v = F.linear(memory, weight[width:], bias[width:]).chunk(2, dim=-1)
    mixed = attention(
        q,
        k,
        v,
        module.num_heads,
        seen=layout.attends if memory is x else other.seen_from(layout),
        full=other.full,
        lengths=(layout.lengths, other.lengths),
        dropout=module.dropout if module.training else 0.0,
    )
    return module.out_proj(mixed)


class Exchange(nn.Module):
    """A cross-modal layer per stream; each reads the other as it was before this layer, or after its self-attention."""

    def __init__(self, width: int, feed_forward: int, *, memory: Literal["before", "after"]) -> None:
        super().__init__()
        self.memory = memory
        self.first, self.second = CrossLayer(width, feed_forward), CrossLayer(width, feed_forward)

    def forward(self, streams: list[Levels]) -> list[Levels]:
        # Both self-attentions before either cross-attention: neither stream may read what the other has just read
        # from it.
        (x, y), (of_x, of_y) = (s.features for s in streams), (s.layout for s in streams)
        seen_x, seen_y = self.first.look_at_oneself(x, of_x), self.second.look_at_oneself(y, of_y)
        if self.memory == "after":
            x, y = seen_x, seen_y
        return [
            Levels(self.first.look_at_other(seen_x, y, of_x, of_y), of_x),
            Levels(self.second.look_at_other(seen_y, x, of_y, of_x), of_y),
        ]


class Alone(nn.Module):
    """A layer of the same sizes where there is one stream only."""

    def __init__(self, width: int, feed_forward: int) -> None:
        super().__init__()
        self.layer = SelfLayer(width, feed_forward)

    def forward(self, streams: list[Levels]) -> list[Levels]:
        return [Levels(self.layer.think(s.features, s.layout), s.layout) for s in streams]


class Hybrid(nn.Module):
    """Hybrid attention: one temporal block per stream."""

    def __init__(self, streams: int, config: ModelConfig) -> None:
        super().__init__()
        size, options = config.sizes, {"drop_path": config.drop_path, "layer_scale": config.layer_scale}
        self.blocks = nn.ModuleList(TemporalBlock(size.width, size.temporal_mlp, 3, **options) for _ in range(streams))

    def forward(self, streams: list[Levels]) -> list[Levels]:
        return [block(s) for block, s in zip(self.blocks, streams, strict=True)]


class Fusion(nn.Module):
    """Let two streams read each other, then settle.

    `published`: N layers, then hybrid attention twice. `figure`: N times a layer and hybrid attention. `off`: hybrid
    attention twice.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size, streams = config.sizes, 1 if config.second is None else 2
        self.types = nn.Parameter(torch.randn(streams, size.width) * 0.02)
        self.stages = nn.ModuleList()
        for _ in range(0 if config.fusion == "off" else size.layers):
            if streams == 1:
                self.stages.append(Alone(size.width, size.feed_forward))
            else:
                memory: Literal["before", "after"] = "after" if config.fusion == "figure" else "before"
                self.stages.append(Exchange(size.width, size.feed_forward, memory=memory))
            if config.fusion == "figure":
                self.stages.append(Hybrid(streams, config))
        if config.fusion != "figure":
            self.stages.extend(Hybrid(streams, config) for _ in range(2))

    def forward(self, streams: list[Levels]) -> list[Levels]:
        """One or two streams at 4, 2 and 1 steps; every level has a real step."""
        # Type embeddings (METER): which stream a step comes from.
        streams = [Levels(s.features + kind, s.layout) for s, kind in zip(streams, self.types, strict=True)]
        for stage in self.stages:
            streams = stage(streams)
        return streams
