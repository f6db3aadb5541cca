"""One type for what models say, and everything that figures are made from."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from cimeu.evaluation.metrics import UNUSED
from cimeu.evaluation.predictions import Predictions, chance_of, uar_of
from cimeu.evaluation.uncertainty import compared

EMOTIONS = ("anger", "neutral", "sadness")


def table(seed: int, n: int = 60) -> pd.DataFrame:
    """Clips of two groups, five speakers each; the last clip could not be used."""
    generator = np.random.default_rng(seed)
    emotion = np.arange(n) % 3
    likely = np.where(generator.random(n) < 0.6, emotion, (emotion + 1) % 3)
    shares = np.full((n, 3), 0.2)
    shares[np.arange(n), likely] = 0.6
    shares[-1] = np.nan
    clips = {"clip_id": [f"c{row}" for row in range(n)], "part": "test", "emotion": np.array(EMOTIONS)[emotion]}
    known = {"corpus": "little", "speaker": [f"s{row // 6}" for row in range(n)], "culture": ["de"] * 30 + ["en"] * 30}
    return pd.DataFrame({**clips, **known, **{f"fused.{name}": shares[:, k] for k, name in enumerate(EMOTIONS)}})


@pytest.fixture
def answers() -> Predictions:
    return Predictions.of([table(0), table(1)], EMOTIONS, "culture")


def test_the_mean_over_groups_is_that_of_scikit_learn_averaged_over_answers(answers: Predictions) -> None:
    expected = [
        balanced_accuracy_score(answers.truth[rows], np.where(predicted[rows] == UNUSED, 0, predicted[rows]))
        for predicted in answers.predicted
        for rows in (slice(0, 30), slice(30, 59))
    ]
    used = answers.take(~answers.unused)
    assert used.estimates(resamples=10)["uar"].mean.value == pytest.approx(np.mean(expected))


def test_a_clip_that_no_answer_could_use_stays_and_is_wrong(answers: Predictions) -> None:
    assert answers.unused.tolist() == [False] * 59 + [True]
    assert answers.confusion()[:, -1].sum() == 2
    assert len(answers.clips) == 60


def test_confusions_add_up_over_answers(answers: Predictions) -> None:
    used = answers.take(~answers.unused)
    expected = sum(confusion_matrix(used.truth, predicted, labels=range(3)) for predicted in used.predicted)
    np.testing.assert_array_equal(used.confusion()[:, :3], expected)


def test_a_group_alone_has_its_clips_and_answers(answers: Predictions) -> None:
    german = answers.of_group("de")
    assert set(german.clips["culture"]) == {"de"}
    np.testing.assert_array_equal(german.predicted, answers.predicted[:, :30])
    assert (
        german.estimates(resamples=10)["uar"].mean.value == answers.estimates(resamples=10)["uar"].cultures["de"].value
    )


def test_a_model_is_no_better_than_itself_and_better_than_one_that_is_always_wrong(answers: Predictions) -> None:
    wrong = Predictions(EMOTIONS, answers.clips, answers.groups, (answers.truth[None] + 1) % 3)
    own, against = answers.estimates()["uar"], wrong.estimates()["uar"]
    assert compared(own, own).value == 0
    assert compared(against, own).low > 0


def test_answers_to_other_clips_are_not_put_together() -> None:
    with pytest.raises(AssertionError, match="answers are on other clips"):
        Predictions.of([table(0), table(0).iloc[::-1]], EMOTIONS)


def test_chance_is_one_over_the_emotions_that_a_group_has() -> None:
    assert chance_of(["de", "de", "en"], ["anger", "neutral", "anger"]) == pytest.approx((1 / 2 + 1) / 2)
    assert Predictions.of([table(0)], EMOTIONS, "culture").chance == pytest.approx(1 / 3)


def test_the_recall_of_a_part_counts_clips_without_an_answer_as_wrong() -> None:
    clips = table(0)
    right = clips.assign(**{f"fused.{name}": (clips["emotion"] == name).astype(float) for name in EMOTIONS})
    right.loc[59, [f"fused.{name}" for name in EMOTIONS]] = np.nan
    assert uar_of(right, "test") == pytest.approx((1 + 1 + 19 / 20) / 3)
