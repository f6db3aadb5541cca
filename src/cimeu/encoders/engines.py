"""How a frozen network is computed: which library, in which precision, on what.

`compiled` takes a network and gives back a function from arrays to arrays. Three ways, the first that can be had:
a graphics card through PyTorch, OpenVINO (extra `openvino`), PyTorch on the processor.

Precision shapes the numbers and belongs to an encoder's fingerprint; the library does not, at one precision they agree
within its own rounding. Measured against fp32 (`benchmarks/extraction.py --error`): cosine at least 0.9999 in bf16.
A processor without bf16 arithmetic computes in fp32 what is called bf16: nearer to fp32 than promised, never further.

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

from cimeu.errors import RecipeError

Engine = Literal["auto", "torch", "openvino"]
Precision = Literal["bf16", "fp32"]
ENGINES: tuple[Engine, ...] = ("auto", "torch", "openvino")
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp32")
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}

Computation = Callable[[Float[Tensor, "B ..."]], Float32[np.ndarray, "B D"]]


def chosen(engine: Engine) -> Literal["torch", "openvino"]:
    """The library that `auto` stands for on this machine.

    Raises:
        RecipeError: OpenVINO is asked for and not installed.
    """
    present = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and not present:
        raise RecipeError(
            "engine `openvino` is not installed\n\nhint: pip install 'cimeu[openvino]', or engine `torch`"
        )
    if engine == "auto":
        return "openvino" if present and not torch.cuda.is_available() else "torch"
    return engine


def batch_size() -> int:
    """Windows computed at once: one on a processor, where more buy nothing and every vector keeps its bits."""
    return 16 if torch.cuda.is_available() else 1


def compiled(
    network: nn.Module,
    example: Float[Tensor, "B ..."],
    *,
    engine: Engine = "auto",
    precision: Precision = "bf16",
    fuse: bool = False,
) -> Computation:
    """Make a frozen network ready to compute batches shaped like `example`.

    Args:
        network: in evaluation mode; changed, and no longer to be used by itself.
        example: an input of the shape every batch will have.
        engine: library.
        precision: of the arithmetic; vectors are fp32 in any case.
        fuse: let `torch.compile` fuse the operations of PyTorch (takes minutes at first; needs a C++ compiler).

    Raises:
        RecipeError: an engine that is not installed.
    """
    return _openvino(network, example, precision) if chosen(engine) == "openvino" else _torch(network, precision, fuse)


def _torch(network: nn.Module, precision: Precision, fuse: bool) -> Computation:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_card = device.type == "cuda"
    # On a card, autocast keeps sums and norms in fp32; on a processor, casting every weight anew each time is too slow.
    network = network.to(device, torch.float32 if on_card else _DTYPES[precision])
    if fuse:
        network.compile()

    @torch.inference_mode()
    def compute(batch: Float[Tensor, "B ..."]) -> Float32[np.ndarray, "B D"]:
        with torch.autocast("cuda", _DTYPES[precision], enabled=on_card and precision != "fp32"):
            return network(batch.to(device, next(network.parameters()).dtype)).float().cpu().numpy()

    return compute


def _openvino(network: nn.Module, example: Float[Tensor, "B ..."], precision: Precision) -> Computation:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # without it, OpenVINO reports to nobody
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: the shape is fixed on purpose
        model = openvino.convert_model(network, example_input=example, input=[openvino.PartialShape(example.shape)])
    hints = {
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[precision],
        "INFERENCE_NUM_THREADS": _cores(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    program = openvino.Core().compile_model(model, "CPU", hints)

    def compute(batch: Float[Tensor, "B ..."]) -> Float32[np.ndarray, "B D"]:
        return np.array(program(batch.numpy())[0], np.float32)

    return compute


def _cores() -> int:
    return min(torch.get_num_threads(), len(os.sched_getaffinity(0)))
