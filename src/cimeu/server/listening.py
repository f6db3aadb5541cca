"""The child that answers live."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from cimeu.server.isolated import Functions, bound_memory
from cimeu.server.recording import DEFAULT_MEMORY_BYTES


def listening(
    run_folder: Path,
    weights: Mapping[str, str] = MappingProxyType({}),
    device: str = "auto",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> Functions:
    """The functions of the child, with the model of a run folder or a bundle.

    Raises:
        CheckpointError, FingerprintMismatch, WeightsMissing: the model cannot be used here.
    """
    from cimeu.server.ear import Ear  # heavy, and for the child alone

    ear = Ear(run_folder, weights, device)
    bound_memory(memory_bytes)
    return {"needs": ear.needs, "begin": ear.begin, "feed": ear.feed, "end": ear.end}
