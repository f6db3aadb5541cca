"""Files of weights as plain tensors; a file that needs code to be read is refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from cimeu.errors import CheckpointError, first_line

_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "model_ema",
    "state_dict_ema",
    "ema",
)
"""Keys under which training programs save the tensors, in the order of preference; a moving average only comes last."""
_INSERTED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and activation checkpointing put into the names of a module's tensors, at any depth."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Named tensors of a `.safetensors` file, or of one that PyTorch wrote, out of the wrappers that releases use.

    Raises:
        CheckpointError: the file is damaged, holds code, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            # weights_only: a pickle can run any code when it is read.
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise CheckpointError(
            f"`{path}` cannot be read as a plain set of tensors: {reason}"
            "\n\nhint: the file is damaged, or holds code, which is never run; fetch it again from its source"
        ) from error
    while (inner := _unwrapped(content)) is not None:
        content = inner
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(
            f"`{path}` is not a set of named tensors\n\nhint: give a file of weights as it was released"
        )
    tensors = {}
    for name, tensor in content.items():
        for inserted in _INSERTED:
            name = name.replace(inserted, "")
        if name in tensors:
            raise CheckpointError(f"`{path}` holds tensor `{name}` twice\n\nhint: save the module once, uncompiled")
        tensors[name] = tensor
    return tensors


def part_with(tensors: Mapping[str, Tensor], *anchors: str) -> dict[str, Tensor]:
    """The part of a larger network that holds a tensor called like one of `anchors`, with names that start there.

    `module.encoder.norm.weight` becomes `norm.weight` where `module.encoder.` stands before an anchor; what lies
    outside that part is left out. Without an anchor the tensors are given back as they are.

    >>> part_with({"model.stem.weight": torch.zeros(1), "head.weight": torch.zeros(1)}, "stem.weight").keys()
    dict_keys(['stem.weight'])
    """
    prefixes = [
        name.removesuffix(anchor) for anchor in anchors for name in tensors if f".{name}".endswith(f".{anchor}")
    ]
    prefix = min(prefixes, key=len, default="")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _unwrapped(content: object) -> Mapping[str, object] | None:
    """What the first wrapper holds; None where `content` has none."""
    if not isinstance(content, Mapping):
        return None
    return next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)


Network = TypeVar("Network", bound=nn.Module)


def frozen(network: Network, path: Path, kind: str, name: str) -> Network:
    """A network with the tensors of a fetched file, in evaluation mode; `kind` says what the file should hold.

    Raises:
        CheckpointError: it holds something else; `cimeu weights fetch NAME` makes it anew.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"`{path}` holds no {kind} ({error})\n\nhint: delete it, then cimeu weights fetch {name}"
        ) from error
    return network.requires_grad_(False).eval()
