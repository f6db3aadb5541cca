"""Train any rival of CiMEU and leave it in a folder that is read like every other model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from cimeu.atomic import STATE, write_whole
from cimeu.baselines.fit import fit
from cimeu.baselines.linear import Linear
from cimeu.baselines.majority import Majority
from cimeu.baselines.rbf import RadialSupportVectors
from cimeu.baselines.registry import known_methods, method_named
from cimeu.baselines.simple import Baseline, pooled
from cimeu.batching.collate import collator_of
from cimeu.batching.dataset import ClipDataset
from cimeu.errors import RecipeError, guess
from cimeu.evaluation.metrics import uar
from cimeu.model.checkpoint import save_checkpoint
from cimeu.model.config import StreamConfig
from cimeu.model.rivals.backbone import Backbone, BackboneClassifier
from cimeu.model.rivals.rival import Rival, RivalConfig
from cimeu.progress import Progress, silent
from cimeu.training.config import TrainingConfig
from cimeu.training.episodes import EPISODES
from cimeu.training.journal import write_journal
from cimeu.training.loop import specifications_of

SIMPLE: dict[str, type[Baseline]] = {baseline.name: baseline for baseline in (Majority, Linear, RadialSupportVectors)}
"""Classifiers of one vector per clip."""


@dataclass(frozen=True, kw_only=True)
class Rivalry:
    """Which rival is trained, and what is its own."""

    method: str
    """A name of `SIMPLE`, of `METHODS`, or of another package."""
    group: str = "culture"
    """Column that names the training groups."""
    settings: Mapping[str, float] | None = None
    """Settings of its own that differ from its defaults; a simple classifier chooses those that are not given."""


def train_rival(
    rivalry: Rivalry,
    train: ClipDataset,
    validation: ClipDataset,
    streams: tuple[StreamConfig, ...],
    config: TrainingConfig,
    folder: Path,
    *,
    synthetic: bool = False,
    progress: Progress = silent,
) -> Path:
    """Train a rival on the same clips and budget as a network, unless the folder already holds it.

    Args:
        rivalry: which one.
        train: clips to learn from.
        validation: clips that choose settings or the epoch.
        streams: what the clips hold, first stream first.
        config: budget, optimiser, augmentation, selection and seed.
        folder: of the checkpoint.
        synthetic: whether the clips were drawn by a program.
        progress: called after every epoch.

    Returns:
        The folder.

    Raises:
        RecipeError: no such rival or setting, or one whose network is not a `Backbone` and cannot be kept.
        FeatureError: no training or no validation clip has features.
    """
    if (folder / "finished.json").is_file():
        return folder
    model_config = RivalConfig(
        emotions=tuple(train.labels.emotions),
        first=streams[0],
        second=streams[1] if len(streams) > 1 else None,
        method=rivalry.method,
    )
    if rivalry.method in SIMPLE:
        network, journal = _simple(rivalry, model_config, train, validation, config)
    else:
        network, journal = _method(rivalry, model_config, train, validation, config, progress)
    network.specifications = specifications_of(train, collator_of(train), config.selection, synthetic)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(network, folder)
    write_journal(folder, journal)
    # The row of the journal whose weights were kept; simple classifiers have one.
    best = max(journal, key=lambda entry: entry.get("kept") or 0)
    note = {"best_epoch": best["epoch"], "validation_uar": best["validation.uar"]}
    write_whole(folder / "finished.json", json.dumps(note, indent=1), STATE)
    return folder


Journal = list[dict[str, float | int | None]]


def check_rival(method: str) -> None:
    """Refuse a method that does not exist. Raises RecipeError with a guess."""
    if method not in SIMPLE and method not in known_methods():
        hint = guess(method, [*SIMPLE, *known_methods()], "cimeu, or one of ")
        raise RecipeError(f"unknown method `{method}`\n\nhint: {hint}")


def _simple(
    rivalry: Rivalry, config: RivalConfig, train: ClipDataset, validation: ClipDataset, training: TrainingConfig
) -> tuple[Rival, Journal]:
    baseline = SIMPLE[rivalry.method](len(train.labels), dict(rivalry.settings or {}) or None)
    episodes = [pooled(train.episode(number)) for number in range(EPISODES)] if training.supports else []
    labels = train.emotions[train.usable]
    vectors, truth = pooled(validation), validation.emotions[validation.usable]
    baseline.fit(pooled(train), labels, vectors, truth, training.seed, episodes)
    score = uar(truth, baseline.probabilities(vectors).argmax(axis=1))
    chosen = {f"chosen.{name}": value for name, value in baseline.settings.items()}
    entry: dict[str, float | int | None] = {"epoch": 1, "step": 0, "validation.uar": score, "kept": 1, **chosen}
    return baseline.network(replace(config, moments=(1,) * len(config.streams))), [entry]


def _method(
    rivalry: Rivalry,
    config: RivalConfig,
    train: ClipDataset,
    validation: ClipDataset,
    training: TrainingConfig,
    progress: Progress,
) -> tuple[Rival, Journal]:
    fitted = fit(
        method_named(rivalry.method),
        train,
        validation,
        training,
        group=rivalry.group,
        settings=dict(rivalry.settings or {}),
        progress=progress,
    )
    network = BackboneClassifier(config)
    parts = [getattr(fitted.method, name, None) for name in ("backbone", "head")]
    if not (isinstance(parts[0], Backbone) and isinstance(parts[1], torch.nn.Linear)):
        raise RecipeError(
            f"method `{rivalry.method}` cannot be kept as a model: it has no `backbone` and `head`\n\n"
            "hint: a method of another package keeps its network in a `cimeu.model.rivals.backbone.Backbone` and an "
            "nn.Linear, as `cimeu.baselines.erm.ERM` does"
        )
    network.backbone.load_state_dict(parts[0].state_dict())
    network.head.load_state_dict(parts[1].state_dict())
    journal: Journal = []
    per_epoch = fitted.updates // max(1, len(fitted.history))
    for entry in fitted.history:
        epoch = int(entry["epoch"])
        terms = {f"train.{name}": value for name, value in entry.items() if name not in ("epoch", "validation_uar")}
        about = {"epoch": epoch, "step": epoch * per_epoch, "validation.uar": entry["validation_uar"]}
        journal.append({**about, "kept": int(epoch == fitted.epoch), **terms})
    return network, journal
