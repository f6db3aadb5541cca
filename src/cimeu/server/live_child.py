"""What runs in the child that answers live. Apart from `recording`, which what a live answer looks like builds on."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from cimeu.server.isolated import Functions, bound_memory
from cimeu.server.recording import DEFAULT_MEMORY_BYTES


def answering_live(
    run_folder: Path,
    weights: Mapping[str, str] = MappingProxyType({}),
    device: str = "auto",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> Functions:
    """The functions of the child, with the model of a run folder or a bundle.

    Raises:
        CheckpointError, FingerprintMismatch, WeightsMissing: the model cannot be used here.
    """
    from cimeu.server.live_model import LiveModel  # heavy, and for the child alone

    model = LiveModel(run_folder, weights, device)
    bound_memory(memory_bytes)
    return {"needs": model.needs, "begin": model.begin, "feed": model.feed, "end": model.end}
