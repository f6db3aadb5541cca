"""A line for each fold, their mean and deviation, and what papers report: the table of the published job.

Papers average figures of folds, so this table does too; everywhere else clips are pooled. Shares are 0..1.

Axes: S seeds, N clips of all folds.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
from jaxtyping import Int

from cimeu.evaluation.metrics import uar, war
from cimeu.reports.published import Published

METRICS = {"uar": uar, "war": war}
Line = dict[str, Any]


def fold_table(
    truth: Int[np.ndarray, " N"],
    predicted: Mapping[str, Int[np.ndarray, "S N"]],
    folds: Sequence[str],
    published: Sequence[Published],
) -> dict[str, Any]:
    """Figures of each fold, averaged over seeds, by model: `forward`, `backward`, `fused`, as far as there are any.

    `lines` have `name`, `n_clips` and `figures[model][uar | war]`; `mean` and `deviation` (of the sample; None with one
    fold) are over folds; `pooled` is over all clips; `published` has a line for each method. `war_margin` is the
    sampling error of WAR, half of a 95 % interval, of the fused model on the smallest fold and on all clips.
    """
    names = list(dict.fromkeys(folds))
    fold_of_clip = np.asarray(folds, dtype=object)
    lines = [_line(name, truth, predicted, fold_of_clip == name) for name in names]
    everything = _line("all clips pooled", truth, predicted, np.ones(len(truth), bool))
    last = list(predicted)[-1]
    margins = [_margin(line["figures"][last]["war"], line["n_clips"]) for line in (*lines, everything)]
    return {
        "models": list(predicted),
        "lines": lines,
        "mean": _over_folds(lines, mean),
        "deviation": _over_folds(lines, stdev) if len(lines) > 1 else None,
        "pooled": everything,
        "published": _by_method(published),
        "war_margin": {"fold": max(margins[:-1]), "all": margins[-1]},
    }


def _line(name: str, truth: np.ndarray, predicted: Mapping[str, np.ndarray], inside: np.ndarray) -> Line:
    figures = {
        model: {
            metric: mean(metric_of(truth[inside], seed[inside]) for seed in answers)
            for metric, metric_of in METRICS.items()
        }
        for model, answers in predicted.items()
    }
    return {"name": name, "n_clips": int(inside.sum()), "figures": figures}


def _over_folds(lines: Sequence[Line], statistic: Any) -> dict[str, dict[str, float]]:
    return {
        model: {metric: statistic([line["figures"][model][metric] for line in lines]) for metric in METRICS}
        for model in lines[0]["figures"]
    }


def _by_method(published: Sequence[Published]) -> list[Line]:
    methods: dict[str, Line] = {}
    for method in published:
        line = {"name": method.method, "selection": method.selection, "source": method.source, "figures": {}}
        figures = methods.setdefault(method.method, line)["figures"]
        figures[method.kind] = {"uar": method.uar / 100, "war": method.war / 100}
    return list(methods.values())


def _margin(share: float, n_clips: int) -> float:
    return 1.96 * math.sqrt(share * (1 - share) / n_clips)
