"""How much is lost when others teach, and to what it can be put down.

`within` and `across` test the same clips after training on equally many. The gap is within minus across, and it is
taken apart in one order, so that the parts add up to it:

    modality       what goes away when only clips are counted that have every stream
    acted          of those: what goes away when only clips are counted that were acted (or not) like clips that taught
    label prior    of those: what goes away when the answers across are corrected from the shares of the emotions in
                   training to those of the tested group: p(y) of the tested group / p(y) of the training clips
    rest           what is left: language, microphone, ways of showing

The correction looks at labels of the tested group: it is a diagnosis, no figure of a method. A part is n/a where all
clips, or none, are left by its choice: it cannot be told from the rest.

Axes: A answers, N test clips, K emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from cimeu.bench.protocols import SIDES, side_of, teacher_of
from cimeu.evaluation.metrics import called
from cimeu.evaluation.uncertainty import Difference, Estimate, Estimates, compared, difference
from cimeu.reports.views import Calls, Figures, View, calls_of

PARTS = ("modality", "acted", "label prior", "rest")


@dataclass(frozen=True)
class Gap:
    """UAR of both sides, their difference, and its parts (None: n/a)."""

    within: Estimates
    across: Estimates
    gap: Difference
    parts: Mapping[str, Estimate | None]


Taught = Mapping[str, tuple[Float[np.ndarray, " K"], frozenset[str]]]
"""Shares of the emotions in the training clips across, and their kinds (`acted`), by tested group."""


def taught_across(folds: pd.DataFrame, emotions: Sequence[str]) -> dict[str, tuple[np.ndarray, frozenset[str]]]:
    """What taught the clips of each group across (`Taught`), from the table of folds (`protocols.folds_table`)."""
    rows = folds[(folds["part"] == "train") & folds["fold"].map(lambda name: side_of(name) == SIDES[1])]
    found = {}
    for group, clips in rows.groupby(rows["fold"].map(teacher_of)):
        counts = clips.groupby("emotion")["clips"].sum().reindex(list(emotions), fill_value=0).to_numpy(float)
        found[str(group)] = (counts / counts.sum(), frozenset(clips["acted"]))
    return found


def gap_of(figures: Figures, row: str, taught: Taught) -> Gap | None:
    """The gap of a row in a bench of the protocol `within`; None until a seed is complete on both sides."""
    bench = figures.bench
    sides = [View(tuple(fold for fold in bench.folds if side_of(fold) == side)) for side in SIDES]
    within, across = (calls_of(bench, figures.cells[row], side) for side in sides)
    found, lost = (figures.view(row, side) for side in sides)
    if within is None or across is None or found is None or lost is None:
        return None
    assert within.clip_ids == across.clip_ids, "both sides test the same clips"
    everywhere = np.ones(len(across.truth), bool)
    alike = [not kind or kind in taught[group][1] for kind, group in zip(across.acted, across.groups, strict=True)]
    choices = {
        "modality": everywhere if across.complete is None else across.complete,
        "acted": np.array(alike) if any(across.acted) else everywhere,
    }
    parts: dict[str, Estimate | None] = dict.fromkeys(PARTS)
    kept = everywhere
    left = difference(lost["uar"].mean, found["uar"].mean)
    for name, choice in choices.items():
        fewer = kept & choice
        if fewer.any() and not fewer[kept].all():
            step = _gap(within, across, fewer, figures)
            parts[name], left, kept = difference(step, left), step, fewer
    step = _gap(within, with_prior(across, taught), kept, figures)
    parts["label prior"], parts["rest"] = difference(step, left), step
    return Gap(found["uar"], lost["uar"], compared(lost["uar"], found["uar"]), parts)


def with_prior(calls: Calls, taught: Taught) -> Calls:
    """The same answers, corrected from the shares of the training clips to those of the tested group."""
    n_emotions = calls.probabilities.shape[-1]
    groups = np.asarray(calls.groups, dtype=object)
    corrected = calls.probabilities.copy()
    for group in sorted(set(calls.groups)):
        inside = groups == group
        shares = (np.bincount(calls.truth[inside], minlength=n_emotions) + 0.5) / (inside.sum() + 0.5 * n_emotions)
        corrected[:, inside] = corrected[:, inside] * shares / np.maximum(taught[group][0], 1e-6)
    corrected = corrected / corrected.sum(axis=-1, keepdims=True)
    return replace(calls, probabilities=corrected, predicted=called(corrected))


def _gap(within: Calls, across: Calls, kept: Bool[np.ndarray, " N"], figures: Figures) -> Estimate:
    drawn = {"resamples": figures.resamples, "seed": figures.seed}
    return difference(*(calls.estimates(**drawn, kept=kept)["uar"].mean for calls in (across, within)))
