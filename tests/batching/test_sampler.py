"""Batches of an epoch."""

import numpy as np
import pytest

from cimeu.batching.sampler import epoch_batches

CLIPS = np.array([3, 5, 8, 13, 21, 34, 55, 89, 144, 233])


def test_an_epoch_holds_every_clip_once() -> None:
    batches = epoch_batches(CLIPS, 5, seed=0, epoch=0)
    assert sorted(np.concatenate(batches)) == CLIPS.tolist()


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(epoch_batches(CLIPS, 5, seed=seed, epoch=epoch)).tolist()

    np.random.default_rng().random()
    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


@pytest.mark.parametrize(("size", "lengths"), [(4, [4, 4]), (10, [10]), (16, [10]), (9, [9])])
def test_a_smaller_batch_is_dropped_where_there_is_another(size: int, lengths: list[int]) -> None:
    assert [len(batch) for batch in epoch_batches(CLIPS, size, seed=0, epoch=0)] == lengths


def test_groups_take_turns_in_every_batch() -> None:
    groups = np.array(["a"] * 60 + ["b"] * 6 + ["c"] * 33)
    batches = epoch_batches(np.arange(99), 12, seed=0, epoch=2, groups=list(groups))
    assert [len(batch) for batch in batches] == 8 * [12]
    for batch in batches:
        assert np.unique(groups[batch], return_counts=True)[1].tolist() == [4, 4, 4]
    drawn = np.concatenate(batches)
    assert sorted(np.bincount(drawn, minlength=99)[60:66]) == [5, 5, 5, 5, 6, 6]  # a small group comes round again
    assert np.bincount(drawn).max() == 6


def test_one_group_is_gone_through_as_without_groups() -> None:
    alone = epoch_batches(CLIPS, 5, seed=1, epoch=2)
    grouped = epoch_batches(CLIPS, 5, seed=1, epoch=2, groups=["one"] * 10)
    assert [batch.tolist() for batch in alone] == [batch.tolist() for batch in grouped]


def test_balanced_batches_draw_rare_emotions_as_often_as_common_ones() -> None:
    clips = np.arange(4000)
    emotions = (clips >= 3800).astype(np.int64)
    drawn = np.concatenate(epoch_batches(clips, 100, seed=0, epoch=0, emotions=emotions))
    assert np.mean(drawn >= 3800) == pytest.approx(0.5, abs=0.03)
