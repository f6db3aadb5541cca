"""What a report's runs reach in the metrics of a benchmark, to stand beside the published figures.

Means over seeds, in percent where the source has them so. A clip that could not be used counts as neutral.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from cimeu.errors import CimeuError, first_line
from cimeu.evaluation.blends import blends, choose_thresholds, presence_accuracy, salience_accuracy
from cimeu.evaluation.continuous import sentiment_accuracy, sentiment_classes
from cimeu.evaluation.metrics import weighted_f1
from cimeu.evaluation.predictions import PREDICTED
from cimeu.experiments.submit import true_saliences
from cimeu.reports.pooling import Tested
from cimeu.reports.published import Benchmark
from cimeu.tables import MISSING

logger = logging.getLogger(__name__)

SENTIMENT = "sentiment"
THESE, HERE = "these runs", "this report"


def own_rows(tested: Tested) -> list[Benchmark]:
    """Rows for the benchmark that one corpus is; none where its metrics are those that every report has."""
    corpora = set(map(str, tested.clips["corpus"]))
    measure = MEASURES.get(next(iter(corpora))) if len(corpora) == 1 else None
    return [] if measure is None else measure(tested)


def _chsims(tested: Tested) -> list[Benchmark]:
    figures = [sentiment_figures(table) for table in tested.answers]
    if not all(figures):
        return []
    means = {name: float(np.mean([of_seed[name] for of_seed in figures])) for name in figures[0]}
    text = ", ".join(
        f"{name} {_fraction(value) if name == 'MAE' else _percent(value)}" for name, value in means.items()
    )
    return [Benchmark("chsims", _part(tested, "test"), THESE, text, HERE)]


def _blemore(tested: Tested) -> list[Benchmark]:
    """With thresholds chosen on other folds, and as the published baseline chose them."""
    try:
        truth = true_saliences(tested.runs[0], tested.answers[0]["clip_id"])
    except CimeuError as error:
        logger.warning("no accuracies of blends: %s", first_line(error))
        return []
    folds = sorted(set(tested.answers[0]["fold"]))
    part = f"validation, {len(folds)} folds"
    if {run.fold_facts.get("protocol") for run in tested.runs} != {"official"}:
        part = f"other clips than published: {part}"
    ways = {"thresholds chosen on the other folds": False, "thresholds chosen on the scored fold": True}
    if len(folds) == 1:
        del ways["thresholds chosen on the other folds"]
    return [
        Benchmark(
            "blemore", part, THESE, blend_figures(tested.answers, truth, tested.fused.emotions, own), HERE, how_chosen
        )
        for how_chosen, own in ways.items()
    ]


def blend_figures(
    answers: Sequence[pd.DataFrame], truth: Float[np.ndarray, "N K"], emotions: Sequence[str], on_scored_fold: bool
) -> str:
    """ACC_presence and ACC_salience, means over folds and seeds, thresholds chosen on all other folds or on each."""
    accuracies = []
    for table in answers:
        scores = table[[f"fused.{emotion}" for emotion in emotions]].to_numpy(float)
        for fold in sorted(set(table["fold"])):
            scored = (table["fold"] == fold).to_numpy()
            chosen_on = scored if on_scored_fold else ~scored
            thresholds = choose_thresholds(scores[chosen_on], truth[chosen_on], emotions)
            predicted = blends(scores[scored], emotions, thresholds)
            accuracies.append([measure(truth[scored], predicted) for measure in (presence_accuracy, salience_accuracy)])
    presence, salience = np.mean(accuracies, axis=0)
    return f"ACC_presence {_fraction(presence)}, ACC_salience {_fraction(salience)}"


def sentiment_figures(table: pd.DataFrame) -> dict[str, float]:
    """Figures of CH-SIMS v2 of one seed, shares and correlation 0..1 or -1..1; empty without predicted sentiment.

    Source: its repository: values are clipped to [-1, 1], 0 is negative among two classes, `weak` are truths within
    0.4 of 0, F1 is weighted over the two classes.
    """
    if PREDICTED + SENTIMENT not in table:
        return {}
    rated = table[np.isfinite(table[SENTIMENT].to_numpy(float))]
    if rated.empty:
        return {}
    truth = np.clip(rated[SENTIMENT].to_numpy(float), -1, 1)
    predicted = np.clip(np.nan_to_num(rated[PREDICTED + SENTIMENT].to_numpy(float)), -1, 1)
    named, given = (np.array(sentiment_classes(values)) for values in (truth, predicted))
    moves = truth.std() > 0 and predicted.std() > 0
    return {
        "Acc2": sentiment_accuracy(truth, predicted),
        "F1": weighted_f1(named, given, 2),
        "weak Acc2": sentiment_accuracy(truth, predicted, weak=True),
        "Acc3": sentiment_accuracy(truth, predicted, 3),
        "Acc5": sentiment_accuracy(truth, predicted, 5),
        "correlation": float(np.corrcoef(truth, predicted)[0, 1]) if moves else float("nan"),
        "MAE": float(np.abs(truth - predicted).mean()),
    }


MEASURES: Mapping[str, Callable[[Tested], list[Benchmark]]] = {"blemore": _blemore, "chsims": _chsims}
"""By corpus. Others are judged by UAR, WAR, F1 and CCC, which every report has."""


def _part(tested: Tested, published: str) -> str:
    folds = sorted({str(run.fold) for run in tested.runs})
    return published if folds == ["official"] else f"other clips than published: {', '.join(folds)}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}" if np.isfinite(value) else MISSING


def _fraction(value: float) -> str:
    """A fraction of one as the sources print it: `.286`."""
    return f"{value:.3f}".removeprefix("0") if np.isfinite(value) else MISSING
