"""Whether the parts of a network do anything: numbers of every epoch, and the faults that they show, one line each.

A part can be trained without having any effect: a gate gives up one stream, a scale never leaves its start, a decoder
reconstructs less than each clip's own mean, one loss drowns the class error. Each of those happened in a network whose
losses all fell as they should, so they are measured and written to the journal under `health.`.

Axes: B clips, T steps, D input width, K emotions.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cimeu.batching.collate import Batch, Collator, evaluation_batches
from cimeu.batching.dataset import ClipDataset
from cimeu.evaluation.metrics import uar
from cimeu.model.blocks import DropPath, Levels, masked_mean
from cimeu.model.network import CiMEU
from cimeu.pyramid import Stream
from cimeu.training.journal import Entry

if TYPE_CHECKING:
    from lightning_fabric import Fabric

STREAMS = ("first", "second")
SMALLEST_SCALE = 0.02
"""Mean |scale| below which setting all scales to zero changed UAR by under a point on four speech corpora."""
SMALLEST_CHANGE = 0.02
"""Share of answers that must change when a stream is removed."""
CHANCE_MARGIN = 0.02


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


def faults(entry: Entry, *, emotions: int) -> list[str]:
    """One line for each part that does nothing, from the numbers of one epoch."""

    def value(name: str) -> float | None:
        number = entry.get(name)
        return None if number is None else float(number)

    lines = []
    for name in STREAMS:
        explained, floor = value(f"train.explained_variance.{name}"), value(f"health.clip_mean.{name}")
        if explained is not None and floor is not None and explained < floor:
            lines.append(
                f"the decoder of the {name} stream explains {explained:.2f} of the variance, "
                f"each clip's mean {floor:.2f}"
            )
        own, change = value(f"health.uar.{name}"), value(f"health.changed_without.{name}")
        if own is not None and own < 1 / emotions + CHANCE_MARGIN:  # within sampling noise of chance
            lines.append(f"the {name} stream's own logits are at chance (UAR {own:.2f})")
        if change is not None and change < SMALLEST_CHANGE:
            lines.append(f"without the {name} stream {change:.1%} of the answers change")
    scale = value("health.layer_scale")
    if scale is not None and scale < SMALLEST_SCALE:
        lines.append(f"the temporal blocks' scales are {scale:.3f}: attention and MLP hardly contribute")
    mining = value("health.gradient.mining")
    if mining is not None and mining > 1:
        lines.append(f"mining pulls the emotion primitives {mining:.1f} times as strongly as the class error")
    return lines
