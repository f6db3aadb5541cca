"""The gap between training on the own group and on others, and what explains it.

`within` and `across` test the same clips after training on equally many. The gap is within minus across, and it is
taken apart in one order, so that the parts add up to it:

    modality       what goes away when only clips are counted that have every stream
    acted          of those: what goes away when only clips are counted that were acted (or not) like training clips
    label prior    of those: what goes away when the answers across are corrected from the shares of the emotions in
                   training to those of the tested group: p(y) of the tested group / p(y) of the training clips
    rest           what is left: language, microphone, ways of expression

The correction looks at labels of the tested group: it is a diagnosis, not a result of a method. A part is n/a where all
clips, or none, are left by its choice: it cannot be separated from the rest.

Axes: A answers, N test clips, K emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from cimeu.bench.protocols import SIDES, side_of, source_group
from cimeu.evaluation.metrics import predicted_labels
from cimeu.evaluation.predictions import STREAMS, Predictions
from cimeu.evaluation.uncertainty import Difference, Estimate, Estimates, compared, difference
from cimeu.reports.views import Figures, View, predictions_of

PARTS = ("modality", "acted", "label prior", "rest")


@dataclass(frozen=True)
class Gap:
    """UAR of both sides, their difference, and its parts (None: n/a)."""

    within: Estimates
    across: Estimates
    gap: Difference
    parts: Mapping[str, Estimate | None]


TrainedOn = Mapping[str, tuple[Float[np.ndarray, " K"], frozenset[str]]]
"""Shares of the emotions in the training clips across, and their kinds (`acted`), by tested group."""


def training_priors(folds: pd.DataFrame, emotions: Sequence[str]) -> dict[str, tuple[np.ndarray, frozenset[str]]]:
    """Training clips of the fold that tests each group across, from the table of folds (`protocols.folds_table`)."""
    rows = folds[(folds["part"] == "train") & folds["fold"].map(lambda name: side_of(name) == SIDES[1])]
    priors = {}
    for group, clips in rows.groupby(rows["fold"].map(source_group)):
        counts = clips.groupby("emotion")["clips"].sum().reindex(list(emotions), fill_value=0).to_numpy(float)
        priors[str(group)] = (counts / counts.sum(), frozenset(clips["acted"]))
    return priors


def gap_of(figures: Figures, row: str, trained_on: TrainedOn) -> Gap | None:
    """The gap of a row in a bench of the protocol `within`; None until a seed is complete on both sides."""
    bench = figures.bench
    sides = [View(tuple(fold for fold in bench.folds if side_of(fold) == side)) for side in SIDES]
    within, across = (predictions_of(bench, figures.cells[row], side) for side in sides)
    gained, lost = (figures.view(row, side) for side in sides)
    if within is None or across is None or gained is None or lost is None:
        return None
    assert list(within.clips["clip_id"]) == list(across.clips["clip_id"]), "both sides test the same clips"
    parts: dict[str, Estimate | None] = dict.fromkeys(PARTS)
    kept = np.ones(len(across.truth), bool)
    left = difference(lost["uar"].mean, gained["uar"].mean)
    for name, choice in (("modality", has_every_stream(across)), ("acted", acted_like_training(across, trained_on))):
        fewer = kept & choice
        if fewer.any() and not fewer[kept].all():
            step = _gap(within, across, fewer, figures)
            parts[name], left, kept = difference(step, left), step, fewer
    step = _gap(within, with_prior(across, trained_on), kept, figures)
    parts["label prior"], parts["rest"] = difference(step, left), step
    return Gap(gained["uar"], lost["uar"], compared(lost["uar"], gained["uar"]), parts)


def has_every_stream(predictions: Predictions) -> Bool[np.ndarray, " N"]:
    """Clips with every stream that some clip has; all of them where tables do not say."""
    clips = predictions.clips
    if not set(STREAMS) <= set(clips.columns) or clips[list(STREAMS)].isna().any(axis=None):
        return np.ones(len(clips), bool)
    present = clips[list(STREAMS)].to_numpy(bool)
    return (present | ~present.any(axis=0)).all(axis=1)


def acted_like_training(predictions: Predictions, trained_on: TrainedOn) -> Bool[np.ndarray, " N"]:
    """Clips that were acted, or not, like some clip that was trained on; a clip of unknown kind is kept."""
    kinds = predictions.clips.get("acted", [""] * len(predictions.clips))
    pairs = zip(kinds, predictions.groups, strict=True)
    return np.array([not kind or kind in trained_on[group][1] for kind, group in pairs])


def with_prior(predictions: Predictions, trained_on: TrainedOn) -> Predictions:
    """The same answers, corrected from the shares of the training clips to those of the tested group."""
    assert predictions.probabilities is not None, "shares are corrected in probabilities"
    n_emotions = len(predictions.emotions)
    groups = np.asarray(predictions.groups, dtype=object)
    corrected = predictions.probabilities.copy()
    for group in predictions.group_names:
        inside = groups == group
        counts = np.bincount(predictions.truth[inside], minlength=n_emotions)
        shares = (counts + 0.5) / (inside.sum() + 0.5 * n_emotions)  # half a clip: no share is 0
        corrected[:, inside] = corrected[:, inside] * shares / np.maximum(trained_on[group][0], 1e-6)
    corrected = corrected / corrected.sum(axis=-1, keepdims=True)
    return replace(predictions, probabilities=corrected, predicted=predicted_labels(corrected))


def _gap(within: Predictions, across: Predictions, kept: Bool[np.ndarray, " N"], figures: Figures) -> Estimate:
    drawn = {"resamples": figures.resamples, "seed": figures.seed}
    before, after = (side.estimates(**drawn, kept=kept)["uar"].mean for side in (across, within))
    return difference(before, after)
