"""Attention among the few steps of a level, in the form that is fastest for what it gets.

Levels lie side by side along time and never attend to each other. Wide heads go to torch's kernel with a mask. Narrow
ones (8 channels at size small) leave that kernel and batched matrix products idle on a CPU, so each level is taken
alone: up to 8 steps as products of all pairs of steps at once, whose sums over the channels of a head are one matrix
product with a matrix of zeros and ones.

Axes: B clips, T and M steps of all levels, n and m of one level, C channels, H heads.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

NARROW = 16
"""Channels of a head up to which a level at a time is faster."""
FEW = 8
"""Steps up to which all pairs at once are faster than a matrix product per clip and head."""

Lengths = tuple[int, int, int]


def attention(
    query: Float[Tensor, "B T C"],
    key: Float[Tensor, "B M C"],
    value: Float[Tensor, "B M C"],
    heads: int,
    *,
    seen: Bool[Tensor, "B 1 T M"],
    full: bool,
    lengths: tuple[Lengths, Lengths],
    dropout: float = 0.0,
) -> Float[Tensor, "B T C"]:
    """Mix values by softmax of query times key, each head for itself, over what is seen.

    Args:
        query: what each step asks.
        key: what each step of the memory offers.
        value: what it says.
        heads: heads the channels are shared by.
        seen: steps that each step may attend to: those of its level, one at least.
        full: whether each step sees all of its level.
        lengths: steps of each level, of the query and of the memory.
        dropout: chance that a step does not hear another.
    """
    # A few channels per head on a CPU: torch's kernel spends its time on reordering; products by hand are faster.
    narrow = query.shape[-1] <= NARROW * heads and query.dtype == torch.float32 and query.device.type == "cpu"
    if not narrow:
        q, k, v = (_heads(x, heads) for x in (query, key, value))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)
    kept = None
    if dropout:  # drawn as torch's own attention draws them
        kept = query.new_empty(len(query), heads, query.shape[1], key.shape[1]).bernoulli_(1 - dropout) / (1 - dropout)
    # Scaled once on the query instead of on every score.
    query = query * (query.shape[-1] // heads) ** -0.5
    levels, row, column = [], 0, 0
    parts = (query.split(lengths[0], dim=1), key.split(lengths[1], dim=1), value.split(lengths[1], dim=1))
    for q, k, v in zip(*parts, strict=True):
        # Each level by itself: scores between levels would be computed only to be masked.
        rows, columns = slice(row, row + q.shape[1]), slice(column, column + k.shape[1])
        # For a handful of steps one elementwise product per pair beats a batched matrix product.
        form = _pairs if q.shape[1] <= FEW else _products
        hidden = None if full else ~seen[:, :, rows, columns]
        levels.append(form(q, k, v, heads, hidden, None if kept is None else kept[:, :, rows, columns]))
        row, column = rows.stop, columns.stop
    return torch.cat(levels, dim=1)


def _pairs(
    q: Float[Tensor, "B n C"],
    k: Float[Tensor, "B m C"],
    v: Float[Tensor, "B m C"],
    heads: int,
    hidden: Bool[Tensor, "B 1 n m"] | None,
    kept: Float[Tensor, "B H n m"] | None,
) -> Float[Tensor, "B n C"]:
    belongs = _channels_of_heads(q.shape[-1], heads)  # [C, H]: sums the channels of each head
    scores = (q[:, :, None] * k[:, None]) @ belongs  # [B, n, m, H]
    if hidden is not None:
        scores = scores.masked_fill(hidden.permute(0, 2, 3, 1), -torch.inf)
    share = scores.softmax(dim=2)  # [B, n, m, H]
    if kept is not None:
        share = share * kept.permute(0, 2, 3, 1)
    return ((share @ belongs.T) * v[:, None]).sum(dim=2)  # [B, n, m, C] -> [B, n, C]


def _products(
    q: Float[Tensor, "B n C"],
    k: Float[Tensor, "B m C"],
    v: Float[Tensor, "B m C"],
    heads: int,
    hidden: Bool[Tensor, "B 1 n m"] | None,
    kept: Float[Tensor, "B H n m"] | None,
) -> Float[Tensor, "B n C"]:
    scores = _heads(q, heads) @ _heads(k, heads).transpose(2, 3)  # [B, H, n, m]
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    share = scores.softmax(dim=3)  # [B, H, n, m]
    if kept is not None:
        share = share * kept
    return (share @ _heads(v, heads)).transpose(1, 2).flatten(2)  # [B, H, n, E] -> [B, n, C]


def _heads(x: Float[Tensor, "B T C"], heads: int) -> Float[Tensor, "B H T E"]:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept must serve training too
def _channels_of_heads(width: int, heads: int) -> Float[Tensor, "C H"]:
    return torch.eye(heads).repeat_interleave(width // heads, dim=0)
