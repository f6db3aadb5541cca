import numpy as np
import pytest

from cimeu.evaluation.calibration import (
    at_temperature,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)


def honest(n_clips=4000, seed=0):
    """Probabilities that mean what they say, and emotions drawn from them."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(4), n_clips)
    truth = np.array([generator.choice(4, p=row) for row in probabilities])
    return probabilities, truth


def test_the_temperature_of_overconfident_scores_is_found_again():
    probabilities, truth = honest()
    assert fit_temperature(at_temperature(probabilities, 1 / 3), truth) == pytest.approx(3, rel=0.1)


def test_the_fitted_temperature_lowers_surprise_and_calibration_error():
    probabilities, truth = honest()
    sharp = at_temperature(probabilities, 0.3)
    cooled = at_temperature(sharp, fit_temperature(sharp, truth))
    assert negative_log_likelihood(cooled, truth) < negative_log_likelihood(sharp, truth)
    assert expected_calibration_error(cooled, truth) < 0.03 < expected_calibration_error(sharp, truth)


def test_a_temperature_never_changes_the_call():
    probabilities, _ = honest(50)
    for temperature in (0.1, 1.0, 7.0):
        hot = at_temperature(probabilities, temperature)
        np.testing.assert_allclose(hot.sum(axis=1), 1)
        np.testing.assert_array_equal(hot.argmax(axis=1), probabilities.argmax(axis=1))


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    probabilities = np.array([[0.9, 0.1]] * 10)
    truth = np.array([0] * 6 + [1] * 4)
    assert expected_calibration_error(probabilities, truth) == pytest.approx(0.3)


def test_reliability_bins_hold_every_usable_clip_once():
    probabilities, truth = honest(200)
    probabilities[:5] = np.nan
    bins = reliability(probabilities, truth)
    assert sum(each.n_clips for each in bins) == 195
    assert all(each.low < each.confidence <= each.high for each in bins if each.n_clips)


def test_without_a_usable_clip_the_temperature_is_one_and_errors_are_not_numbers():
    nothing, truth = np.full((3, 2), np.nan), np.array([0, 1, 0])
    assert fit_temperature(nothing, truth) == 1
    assert np.isnan([expected_calibration_error(nothing, truth), negative_log_likelihood(nothing, truth)]).all()
