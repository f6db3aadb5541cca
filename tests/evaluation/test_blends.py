"""Against hand computations after the published definitions."""

import numpy as np
import pytest

from cimeu.evaluation.blends import (
    GRID,
    BlendThresholds,
    blends,
    choose_thresholds,
    presence_accuracy,
    salience_accuracy,
)

EMOTIONS = ("anger", "happiness", "neutral")


def test_two_likely_emotions_blend_and_neutral_never_does() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.45, 0.05], [0.45, 0.1, 0.45], [0.9, 0.06, 0.04], [np.nan] * 3])
    predicted = blends(probabilities, EMOTIONS, BlendThresholds(presence=0.15, difference=0.1))
    assert predicted.tolist() == [[70, 30, 0], [50, 50, 0], [100, 0, 0], [100, 0, 0], [0, 0, 0]]


def test_presence_counts_all_clips_and_salience_the_true_blends() -> None:
    truth = np.array([[100, 0, 0], [70, 30, 0], [50, 50, 0], [0, 30, 70]])
    predicted = np.array([[70, 30, 0], [70, 30, 0], [70, 30, 0], [0, 100, 0]])
    assert presence_accuracy(truth, predicted) == 2 / 4
    assert salience_accuracy(truth, predicted) == 1 / 3


def test_saliences_are_rounded_before_they_are_compared() -> None:
    truth = np.array([[70.0, 30.0, 0.0]])
    assert salience_accuracy(truth, np.array([[69.6, 30.4, 0.0]])) == 1
    assert salience_accuracy(truth, np.array([[68.9, 31.1, 0.0]])) == 0


def test_shares_of_one_in_place_of_percent_score_nothing() -> None:
    assert salience_accuracy(np.array([[50, 50, 0]]), np.array([[0.5, 0.5, 0.0]])) == 0


def test_a_third_emotion_makes_a_blend_wrong() -> None:
    assert salience_accuracy(np.array([[50, 50, 0]]), np.array([[50, 50, 0.2]])) == 0


def test_thresholds_that_separate_are_found_on_the_grid() -> None:
    generator = np.random.default_rng(0)
    truth = np.array([[100, 0, 0], [70, 30, 0], [50, 50, 0], [0, 0, 100]] * 10)
    probabilities = truth / 100 * 0.88 + 0.04 + generator.uniform(0, 0.01, truth.shape)
    thresholds = choose_thresholds(probabilities, truth, EMOTIONS)
    predicted = blends(probabilities, EMOTIONS, thresholds)
    assert (presence_accuracy(truth, predicted), salience_accuracy(truth, predicted)) == (1, 1)
    assert thresholds.presence in GRID


@pytest.mark.parametrize("accuracy", [presence_accuracy, salience_accuracy])
def test_without_clips_there_is_no_figure(accuracy) -> None:
    assert np.isnan(accuracy(np.zeros((0, 3)), np.zeros((0, 3))))
