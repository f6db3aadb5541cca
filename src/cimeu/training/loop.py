"""From batches to a checkpoint: one direction of an ensemble, one epoch after the other.

A run can be stopped at any moment and resumes from its last finished epoch with the same bits: batches, augmentation
and dropout are functions of seed and epoch, and everything else is in `resume.pt`.

    folder/ model.safetensors config.json   the best epoch, written when the run is over
            journal.jsonl journal.csv       every number of every epoch
            resume.pt                       everything a stopped run needs; gone when the run is over
            finished.json                   what was trained, so that it is not trained twice

Axes: B clips of a batch, N clips of a dataset, C channels, K emotions.
"""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from cimeu.batching.collate import Batch, Collator, collator_of, evaluation_batches
from cimeu.batching.dataset import ClipDataset, Sample, Statistics
from cimeu.batching.sampler import epoch_batches
from cimeu.errors import EmptyClass, RecipeError
from cimeu.evaluation.continuous import concordance
from cimeu.evaluation.metrics import UNUSED, uar
from cimeu.model.blocks import Levels
from cimeu.model.checkpoint import Specifications
from cimeu.model.config import ModelConfig
from cimeu.model.disentangle import standardised
from cimeu.model.network import CiMEU, Output
from cimeu.progress import Progress, silent
from cimeu.pyramid import Stream
from cimeu.training.config import CCC, CHOOSING, UAR, TrainingConfig
from cimeu.training.distributed import average_gradients, fabric_of, first_only, is_first, share_of, together
from cimeu.training.faults import STREAMS, faults
from cimeu.training.health import (
    StreamHealth,
    Variance,
    absent,
    gradient_shares,
    layer_scale,
    primitives_of,
    still_read,
    variance_of,
)
from cimeu.training.journal import Entry
from cimeu.training.losses import class_error, emotion_adversary, style_adversary
from cimeu.training.objective import Factors, Objective, objective
from cimeu.training.optim import add_to_mean, build_optimiser, learning_rate, reversal_factor, set_learning_rate
from cimeu.training.resume import State, finish, identity_of, is_finished, resumed, save, saved
from cimeu.training.styles import epoch_styles

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)
HIGHEST_RECONSTRUCTION = 8.0
"""Largest multiple of the configured weight of reconstruction."""


def train(
    model_config: ModelConfig,
    train: ClipDataset,
    validation: ClipDataset,
    config: TrainingConfig,
    folder: Path,
    *,
    group: str = "",
    synthetic: bool = False,
    progress: Progress = silent,
) -> Path:
    """Train one network and leave its best epoch in `folder`, which is returned; resumes an interrupted run.

    Args:
        model_config: the network; emotions, widths and direction must be those of the datasets.
        train: clips to learn from; statistics are theirs.
        validation: clips to choose the epoch with; may be empty with selection `last`.
        config: everything about training.
        folder: of this direction, such as RUN/forward.
        group: column of the training groups, of which every batch has equal shares (`equal_groups`); empty: none.
        synthetic: whether the clips were drawn by a program.
        progress: called after every optimiser step.

    Raises:
        RecipeError: settings that contradict the data, a folder that holds another run, a loss that is not finite.
        EmptyClass: no usable training clip, or an emotion without one.
    """
    _check(model_config, train, validation, config)
    identity = identity_of(model_config, train, validation, config, group)
    if first_only(config, lambda: is_finished(folder, identity)):
        return folder
    fabric = fabric_of(config)
    folder.mkdir(parents=True, exist_ok=True)
    progress = progress if fabric.is_global_zero else silent
    collator = collator_of(train, config.augmentation)
    torch.manual_seed(config.seed)  # before the network is built: its first weights are drawn from here
    model = CiMEU(model_config, specifications_of(train, collator, config.selection, synthetic)).to(fabric.device)
    optimiser = fabric.setup_optimizers(build_optimiser(config.optimiser, model.parameters(), model.adversaries()))
    state = resumed(folder, first_only(config, lambda: saved(folder, identity)), model, optimiser)
    epochs = _Epochs(model, optimiser, train, collator, config, fabric, group)

    while state.epoch < config.epochs and not _out_of_patience(state, config):
        started = time.perf_counter()
        clips = train.episode(state.epoch)
        styles, about_styles = first_only(config, partial(epoch_styles, model, clips, collator, config, state))
        entry, shares = epochs.run(clips, state, styles, progress)
        checked = first_only(config, lambda: _validate(model, validation, collator, config, fabric.device))
        entry |= checked | about_styles | _health(model, entry, epochs.variance(clips), shares)
        _adjust_factors(state, entry, config)
        _average(state, model, config)
        _keep_best(state, model, entry, config)
        entry["processes"] = fabric.world_size
        entry["seconds"] = round(time.perf_counter() - started, 3)
        state.entries.append(entry)
        state.epoch += 1
        first_only(config, lambda: save(folder, identity, model, optimiser, state, config))

    first_only(config, lambda: _finish(folder, identity, model, state))
    progress(f"training {train.direction}", epochs.planned, epochs.planned)
    return folder


class _Epochs:
    """The steps of one epoch after the other, on the training clips."""

    def __init__(
        self,
        model: CiMEU,
        optimiser: torch.optim.Optimizer,
        train: ClipDataset,
        collator: Collator,
        config: TrainingConfig,
        fabric: "Fabric",
        group: str,
    ) -> None:
        self._model, self._optimiser, self._fabric = model, optimiser, fabric
        self._train, self._collator, self._config = train, collator, config
        self._class_weights = _class_weights(train).to(fabric.device) if config.balance == "loss" else None
        self._groups = train.groups(group) if group and config.equal_groups else None
        self._variance: dict[str, Variance] = {}
        self._steps = len(self._batches(epoch=0))
        self.planned = self._steps * config.epochs
        # Processes that share a batch draw different noise and dropout; a single one draws what it always did.
        self._apart = () if fabric.world_size == 1 else (fabric.world_size, fabric.global_rank)

    def run(
        self, clips: ClipDataset, state: State, styles: Tensor, progress: Progress
    ) -> tuple[Entry, dict[str, float]]:
        """Train one epoch on clips as it reads them; its entry in the journal, and the gradient share of each term."""
        config, step = self._config, state.epoch * self._steps
        torch.manual_seed(_seed(config.seed, state.epoch, *self._apart))
        means, shares, asked = _Means(), dict[str, float](), dict[str, list[Tensor]]()
        self._model.train()
        for indices in self._batches(state.epoch):
            rate, reversal = learning_rate(config.optimiser, step, self.planned), reversal_factor(step, self.planned)
            set_learning_rate(self._optimiser, rate)
            samples = [clips[int(index)] for index in share_of(indices, self._fabric)]
            losses, primitives = self._losses(samples, styles, state, step, reversal)
            _check_finite(losses.total, state.epoch, step, rate)
            if (step + 1) % self._steps == 0:  # one batch an epoch: it costs a backward pass per term
                shares = gradient_shares(losses.weighted, primitives, self._fabric)
            self._update(losses.total)
            means.add({"total": losses.total, **losses.named})
            for name, labels in losses.asked.items():
                asked.setdefault(name, []).append(labels)
            step += 1
            progress(f"training {self._train.direction}", step, self.planned)
        entry: Entry = {"epoch": state.epoch + 1, "step": step, "learning_rate": rate, "reversal": reversal}
        trained = means.named()
        return entry | trained | still_read(trained, asked), shares

    def variance(self, clips: ClipDataset) -> Mapping[str, Variance]:
        """What the decoders have to explain of an epoch's clips; less where a style was subtracted."""
        if self._model.config.disentangle != "off" and (clips is not self._train or not self._variance):
            self._variance = variance_of(clips, self._collator, self._config.batch_size)
        return self._variance

    def _batches(self, epoch: int) -> list[Int64[np.ndarray, " _"]]:
        train, config = self._train, self._config
        return epoch_batches(
            train.usable,
            config.batch_size,
            seed=config.seed,
            epoch=epoch,
            emotions=train.emotions[train.usable] if config.balance == "sampling" else None,
            groups=None if self._groups is None else [self._groups[int(row)] for row in train.usable],
        )

    def _losses(
        self, samples: Sequence[Sample], styles: Tensor, state: State, step: int, reversal: float
    ) -> tuple[Objective, list[Tensor]]:
        """The objective of one batch, and the emotion primitives that it was computed from."""
        config, fabric = self._config, self._fabric
        generator = torch.Generator().manual_seed(_seed(config.seed, state.epoch, step, *self._apart))
        batch = self._collator(samples, generator)
        batch = replace(batch, style=styles[batch.index]).to(fabric.device)
        with fabric.autocast(), primitives_of(self._model) as primitives:
            output = self._model(batch.first, batch.second, emotion=batch.emotion, reversal=reversal)
        output, batch = together(output, batch, fabric)
        # Adversaries first: E and S must run from heads that know where they are now, not where they were.
        output = update_adversaries(
            self._model, self._optimiser, output, batch, reversal, config.adversary_steps, fabric
        )
        losses = objective(
            output,
            batch,
            config.weights,
            alignment=self._model.config.alignment,
            factors=Factors(**state.factors),
            class_weights=self._class_weights,
            label_smoothing=config.label_smoothing,
        )
        return losses, primitives

    def _update(self, total: Tensor) -> None:
        self._optimiser.zero_grad()
        self._fabric.backward(total)
        average_gradients(self._model.parameters(), self._fabric)
        if self._config.optimiser.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._config.optimiser.clip_norm)
        self._optimiser.step()


def _health(model: CiMEU, trained: Entry, variance: Mapping[str, Variance], shares: Mapping[str, float]) -> Entry:
    """Whether the parts of the network do anything, as numbers of the journal."""
    entry: Entry = {f"health.clip_mean.{name}": stream.by_clip_mean for name, stream in variance.items()}
    for name, error in trained.items():
        if name.startswith("train.reconstruction.") and error is not None:
            stream = name.rpartition(".")[2]
            total = variance[stream].total if stream in variance else 1.0  # tokens are read as steps by the network
            entry[f"train.explained_variance.{stream}"] = 1 - float(error) / total
    entry |= {f"health.gradient.{name}": share for name, share in shares.items()}
    entry["health.layer_scale"] = layer_scale(model)
    return entry


def _finish(folder: Path, identity: dict[str, Any], model: CiMEU, state: State) -> None:
    """Name the parts without effect, and leave the network."""
    config = model.config
    for fault in faults(state.entries[-1], emotions=len(config.emotions)) if state.entries else ():
        logger.warning("%s: %s", config.direction, fault)
    finish(folder, identity, model, state)


def update_adversaries(
    model: CiMEU,
    optimiser: torch.optim.Optimizer,
    output: Output,
    batch: Batch,
    reversal: float,
    steps: int,
    fabric: "Fabric",
) -> Output:
    """Let the adversaries catch up with E and S as they are on this batch, then compute their logits anew.

    A head that lags behind is fooled at once, and E and S then run from it without losing what it should find. With
    several processes the logits are computed anew in any case: heads read the statistics of the whole batch.
    """
    if output.style_pooled is None or not (steps or fabric.world_size > 1):
        return output
    assert batch.first is not None
    emotion_pooled, style_pooled = (
        tuple(x.float() for x in pooled) for pooled in (output.emotion_pooled, output.style_pooled)
    )
    heads = model.independence
    with torch.no_grad():  # E and S stand still, so what the adversaries read is computed once, levels stacked
        emotion, style = (torch.stack([standardised(x) for x in pooled]) for pooled in (emotion_pooled, style_pooled))
        one_hot = heads.one_hot(batch.emotion).to(emotion.dtype)
        emotion = torch.cat((emotion, one_hot.expand(len(emotion), -1, -1)), dim=-1)
    for _ in range(steps):
        style_of_e, emotion_of_s = (
            x.float().unbind() for x in (heads.style_of_emotion(emotion), heads.emotion_of_style(style))
        )
        errors = (
            style_adversary(style_of_e, batch.style, batch.emotion, batch.first.present),
            emotion_adversary(emotion_of_s, batch.emotion, batch.first.present),
        )
        present = [error for error in errors if error is not None]
        if not present:
            break
        optimiser.zero_grad()
        torch.stack(present).sum().backward()
        average_gradients(model.adversaries(), fabric)
        optimiser.step()
    logits = model.independence_logits(emotion_pooled, style_pooled, batch.emotion, reversal)
    return replace(output, style_logits=logits[0], style_adversary=logits[1], emotion_adversary=logits[2])


def _adjust_factors(state: State, entry: Entry, config: TrainingConfig) -> None:
    """Weights of the next epoch: mining kept under its share of the gradient, reconstruction raised until it works.

    Both are multiples of the configured weights. Reconstruction doubles, up to 8 times, while a decoder explains less
    than its clips' means do; mining never rises above its configured weight.
    """
    share, limit = entry.get("health.gradient.mining"), config.weights.mining_share
    if share and limit:
        state.factors["mining"] = min(1.0, state.factors["mining"] * limit / float(share))
    for name in STREAMS:
        explained, floor = entry.get(f"train.explained_variance.{name}"), entry.get(f"health.clip_mean.{name}")
        if explained is not None and floor is not None and explained < floor:
            state.factors["reconstruction"] = min(HIGHEST_RECONSTRUCTION, 2 * state.factors["reconstruction"])
            break


def _average(state: State, model: CiMEU, config: TrainingConfig) -> None:
    """Running mean of the weights over the second half of the planned epochs (selection `average`)."""
    if config.selection != "average" or 2 * (state.epoch + 1) <= config.epochs:
        return
    state.averaged += 1
    add_to_mean(state.average, model.state_dict(), state.averaged)


def _validate(
    model: CiMEU, dataset: ClipDataset, collator: Collator, config: TrainingConfig, device: torch.device
) -> Entry:
    """UAR and class error of the clips whose emotion is known; one that cannot be used counts as wrong. CCC of the
    continuous labels of usable clips that have any."""
    predicted = np.full(len(dataset), UNUSED, np.int64)
    values = np.full((len(dataset), len(dataset.scales)), np.nan, np.float32)
    errors, clips = 0.0, 0
    # Heads of M and L that are not trained would answer at random.
    heads = 3 if config.weights.heads_trained == "all" else 1
    gates: list[Tensor] = []
    health = StreamHealth()
    model.eval()
    with torch.inference_mode():
        for batch in evaluation_batches(dataset, collator, config.batch_size):
            batch = batch.to(device)
            assert batch.first is not None, "every setting has a first stream"
            # Without style primitives and decoders, which no answer depends on.
            emotion = model.emotion_primitives(batch.first, batch.second)
            decision = model.decide(emotion, batch.first, batch.second)
            logits = decision.logits[:heads]
            gates.append(decision.gate[0])
            if decision.second_logits is not None:
                assert batch.second is not None
                own = {"first": decision.first_logits[0], "second": decision.second_logits[0]}
                health.add(batch, decision.logits[0], own, _without_each(model, emotion, batch.first, batch.second))
            if decision.continuous is not None:
                values[batch.index.cpu().numpy()] = decision.continuous.float().cpu().numpy()
            predicted[batch.index.cpu().numpy()] = (
                torch.stack([level.softmax(1) for level in logits]).sum(0).argmax(1).cpu().numpy()
            )
            error = class_error(logits, batch.emotion, shares=batch.shares)
            if error is not None:
                labelled = int((batch.emotion >= 0).sum())
                errors, clips = errors + float(torch.stack(error).mean()) * labelled, clips + labelled
    entry: Entry = {"validation.uar": None, "validation.loss": None}
    if clips:
        has_label = dataset.emotions >= 0
        entry["validation.uar"] = uar(dataset.emotions[has_label], predicted[has_label])
        entry["validation.loss"] = errors / clips
    entry |= _concordances(values, dataset, len(model.config.disentangled), entry["validation.uar"])
    if not clips:
        return entry
    if model.config.second is not None:
        entry["health.gate"] = float(torch.cat(gates).mean())
        entry |= health.entry()
    return entry


def _concordances(
    values: Float32[np.ndarray, "N V"], dataset: ClipDataset, streams: int, validation_uar: float | None
) -> Entry:
    """CCC of each continuous label and their mean, over clips with a label and one of the streams it is read from."""
    if dataset.continuous is None:
        return {}
    entry: Entry = {}
    readable = dataset.present[:, :streams].any(axis=1)
    for name, predicted, truth in zip(dataset.scales, values.T, dataset.continuous.T, strict=True):
        rows = readable & np.isfinite(truth) & np.isfinite(predicted)
        agreement = concordance(truth[rows].astype(float), np.clip(predicted[rows], -1, 1).astype(float))
        entry[f"validation.ccc.{name}"] = agreement if np.isfinite(agreement) else None
    measured = [value for value in entry.values() if value is not None]
    mean = float(np.mean(measured)) if measured else None
    both = None if mean is None or validation_uar is None else (mean + validation_uar) / 2
    return entry | {"validation.ccc": mean, "validation.uar_ccc": both}


def _without_each(model: CiMEU, emotion: Sequence[Levels], first: Stream, second: Stream) -> dict[str, Tensor]:
    """Logits at level H without the first and without the second stream."""
    decisions = {
        "first": model.decide(emotion, absent(first), second),
        "second": model.decide(emotion, first, absent(second)),
    }
    return {gone: decision.logits[0] for gone, decision in decisions.items()}


def _keep_best(state: State, model: CiMEU, entry: Entry, config: TrainingConfig) -> None:
    score, best = entry[f"validation.{config.criterion}"], state.best_score
    if config.selection == "average" and state.averaged:
        state.best_epoch, state.best_score, state.best = state.epoch + 1, score, dict(state.average)
    # Strictly above: of equal epochs the earlier one stays.
    elif config.selection not in CHOOSING or best is None or (score is not None and score > best):
        state.best_epoch, state.best_score = state.epoch + 1, score
        if is_first(config):
            state.best = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    entry["best_epoch"] = state.best_epoch


def _out_of_patience(state: State, config: TrainingConfig) -> bool:
    return bool(config.patience) and config.selection in CHOOSING and state.epoch - state.best_epoch >= config.patience


def _check(model_config: ModelConfig, train: ClipDataset, validation: ClipDataset, config: TrainingConfig) -> None:
    if not len(train.usable):
        raise EmptyClass("no training clip can be used\n\nhint: see the column `problem`, and extract features first")
    if len(train.usable) < config.processes:
        raise RecipeError(
            f"{config.processes} processes share {len(train.usable)} training clips\n\nhint: fewer devices or nodes"
        )
    # Shifted by one, because bincount takes no -1 (unlabelled).
    counts = np.bincount(train.emotions[train.usable] + 1, minlength=len(train.labels.emotions) + 1)[1:]
    for emotion, count in zip(train.labels.emotions, counts, strict=True):
        if not count:
            raise EmptyClass(
                f"no usable training clip of `{emotion}`\n\nhint: choose a label space without it, or another fold"
            )
    if config.selection in CHOOSING and not len(validation.usable):
        raise RecipeError("no validation clip can be used\n\nhint: `selection: last`, or another fold")
    _check_criterion(train, validation, config)
    assert train.first is not None, "the first stream is what is disentangled"
    assert model_config.emotions == tuple(train.labels.emotions)
    assert model_config.direction == train.direction == validation.direction
    assert model_config.continuous == tuple(train.scales)
    styles = len(train.style_names)
    if config.style_labels not in ("pseudo", "random", "off"):
        if config.style_labels != train.style_column:
            raise RecipeError(
                f"style labels come from `{config.style_labels}`, the clips bring `{train.style_column}`\n\n"
                "hint: give the dataset the same style column"
            )
        if model_config.disentangle != "off" and styles != model_config.styles:
            raise RecipeError(
                f"column `{config.style_labels}` has {styles} styles, the model {model_config.styles}\n\n"
                f"hint: model.styles={max(styles, 2)}"
            )
    if config.style_labels == "random" and config.style_sizes and len(config.style_sizes) != model_config.styles:
        raise RecipeError(
            f"style_sizes has {len(config.style_sizes)} numbers, the model {model_config.styles} styles\n\n"
            "hint: one size for each style"
        )


def _check_criterion(train: ClipDataset, validation: ClipDataset, config: TrainingConfig) -> None:
    """Validation clips have what the criterion compares epochs by."""
    if config.selection not in CHOOSING:
        return
    usable = validation.usable
    if config.criterion != UAR:
        assert train.scales, "a recipe without continuous labels is refused"
        assert validation.continuous is not None, "both parts have the labels of the recipe"
        if not np.isfinite(validation.continuous[usable]).any():
            raise RecipeError(
                f"no validation clip has a continuous label, epochs cannot be compared by {config.criterion}\n\n"
                "hint: training.criterion=uar, or another fold"
            )
    if config.criterion != CCC and not (validation.emotions[usable] >= 0).any():
        raise RecipeError(
            f"no usable validation clip has an emotion, epochs cannot be compared by {config.criterion}\n\n"
            "hint: training.selection=last, or another fold"
        )


def _check_finite(total: Tensor, epoch: int, step: int, rate: float) -> None:
    if not math.isfinite(total.item()):
        raise RecipeError(
            f"the loss is {total.item()} in epoch {epoch + 1}, step {step + 1}, learning rate {rate:.2g}\n\n"
            "hint: lower training.optimiser.learning_rate, or train with precision 32-true"
        )


def specifications_of(train: ClipDataset, collator: Collator, selection: str, synthetic: bool) -> Specifications:
    """What a reader of the checkpoint has to know: labels, encoders, statistics of the training clips."""
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
        selection=selection,
        continuous=train.scales,
    )


def _plain(statistics: Statistics | None) -> dict[str, list[float]]:
    if statistics is None:
        return {}
    return {"mean": statistics.mean.tolist(), "deviation": statistics.deviation.tolist()}


def _class_weights(train: ClipDataset) -> Float32[Tensor, " K"]:
    """Inverse frequencies whose mean over the clips is 1."""
    labels = train.emotions[train.usable]
    counts = np.bincount(labels[labels >= 0], minlength=len(train.labels.emotions))
    return torch.from_numpy((counts.sum() / (len(counts) * np.maximum(counts, 1))).astype(np.float32))


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


class _Means:
    """Means over the batches of an epoch; a term no batch could feed is None."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, named: dict[str, Tensor | None]) -> None:
        for name, value in named.items():
            self._values.setdefault(name, []).extend([] if value is None else [value.detach()])

    def named(self) -> Entry:
        return {
            f"train.{name}": float(torch.stack(values).mean()) if values else None
            for name, values in self._values.items()
        }
