"""Which library computes a frozen network: PyTorch on a CUDA device, else OpenVINO (extra `openvino`), else PyTorch.

`compiled` takes a network and gives back a function from tensors to arrays. Device and precision come from
`cimeu.devices`. Precision shapes the numbers and belongs to an encoder's fingerprint; the library does not, at one
precision they agree within its own rounding (`benchmarks/extraction.py --error` prints how closely).
A processor without bf16 arithmetic computes in fp32 what OpenVINO calls bf16: nearer to fp32 than promised, never
further.

Axes: B windows in a batch, D width of the vectors.
"""

import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from cimeu.devices import Placement
from cimeu.errors import RecipeError

Engine = Literal["auto", "torch", "openvino"]
ENGINES: tuple[Engine, ...] = ("auto", "torch", "openvino")

Computation = Callable[[Float[Tensor, "B ..."]], Float32[np.ndarray, "B D"]]


def choose_library(engine: Engine, device: torch.device) -> Literal["torch", "openvino"]:
    """The library that an engine stands for on a device.

    Raises:
        RecipeError: OpenVINO is required and not installed, or for a CUDA device.
    """
    present = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and device.type != "cpu":
        raise RecipeError(
            f"engine `openvino` computes on the processor, not on `{device}`\n\nhint: device `cpu`, or engine `torch`"
        )
    if engine == "openvino" and not present:
        raise RecipeError(
            "engine `openvino` is not installed\n\nhint: pip install 'cimeu[openvino]', or engine `torch`"
        )
    if engine == "auto":
        return "openvino" if present and device.type == "cpu" else "torch"
    return engine


def usual_batch_size(device: torch.device) -> int:
    """Windows computed at once: one on a processor, where more buy nothing and every vector keeps its bits."""
    return 16 if device.type == "cuda" else 1


def compiled(
    network: nn.Module,
    example: Float[Tensor, "B ..."],
    placement: Placement,
    *,
    engine: Engine = "auto",
    fuse: bool = False,
) -> Computation:
    """Make a frozen network ready to compute batches shaped like `example`.

    Args:
        network: in evaluation mode; changed, and no longer to be used by itself.
        example: an input of the shape every batch will have.
        placement: device and precision of the arithmetic; vectors are fp32 in any case.
        engine: library.
        fuse: let `torch.compile` fuse the operations of PyTorch (takes minutes at first; needs a C++ compiler).

    Raises:
        RecipeError: an engine that is not installed, or not for this device.
    """
    if choose_library(engine, placement.device) == "openvino":
        return _openvino(network, example, placement)
    return _torch(network, placement, fuse)


def _torch(network: nn.Module, placement: Placement, fuse: bool) -> Computation:
    network = placement.place(network)
    if fuse:
        network.compile()

    def compute(batch: Float[Tensor, "B ..."]) -> Float32[np.ndarray, "B D"]:
        with placement.arithmetic():
            return network(batch.to(placement.device, placement.dtype)).float().cpu().numpy()

    return compute


def _openvino(network: nn.Module, example: Float[Tensor, "B ..."], placement: Placement) -> Computation:
    # OpenVINO reports its use over the network through this package and does without it where it cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: the shape is fixed on purpose
        model = openvino.convert_model(network, example_input=example, input=[openvino.PartialShape(example.shape)])
    hints = {
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[placement.precision],
        "INFERENCE_NUM_THREADS": _cores(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    program = openvino.Core().compile_model(model, "CPU", hints)

    def compute(batch: Float[Tensor, "B ..."]) -> Float32[np.ndarray, "B D"]:
        return np.array(program(batch.numpy())[0], np.float32)

    return compute


def _cores() -> int:
    return min(torch.get_num_threads(), len(os.sched_getaffinity(0)))
