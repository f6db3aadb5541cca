import numpy as np
import pytest

from cimeu.baselines.linear import Linear
from cimeu.baselines.majority import Majority
from cimeu.baselines.rbf import RadialSupportVectors
from cimeu.baselines.simple import choose_on_validation
from cimeu.evaluation.metrics import uar

EMOTIONS = 3


def clips(seed: int, n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Three rings: only the distance from the origin tells the emotion, and one dimension is missing at times."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % EMOTIONS
    angle = generator.uniform(0, 2 * np.pi, n)
    radius = 1 + 2 * labels + generator.normal(0, 0.2, n)
    features = np.stack([radius * np.cos(angle), radius * np.sin(angle), generator.normal(0, 1, n)], axis=1)
    features[::7, 2] = np.nan
    return features, labels


def blobs(seed: int, n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % EMOTIONS
    return np.eye(EMOTIONS)[labels] * 4 + generator.normal(0, 1, (n, EMOTIONS)), labels


def test_majority_answers_the_commonest_training_emotion() -> None:
    features, labels = clips(0)
    labels[:40] = 2
    baseline = Majority(EMOTIONS)
    baseline.fit(features, labels, features, labels, 0)
    assert (baseline.probabilities(features).argmax(axis=1) == 2).all()
    assert uar(labels, baseline.probabilities(features).argmax(axis=1)) == pytest.approx(1 / 3)


def test_logistic_regression_separates_what_a_line_separates() -> None:
    baseline = Linear(EMOTIONS)
    baseline.fit(*blobs(0), *blobs(1), 0)
    features, labels = blobs(2)
    assert uar(labels, baseline.probabilities(features).argmax(axis=1)) > 0.9
    assert set(baseline.settings) == {"C"}


def test_radial_support_vectors_separate_rings_that_no_line_separates() -> None:
    features, labels = clips(2)
    scores = {}
    for baseline in (Linear(EMOTIONS), RadialSupportVectors(EMOTIONS)):
        baseline.fit(*clips(0), *clips(1), 0)
        scores[baseline.name] = uar(labels, baseline.probabilities(features).argmax(axis=1))
    assert scores["rbf"] > 0.9 > 0.7 > scores["linear"]


@pytest.mark.parametrize("baseline", [Linear, RadialSupportVectors])
@pytest.mark.parametrize("seen", [[0, 2], [0, 1, 2]])
def test_probabilities_sum_to_one_and_an_emotion_never_seen_gets_none(baseline: type, seen: list[int]) -> None:
    features, labels = blobs(0)
    known = np.isin(labels, seen)
    fitted = baseline(EMOTIONS)
    fitted.fit(features[known], labels[known], *blobs(1), 0)
    probabilities = fitted.probabilities(features)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities[:, [emotion not in seen for emotion in range(EMOTIONS)]] == 0).all()


def test_the_most_probable_emotion_is_the_one_the_support_vectors_decide_for() -> None:
    baseline = RadialSupportVectors(EMOTIONS)
    baseline.fit(*clips(0), *clips(1), 0)
    features, _ = clips(3)
    decided = baseline.model.predict(baseline.standardiser.apply(features))
    assert (baseline.probabilities(features).argmax(axis=1) == decided).all()


class Threshold:
    """Calls emotion 1 above a threshold."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def predict(self, features: np.ndarray) -> np.ndarray:
        return (features[:, 0] > self.threshold).astype(np.int64)


def test_the_settings_with_the_best_validation_recall_win_and_the_earlier_of_equals() -> None:
    candidates = [{"threshold": 0.9}, {"threshold": 0.4}, {"threshold": 0.5}]
    features, labels = np.array([[0.1], [0.3], [0.6], [0.8]]), np.array([0, 0, 1, 1])
    chosen, model = choose_on_validation(candidates, lambda each: Threshold(each["threshold"]), features, labels)
    assert chosen == {"threshold": 0.4}
    assert model.threshold == 0.4


def test_copies_of_every_clip_change_nothing() -> None:
    """Unless they are counted, five copies weaken the penalty fivefold."""
    vectors, labels = blobs(0)
    one, five = Linear(EMOTIONS), Linear(EMOTIONS)
    one.fit(vectors, labels, *blobs(1), 0)
    five.fit(vectors, labels, *blobs(1), 0, [vectors] * 5)
    np.testing.assert_allclose(one.model.coef_, five.model.coef_, atol=1e-3)
