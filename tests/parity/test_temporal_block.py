"""The temporal block against the public one on its own random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cimeu.model.blocks import Layout, Levels, TemporalBlock

NAMES = {
    "ln.weight": "norm.weight",
    "ln.bias": "norm.bias",
    "gn.weight": "group_norm.weight",
    "gn.bias": "group_norm.bias",
    "psi.weight": "psi.weight",
    "psi.bias": "psi.bias",
    "fc.weight": "fc.weight",
    "fc.bias": "fc.bias",
    "global_fc.weight": "phi.weight",
    "global_fc.bias": "phi.bias",
    "cross_att.proj.weight": "attention.output.weight",
    "cross_att.proj.bias": "attention.output.bias",
    "mlp.0.weight": "mlp.0.weight",
    "mlp.0.bias": "mlp.0.bias",
    "mlp.2.weight": "mlp.2.weight",
    "mlp.2.bias": "mlp.2.bias",
    "drop_path_out.scale": "drop_attention.scale",
    "drop_path_mlp.scale": "drop_mlp.scale",
} | {
    f"cross_att.{part}{theirs}": f"attention.{part}.{ours}"
    for part in ("query", "key", "value")
    for theirs, ours in {
        "_conv.conv.weight": "conv.weight",
        "_norm.weight": "norm.weight",
        "_norm.bias": "norm.bias",
        ".weight": "linear.weight",
        ".bias": "linear.bias",
    }.items()
}
DEPTHWISE = ("psi.weight", "fc.weight", "global_fc.weight", "_conv.conv.weight")


def weights_of(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """Public names and shapes (channels first) to ours (channels last); two private kernels become one."""
    state = {}
    for theirs, ours in NAMES.items():
        if theirs in arrays:
            value = arrays[theirs]
            state[ours] = value[:, 0].T if theirs.endswith(DEPTHWISE) else value.squeeze()
    for i, level in enumerate("HML"):
        first, second = arrays[f"convw_{level}.weight"][:, 0].T, arrays[f"convkw_{level}.weight"][:, 0].T
        size = max(len(first), len(second))
        kernel = torch.zeros(size, first.shape[1])
        for part in (first, second):
            start = (size - len(part)) // 2
            kernel[start : start + len(part)] += part
        state[f"local.weights.{i}"] = kernel
        state[f"local.biases.{i}"] = arrays[f"convw_{level}.bias"] + arrays[f"convkw_{level}.bias"]
    return state


@pytest.mark.parametrize(("name", "kernel", "drop_path"), [("thr_layer_k3", 3, 0.1), ("thr_layer_k1", 1, None)])
def test_the_temporal_block_is_the_public_one(fixtures: Path, name: str, kernel: int, drop_path: float | None) -> None:
    arrays = {key: torch.from_numpy(value) for key, value in np.load(fixtures / f"{name}.npz").items()}
    block = TemporalBlock(32, 48, kernel, drop_path=drop_path).eval()
    block.load_state_dict(weights_of({k.removeprefix("w."): v for k, v in arrays.items() if k.startswith("w.")}))
    levels = torch.cat([arrays[f"in_{level}"].transpose(1, 2) for level in "HML"], dim=1)
    layout = Layout(torch.ones(3, 28, dtype=torch.bool), (16, 8, 4))
    output = block(Levels(levels, layout)).features
    expected = torch.cat([arrays[f"out_{level}"].transpose(1, 2) for level in "HML"], dim=1)
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=0)
