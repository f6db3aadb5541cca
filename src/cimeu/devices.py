"""Where networks are computed, and in which precision: the one place that decides both.

`auto` is the first CUDA device where there is one, else the processor; and bf16 where that hardware multiplies it
natively, else fp32. Elsewhere bf16 is emulated: slower than fp32, and less exact.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import nn

from cimeu.errors import RecipeError

PRECISIONS = ("auto", "bf16", "fp32")
Module = TypeVar("Module", bound=nn.Module)

_NATIVE_SINCE = (8, 0)
"""CUDA compute capability of the first cards (A100, RTX 30) whose tensor cores multiply bf16."""
_PROCESSOR_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""As the Linux kernel names them: x86 (AVX512-BF16, AMX) and ARM (FEAT_BF16)."""


@dataclass(frozen=True)
class Placement:
    """A device, and the precision of the arithmetic there."""

    device: torch.device
    precision: Literal["bf16", "fp32"]

    @classmethod
    def choose(cls, device: str = "auto", precision: str = "auto") -> "Placement":
        """What two settings stand for on this machine.

        Raises:
            RecipeError: an unknown device or precision, or a CUDA device that is not there.
        """
        chosen = choose_device(device)
        return cls(chosen, choose_precision(precision, chosen))

    def __str__(self) -> str:
        """For logs and tables, as `bf16 on cuda (NVIDIA H200, native bf16)`."""
        return f"{self.precision} on {describe_device(self.device)}"

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights there, and of what goes in."""
        # On a card autocast keeps sums and norms in fp32, so the weights stay fp32 too. On a processor autocast casts
        # every weight anew in each call, which costs more than bf16 gains: there the weights themselves are bf16.
        on_processor = self.device.type == "cpu"
        return torch.bfloat16 if on_processor and self.precision == "bf16" else torch.float32

    def place(self, network: Module) -> Module:
        """Move a network there."""
        return network.to(self.device, self.dtype)

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """A context that computes in this precision, without gradients."""
        mixed = self.device.type == "cuda" and self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            yield


def choose_device(device: str = "auto") -> torch.device:
    """The device that a name stands for on this machine: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        RecipeError: another name, or a CUDA device that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        return torch.device("cpu")
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()) or device.endswith(":"):
        raise RecipeError(f"unknown device `{device}`\n\nhint: auto, cpu, cuda, or cuda:1 for the second card")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        raise RecipeError(
            f"device `{device}` is not on this machine, which has {count} CUDA devices\n\nhint: use `cpu`"
        )
    return torch.device(device)


def choose_precision(precision: str, device: torch.device) -> Literal["bf16", "fp32"]:
    """The precision that a setting stands for on a device.

    Raises:
        RecipeError: neither `auto`, `bf16` nor `fp32`.
    """
    if precision == "auto":
        return "bf16" if multiplies_bf16(device) else "fp32"
    if precision == "bf16":
        return "bf16"
    if precision == "fp32":
        return "fp32"
    raise RecipeError(f"unknown precision `{precision}`\n\nhint: one of {', '.join(PRECISIONS)}")


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device has arithmetic for bf16; False where that cannot be found out."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _NATIVE_SINCE
    return bool(_PROCESSOR_FLAGS & _processor_flags())


def describe_device(device: torch.device) -> str:
    """Name of a device for logs and tables, as `cuda (NVIDIA H200, native bf16)`."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{device} ({name}, {'native' if multiplies_bf16(device) else 'no native'} bf16)"


@cache
def _processor_flags() -> frozenset[str]:
    """Features of the first processor, as Linux lists them; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    listed = (line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features")))
    return frozenset(next(listed, "").split())
