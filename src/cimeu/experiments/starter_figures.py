"""Figures of a style-set model as plain values, for `cimeu.experiments.starter_card`.

Intervals are 95 %, over speakers within each culture; a mean over cultures weighs each the same. Seeds are averaged.

Axes: S seeds, N clips, K emotions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from cimeu.evaluation.calibration import expected_calibration_error, negative_log_likelihood
from cimeu.evaluation.metrics import UNUSED, predicted_labels, uar
from cimeu.evaluation.supports import Condition
from cimeu.evaluation.uncertainty import Estimate, bootstrap
from cimeu.experiments.held_out import ALONE, NATURAL, REPORTED, SHARES, Choice, OuterFold, uar_where_met
from cimeu.training.style_set import Embedded, Scored

Json = dict[str, Any]


def figures(
    clips: Embedded,
    table: pd.DataFrame,
    folds: Sequence[OuterFold],
    shipped: Choice,
    inside: Mapping[int, Mapping[Condition, Float[np.ndarray, "N K"]]],
    own: Mapping[str, Float[np.ndarray, "N K"]],
    fewer: Sequence[OuterFold] | None,
) -> Json:
    """Everything that is reported.

    Args:
        clips: of all groups.
        table: their rows in the manifests.
        folds: each group tested by a model of the others.
        shipped: what all groups together chose.
        inside: by seed, answers about speakers of known groups.
        own: by group, answers about its unseen speakers by a model of that group alone.
        fewer: `folds` again with fewer groups.
    """
    predicted = {condition: _predictions(clips, folds, condition) for condition in (ALONE, NATURAL)}
    every = np.ones(len(clips.x), bool)
    return {
        "clips": len(clips.x),
        "speakers": len(set(clips.person) - {""}),
        "groups": list(clips.groups),
        "held_out": {str(c): _estimates(clips, labels, every) for c, labels in predicted.items()},
        "conditions": _conditions(folds),
        "fewer_groups": None if fewer is None else _conditions(fewer),
        "within": {
            **{
                f"all groups, {condition}": _estimates(
                    clips, np.stack([predicted_labels(answers[condition]) for answers in inside.values()]), every
                )
                for condition in (ALONE, NATURAL)
            },
            "own group, alone": _estimates(clips, _joined(clips, own)[None], every),
        },
        "gender": {
            str(gender): {
                **_estimates(clips, predicted[NATURAL], (table["gender"] == gender).to_numpy()),
                "speakers": int(table.loc[table["gender"] == gender, ["corpus", "speaker"]].drop_duplicates().shape[0]),
            }
            for gender in sorted(set(table["gender"]) - {""})
        },
        "coverage": {
            f"{condition} {share:g}": _coverage(folds, condition, share)
            for condition in (ALONE, NATURAL)
            for share in SHARES
        },
        "calibration": {str(condition): _calibration(folds, condition) for condition in (ALONE, NATURAL)},
        "recall": _recalls(clips, folds),
        "chosen": {
            "shipped": {
                "rule": str(shipped.rule),
                "temperatures": shipped.temperatures,
                "scores": shipped.scores,
                "losses": shipped.losses,
            },
            **{fold.group: {"rule": str(fold.choice.rule)} for fold in folds},
        },
    }


def _predictions(clips: Embedded, folds: Sequence[OuterFold], condition: Condition) -> Int[np.ndarray, "S N"]:
    """Predicted emotion of each clip by the model that was not trained on its group."""
    n_seeds = len(folds[0].answers[condition])
    predicted = np.full((n_seeds, len(clips.x)), UNUSED)
    for fold in folds:
        for seed, scored in enumerate(fold.answers[condition]):
            predicted[seed, fold.rows[scored.rows]] = predicted_labels(scored.probabilities)
    return predicted


def _estimates(clips: Embedded, predicted: Int[np.ndarray, "S N"], kept: Bool[np.ndarray, " N"]) -> Json:
    """UAR of the clips that are `kept`: each culture, the mean over them and the lowest."""
    estimates = bootstrap(
        clips.emotion, predicted, clips.person, clips.group, n_classes=len(clips.emotions), kept=kept
    )["uar"]
    groups = {group: _plain(estimate) for group, estimate in estimates.cultures.items()}
    worst = min(estimate["value"] for estimate in groups.values())
    return {"mean": _plain(estimates.mean), "worst": worst, "groups": groups}


def _plain(estimate: Estimate) -> Json:
    interval = [None if np.isnan(edge) else round(100 * edge, 1) for edge in (estimate.low, estimate.high)]
    return {
        "value": round(100 * estimate.value, 1),
        "interval": interval,
        "clips": estimate.n_clips,
        "speakers": estimate.n_speakers,
    }


def _conditions(folds: Sequence[OuterFold]) -> Json:
    """UAR of each condition in each group that can meet it, the mean over seeds."""
    figures_of: Json = {}
    for condition in REPORTED:
        groups: Json = {}
        for fold in folds:
            scored = fold.answers[condition]
            values = [uar_where_met(fold.truth, seed, scored[0].probabilities.shape[1]) for seed in scored]
            is_measured = np.isfinite(values).all()  # e.g. too few clips of one speaker for an even support
            groups[fold.group] = {
                "value": round(100 * float(np.mean(values)), 1) if is_measured else None,
                "clips": len(scored[0].rows),
                "support": round(float(scored[0].sizes.mean()), 1) if len(scored[0].sizes) else 0.0,
            }
        values = [group["value"] for group in groups.values() if group["value"] is not None]
        figures_of[str(condition)] = {"mean": round(float(np.mean(values)), 1) if values else None, "groups": groups}
    return figures_of


def _coverage(folds: Sequence[OuterFold], condition: Condition, share: float) -> Json:
    """What a threshold fitted on other held-out groups buys in each group, seeds averaged."""
    groups = {}
    for fold in folds:
        rows = [_bought(fold, scored, fold.choice.thresholds[share]) for scored in fold.answers[condition]]
        groups[fold.group] = {name: round(100 * float(np.mean([row[name] for row in rows])), 1) for name in rows[0]}
    names = next(iter(groups.values()))
    return {
        "mean": {name: round(float(np.mean([group[name] for group in groups.values()])), 1) for name in names},
        "groups": groups,
    }


def _bought(fold: OuterFold, scored: Scored, threshold: float) -> dict[str, float]:
    """Accuracy and UAR of the clips that pass a threshold, beside those of all clips."""
    truth, answers = fold.truth[scored.rows], scored.probabilities.argmax(axis=1)
    answered = scored.probabilities.max(axis=1) >= threshold
    is_correct = answers == truth
    return {
        "coverage": float(answered.mean()),
        "accuracy": float(is_correct[answered].mean()) if answered.any() else float("nan"),
        "accuracy of all": float(is_correct.mean()),
        "uar": uar(truth[answered], answers[answered]) if answered.any() else float("nan"),
        "uar of all": uar(truth, answers),
    }


def _calibration(folds: Sequence[OuterFold], condition: Condition) -> Json:
    groups: Json = {}
    for fold in folds:
        scored = fold.answers[condition][0]
        truth = fold.truth[scored.rows]
        groups[fold.group] = {
            "error": round(expected_calibration_error(scored.probabilities, truth), 3),
            "likelihood": round(negative_log_likelihood(scored.probabilities, truth), 2),
        }
    return groups


def _recalls(clips: Embedded, folds: Sequence[OuterFold]) -> Json:
    recalls = {}
    for fold in folds:
        scored = fold.answers[NATURAL][0]
        answers = scored.probabilities.argmax(axis=1)
        truth = fold.truth[scored.rows]
        recalls[fold.group] = {
            emotion: round(100 * float(np.mean(answers[truth == number] == number)), 1)
            for number, emotion in enumerate(clips.emotions)
        }
    return recalls


def _joined(clips: Embedded, own: Mapping[str, Float[np.ndarray, "N K"]]) -> Int[np.ndarray, " N"]:
    joined = np.full(len(clips.x), UNUSED)
    for group, answers in own.items():
        inside = clips.of(group)
        joined[inside] = predicted_labels(answers[inside])
    return joined
