"""The objective: all terms by name with their weighted sum (CiMEU, section "objective" of the figure).

    L = class + streams + continuous + reconstruction + alignment + mining + style + both adversaries + covariance,
        each weighted

Axes: B clips, K emotions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cimeu.batching.collate import Batch
from cimeu.model.network import Output
from cimeu.pyramid import LEVELS
from cimeu.ranges import Within, check_values
from cimeu.training import losses
from cimeu.training.losses import Alignment, Mining


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """How much each term counts; a weight of 0 leaves the term out. Starting points, tuned on training groups."""

    streams: Annotated[float, Within(0)] = 0.5
    """Class error of each stream's own logits, so that neither leaves the answer to the other."""
    continuous: Annotated[float, Within(0)] = 0.5
    """1 - CCC of continuous labels such as valence, where the recipe names any (`data.continuous`)."""
    reconstruction: Annotated[float, Within(0)] = 1.0
    """Reconstruct the input of every disentangled stream from its emotion and style primitives."""
    alignment: Annotated[float, Within(0)] = 0.1
    """Pull the second stream towards the first one's emotion primitives."""
    mining_weight: Annotated[float, Within(0)] = 1.0
    """Make the three levels carry different information."""
    mining_share: Annotated[float, Within(0)] = 0.1
    """Largest gradient of mining on the emotion primitives, as a share of the class error's; 0: no limit."""
    style: Annotated[float, Within(0)] = 0.1
    """Classify the style from style primitives."""
    style_adversary: Annotated[float, Within(0)] = 0.1
    """Keep style out of emotion primitives."""
    emotion_adversary: Annotated[float, Within(0)] = 0.1
    """Keep emotion out of style primitives."""
    covariance: Annotated[float, Within(0)] = 1.0
    """Keep both uncorrelated."""
    mining: Mining = "orthogonal"
    """`diverse`: one-sided, overshoots; `published`: the release; `consistency`: PTH-Net, levels agree; `off`."""
    heads_trained: Literal["all", "H"] = "all"
    """`H`: only the highest level gets a class error (row "without LRM")."""

    def __post_init__(self) -> None:
        check_values(self, "training.weights")


@dataclass(frozen=True)
class Objective:
    """What is minimised, and its terms, unweighted; None where no clip of the batch could feed a term."""

    total: Float[Tensor, ""]
    named: dict[str, Float[Tensor, ""] | None]
    weighted: dict[str, Float[Tensor, ""] | None]
    """The terms that were added up, each times its weight."""
    asked: dict[str, Int[Tensor, "_ 2"]]
    """For each adversary with a term, the clips that it was asked about: the label that it was told (0 where none is),
    and the label that it had to tell."""


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Multiples of two weights, set anew each epoch by what was measured in the last one."""

    mining: float = 1.0
    reconstruction: float = 1.0


def objective(
    output: Output,
    batch: Batch,
    weights: LossWeights,
    *,
    alignment: Alignment = "steps",
    factors: Factors = Factors(),
    class_weights: Float[Tensor, " K"] | None = None,
    label_smoothing: float = 0.0,
) -> Objective:
    """All terms of a batch."""
    assert batch.first is not None
    output = _in_single_precision(output)
    present, emotion = batch.first.present, batch.emotion
    heard = _heard(output, batch)
    heads = LEVELS if weights.heads_trained == "all" else LEVELS[:1]

    def class_error(logits: tuple[Tensor, ...], clips: Tensor | None = None) -> list[Tensor] | None:
        return losses.class_error(
            logits[: len(heads)],
            emotion if clips is None else emotion.masked_fill(~clips, -1),
            partner=batch.partner,
            share=batch.share,
            shares=batch.shares,
            class_weights=class_weights,
            label_smoothing=label_smoothing,
        )

    errors = class_error(output.logits)
    named: dict[str, Tensor | None] = {"class": _mean(errors)}
    weighted = dict(named)
    of_streams: dict[str, Tensor | None] = {}

    def term(name: str, weight: float, value: Tensor | None) -> None:
        named[name], weighted[name] = value, None if value is None else weight * value

    if output.second_logits is not None and weights.streams:
        own = [class_error(output.first_logits, heard["first"])]
        own += [class_error(output.second_logits, heard["second"])] if "second" in heard else []
        term("streams", weights.streams, _mean([_mean(levels) for levels in own]))
    if output.continuous is not None and batch.continuous is not None and weights.continuous:
        term("continuous", weights.continuous, losses.concordance_error(output.continuous, batch.continuous))
    if output.rebuilt and weights.reconstruction:
        of_streams = _reconstruction(output, batch)
        term("reconstruction", weights.reconstruction * factors.reconstruction, _mean(list(of_streams.values())))
    if output.aligned is not None and batch.second is not None and weights.alignment:
        both = present & batch.second.present
        term("alignment", weights.alignment, losses.alignment(*output.aligned, both, form=alignment))
    if weights.mining != "off" and weights.mining_weight:
        term("mining", weights.mining_weight * factors.mining, _mining(output, heard, weights.mining))
    for name, weight, value in _independence(output, batch, weights):
        term(name, weight, value)
    terms = [value for value in weighted.values() if value is not None]
    total = torch.stack(terms).sum() if terms else output.logits[0].sum() * 0
    parts: dict[str, Tensor | None] = {
        f"class.{level}": error for level, error in zip(heads, errors or (), strict=False)
    }
    parts.update({f"reconstruction.{name}": error for name, error in of_streams.items()})
    return Objective(total, {**named, **parts}, weighted, _asked(output, batch, named))


def _heard(output: Output, batch: Batch) -> dict[str, Tensor]:
    """Which clips the answer heard each stream of."""
    assert batch.first is not None
    # a share of 0 or 1 means that modality dropout, or the clip itself, lacks a stream
    heard = {"first": batch.first.present & (output.gate[0] < 1)}
    if output.second_logits is not None and batch.second is not None:
        heard["second"] = batch.second.present & (output.gate[0] > 0)
    return heard


def _independence(output: Output, batch: Batch, weights: LossWeights) -> Iterator[tuple[str, float, Tensor | None]]:
    """Name, weight and value of the terms that keep emotion and style primitives apart."""
    if output.style_pooled is None:
        return
    assert output.style_logits is not None
    assert output.style_adversary is not None
    assert output.emotion_adversary is not None
    emotion, style, in_any = batch.emotion, batch.style, _in_any(output, batch)
    if weights.style:
        yield "style", weights.style, losses.style_error(output.style_logits, style, in_any)
    if weights.style_adversary:
        adversary = losses.style_adversary(output.style_adversary, style, emotion, in_any)
        yield "style_adversary", weights.style_adversary, adversary
    if weights.emotion_adversary:
        adversary = losses.emotion_adversary(output.emotion_adversary, emotion, in_any)
        yield "emotion_adversary", weights.emotion_adversary, adversary
    if weights.covariance:
        covariance = losses.cross_covariance(output.emotion_pooled, output.style_pooled, in_any)
        yield "covariance", weights.covariance, covariance


def _asked(output: Output, batch: Batch, named: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """What the adversaries were told and had to tell (`Objective.asked`), with the clips of their terms."""
    emotion, style = batch.emotion, batch.style
    clips = _in_any(output, batch) & (emotion >= 0)
    rows = {
        "style_adversary": torch.stack((emotion, style), dim=1)[clips & (style >= 0)],
        "emotion_adversary": torch.stack((torch.zeros_like(emotion), emotion), dim=1)[clips],
    }
    return {name: labels for name, labels in rows.items() if named.get(name) is not None}


def _in_any(output: Output, batch: Batch) -> Bool[Tensor, " B"]:
    """Clips that have a disentangled stream: primitives of both stand side by side."""
    assert batch.first is not None
    present = batch.first.present
    return present if batch.second is None or len(output.emotion) == 1 else present | batch.second.present


def _reconstruction(output: Output, batch: Batch) -> dict[str, Tensor | None]:
    """Error of each disentangled stream against its own clean input."""
    assert batch.first is not None
    targets = [(batch.target, batch.first.mask)]
    if output.second_steps is not None:  # tokens are reconstructed as the steps that they were read as
        targets.append((output.second_steps.features.detach(), output.second_steps.mask))
    elif batch.second is not None:
        targets.append((batch.second_target, batch.second.mask))
    errors: dict[str, Tensor | None] = {}
    for name, rebuilt, (target, mask) in zip(("first", "second"), output.rebuilt, targets, strict=False):
        assert target is not None
        errors[name] = losses.reconstruction(rebuilt, target, mask)
    return errors


def _mining(output: Output, heard: dict[str, Tensor], form: Mining) -> Tensor | None:
    """Mean over the disentangled streams."""
    streams = [(output.pooled, output.first_logits, heard["first"])]
    if len(output.emotion) > 1 and output.second_pooled is not None and output.second_logits is not None:
        streams.append((output.second_pooled, output.second_logits, heard["second"]))
    if form == "consistency":  # PTH-Net compares the answers of the whole model
        streams = [(output.pooled, output.logits, heard["first"])]
    return _mean([losses.mining(*stream, form=form) for stream in streams])


def _mean(values: Sequence[Tensor | None] | None) -> Tensor | None:
    """Mean of the values that are not absent."""
    present = [value for value in values or () if value is not None]
    return torch.stack(present).mean() if present else None


def _in_single_precision(output: Output) -> Output:
    return output.map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
