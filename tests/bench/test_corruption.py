from typing import Any

import numpy as np
import pytest

from cimeu.batching.dataset import ClipDataset
from cimeu.bench.cells import Parts
from cimeu.bench.corruption import Condition, compared, conditions, damaged


@pytest.fixture(scope="module")
def parts(world: Any) -> Parts:
    return world.parts(world.folds[0])


def corrupted(parts: Parts, condition: Condition, **options: Any) -> ClipDataset:
    return damaged(parts.test, condition, parts.train.statistics(), **options)


@pytest.mark.parametrize("condition", [*conditions(two_streams=True), *conditions(two_streams=False)], ids=str)
def test_a_condition_is_found_again_by_its_name(condition: Condition) -> None:
    assert Condition.named(str(condition)) == condition


def test_noise_is_as_strong_as_the_training_clips_differ(parts: Parts) -> None:
    clips = corrupted(parts, Condition("noise"))
    pairs = zip(clips.first_features, parts.test.first_features, strict=True)
    change = np.concatenate([one - other for one, other in pairs if one is not None and other is not None])
    statistics = parts.train.statistics()[0]
    assert statistics is not None
    np.testing.assert_allclose(change.std(axis=0), statistics.deviation, rtol=0.2)


def test_a_cut_leaves_half_of_the_steps(parts: Parts) -> None:
    clips = corrupted(parts, Condition("", "cut"))
    there = [steps for steps in clips.second_features if steps is not None]
    assert {int(np.isnan(steps).all(axis=1).sum()) for steps in there} == {2}  # of five


def test_a_stream_that_is_taken_away_is_gone_and_the_other_untouched(parts: Parts) -> None:
    clips = corrupted(parts, Condition("absent"))
    assert not clips.present[:, 0].any()
    assert clips.second_features == parts.test.second_features
    assert len(clips.usable) == len(parts.test.usable)


def test_the_original_clips_stay_as_they_are(parts: Parts) -> None:
    before = [None if steps is None else steps.copy() for steps in parts.test.first_features]
    corrupted(parts, Condition("noise", "absent"))
    for one, other in zip(before, parts.test.first_features, strict=True):
        np.testing.assert_array_equal(one, other)
    assert parts.test.present[:, 1].any()


def test_the_same_seed_gives_the_same_noise_and_another_seed_does_not(parts: Parts) -> None:
    first, again, other = (corrupted(parts, Condition("noise"), seed=seed).first_features[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_both_streams_are_never_taken_away(parts: Parts) -> None:
    assert Condition("absent", "absent") not in conditions(two_streams=True)
    for condition in compared(two_streams=True):
        assert set(condition.alone()) <= set(conditions(two_streams=True))
