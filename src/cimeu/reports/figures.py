"""The figures of a report from pooled test clips, by group and by forward, backward and fused.

Axes: A answers to each clip, N clips, K emotions.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from cimeu.evaluation.calibration import expected_calibration_error, negative_log_likelihood, reliability
from cimeu.evaluation.metrics import Metric
from cimeu.evaluation.predictions import PREDICTED, Predictions
from cimeu.evaluation.uncertainty import (
    Estimate,
    Estimates,
    compared,
    concordance_estimate,
    difference,
    holm,
    speaker_names,
)
from cimeu.experiments.run_folder import Json
from cimeu.pyramid import DIRECTIONS
from cimeu.reports.fold_table import fold_table
from cimeu.reports.own_figures import own_rows
from cimeu.reports.pooling import Tested
from cimeu.reports.published import benchmark_rows, benchmarks_of, published_for

ByKind = Mapping[str, Mapping[Metric, Estimates]]
GENDERS = {"f": "female", "m": "male"}


def results(tested: Tested, estimates: ByKind) -> list[Json]:
    """Every metric with its interval, for each group and their mean."""
    fused = tested.fused
    names = fused.group_names
    rows: list[Json] = []
    for group in [*names, None] if len(names) > 1 else names:
        inside = fused if group is None else fused.of_group(group)
        for kind, by_metric in estimates.items():
            chosen = {
                metric: estimates.cultures[group] if group else estimates.mean
                for metric, estimates in by_metric.items()
            }
            rows.append(
                {
                    "group": group or f"mean of {len(names)}",
                    "is_mean": group is None,
                    "kind": kind,
                    "n_clips": len(inside.clips),
                    "n_unused": int(inside.unused.sum()),
                    "n_speakers": chosen["uar"].n_speakers if any(fused.speakers) else None,
                    **{str(metric): _plain(value) for metric, value in chosen.items()},
                }
            )
    return rows


def comparisons(estimates: ByKind) -> list[Json]:
    """Fused against each direction alone, on the same clips and resamples; Holm over the two."""
    if not set(DIRECTIONS) <= set(estimates):
        return []
    differences = {kind: compared(estimates[kind]["uar"], estimates["fused"]["uar"]) for kind in DIRECTIONS}
    adjusted = holm({kind: difference.p for kind, difference in differences.items() if not math.isnan(difference.p)})
    return [
        {
            "name": f"fused − {kind}",
            "value": difference.value,
            "low": difference.low,
            "high": difference.high,
            "p_holm": adjusted.get(kind),
            "improved": difference.improved,
            "n_groups": difference.n_cultures,
        }
        for kind, difference in differences.items()
    ]


def recalls_by_group(fused: Predictions) -> list[Json]:
    """Recall of each emotion, over all clips and by group."""
    names = fused.group_names
    rows = []
    for group in [*names, None] if len(names) > 1 else names:
        inside = fused if group is None else fused.of_group(group)
        counts = np.bincount(inside.truth, minlength=len(fused.emotions))
        figures = zip(fused.emotions, inside.recalls(), counts, strict=True)
        cells = [{"emotion": name, "recall": recall, "n_clips": int(count)} for name, recall, count in figures]
        rows.append({"group": group or "all clips", "is_mean": group is None, "cells": cells})
    return rows


def group_gap(groups: Mapping[str, Estimate]) -> Json | None:
    """Best and worst group; None where there is one."""
    if len(groups) < 2:
        return None
    best = max(groups, key=lambda name: groups[name].value)
    worst = min(groups, key=lambda name: groups[name].value)
    return {"best": best, "worst": worst, "value": groups[best].value - groups[worst].value}


def genders(fused: Predictions) -> list[Json]:
    """UAR of women and men in each group, and the gap; independent speakers, so resamples are drawn apart."""
    stated = fused.clips["gender"].str.lower()
    gender = stated.map(GENDERS).fillna(stated).to_numpy()
    groups = np.asarray(fused.groups, dtype=object)
    rows = []
    for group in fused.group_names:
        sides: dict[str, Estimate] = {}
        for seed, name in enumerate(GENDERS.values()):
            chosen = (groups == group) & (gender == name)
            if chosen.any():
                sides[name] = fused.take(chosen).estimates(seed=seed)["uar"].mean
        if len(sides) == 2:
            gap = difference(sides["male"], sides["female"])
            rows.append({"group": group, **{name: _plain(side) for name, side in sides.items()}, "gap": _plain(gap)})
    return rows


def continuous(tested: Tested) -> list[Json]:
    """CCC of each continuous label over all test clips that have one, with an interval clustered by speaker."""
    scales, clips = tested.runs[0].recipe.get("data", {}).get("continuous", {}), tested.answers[0]
    speakers, rows = speaker_names(clips["corpus"], clips["speaker"]), []
    for name, ends in scales.items():
        if PREDICTED + name not in clips:
            continue
        predicted = np.stack([table[PREDICTED + name].to_numpy(float) for table in tested.answers])
        truth = clips[name].to_numpy(float)
        rated = np.isfinite(truth).tolist()
        named = {speaker for speaker, is_rated in zip(speakers, rated, strict=True) if speaker and is_rated}
        ccc = _plain(concordance_estimate(truth, predicted, speakers)) | {"n_speakers": len(named)}
        rows.append({"name": name, "scale": list(ends), "ccc": ccc})
    return rows


def calibration(tested: Tested) -> Json:
    """Confidence against accuracy, clips of all seeds together."""
    by_kind = {}
    for kind, predictions in tested.predictions.items():
        assert predictions.probabilities is not None, "runs keep probabilities"
        probabilities = predictions.probabilities.reshape(-1, len(predictions.emotions))
        truth = np.tile(predictions.truth, len(tested.seeds))
        by_kind[kind] = {
            "ece": expected_calibration_error(probabilities, truth),
            "nll": negative_log_likelihood(probabilities, truth),
            "bins": [asdict(bucket) for bucket in reliability(probabilities, truth)],
        }
    return {"kinds": by_kind, "abstention": _abstention(tested)}


def folds(tested: Tested) -> Json | None:
    """Each fold on its own where folds are a published division, or one of a corpus that papers report on."""
    published = published_for(set(tested.clips["corpus"]), len(tested.fused.emotions))
    if not published and tested.runs[0].fold_facts.get("protocol") != "official":
        return None
    predicted = {kind: predictions.predicted for kind, predictions in tested.predictions.items()}
    return fold_table(tested.fused.truth, predicted, tested.folds, published)


def elsewhere(tested: Tested) -> list[dict[str, str]]:
    """What others published on the benchmark of the tested clips, by column, and these runs in its metrics first."""
    return benchmark_rows([*own_rows(tested), *benchmarks_of(set(tested.clips["corpus"]))])


def _abstention(tested: Tested) -> Json | None:
    """Share of usable clips that get an emotion at each run's own threshold, and how many of those are right."""
    thresholds = {(run.fold, run.seed): float(run.settings.get("abstain_below") or 0.0) for run in tested.runs}
    if not any(thresholds.values()):
        return None
    fused = tested.fused
    assert fused.probabilities is not None, "runs keep probabilities"
    answered = n_correct = usable = 0
    for seed, probabilities, predicted in zip(tested.seeds, fused.probabilities, fused.predicted, strict=True):
        finite = np.isfinite(probabilities).all(axis=1)
        least = np.array([thresholds[fold, seed] for fold in tested.folds])
        sure = finite & (np.where(finite[:, None], probabilities, 0).max(axis=1) >= least)
        usable, answered = usable + int(finite.sum()), answered + int(sure.sum())
        n_correct += int((predicted == fused.truth)[sure].sum())
    return {"coverage": answered / usable, "accuracy": n_correct / answered} if answered else None


def _plain(estimate: Estimate) -> Json:
    names = ("value", "low", "high", "n_clips", "n_speakers")
    return {name: getattr(estimate, name) for name in names}
