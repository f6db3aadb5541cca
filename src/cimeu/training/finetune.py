"""Fit a trained network to a new group with a few labels of each emotion.

    heads    what reads the answer off the network: the classifiers of every level and stream, and their mixing
    style    how a group shows itself before the emotion is read: scale and shift of every normalisation on the way
             from the streams to the heads. The style encoder S does not reach the answers, so fitting it changes none.

A few dozen clips cannot hold out any, so nothing is chosen on them: a fixed number of steps on all of them, pulled back
towards the weights the network came with. A prior correction needs no labels at all (Saerens et al., Neural
Computation 2002): the shares of the emotions in the new group are estimated from the answers to its unlabelled clips.

Axes: N clips, K emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import nn

from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.manifest import Manifest
from cimeu.corpora.subsets import shots_from
from cimeu.errors import EmptyClass, RecipeError
from cimeu.evaluation.predict import evaluation_collator
from cimeu.model.blocks import MaskedGroupNorm
from cimeu.model.network import CiMEU
from cimeu.training.losses import class_error

Part = Literal["heads", "style"]
NORMS = (nn.LayerNorm, nn.GroupNorm, MaskedGroupNorm)
OFF_THE_WAY = ("style", "decoder", "independence")
"""Modules that the answers do not pass."""


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How a part is fitted."""

    steps: int = 60
    """Updates, each on all labelled clips."""
    learning_rate: float = 3e-3
    pull: float = 1.0
    """Weight of the mean squared distance to the weights the network came with."""


@dataclass(frozen=True)
class TargetParts:
    """Clips of a new group: those that may give labels, and those that are tested; no speaker is in both."""

    pool: tuple[str, ...]
    test: tuple[str, ...]
    speakers_known: bool


def divide_target(manifest: Manifest, shots: int, *, seed: int = 0) -> TargetParts:
    """Speaker after speaker, in random order, gives labels until every emotion has `shots`; the others are tested.

    At least half of the speakers are tested. Where no speaker is known, clips are drawn one by one.

    Raises:
        RecipeError: one speaker only.
    """
    table = manifest.table
    names = (table["corpus"] + "\0" + table["speaker"]).where(table["speaker"] != "", "\0\0" + table["clip_id"])
    people = np.random.default_rng(seed).permutation(np.unique(names.to_numpy(str)))
    if len(people) < 2:
        raise RecipeError("the new group has one speaker; labels and test clips need different ones\n\nhint: add some")
    usable = table[table["problem"] == ""]
    per_emotion = {emotion: min(shots, int(count)) for emotion, count in usable["emotion"].value_counts().items()}
    teaching: list[str] = []
    for person in people[: len(people) // 2]:
        clips = usable[names[usable.index].isin(teaching)]
        counts = clips["emotion"].value_counts()
        lacking = [emotion for emotion, count in per_emotion.items() if counts.get(emotion, 0) < count]
        if not lacking:
            break
        if set(lacking) & set(usable["emotion"][names[usable.index] == person]):
            teaching.append(str(person))
    inside = names.isin(teaching)
    pool = table["clip_id"][inside & (table["problem"] == "")]
    return TargetParts(tuple(pool), tuple(table["clip_id"][~inside]), bool((table["speaker"] != "").all()))


def labelled(pool: pd.DataFrame, shots: int, *, seed: int = 0) -> tuple[str, ...]:
    """Ids of `shots` clips of each emotion of the pool; fewer shots are among more."""
    return shots_from(pool, shots, seed)


def parameters_of(model: CiMEU, part: Part) -> dict[str, nn.Parameter]:
    """What is fitted, by name."""
    if part == "heads":
        starts = ("first_heads.", "second_heads.", "gate.")
        return {name: parameter for name, parameter in model.named_parameters() if name.startswith(starts)}
    return {
        f"{name}.{kind}": parameter
        for name, module in model.named_modules()
        if isinstance(module, NORMS) and name.partition(".")[0] not in (*OFF_THE_WAY, "audio")
        for kind, parameter in module.named_parameters()
    }


def fine_tune(model: CiMEU, clips: ClipDataset, part: Part, config: FineTuning | None = None) -> None:
    """Fit a part of the network to labelled clips, in place; everything else stays bit by bit.

    Raises:
        EmptyClass: no clip can be used.
    """
    config = config or FineTuning()
    if not len(clips.usable):
        raise EmptyClass("no labelled clip of the new group can be used\n\nhint: look at the column `problem`")
    chosen = parameters_of(model, part)
    start = {name: parameter.detach().clone() for name, parameter in chosen.items()}
    count = sum(parameter.numel() for parameter in chosen.values())
    batch = evaluation_collator(model)([clips[int(row)] for row in clips.usable])
    assert batch.first is not None, "every setting has a first stream"
    learned = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.eval()  # no dropout: so few clips are fitted as they are answered
    model.requires_grad_(False)
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(chosen.values(), config.learning_rate, weight_decay=0.0)
    for _ in range(config.steps):
        decision = model.decision(batch.first, batch.second)
        errors = class_error(decision.logits, batch.emotion, shares=batch.shares)
        assert errors is not None, "labelled clips have an emotion"
        distance = torch.stack([(parameter - start[name]).square().sum() for name, parameter in chosen.items()]).sum()
        optimiser.zero_grad(set_to_none=True)
        (torch.stack(errors).mean() + config.pull * distance / count).backward()
        optimiser.step()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(learned[name])
        parameter.grad = None


def estimated_prior(
    probabilities: Float[np.ndarray, "N K"], training: Float[np.ndarray, " K"], *, rounds: int = 200
) -> Float[np.ndarray, " K"]:
    """Shares of the emotions among unlabelled clips, from a model that was trained with the shares `training`.

    Answers that are not numbers are left out. Source: Saerens, Latinne and Decaestecker, Neural Computation 14, 2002.
    """
    answered = probabilities[np.isfinite(probabilities).all(axis=1)]
    shares = training.copy()
    for _ in range(rounds if len(answered) else 0):
        weighted = answered * shares / training
        shares = (weighted / weighted.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares


def correct_prior(model: CiMEU, target: Float[np.ndarray, " K"], training: Float[np.ndarray, " K"]) -> None:
    """Answer as if emotions had the shares `wanted` instead of those of training: a shift of every classifier's bias.

    It is the same at every level and in both streams, so it passes their mixing unchanged.
    """
    smallest = 1e-3
    shift = np.log(np.maximum(target, smallest)) - np.log(np.maximum(training, smallest))
    heads: Sequence[nn.Module] = [
        getattr(model, name) for name in ("first_heads", "second_heads") if hasattr(model, name)
    ]
    with torch.no_grad():
        for linear in (module for head in heads for module in head.modules() if isinstance(module, nn.Linear)):
            linear.bias.add_(torch.from_numpy(shift))
