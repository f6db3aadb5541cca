"""Against hand computations after the published definitions."""

import numpy as np
import pytest

from cimeu.evaluation.continuous import concordance, mer_score, sentiment_accuracy, sentiment_classes


def test_concordance_pays_for_shift_and_scale() -> None:
    truth = np.array([-1.0, 0.0, 1.0])  # variance 2/3
    assert concordance(truth, truth) == pytest.approx(1)
    assert concordance(truth, -truth) == pytest.approx(-1)
    assert concordance(truth, truth + 1) == pytest.approx((4 / 3) / (4 / 3 + 1))
    assert concordance(truth, truth / 2) == pytest.approx((2 / 3) / (2 / 3 + 1 / 6))


def test_concordance_of_pooled_frames_is_not_the_mean_over_videos() -> None:
    truth, predicted = np.array([0.0, 0.1, 1.0, 1.1]), np.array([0.1, 0.0, 1.1, 1.0])
    videos = [concordance(truth[:2], predicted[:2]), concordance(truth[2:], predicted[2:])]
    assert np.mean(videos) < 0 < 0.9 < concordance(truth, predicted)


def test_constant_values_that_agree_have_no_concordance() -> None:
    assert np.isnan(concordance(np.ones(3), np.ones(3)))
    assert np.isnan(concordance(np.ones(1), np.ones(1)))


def test_zero_is_negative_among_two_classes() -> None:
    truth, predicted = np.array([0.0, 0.0, 0.2, -0.6]), np.array([-0.4, 0.2, 0.6, 0.0])
    assert sentiment_accuracy(truth, predicted) == 3 / 4
    assert sentiment_classes(truth) == [0, 0, 1, 0]


def test_weak_truths_are_those_up_to_four_tenths() -> None:
    truth, predicted = np.array([0.4, -0.4, 1.0, -1.0]), np.array([0.1, 0.1, -1.0, 1.0])
    assert sentiment_accuracy(truth, predicted, weak=True) == 1 / 2


@pytest.mark.parametrize(
    ("classes", "bands"), [(3, [0, 0, 1, 1, 2, 2, 2]), (5, [0, 1, 2, 2, 3, 4, 4])], ids=["three", "five"]
)
def test_bands_end_at_a_tenth_and_at_seven_tenths(classes: int, bands: list[int]) -> None:
    values = np.array([-0.8, -0.2, 0.0, 0.1, 0.2, 0.8, 3.0])
    assert sentiment_classes(values, classes) == bands


def test_the_score_of_mer_takes_a_quarter_of_the_squared_error() -> None:
    assert mer_score(0.7757, 0.82) == pytest.approx(0.5707)
