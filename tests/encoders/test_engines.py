"""Every engine and precision gives the numbers of the network in fp32, as near as is promised."""

import subprocess
import sys
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cimeu.devices import Placement
from cimeu.encoders import engines
from cimeu.encoders.engines import Engine, choose_library, compiled
from cimeu.errors import RecipeError

NEAR_ENOUGH = 0.9999
CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
    layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    return nn.Sequential(layers, nn.Flatten(), nn.Linear(16 * 32, 48)).eval().requires_grad_(False)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_vectors_are_those_of_the_network_in_fp32(engine: Engine, precision: Literal["bf16", "fp32"]) -> None:
    batch = torch.randn(2, 16, 32)
    wanted = network()(batch)

    vectors = torch.from_numpy(compiled(network(), batch, Placement(CPU, precision), engine=engine)(batch))

    assert vectors.dtype == torch.float32
    if precision == "fp32":
        torch.testing.assert_close(vectors, wanted, atol=1e-5, rtol=1e-5)
    else:
        assert F.cosine_similarity(vectors, wanted).min() > NEAR_ENOUGH
        assert not torch.equal(vectors, wanted)


def test_the_result_stays_when_the_next_is_computed() -> None:
    compute = compiled(network(), torch.zeros(1, 16, 32), Placement(CPU, "bf16"), engine="openvino")
    first = compute(torch.ones(1, 16, 32))
    before = first.copy()
    compute(torch.zeros(1, 16, 32))
    np.testing.assert_array_equal(first, before)


def test_openvino_reports_to_nobody() -> None:
    code = (
        "import sys, torch; from cimeu.devices import Placement; from cimeu.encoders.engines import compiled; "
        "compiled(torch.nn.Linear(2, 2), torch.zeros(1, 2), Placement.choose('cpu'), engine='openvino'); "
        "print(sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


def test_openvino_is_taken_where_it_is_installed() -> None:
    assert choose_library("auto", CPU) == "openvino"


def test_a_cuda_device_is_computed_by_pytorch() -> None:
    assert choose_library("auto", torch.device("cuda")) == "torch"
    with pytest.raises(
        RecipeError, match=r"engine `openvino` computes on the processor, not on `cuda`\n\nhint: device"
    ):
        choose_library("openvino", torch.device("cuda"))


def test_an_engine_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert choose_library("auto", CPU) == "torch"
    with pytest.raises(
        RecipeError, match=r"engine `openvino` is not installed\n\nhint: pip install 'cimeu\[openvino\]'"
    ):
        choose_library("openvino", CPU)
