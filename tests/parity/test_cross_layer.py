"""The cross-modal layer against METER's on its own random weights."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cimeu.model.alignment import CrossLayer, Exchange
from cimeu.model.blocks import Layout, Levels

NAMES = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "crossattention.output.dense": "multihead_attn.out_proj",
    "crossattention.output.LayerNorm": "norm2",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm3",
}


def weights_of(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {f"{ours}.{k}": arrays[f"{theirs}.{k}"] for theirs, ours in NAMES.items() for k in ("weight", "bias")}
    for theirs, ours in (("attention.self", "self_attn"), ("crossattention.self", "multihead_attn")):
        for kind in ("weight", "bias"):
            parts = [arrays[f"{theirs}.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"{ours}.in_proj_{kind}"] = torch.cat(parts)
    return state


def test_the_cross_modal_layer_is_the_public_one(fixtures: Path) -> None:
    arrays = {key: torch.from_numpy(value) for key, value in np.load(fixtures / "cross_layer.npz").items()}
    layer = CrossLayer(32, 64).eval()
    layer.load_state_dict(weights_of({k.removeprefix("w."): v for k, v in arrays.items() if k.startswith("w.")}))
    layout = Layout(torch.ones(3, 4, dtype=torch.bool), (4, 0, 0))
    x = layer.look_at_oneself(arrays["hidden"], layout)
    output = layer.look_at_other(x, arrays["memory"], layout, layout)
    torch.testing.assert_close(output, arrays["out"], atol=1e-5, rtol=0)


def test_two_cross_modal_layers_exchange_what_the_streams_were_before() -> None:
    pair = Exchange(32, 64, memory="before").eval()
    layout = Layout(torch.ones(2, 4, dtype=torch.bool), (4, 0, 0))
    x, y = torch.randn(2, 4, 32), torch.randn(2, 4, 32)
    out_x, out_y = pair([Levels(x, layout), Levels(y, layout)])
    torch.testing.assert_close(out_x.features, torch_layer(pair.first, x, y), atol=1e-5, rtol=0)
    torch.testing.assert_close(out_y.features, torch_layer(pair.second, y, x), atol=1e-5, rtol=0)


def torch_layer(layer: CrossLayer, x: Tensor, memory: Tensor) -> Tensor:
    """torch's own forward."""
    return layer(x, memory)
