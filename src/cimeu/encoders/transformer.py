"""The two parts of a transformer layer, under the names that the Hugging Face hub gives their tensors.

Written out here because importing `transformers` for them takes three seconds of a processor, more than everything else
that `cimeu predict` does before it reads a recording.

Axes: B clips, N tokens, D width, H heads, E channels of a head.
"""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Turn = Callable[[Float[Tensor, "B H N E"]], Float[Tensor, "B H N E"]]


class SelfAttention(nn.Module):
    """Every token attends to every token."""

    def __init__(self, width: int, heads: int, *, bias: bool) -> None:
        """`bias` of queries, keys, values and output."""
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=bias) for _ in range(4))

    def forward(self, x: Float[Tensor, "B N D"], turned: Turn = lambda x: x) -> Float[Tensor, "B N D"]:
        """`turned`: what puts the positions into queries and keys."""
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(turned(query), turned(key), value)  # [B, H, N, E]
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return self.fc2(F.gelu(self.fc1(x)))
