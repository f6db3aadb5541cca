"""Whether the parts of a network do anything: numbers of every epoch, written to the journal under `health.`.

What they show is said by `cimeu.training.faults`.

Axes: B clips, T steps, D input width, K emotions.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cimeu.batching.collate import Batch, Collator, evaluation_batches
from cimeu.batching.dataset import ClipDataset
from cimeu.evaluation.metrics import uar
from cimeu.model.blocks import DropPath, Levels, masked_mean
from cimeu.model.network import CiMEU
from cimeu.pyramid import Stream
from cimeu.training.faults import STREAMS
from cimeu.training.journal import Entry

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SMALLEST_ENTROPY = 1e-6
"""Nats below which labels are all alike but for rounding."""


@dataclass(frozen=True)
class Variance:
    """How much there is in a stream for a decoder to explain."""

    total: float
    """Mean square of the standardised features over real steps; near 1 unless a style was subtracted."""
    by_clip_mean: float | None
    """Share of it that every clip's own mean vector explains: what a decoder has to beat. None where no clip has more
    than one step, whose mean explains everything."""


def variance_of(clips: ClipDataset, collator: Collator, batch_size: int) -> dict[str, Variance]:
    """Variance of each stream of steps of some clips, as evaluation reads them; without streams that no clip has."""
    residual, total, size = (dict.fromkeys(STREAMS, 0.0) for _ in range(3))
    several = dict.fromkeys(STREAMS, False)
    for batch in evaluation_batches(clips, collator, batch_size):
        for name in STREAMS:
            stream: Stream | None = getattr(batch, name)
            if stream is None or (name == "second" and collator.second_kind != "steps"):
                continue  # the network turns tokens and filterbanks into steps of its own
            x, mask = stream.features, stream.mask.unsqueeze(-1)  # [B, T, D], [B, T, 1]
            mean = masked_mean(x, stream.mask)[:, None]
            residual[name] += float(((x - mean).square() * mask).sum())
            total[name] += float((x.square() * mask).sum())
            size[name] += float(mask.sum()) * x.shape[-1]
            several[name] |= bool((stream.mask.sum(1) > 1).any())
    return {
        name: Variance(total[name] / size[name], 1 - residual[name] / total[name] if several[name] else None)
        for name in STREAMS
        if total[name]
    }


@contextmanager
def primitives_of(model: CiMEU) -> Iterator[list[Tensor]]:
    """Collects what the emotion encoders return while the context is open, for gradients with respect to it."""
    collected: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Levels) -> None:
        collected.append(output.features)

    encoders = [model.emotion, *([model.second_emotion] if hasattr(model, "second_emotion") else [])]
    handles = [encoder.register_forward_hook(keep) for encoder in encoders]
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()


def gradient_shares(terms: Mapping[str, Tensor | None], primitives: list[Tensor], fabric: "Fabric") -> dict[str, float]:
    """Length of each weighted term's gradient on the emotion primitives, as a multiple of the class error's."""

    def squared_length(term: Tensor) -> Tensor:
        # On the primitives, not on the weights: there all terms meet, and the cost is a fraction.
        gradients = torch.autograd.grad(term, primitives, retain_graph=True, allow_unused=True)
        return torch.stack([g.float().square().sum() for g in gradients if g is not None] or [term.new_zeros(())]).sum()

    trained = {name: term for name, term in terms.items() if term is not None and term.requires_grad}
    if "class" not in trained:
        return {}
    squared = torch.stack([squared_length(term) for term in trained.values()])
    squared = fabric.all_reduce(squared, reduce_op="sum")  # each process has its own clips
    assert isinstance(squared, Tensor)
    # Squared lengths add up over processes, lengths do not.
    lengths = dict(zip(trained, squared.sqrt().tolist(), strict=True))
    return {name: length / lengths["class"] for name, length in lengths.items()} if lengths["class"] else {}


def still_read(trained: Entry, asked: Mapping[str, Sequence[Int[Tensor, "_ 2"]]]) -> Entry:
    """Share of its labels' entropy that each adversary still reads: 1 - cross-entropy / entropy; 0 is chance.

    Entropy is that of an epoch, given what the adversary is told: the emotion tells something of the style too. None
    where there is nothing to tell apart.

    Args:
        trained: the epoch's losses.
        asked: for each adversary and batch, what it was told of a clip and what it had to say, as labels
            (`Objective.asked`).
    """
    entry: Entry = {}
    for name in ("style", "emotion"):
        if f"train.{name}_adversary" not in trained:
            continue
        error, labels = trained[f"train.{name}_adversary"], asked.get(f"{name}_adversary")
        entropy = _conditional_entropy(torch.cat(list(labels)).cpu().numpy()) if labels else 0.0
        told = error is not None and entropy > SMALLEST_ENTROPY
        entry[f"health.adversary.{name}"] = 1 - float(error or 0) / entropy if told else None
    return entry


def _conditional_entropy(labels: Int[np.ndarray, "_ 2"]) -> float:
    """Entropy of the second column given the first, in nats."""

    def entropy(rows: np.ndarray) -> float:
        shares = np.unique(rows, axis=0, return_counts=True)[1] / len(rows)
        return -float((shares * np.log(shares)).sum())

    return entropy(labels) - entropy(labels[:, 0])


def layer_scale(model: nn.Module) -> float | None:
    """Mean absolute scale of the temporal blocks' branches; None in a network without any."""
    scales = [module.scale.detach().abs().mean() for module in model.modules() if isinstance(module, DropPath)]
    return float(torch.stack(scales).mean()) if scales else None


class StreamHealth:
    """UAR of each stream's own logits, and how many answers change without it, over clips that have both streams.

    Filled batch by batch with what validation computes anyhow: two more decisions from the same primitives, one without
    each stream, are all it costs.
    """

    def __init__(self) -> None:
        self._labels: list[np.ndarray] = []
        self._own: dict[str, list[np.ndarray]] = {name: [] for name in STREAMS}
        self._changed: dict[str, list[np.ndarray]] = {name: [] for name in STREAMS}

    def add(
        self,
        batch: Batch,
        logits: Float[Tensor, "B K"],
        own: Mapping[str, Float[Tensor, "B K"]],
        removed: Mapping[str, Float[Tensor, "B K"]],
    ) -> None:
        """Take in a batch.

        Args:
            batch: clips with both streams, which some may lack, and with labels, -1 for none.
            logits: from both streams.
            own: of each stream's own classifiers.
            removed: from the other stream alone, by the stream that was removed.
        """
        assert batch.first is not None
        assert batch.second is not None
        # A clip with one stream would count as changed or not for a trivial reason.
        clips = (batch.first.present & batch.second.present & (batch.emotion >= 0)).cpu().numpy()
        self._labels.append(batch.emotion.cpu().numpy()[clips])
        answers = _answers(logits)
        for name in STREAMS:
            self._own[name].append(_answers(own[name])[clips])
            self._changed[name].append((_answers(removed[name]) != answers)[clips])

    def entry(self) -> Entry:
        """The numbers of the journal; empty where no clip has both streams."""
        labels = np.concatenate(self._labels) if self._labels else np.zeros(0, int)
        if not len(labels):
            return {}
        entry: Entry = {f"health.uar.{name}": uar(labels, np.concatenate(rows)) for name, rows in self._own.items()}
        return entry | {
            f"health.changed_without.{name}": float(np.concatenate(rows).mean()) for name, rows in self._changed.items()
        }


def absent(stream: Stream) -> Stream:
    """The stream as if no clip had it."""
    nothing: Bool[Tensor, " B"] = torch.zeros_like(stream.present)
    return Stream(torch.zeros_like(stream.features), torch.zeros_like(stream.mask), nothing)


def _answers(logits: Tensor) -> np.ndarray:
    return logits.argmax(1).cpu().numpy()
