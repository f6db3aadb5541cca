"""What training asks for, all terms by name with their sum (CiMEU, section "objective" of the figure).

    L = class + reconstruction + alignment + mining + style + both adversaries + covariance, each times its weight

Axes: B clips, K emotions.
"""

from dataclasses import dataclass, fields
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cimeu.batching.collate import Batch
from cimeu.errors import RecipeError
from cimeu.model.network import Output
from cimeu.pyramid import LEVELS
from cimeu.training import losses
from cimeu.training.losses import Alignment, Mining


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """How much each term counts; a weight of 0 leaves the term out. Starting points, tuned on training groups."""

    reconstruction: float = 1.0
    """Rebuild the input from emotion and style primitives."""
    alignment: float = 0.1
    """Draw the second stream to the emotion primitives."""
    mining_weight: float = 1.0
    """Have the three levels say different things."""
    style: float = 0.1
    """Tell the style from style primitives."""
    style_adversary: float = 0.1
    """Keep style out of emotion primitives."""
    emotion_adversary: float = 0.1
    """Keep emotion out of style primitives."""
    covariance: float = 1.0
    """Keep both uncorrelated."""
    mining: Mining = "diverse"
    """`published`: the release; `consistency`: PTH-Net, levels say the same; `off`."""
    heads_trained: Literal["all", "H"] = "all"
    """`H`: only the highest level gets a class error (row "without LRM")."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float | int) and value < 0:
                raise RecipeError(f"loss weight `{field.name}` is {value}\n\nhint: use 0 to leave the term out")


@dataclass(frozen=True)
class Objective:
    """The number to be made small and its terms, unweighted; None where nobody in the batch could feed a term."""

    total: Float[Tensor, ""]
    named: dict[str, Float[Tensor, ""] | None]


def objective(
    output: Output,
    batch: Batch,
    weights: LossWeights,
    *,
    alignment: Alignment = "steps",
    class_weights: Float[Tensor, " K"] | None = None,
    label_smoothing: float = 0.0,
) -> Objective:
    """All terms of a batch."""
    assert batch.first is not None
    assert batch.target is not None
    output = _in_single_precision(output)
    present, emotion, style = batch.first.present, batch.emotion, batch.style
    # a first stream that stream dropout took away leaves everything to the second
    mined = present & (output.gate[0] < 1)
    heads = LEVELS if weights.heads_trained == "all" else LEVELS[:1]

    errors = losses.class_error(
        output.logits[: len(heads)],
        emotion,
        partner=batch.partner,
        share=batch.share,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
    )
    named: dict[str, Tensor | None] = {"class": None if errors is None else torch.stack(errors).mean()}
    weighted = {"class": 1.0}

    def term(name: str, weight: float, value: Tensor | None) -> None:
        named[name], weighted[name] = value, weight

    if output.rebuilt is not None and weights.reconstruction:
        rebuilt = losses.reconstruction(output.rebuilt, batch.target, batch.first.mask)
        term("reconstruction", weights.reconstruction, rebuilt)
    if output.aligned is not None and batch.second is not None and weights.alignment:
        both = present & batch.second.present
        term("alignment", weights.alignment, losses.alignment(*output.aligned, both, form=alignment))
    if weights.mining != "off" and weights.mining_weight:
        mining = losses.mining(output.pooled, output.logits, mined, form=weights.mining)
        term("mining", weights.mining_weight, mining)
    if output.style_logits is not None and weights.style:
        term("style", weights.style, losses.style_error(output.style_logits, style, present))
    if output.style_adversary is not None and weights.style_adversary:
        adversary = losses.style_adversary(output.style_adversary, style, emotion, present)
        term("style_adversary", weights.style_adversary, adversary)
    if output.emotion_adversary is not None and weights.emotion_adversary:
        adversary = losses.emotion_adversary(output.emotion_adversary, emotion, present)
        term("emotion_adversary", weights.emotion_adversary, adversary)
    if output.style_pooled is not None and weights.covariance:
        covariance = losses.cross_covariance(output.emotion_pooled, output.style_pooled, present)
        term("covariance", weights.covariance, covariance)

    there = [weighted[name] * value for name, value in named.items() if value is not None]
    total = torch.stack(there).sum() if there else output.logits[0].sum() * 0
    levels = {f"class.{level}": error for level, error in zip(heads, errors or (), strict=False)}
    return Objective(total, {**named, **levels})


def _in_single_precision(output: Output) -> Output:
    return output.map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
