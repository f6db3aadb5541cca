"""Files of weights as plain tensors; a file that needs code to be read is refused."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cimeu.errors import CheckpointError

_WRAPPERS = ("module", "model")


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
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(
            f"`{path}` cannot be read as a plain set of tensors: {reason}"
            "\n\nhint: the file is damaged, or holds code, which is never run; fetch it again from its source"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"`{path}` is no set of named tensors\n\nhint: give a file of weights as it was released")
    return dict(content)
