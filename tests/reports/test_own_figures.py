"""Figures in the metrics of a benchmark agree with what its authors compute, by hand."""

import numpy as np
import pandas as pd
import pytest

from cimeu.reports.own_figures import blend_figures, sentiment_figures


def table_of(truth: list[float], predicted: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"sentiment": truth, "predicted.sentiment": predicted})


def test_zero_is_negative_and_values_beyond_the_scale_are_its_ends() -> None:
    #          both negative   0 is no positive   wrong   both positive, beyond the scale
    truth, predicted = [-0.8, 0.0, 0.2, 1.0], [-0.2, 0.0, -0.1, 1.6]
    figures = sentiment_figures(table_of(truth, predicted))
    assert figures["Acc2"] == 3 / 4
    # Positive: precision 1, recall 1/2; negative: precision 2/3, recall 1; two clips of each.
    assert figures["F1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert figures["weak Acc2"] == 1 / 2
    # Bands of three: -, 0, +, + against -, 0, - (an end belongs below), +.
    assert figures["Acc3"] == 3 / 4
    # Bands of five: --, 0, +, ++ against -, 0, -, ++.
    assert figures["Acc5"] == 2 / 4
    assert figures["MAE"] == pytest.approx((0.6 + 0 + 0.3 + 0) / 4)
    assert figures["correlation"] == pytest.approx(np.corrcoef(truth, [-0.2, 0.0, -0.1, 1.0])[0, 1])


def test_a_clip_that_could_not_be_used_counts_as_neutral_and_one_without_a_label_not_at_all() -> None:
    figures = sentiment_figures(table_of([0.8, np.nan, -0.6], [np.nan, 0.9, -0.6]))
    assert (figures["Acc2"], figures["MAE"]) == (1 / 2, pytest.approx(0.4))


def test_runs_that_predict_no_sentiment_have_no_such_figures() -> None:
    assert sentiment_figures(pd.DataFrame({"sentiment": [0.1]})) == {}


def test_an_answer_that_never_moves_has_no_correlation() -> None:
    assert np.isnan(sentiment_figures(table_of([0.1, 0.5], [0.2, 0.2]))["correlation"])


def test_blends_are_scored_with_thresholds_of_other_folds_or_marked() -> None:
    emotions = ("anger", "fear", "neutral")
    truth = np.array([[100.0, 0, 0], [70, 30, 0], [50, 50, 0]] * 2)
    # In fold 1 a second emotion of 0.3 is none; in fold 2 it is.
    scores = np.array(
        [[0.7, 0.3, 0], [0.6, 0.4, 0], [0.5, 0.5, 0], [0.9, 0.1, 0], [0.75, 0.25, 0], [0.55, 0.45, 0]], float
    )
    table = pd.DataFrame({"fold": ["1"] * 3 + ["2"] * 3} | {f"fused.{e}": scores[:, k] for k, e in enumerate(emotions)})
    assert blend_figures([table], truth, emotions, on_scored_fold=True) == "ACC_presence 1.000, ACC_salience 1.000"
    # Fold 2 chooses presence 0.14 and difference 0.14: a blend of the single emotion of fold 1. Fold 1 chooses 0.33 and
    # 0.05: a single emotion of one blend of fold 2, and 70/30 of its even one.
    assert blend_figures([table], truth, emotions, on_scored_fold=False) == "ACC_presence .667, ACC_salience .500"
