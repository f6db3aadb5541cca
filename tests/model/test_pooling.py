import numpy as np

from cimeu.model.pooling import Standardiser, pool_steps


def test_what_is_not_measurable_becomes_the_training_mean() -> None:
    features = np.array([[1.0, np.nan], [3.0, 5.0], [5.0, 7.0]])
    standardised = Standardiser.of(features).apply(features)
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-12)
    assert standardised[0, 1] == 0


def test_pooling_keeps_mean_and_deviation_of_measurable_steps() -> None:
    steps = np.array([[1.0, np.nan], [3.0, 4.0]])
    np.testing.assert_allclose(pool_steps([steps], 2, 2), [[2.0, 4.0, 1.0, 0.0]])


def test_a_clip_without_the_stream_has_no_vector_and_keeps_its_row() -> None:
    vectors = pool_steps([None, np.array([[1.0], [3.0]])], 1, 2)
    np.testing.assert_array_equal(vectors, [[np.nan, np.nan], [2.0, 1.0]])
