"""What a stopped run needs to resume, and how a finished one is recognised."""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cimeu.atomic import STATE, write_whole
from cimeu.batching.dataset import ClipDataset
from cimeu.errors import CheckpointError, RecipeError
from cimeu.model.checkpoint import WEIGHTS_FILE, save_checkpoint
from cimeu.model.config import ModelConfig, to_dict
from cimeu.model.network import CiMEU
from cimeu.reading import blaming, is_there
from cimeu.training.config import UAR, TrainingConfig
from cimeu.training.journal import Entry, write_journal, write_tensorboard

RESUME = "resume.pt"
BEGIN_AGAIN = "delete it, and the training begins anew"


@dataclass
class State:
    """What changes from epoch to epoch, beside weights and optimiser."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    """What the epochs are compared by (`criterion`)."""
    best: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    """Mean weights of the last `averaged` epochs."""
    averaged: int = 0
    factors: dict[str, float] = field(default_factory=lambda: {"mining": 1.0, "reconstruction": 1.0})
    """Multiples of two loss weights, from what the last epoch measured."""
    styles: Tensor | None = None
    entries: list[Entry] = field(default_factory=list)


def save(
    folder: Path,
    identity: dict[str, Any],
    model: CiMEU,
    optimiser: torch.optim.Optimizer,
    state: State,
    config: TrainingConfig,
) -> None:
    """Journal first, then the state that counts: a journal that ran ahead is written anew after resuming."""
    write_journal(folder, state.entries)
    if config.tensorboard:
        write_tensorboard(folder, state.entries)
    whole = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "identity": identity, **vars(state)}
    buffer = io.BytesIO()
    # Straight to a file, a full disk would be an error that does not say so.
    torch.save(dict(zip(("state", "tensors"), pack(whole), strict=True)), buffer)
    write_whole(folder / RESUME, buffer.getvalue(), STATE)


def saved(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """What `save` left, if anything. Raises CheckpointError if it is damaged, RecipeError if another run left it."""
    path = folder / RESUME
    if not is_there(path, CheckpointError, BEGIN_AGAIN):
        return None
    with blaming(path, CheckpointError, BEGIN_AGAIN), _enough_memory(path):
        whole = torch.load(path, map_location="cpu", weights_only=True)
        if "tensors" in whole:  # versions before 0.2 saved every tensor by itself
            whole = unpack(whole["state"], whole["tensors"])
        stored_identity = dict(whole.pop("identity"))
    _check_same(folder, stored_identity, identity)
    return whole


@contextmanager
def _enough_memory(path: Path) -> Iterator[None]:
    """A file that finds no room in memory is not damaged: nobody should delete it."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise RecipeError(
            f"memory ran out reading `{path}`\n\nhint: free memory, then run the command again"
        ) from error


def pack(tree: Any) -> tuple[Any, dict[torch.dtype, Tensor]]:
    """Nested dicts and lists with a place (dtype, shape) for each tensor, and all elements of each dtype, `[N]`.

    Pickling costs about as much for a tensor of three elements as for one of a million, and a network with its
    optimiser has thousands of small ones: saved one by one they took a third of the time of a short epoch.
    """
    flat: dict[torch.dtype, list[Tensor]] = {}
    places: dict[tuple[torch.dtype, torch.Size], tuple[torch.dtype, torch.Size]] = {}

    def placed(part: Any) -> Any:
        if isinstance(part, Tensor):
            flat.setdefault(part.dtype, []).append(part.detach().cpu().reshape(-1))
            place = part.dtype, part.shape
            return places.setdefault(place, place)  # one object each, which is pickled once
        if isinstance(part, dict):
            return {key: placed(value) for key, value in part.items()}
        return [placed(value) for value in part] if isinstance(part, list) else part

    state = placed(tree)
    return state, {dtype: torch.cat(tensors) for dtype, tensors in flat.items()}


def unpack(tree: Any, flat: dict[torch.dtype, Tensor]) -> Any:
    """What `pack` was given; every tensor has memory of its own."""
    start = dict.fromkeys(flat, 0)

    def restored(part: Any) -> Any:
        if isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], torch.dtype):
            dtype, shape = part
            begin, start[dtype] = start[dtype], start[dtype] + shape.numel()
            return flat[dtype][begin : start[dtype]].reshape(shape).clone()
        if isinstance(part, dict):
            return {key: restored(value) for key, value in part.items()}
        return [restored(value) for value in part] if isinstance(part, list) else part

    return restored(tree)


def resumed(folder: Path, whole: dict[str, Any] | None, model: CiMEU, optimiser: torch.optim.Optimizer) -> State:
    """Put weights and optimiser back; a run that left nothing starts. Raises CheckpointError where they do not fit."""
    if whole is None:
        return State()
    with blaming(folder / RESUME, CheckpointError, BEGIN_AGAIN), _enough_memory(folder / RESUME):
        model.load_state_dict(whole.pop("model"))
        optimiser.load_state_dict(whole.pop("optimiser"))
        if "best_uar" in whole:  # its name before 0.2
            whole["best_score"] = whole.pop("best_uar")
        return State(**whole)


def is_finished(folder: Path, identity: dict[str, Any]) -> bool:
    path = folder / "finished.json"
    if not path.is_file() or not (folder / WEIGHTS_FILE).is_file():
        return False
    with blaming(path, CheckpointError, BEGIN_AGAIN):
        stored_identity = dict(json.loads(path.read_text(encoding="utf-8"))["identity"])
    _check_same(folder, {**stored_identity, "processes": identity["processes"]}, identity)  # a result has no processes
    return True


def identity_of(
    model_config: ModelConfig, train: ClipDataset, validation: ClipDataset, config: TrainingConfig, group: str
) -> dict[str, Any]:
    """What makes two runs the same run."""
    clips = {name: _digest(dataset) for name, dataset in (("training clips", train), ("validation clips", validation))}
    encoders = {
        f"{name} encoder": None if store is None else store.description
        for name, store in (("first", train.first), ("second", train.second))
    }
    training = asdict(config)
    for name in ("devices", "nodes"):
        del training[name]
    # Runs of before a setting stay what they are.
    if not training["supports"]:
        del training["supports"]
    if training.pop("equal_groups") and group:
        training["equal_groups"] = group
    if not model_config.continuous:
        del training["weights"]["continuous"]
    if training["criterion"] == UAR:
        del training["criterion"]
    whole = {"model": to_dict(model_config), "training": training, **clips, **encoders, "processes": config.processes}
    return json.loads(json.dumps(whole))


def finish(folder: Path, identity: dict[str, Any], model: CiMEU, state: State) -> None:
    """Leave the best epoch, and a note that makes a second training of the same unnecessary."""
    model.load_state_dict(state.best)
    save_checkpoint(model, folder)
    best = state.entries[state.best_epoch - 1]
    note = {"identity": identity, "best_epoch": state.best_epoch, "validation_uar": best["validation.uar"]}
    write_whole(folder / "finished.json", json.dumps(note, indent=1), STATE)
    (folder / RESUME).unlink(missing_ok=True)


def _check_same(folder: Path, stored: dict[str, Any], expected: dict[str, Any]) -> None:
    stored.setdefault("processes", 1)
    differing = sorted(name for name in stored.keys() | expected.keys() if stored.get(name) != expected.get(name))
    for part in ("model", "training"):
        if part in differing:
            one, other = stored.get(part, {}), expected.get(part, {})
            differing += [f"{part}.{name}" for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
            differing.remove(part)
    if differing:
        raise RecipeError(
            f"`{folder}` holds a run with other settings: {', '.join(sorted(differing))}\n\n"
            "hint: train into another folder, or delete this one"
        )


def _digest(dataset: ClipDataset) -> str:
    columns = [dataset.clip_ids, dataset.emotions.tolist(), dataset.styles.tolist()]
    if dataset.continuous is not None:
        columns.append(dataset.continuous.tolist())
    return hashlib.sha256(json.dumps(list(zip(*columns, strict=True))).encode()).hexdigest()[:16]
