"""From batches to a checkpoint: one direction of an ensemble, one epoch after the other.

A run can be stopped at any moment and goes on from its last finished epoch with the same bits: batches, augmentation
and dropout are functions of seed and epoch, and everything else is in `resume.pt`.

    folder/ model.safetensors config.json   the best epoch, written when the run is over
            journal.jsonl journal.csv       every number of every epoch
            resume.pt                       everything a stopped run needs; gone when the run is over
            finished.json                   what was trained, so that it is not trained twice

Axes: B clips of a batch, N clips of a dataset, C channels, K emotions.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from cimeu.batching.augment import AugmentationConfig
from cimeu.batching.collate import Batch, Collator
from cimeu.batching.dataset import ClipDataset, Statistics
from cimeu.batching.sampler import epoch_batches
from cimeu.errors import EmptyClass, RecipeError
from cimeu.evaluation.metrics import UNUSED, uar
from cimeu.model.blocks import Layout
from cimeu.model.checkpoint import Specifications, save_checkpoint
from cimeu.model.config import ModelConfig, to_dict
from cimeu.model.network import CiMEU
from cimeu.progress import Progress, silent
from cimeu.training.journal import Entry, write_journal, write_tensorboard, write_whole
from cimeu.training.losses import class_error
from cimeu.training.objective import LossWeights, objective
from cimeu.training.optim import (
    OptimiserConfig,
    build_optimiser,
    learning_rate,
    reversal_factor,
    set_learning_rate,
)
from cimeu.training.styles import WARM_UP_EPOCHS, length_groups, pseudo_labels, random_labels, style_numbers

GROUPS_BESIDE_STYLES = ("emotion", "culture", "speaker")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained; defaults fit the sizes tiny and small."""

    epochs: int = 20
    """Epochs planned; the schedules of learning rate and reversal stretch over all of them."""
    batch_size: int = 128
    patience: int = 5
    """Epochs without a better validation UAR before training stops (selection `validation`); 0 never stops."""
    seed: int = 0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"
    """Where Lightning Fabric runs it: `auto`, `cpu`, `cuda`..."""
    selection: Literal["validation", "last", "oracle"] = "validation"
    """Epoch that is kept: best UAR on the validation clips (earlier one at a tie), or the last. `oracle` says that the
    clips given for validation are the test clips."""
    style_labels: str = "pseudo"
    """`pseudo`: clusters of style primitives; `random`: the control; `off`; or a column such as `culture`."""
    style_sizes: tuple[int, ...] = ()
    """Cluster sizes of `random` labels, those of the pseudo run; empty: equal ones."""
    balance: Literal["off", "loss", "sampling"] = "off"
    """Make up for rare emotions by their weight in the class error, or by drawing them more often."""
    label_smoothing: float = 0.0
    """Share of the target spread over all emotions."""
    weights: LossWeights = field(default_factory=LossWeights)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    tensorboard: bool = False
    """Write TensorBoard events beside the journal."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "style_sizes", tuple(self.style_sizes))
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0)):
            if getattr(self, name) < least:
                raise RecipeError(f"training `{name}` is {getattr(self, name)}\n\nhint: {least} or more")
        if not 0 <= self.label_smoothing < 1:
            raise RecipeError(f"label_smoothing is {self.label_smoothing}\n\nhint: a share, 0 to below 1")


@dataclass
class State:
    """What changes from epoch to epoch, beside weights and optimiser."""

    epoch: int = 0
    best_epoch: int = 0
    best_uar: float = -1.0
    best: dict[str, Tensor] = field(default_factory=dict)
    styles: Tensor | None = None
    entries: list[Entry] = field(default_factory=list)


def train(
    model_config: ModelConfig,
    train: ClipDataset,
    validation: ClipDataset,
    config: TrainingConfig,
    folder: Path,
    *,
    synthetic: bool = False,
    progress: Progress = silent,
) -> Path:
    """Train one network and leave its best epoch in `folder`; goes on where an interrupted run stopped.

    Args:
        model_config: the network; emotions, widths and direction must be those of the datasets.
        train: clips to learn from; statistics are theirs.
        validation: clips to choose the epoch with; may be empty with selection `last`.
        config: everything about training.
        folder: of this direction, such as RUN/forward.
        synthetic: whether the clips were drawn by a program.
        progress: told after every optimiser step.

    Returns:
        The folder.

    Raises:
        RecipeError: settings that contradict the data, a folder that holds another run, a loss that is not finite.
        EmptyClass: no usable training clip, or an emotion without one.
    """
    _check(model_config, train, validation, config)
    identity = _identity(model_config, train, validation, config)
    if _is_finished(folder, identity):
        return folder
    from lightning.fabric import Fabric

    folder.mkdir(parents=True, exist_ok=True)
    fabric = Fabric(accelerator=config.accelerator, devices=1, precision=config.precision)
    collator = collator_of(train)
    torch.manual_seed(config.seed)
    model = CiMEU(model_config, _specifications(train, collator, config, synthetic)).to(fabric.device)
    optimiser = fabric.setup_optimizers(build_optimiser(config.optimiser, model.parameters()))
    state = _resumed(folder, identity, model, optimiser)
    class_weights = _class_weights(train).to(fabric.device) if config.balance == "loss" else None
    steps_per_epoch = len(_batches(train, config, epoch=0))
    planned = steps_per_epoch * config.epochs

    while state.epoch < config.epochs and not _out_of_patience(state, config):
        started, step = time.perf_counter(), state.epoch * steps_per_epoch
        styles, about_styles = _style_labels(model, train, collator, config, state)
        torch.manual_seed(_mixed_seed(config.seed, state.epoch))
        model.train()
        sums = _Means()
        for indices in _batches(train, config, state.epoch):
            generator = torch.Generator().manual_seed(_mixed_seed(config.seed, state.epoch, step))
            samples = [train[int(index)] for index in indices]
            batch = replace(collator, augmentation=config.augmentation)(samples, generator)
            batch = replace(batch, style=styles[batch.index]).to(fabric.device)
            rate = learning_rate(config.optimiser, step, planned)
            reversal = reversal_factor(step, planned)
            set_learning_rate(optimiser, rate)
            with fabric.autocast():
                output = model(batch.first, batch.second, emotion=batch.emotion, reversal=reversal)
            asked = objective(
                output,
                batch,
                config.weights,
                alignment=model_config.alignment,
                class_weights=class_weights,
                label_smoothing=config.label_smoothing,
            )
            _check_finite(asked.total, state.epoch, step, rate)
            optimiser.zero_grad()
            fabric.backward(asked.total)
            if config.optimiser.clip_norm:
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimiser.clip_norm)
            optimiser.step()
            sums.add({"total": asked.total, **asked.named})
            step += 1
            progress(f"training {train.direction}", step, planned)
        entry: Entry = {"epoch": state.epoch + 1, "step": step, "learning_rate": rate, "reversal": reversal}
        entry |= {f"train.{name}": value for name, value in sums.means().items()}
        entry |= _validate(model, validation, collator, config, fabric.device) | about_styles
        _keep_best(state, model, entry, config)
        entry["seconds"] = round(time.perf_counter() - started, 3)
        state.entries.append(entry)
        state.epoch += 1
        _save(folder, identity, model, optimiser, state, config)

    model.load_state_dict(state.best)
    save_checkpoint(model, folder)
    finished = {"identity": identity, "best_epoch": state.best_epoch, "validation_uar": state.best_uar}
    write_whole(folder / "finished.json", json.dumps(finished, indent=1).encode())
    (folder / "resume.pt").unlink(missing_ok=True)
    progress(f"training {train.direction}", planned, planned)
    return folder


def collator_of(dataset: ClipDataset) -> Collator:
    """Evaluation batches with the statistics of these clips: pass the training clips."""
    first, second = dataset.statistics()
    kind = "steps" if dataset.second is None else dataset.second.description["kind"]
    return Collator(first, second, kind, None, dataset.shares_windows, dataset.direction)  # type: ignore[arg-type]


def _batches(train: ClipDataset, config: TrainingConfig, epoch: int) -> list[Int64[np.ndarray, " _"]]:
    emotions = train.emotions[train.usable] if config.balance == "sampling" else None
    return epoch_batches(train.usable, config.batch_size, seed=config.seed, epoch=epoch, emotions=emotions)


def _evaluation_batches(dataset: ClipDataset, collator: Collator, batch_size: int) -> Iterator[Batch]:
    for start in range(0, len(dataset.usable), batch_size):
        yield collator([dataset[int(index)] for index in dataset.usable[start : start + batch_size]])


def _validate(
    model: CiMEU, dataset: ClipDataset, collator: Collator, config: TrainingConfig, device: torch.device
) -> Entry:
    """UAR and class error of the clips whose emotion is known; one that cannot be used counts as wrong."""
    predicted = np.full(len(dataset), UNUSED, np.int64)
    errors, clips = 0.0, 0
    heads = 3 if config.weights.heads_trained == "all" else 1
    model.eval()
    with torch.inference_mode():
        for batch in _evaluation_batches(dataset, collator, config.batch_size):
            batch = batch.to(device)
            logits = model(batch.first, batch.second).logits[:heads]
            predicted[batch.index.cpu().numpy()] = sum(level.softmax(1) for level in logits).argmax(1).cpu().numpy()
            error = class_error(logits, batch.emotion)
            if error is not None:
                labelled = int((batch.emotion >= 0).sum())
                errors, clips = errors + float(torch.stack(error).mean()) * labelled, clips + labelled
    known = dataset.emotions >= 0
    if not clips:
        return {"validation.uar": None, "validation.loss": None}
    return {
        "validation.uar": uar(dataset.emotions[known], predicted[known]),
        "validation.loss": errors / clips,
    }


def _style_labels(
    model: CiMEU, train: ClipDataset, collator: Collator, config: TrainingConfig, state: State
) -> tuple[Int64[Tensor, " N"], Entry]:
    """Style of every training clip in this epoch, and what the journal says about it."""
    none = torch.full((len(train),), -1)
    if config.style_labels == "off" or not model.config.disentangle:
        return none, {}
    if config.style_labels not in ("pseudo", "random"):
        return torch.from_numpy(train.styles), {}
    if state.epoch < WARM_UP_EPOCHS:
        return none, {}
    n_styles, previous = model.config.styles, None if state.styles is None else state.styles.numpy()
    if config.style_labels == "random":
        labels = random_labels(len(train), config.style_sizes or (1,) * n_styles, seed=config.seed)
    else:
        vectors = _style_vectors(model, train, collator, config.batch_size)
        seed = _mixed_seed(config.seed, state.epoch) % 2**32
        labels = pseudo_labels(vectors, n_styles, previous=previous, seed=seed)
    known = {name: train.groups(name) for name in GROUPS_BESIDE_STYLES if name in train.manifest.table.columns}
    known["length"] = length_groups([0 if row is None else len(row) for row in train.first_features])
    state.styles = torch.from_numpy(labels)
    return state.styles, style_numbers(labels, previous, known)


def _style_vectors(
    model: CiMEU, dataset: ClipDataset, collator: Collator, batch_size: int
) -> Float32[np.ndarray, "N C"]:
    """Masked mean of S at H of every clip; NaN without a first stream."""
    vectors = np.full((len(dataset), model.config.sizes.width), np.nan, np.float32)
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        for batch in _evaluation_batches(dataset, replace(collator, second=None), batch_size):
            assert batch.first is not None
            index, present = batch.index.numpy(), batch.first.present.numpy()
            first = batch.to(device).first
            assert first is not None
            high = model.style(first.features, Layout.of(first.mask)).means()[0]
            vectors[index[present]] = high.cpu().numpy()[present]
    return vectors


def _keep_best(state: State, model: CiMEU, entry: Entry, config: TrainingConfig) -> None:
    score = entry["validation.uar"]
    better = config.selection == "last" or (score is not None and score > state.best_uar)
    if better:
        state.best_epoch, state.best_uar = state.epoch + 1, -1.0 if score is None else score
        state.best = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    entry["best_epoch"] = state.best_epoch


def _out_of_patience(state: State, config: TrainingConfig) -> bool:
    return bool(config.patience) and config.selection != "last" and state.epoch - state.best_epoch >= config.patience


def _save(
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
    partial = folder / ".resume.pt.partial"
    whole = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "identity": identity, **vars(state)}
    torch.save(whole, partial)
    os.replace(partial, folder / "resume.pt")


def _resumed(folder: Path, identity: dict[str, Any], model: CiMEU, optimiser: torch.optim.Optimizer) -> State:
    path = folder / "resume.pt"
    if not path.is_file():
        return State()
    saved = torch.load(path, map_location="cpu", weights_only=True)
    _check_same(folder, saved.pop("identity"), identity)
    model.load_state_dict(saved.pop("model"))
    optimiser.load_state_dict(saved.pop("optimiser"))
    return State(**saved)


def _is_finished(folder: Path, identity: dict[str, Any]) -> bool:
    path = folder / "finished.json"
    if not path.is_file():
        return False
    _check_same(folder, json.loads(path.read_text())["identity"], identity)
    return True


def _identity(
    model_config: ModelConfig, train: ClipDataset, validation: ClipDataset, config: TrainingConfig
) -> dict[str, Any]:
    """What makes two runs the same run."""
    clips = {
        name: hashlib.sha256("\n".join(dataset.clip_ids).encode()).hexdigest()[:16]
        for name, dataset in (("training clips", train), ("validation clips", validation))
    }
    encoders = {
        f"{name} encoder": None if store is None else store.description
        for name, store in (("first", train.first), ("second", train.second))
    }
    whole = {"model": to_dict(model_config), "training": asdict(config), **clips, **encoders}
    return json.loads(json.dumps(whole))


def _check_same(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    for part in ("model", "training"):
        if part in differing:
            one, other = found.get(part, {}), wanted.get(part, {})
            differing += [f"{part}.{name}" for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
            differing.remove(part)
    if differing:
        raise RecipeError(
            f"`{folder}` holds a run with other settings: {', '.join(sorted(differing))}\n\n"
            "hint: train into another folder, or delete this one"
        )


def _check(model_config: ModelConfig, train: ClipDataset, validation: ClipDataset, config: TrainingConfig) -> None:
    if not len(train.usable):
        raise EmptyClass("no training clip can be used\n\nhint: see the column `problem`, and extract features first")
    counts = np.bincount(train.emotions[train.usable] + 1, minlength=len(train.labels.emotions) + 1)[1:]
    for emotion, count in zip(train.labels.emotions, counts, strict=True):
        if not count:
            raise EmptyClass(
                f"no usable training clip of `{emotion}`\n\nhint: choose a label space without it, or another fold"
            )
    if config.selection != "last" and not len(validation.usable):
        raise RecipeError("no validation clip can be used\n\nhint: `selection: last`, or another fold")
    assert train.first is not None, "the first stream is what is disentangled"
    assert model_config.emotions == tuple(train.labels.emotions)
    assert model_config.direction == train.direction == validation.direction
    styles = len(train.style_names)
    if config.style_labels not in ("pseudo", "random", "off"):
        if config.style_labels != train.style_column:
            raise RecipeError(
                f"style labels come from `{config.style_labels}`, the clips bring `{train.style_column}`\n\n"
                "hint: give the dataset the same style column"
            )
        if model_config.disentangle and styles != model_config.styles:
            raise RecipeError(
                f"column `{config.style_labels}` has {styles} styles, the model {model_config.styles}\n\n"
                f"hint: model.styles={max(styles, 2)}"
            )
    if config.style_labels == "random" and config.style_sizes and len(config.style_sizes) != model_config.styles:
        raise RecipeError(
            f"style_sizes has {len(config.style_sizes)} numbers, the model {model_config.styles} styles\n\n"
            "hint: one size for each style"
        )


def _check_finite(total: Tensor, epoch: int, step: int, rate: float) -> None:
    if not math.isfinite(total.item()):
        raise RecipeError(
            f"the loss is {total.item()} in epoch {epoch + 1}, step {step + 1}, learning rate {rate:.2g}\n\n"
            "hint: lower training.optimiser.learning_rate, or train with precision 32-true"
        )


def _specifications(train: ClipDataset, collator: Collator, config: TrainingConfig, synthetic: bool) -> Specifications:
    table = train.manifest.table
    return Specifications(
        emotions=tuple(train.labels.emotions),
        labels=train.labels.name,
        first_encoder={} if train.first is None else dict(train.first.description),
        second_encoder={} if train.second is None else dict(train.second.description),
        first_statistics=_plain(collator.first),
        second_statistics=_plain(collator.second),
        direction=train.direction,
        shares_windows=train.shares_windows,
        corpora=sorted({name for name in train.groups("corpus") if name}) if "corpus" in table.columns else [],
        synthetic=synthetic,
        selection=config.selection,
    )


def _plain(statistics: Statistics | None) -> dict[str, list[float]]:
    if statistics is None:
        return {}
    return {"mean": statistics.mean.tolist(), "deviation": statistics.deviation.tolist()}


def _class_weights(train: ClipDataset) -> Float32[Tensor, " K"]:
    """Inverse frequencies whose mean over the clips is 1."""
    known = train.emotions[train.usable]
    counts = np.bincount(known[known >= 0], minlength=len(train.labels.emotions))
    return torch.from_numpy((counts.sum() / (len(counts) * np.maximum(counts, 1))).astype(np.float32))


def _mixed_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


class _Means:
    """Means over the batches of an epoch; a term no batch could feed is None."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, named: dict[str, Tensor | None]) -> None:
        for name, value in named.items():
            self._values.setdefault(name, []).extend([] if value is None else [value.detach()])

    def means(self) -> dict[str, float | None]:
        return {name: float(torch.stack(values).mean()) if values else None for name, values in self._values.items()}
