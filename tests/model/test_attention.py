"""Attention level by level gives what torch's own attention gives with a mask."""

import pytest
import torch
import torch.nn.functional as F

from cimeu.model.attention import attention
from cimeu.model.blocks import Layout

HEADS = 4


def layouts(*, padded: bool) -> tuple[Layout, Layout]:
    masks = [torch.ones(3, 16, dtype=torch.bool) for _ in range(2)]
    if padded:
        masks[0][1, 11:], masks[1][2, 6:] = False, False
    query, memory = (Layout.of(mask) for mask in masks)
    return query, memory.halved()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_narrow_heads_hear_what_one_masked_attention_hears(padded: bool, dropout: float) -> None:
    of_query, of_memory = layouts(padded=padded)
    torch.manual_seed(0)
    query = torch.randn(3, 28, HEADS * 4, requires_grad=True)
    key, value = torch.randn(2, 3, 14, HEADS * 4).unbind()
    seen = of_memory.seen_from(of_query)
    torch.manual_seed(1)
    ours = attention(
        query,
        key,
        value,
        HEADS,
        seen=seen,
        full=of_memory.full,
        lengths=(of_query.lengths, of_memory.lengths),
        dropout=dropout,
    )
    (of_ours,) = torch.autograd.grad(ours.square().sum(), query)
    torch.manual_seed(1)
    q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (query, key, value))
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout).transpose(1, 2).flatten(2)
    (of_theirs,) = torch.autograd.grad(theirs.square().sum(), query)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(of_ours, of_theirs, rtol=1e-4, atol=1e-5)
