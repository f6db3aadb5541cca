import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from cimeu.evaluation.metrics import UNUSED, confusion, macro_f1, predicted_labels, recalls, uar, war, weighted_f1

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60).map(
    lambda rows: (np.array([row[0] for row in rows]), np.array([row[1] for row in rows]))
)


@settings(max_examples=40)
@given(pairs)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_metrics_agree_with_scikit_learn(pair):
    truth, predicted = pair
    shown = np.unique(truth)
    assert uar(truth, predicted) == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert war(truth, predicted) == pytest.approx(accuracy_score(truth, predicted))
    for ours, average in ((macro_f1, "macro"), (weighted_f1, "weighted")):
        theirs = f1_score(truth, predicted, labels=shown, average=average, zero_division=0)
        assert ours(truth, predicted) == pytest.approx(theirs)


def test_an_absent_class_is_left_out():
    truth, predicted = np.array([0, 0, 2, 2]), np.array([0, 0, 2, 1])
    assert uar(truth, predicted) == pytest.approx(0.75)
    assert np.isnan(recalls(truth, predicted, 3)[1])


def test_a_clip_that_could_not_be_used_is_wrong():
    truth = np.array([0, 0, 1, 1])
    assert uar(truth, np.array([0, UNUSED, 1, 1])) == pytest.approx(0.75)
    assert war(truth, np.array([UNUSED] * 4)) == 0
    assert macro_f1(truth, np.array([0, UNUSED, 1, 1])) == pytest.approx((2 / 3 + 1) / 2)


def test_confusion_counts_clips_and_keeps_unused_ones_apart():
    truth, predicted = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, UNUSED, 2])
    table = confusion(truth, predicted, 3)
    used = predicted != UNUSED
    np.testing.assert_array_equal(table[:, :3], confusion_matrix(truth[used], predicted[used]))
    np.testing.assert_array_equal(table[:, 3], [0, 0, 1])


def test_without_clips_no_metric_is_a_number():
    nothing = np.array([], dtype=int)
    assert np.isnan([uar(nothing, nothing), war(nothing, nothing), macro_f1(nothing, nothing)]).all()


def test_probabilities_that_are_not_numbers_call_nothing():
    np.testing.assert_array_equal(predicted_labels(np.array([[0.2, 0.8], [np.nan, np.nan]])), [1, UNUSED])


def test_a_clip_without_an_emotion_cannot_be_scored():
    with pytest.raises(AssertionError, match="without an emotion"):
        uar(np.array([-1]), np.array([0]))
