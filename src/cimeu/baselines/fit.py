"""Train a domain method: one batch per training group, the epoch with the best validation recall is kept.

The budget is that of every other row: as many clips per epoch as there are training clips, the same optimiser, at
most the same epochs and patience, and selection by UAR on validation speakers. Clips of the held-out group are never
looked at: `fit` does not even receive them.

Axes: N clips, K emotions, G training groups.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cimeu.baselines.registry import Builder, Method
from cimeu.baselines.task import Task
from cimeu.batching.augment import AugmentationConfig
from cimeu.batching.collate import Batch, Collator, Kind
from cimeu.batching.dataset import ClipDataset
from cimeu.errors import RecipeError
from cimeu.evaluation.metrics import uar
from cimeu.progress import Progress, silent
from cimeu.training.config import TrainingConfig
from cimeu.training.optim import OptimiserConfig, add_to_mean


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Budget and data of a fit; give it the values of the training it is compared with."""

    epochs: int = 20
    """Passes over the training clips, at most."""
    batch_size: int = 128
    """Clips of an update, shared equally by the groups."""
    patience: int = 5
    """Epochs without a better validation UAR after which training stops; 0 never stops."""
    selection: Literal["validation", "last", "average"] = "validation"
    """Which epoch is kept."""
    group: str = "culture"
    """Manifest column that names the training groups; clips without one form a group of their own."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """Optimiser and schedule."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """Noise and masks on training batches."""
    settings: dict[str, float] = field(default_factory=dict)
    """Settings of the method that differ from its defaults."""


def budget_of(training: TrainingConfig, group: str, settings: dict[str, float] | None = None) -> FitConfig:
    """The budget of a CiMEU row for a method row.

    Raises:
        RecipeError: the row is selected on test clips.
    """
    if training.selection == "oracle":
        raise RecipeError("domain methods are never selected on test clips\n\nhint: selection `validation` or `last`")
    return FitConfig(
        epochs=training.epochs,
        batch_size=training.batch_size,
        patience=training.patience,
        selection=training.selection,
        group=group,
        optimiser=training.optimiser,
        augmentation=training.augmentation,
        settings=settings or {},
    )


@dataclass(frozen=True)
class FittedMethod:
    """A trained method with what is needed to call clips, and what it cost."""

    method: nn.Module
    collator: Collator
    epoch: int
    validation_uar: float
    updates: int
    history: tuple[dict[str, float], ...]

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return sum(parameter.numel() for parameter in self.method.parameters() if parameter.requires_grad)

    def probabilities(self, dataset: ClipDataset, batch_size: int = 256) -> Float[np.ndarray, "N K"]:
        """Probabilities of every clip of the dataset; not numbers where a clip could not be used."""
        return _probabilities(self.method, self.collator, dataset, batch_size)


def fit(
    build: Builder,
    train: ClipDataset,
    validation: ClipDataset,
    config: FitConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> FittedMethod:
    """Train a method on the clips of `train`; `validation` only chooses the epoch."""
    first, second = train.statistics()
    assert first is not None, "the setting has a first stream"
    assert train.first is not None
    collator = Collator(
        first,
        second,
        second_kind="steps" if train.second is None else cast(Kind, train.second.description["kind"]),
        augmentation=config.augmentation,
        shares_windows=train.shares_windows,
        direction=train.direction,
    )
    groups = _groups(train, config.group)
    n_emotions = len(train.labels)
    per_epoch = max(1, len(train.usable) // config.batch_size)
    torch.manual_seed(seed)
    method = build(
        Task(
            emotions=n_emotions,
            first=len(first.mean),
            second=None if second is None else len(second.mean),
            counts=torch.stack([_counts(train.emotions[rows], n_emotions) for rows in groups]),
            updates=per_epoch * config.epochs,
            optimiser=config.optimiser,
            settings=config.settings,
        )
    )
    assert isinstance(method, Method)
    generator = torch.Generator().manual_seed(seed)
    streams = [_endless(rows, np.random.default_rng((seed, group))) for group, rows in enumerate(groups)]
    share = max(2, config.batch_size // len(groups))
    history: list[dict[str, float]] = []
    best_epoch, best_uar, best = 0, -1.0, copy.deepcopy(method.state_dict())
    average: dict[str, Tensor] = {}
    for epoch in range(1, config.epochs + 1):
        progress("fit", epoch - 1, config.epochs)
        method.train()
        means: dict[str, float] = {}
        for _ in range(per_epoch):
            batches = [
                collator([train[int(next(stream))] for _ in range(min(share, len(rows)))], generator)
                for stream, rows in zip(streams, groups, strict=True)
            ]
            for name, value in method.update(batches).items():
                means[name] = means.get(name, 0.0) + value / per_epoch
        calls = _probabilities(method, collator, validation, 256)[validation.usable].argmax(axis=1)
        score = uar(validation.emotions[validation.usable], calls)
        history.append({"epoch": float(epoch), "validation_uar": score, **means})
        if config.selection == "average" and 2 * epoch > config.epochs:
            add_to_mean(average, method.state_dict(), epoch - config.epochs // 2)
            best_epoch, best_uar, best = epoch, score, average
        elif score > best_uar or config.selection != "validation":
            best_epoch, best_uar, best = epoch, score, copy.deepcopy(method.state_dict())
        elif config.patience and config.selection == "validation" and epoch - best_epoch >= config.patience:
            break
    method.load_state_dict(best)
    method.eval()
    progress("fit", config.epochs, config.epochs)
    return FittedMethod(method, collator, best_epoch, best_uar, per_epoch * len(history), tuple(history))


@torch.no_grad()
def _probabilities(
    method: nn.Module, collator: Collator, dataset: ClipDataset, batch_size: int
) -> Float[np.ndarray, "N K"]:
    assert isinstance(method, Method)
    method.eval()
    probabilities = np.full((len(dataset), len(dataset.labels)), np.nan)
    for start in range(0, len(dataset.usable), batch_size):
        rows = dataset.usable[start : start + batch_size]
        batch: Batch = collator([dataset[int(row)] for row in rows], None)
        probabilities[rows] = method.logits(batch).double().softmax(dim=1).numpy()
    return probabilities


def _groups(train: ClipDataset, column: str) -> list[Int[np.ndarray, " _"]]:
    """Usable rows of each training group, groups in alphabetical order."""
    names = np.asarray(train.groups(column))[train.usable]
    return [train.usable[names == name] for name in np.unique(names)]


def _counts(emotions: Int[np.ndarray, " N"], n_emotions: int) -> Int[torch.Tensor, " K"]:
    return torch.from_numpy(np.bincount(emotions, minlength=n_emotions))


def _endless(rows: Int[np.ndarray, " N"], generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from generator.permutation(rows)
