"""Train a method of domain generalisation: one batch per training group; the best epoch on validation clips is kept.

The budget is that of the network it is compared with: as many clips per epoch as there are training clips, the same
optimiser, at most the same epochs and patience, the same selection. Clips of the held-out group never get here.

Axes: N clips, K emotions, G training groups.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cimeu.baselines.registry import Builder, Method
from cimeu.baselines.task import Task
from cimeu.batching.collate import Batch, Collator, collator_of, evaluation_batches
from cimeu.batching.dataset import ClipDataset
from cimeu.errors import RecipeError
from cimeu.evaluation.metrics import uar
from cimeu.progress import Progress, silent
from cimeu.training.config import CHOOSING, TrainingConfig
from cimeu.training.optim import add_to_mean

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class FittedMethod:
    """A trained method with what is needed to read clips, and what it cost."""

    method: nn.Module
    collator: Collator
    epoch: int
    validation_uar: float
    updates: int
    history: tuple[dict[str, float], ...]
    """What each epoch gave: validation UAR and the means of the named terms."""

    def probabilities(self, dataset: ClipDataset) -> Float[np.ndarray, "N K"]:
        """Probabilities of every clip of the dataset; NaN where a clip cannot be used."""
        return _probabilities(self.method, self.collator, dataset)


def fit(
    build: Builder,
    train: ClipDataset,
    validation: ClipDataset,
    config: TrainingConfig,
    *,
    group: str = "culture",
    settings: dict[str, float] | None = None,
    progress: Progress = silent,
) -> FittedMethod:
    """Train a method; `validation` only chooses the epoch.

    Args:
        build: makes the method from its task.
        train: clips to learn from.
        validation: clips to choose the epoch with.
        config: budget, optimiser, augmentation, selection and seed.
        group: column that names the training groups; clips without one form a group of their own.
        settings: the method's own settings that differ from its defaults.
        progress: called after every epoch.

    Raises:
        RecipeError: the method's scores are not finite.
    """
    collator = collator_of(train, config.augmentation)
    groups = _groups(train, group)
    # As many updates as the network gets on the same clips, however many groups share a batch.
    per_epoch = max(1, len(train.usable) // config.batch_size)
    torch.manual_seed(config.seed)
    method = build(_task(train, collator, groups, per_epoch * config.epochs, config, settings or {}))
    assert isinstance(method, Method)
    batches = _Batches(collator, groups, config)
    history: list[dict[str, float]] = []
    # -1, so that the first epoch is kept even at a UAR of 0.
    kept = _Kept(config, 0, -1.0, copy.deepcopy(method.state_dict()))
    for epoch in range(1, config.epochs + 1):
        progress("fit", epoch - 1, config.epochs)
        method.train()
        means: dict[str, float] = {}
        clips = train.episode(epoch)
        for _ in range(per_epoch):
            for name, value in method.update(batches.next(clips)).items():
                means[name] = means.get(name, 0.0) + value / per_epoch
        predicted = _probabilities(method, collator, validation)[validation.usable].argmax(axis=1)
        score = uar(validation.emotions[validation.usable], predicted)
        history.append({"epoch": float(epoch), "validation_uar": score, **means})
        kept.see(epoch, score, method.state_dict())
        if config.patience and config.selection in CHOOSING and epoch - kept.epoch >= config.patience:
            break
    method.load_state_dict(kept.weights)
    method.eval()
    progress("fit", config.epochs, config.epochs)
    return FittedMethod(method, collator, kept.epoch, kept.uar, per_epoch * len(history), tuple(history))


@dataclass
class _Kept:
    """The weights that the rule of selection keeps so far."""

    config: TrainingConfig
    epoch: int
    uar: float
    weights: dict[str, Tensor]
    average: dict[str, Tensor] = field(default_factory=dict)

    def see(self, epoch: int, score: float, weights: dict[str, Tensor]) -> None:
        """Take an epoch into account."""
        first_half = self.config.epochs // 2
        if self.config.selection == "average" and 2 * epoch > self.config.epochs:
            add_to_mean(self.average, weights, epoch - first_half)
            self.epoch, self.uar, self.weights = epoch, score, self.average
        elif self.config.selection not in CHOOSING or score > self.uar:
            self.epoch, self.uar, self.weights = epoch, score, copy.deepcopy(weights)


class _Batches:
    """One batch per training group; every group is gone through in an order of its own, again and again."""

    def __init__(self, collator: Collator, groups: Sequence[Int[np.ndarray, " _"]], config: TrainingConfig) -> None:
        self._collator, self._groups = collator, groups
        # Two clips at least: statistics over one clip have no deviation.
        self._share = max(2, config.batch_size // len(groups))
        self._generator = torch.Generator().manual_seed(config.seed)
        self._rows = [_endless(rows, np.random.default_rng((config.seed, g))) for g, rows in enumerate(groups)]

    def next(self, clips: ClipDataset) -> list[Batch]:
        """The batches of one update, of clips as an epoch reads them."""
        batches = []
        for rows, members in zip(self._rows, self._groups, strict=True):
            # A small group comes round more often than a large one: that is what balances groups within an update.
            samples = [clips[int(next(rows))] for _ in range(min(self._share, len(members)))]
            batches.append(self._collator(samples, self._generator))
        return batches


def _task(
    train: ClipDataset,
    collator: Collator,
    groups: Sequence[Int[np.ndarray, " _"]],
    updates: int,
    config: TrainingConfig,
    settings: dict[str, float],
) -> Task:
    assert collator.first is not None, "every setting has a first stream"
    n_emotions = len(train.labels)
    counts = [np.bincount(train.emotions[rows], minlength=n_emotions) for rows in groups]
    return Task(
        emotions=n_emotions,
        first=len(collator.first.mean),
        second=None if collator.second is None else len(collator.second.mean),
        counts=torch.from_numpy(np.stack(counts)),
        updates=updates,
        optimiser=config.optimiser,
        settings=settings,
    )


@torch.no_grad()
def _probabilities(method: nn.Module, collator: Collator, dataset: ClipDataset) -> Float[np.ndarray, "N K"]:
    assert isinstance(method, Method)
    method.eval()
    probabilities = np.full((len(dataset), len(dataset.labels)), np.nan)
    for batch in evaluation_batches(dataset, collator, EVALUATION_BATCH):
        logits = method.logits(batch)
        if not torch.isfinite(logits).all():  # softmax would make it read as a clip that cannot be used
            raise RecipeError("scores of a clip are not finite\n\nhint: lower `training.optimiser.learning_rate`")
        probabilities[batch.index.numpy()] = logits.double().softmax(dim=1).numpy()
    return probabilities


def _groups(train: ClipDataset, column: str) -> list[Int[np.ndarray, " _"]]:
    """Usable rows of each training group, groups in alphabetical order."""
    names = np.asarray(train.groups(column))[train.usable]
    return [train.usable[names == name] for name in np.unique(names)]


def _endless(rows: Int[np.ndarray, " N"], generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from generator.permutation(rows)
