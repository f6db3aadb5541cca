"""The figures of a report from pooled test clips, by group and by forward, backward and fused.

Axes: S seeds, N clips, K emotions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from cimeu.evaluation.calibration import expected_calibration_error, negative_log_likelihood, reliability
from cimeu.evaluation.metrics import UNUSED, Metric, called, recalls
from cimeu.evaluation.predictions import PROBABILITY
from cimeu.evaluation.uncertainty import Difference, Estimate, Estimates, bootstrap, difference, holm, paired
from cimeu.experiments.run_folder import Json
from cimeu.pyramid import DIRECTIONS
from cimeu.reports.fold_table import fold_table
from cimeu.reports.pooling import Pooled, test_clips
from cimeu.reports.published import published_for


def chance(tested: Pooled) -> float:
    """UAR of always calling one emotion, averaged over groups."""
    groups = np.asarray(tested.groups, dtype=object)
    return float(np.mean([1 / len(set(tested.truth[groups == group])) for group in set(tested.groups)]))


def results(tested: Pooled, estimates: Mapping[str, Mapping[Metric, Estimates]]) -> list[Json]:
    """Every metric with its interval, for each group and their mean."""
    groups = np.asarray(tested.groups, dtype=object)
    unused = (tested.calls["fused"] == UNUSED).all(axis=0)
    rows: list[Json] = []
    names = sorted(set(tested.groups))
    for group in [*names, None] if len(names) > 1 else names:
        inside = groups == group if group else np.ones(len(groups), dtype=bool)
        for kind, by_metric in estimates.items():
            chosen = {metric: each.cultures[group] if group else each.mean for metric, each in by_metric.items()}
            row: Json = {
                "group": group or f"mean of {len(names)}",
                "is_mean": group is None,
                "kind": kind,
                "n_clips": int(inside.sum()),
                "n_unused": int(unused[inside].sum()),
                "n_speakers": chosen["uar"].n_speakers if any(tested.speakers) else None,
                **{str(metric): _estimate(value) for metric, value in chosen.items()},
            }
            rows.append(row)
    return rows


def comparisons(tested: Pooled) -> list[Json]:
    """Fused against each direction alone, on the same clips and resamples; Holm over the two."""
    calls = tested.calls
    found: dict[str, Difference] = {
        kind: paired(
            tested.truth,
            calls[kind],
            calls["fused"],
            tested.speakers,
            tested.groups,
            n_classes=tested.probabilities["fused"].shape[-1],
        )
        for kind in DIRECTIONS
        if all(direction in calls for direction in DIRECTIONS)
    }
    adjusted = holm({kind: each.p for kind, each in found.items() if not math.isnan(each.p)})
    return [
        {
            "name": f"fused − {kind}",
            "value": each.value,
            "low": each.low,
            "high": each.high,
            "p_holm": adjusted.get(kind),
            "improved": each.improved,
            "n_groups": each.n_cultures,
        }
        for kind, each in found.items()
    ]


def recalls_by_group(tested: Pooled, emotions: Sequence[str]) -> list[Json]:
    """Recall of each emotion with the fused answer, over all clips and by group."""
    groups = np.asarray(tested.groups, dtype=object)
    names = sorted(set(tested.groups))
    rows = []
    for group in [*names, None] if len(names) > 1 else names:
        inside = groups == group if group else np.ones(len(groups), dtype=bool)
        truth = tested.truth[inside]
        found = np.mean([recalls(truth, calls[inside], len(emotions)) for calls in tested.calls["fused"]], axis=0)
        cells = [
            {"emotion": emotion, "recall": found[index], "n_clips": int((truth == index).sum())}
            for index, emotion in enumerate(emotions)
        ]
        rows.append({"group": group or "all clips", "is_mean": group is None, "cells": cells})
    return rows


def group_gap(groups: Mapping[str, Estimate]) -> Json | None:
    """Best and worst group; None where there is one."""
    if len(groups) < 2:
        return None
    best = max(groups, key=lambda name: groups[name].value)
    worst = min(groups, key=lambda name: groups[name].value)
    return {"best": best, "worst": worst, "value": groups[best].value - groups[worst].value}


def genders(tested: Pooled, n_classes: int) -> list[Json]:
    """UAR of women and men in each group, and the gap; independent speakers, so resamples are drawn apart."""
    groups = np.asarray(tested.groups, dtype=object)
    genders = (
        tested.clips["gender"].str.lower().map(lambda name: {"f": "female", "m": "male"}.get(name, name)).to_numpy()
    )
    rows = []
    for group in sorted(set(tested.groups)):
        sides: dict[str, Estimate] = {}
        for seed, gender in enumerate(("female", "male")):
            chosen = np.flatnonzero((groups == group) & (genders == gender))
            if len(chosen):
                sides[gender] = bootstrap(
                    tested.truth[chosen],
                    tested.calls["fused"][:, chosen],
                    [tested.speakers[row] for row in chosen],
                    [group] * len(chosen),
                    n_classes=n_classes,
                    seed=seed,
                )["uar"].mean
        if len(sides) == 2:
            gap = difference(sides["male"], sides["female"])
            rows.append(
                {"group": group, **{name: _estimate(each) for name, each in sides.items()}, "gap": _estimate(gap)}
            )
    return rows


def calibration(tested: Pooled) -> Json:
    """Confidence against accuracy, clips of all seeds together."""
    truth = np.tile(tested.truth, len(tested.seeds))
    by_kind = {
        kind: {
            "ece": expected_calibration_error(values.reshape(len(truth), -1), truth),
            "nll": negative_log_likelihood(values.reshape(len(truth), -1), truth),
            "bins": [asdict(each) for each in reliability(values.reshape(len(truth), -1), truth)],
        }
        for kind, values in tested.probabilities.items()
    }
    return {"kinds": by_kind, "abstention": _abstention(tested)}


def folds(tested: Pooled, n_emotions: int) -> Json | None:
    """Each fold on its own where folds are a published division, or one of a corpus that papers report on."""
    published = published_for(set(tested.clips["corpus"]), n_emotions)
    if not published and tested.runs[0].fold_facts.get("protocol") != "official":
        return None
    return fold_table(tested.truth, tested.calls, tested.folds, published)


def _abstention(tested: Pooled) -> Json | None:
    """Share of usable clips that get an emotion at each run's own threshold, and how many of those rightly."""
    answered = right = usable = 0
    for run in tested.runs:
        threshold = float(run.settings.get("abstain_below") or 0.0)
        clips = test_clips(run)
        probabilities = clips[[PROBABILITY + emotion for emotion in run.emotions]].to_numpy(dtype=float)
        truth = clips["emotion"].map({emotion: index for index, emotion in enumerate(run.emotions)}).to_numpy()
        known = np.isfinite(probabilities).all(axis=1)
        sure = known & (np.where(known[:, None], probabilities, 0).max(axis=1) >= threshold)
        usable, answered = usable + int(known.sum()), answered + int(sure.sum())
        right += int((called(probabilities) == truth)[sure].sum())
    if not any(run.settings.get("abstain_below") for run in tested.runs) or not answered:
        return None
    return {"coverage": answered / usable, "accuracy": right / answered}


def _estimate(estimate: Estimate) -> Json:
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n_clips": estimate.n_clips,
        "n_speakers": estimate.n_speakers,
    }
