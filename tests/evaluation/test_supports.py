"""Support sets hold other clips of the same person, in the mix that was asked for or not at all."""

import numpy as np
import pytest

from cimeu.evaluation.supports import Condition, Mix, People, draw, draw_for_training

PEOPLE = People.of(["ann"] * 16 + ["bob"] * 6 + ["", ""], np.array([0, 1, 2, 3] * 4 + [0] * 5 + [1] + [2, 2]), 4)
"""Ann has four clips of each emotion, bob five of one and one of another; of two clips the person is unknown."""
RNG = np.random.default_rng


@pytest.mark.parametrize("mix", ["natural", "even", "own", "other"])
def test_a_support_holds_other_clips_of_the_same_person(mix: Mix) -> None:
    for clip in range(16):
        support = draw(PEOPLE, clip, Condition(3, mix), RNG(clip))
        assert support is not None
        assert len(set(support.tolist())) == 3
        assert set(support.tolist()) <= set(range(16)) - {clip}


def test_mixes_are_as_they_are_called() -> None:
    def emotions(mix: Mix, size: int, clip: int = 0) -> list[int]:
        support = draw(PEOPLE, clip, Condition(size, mix), RNG(0))
        assert support is not None
        return sorted(np.bincount(PEOPLE.emotion[support], minlength=4).tolist())

    assert emotions("even", 10) == [2, 2, 3, 3]
    assert emotions("skewed", 4)[-1] == 3
    assert emotions("own", 3) == [0, 0, 0, 3]
    assert set(PEOPLE.emotion[draw(PEOPLE, 5, Condition(3, "own"), RNG(0))]) == {1}
    assert 1 not in PEOPLE.emotion[draw(PEOPLE, 5, Condition(3, "other"), RNG(0))]


@pytest.mark.parametrize("mix", ["even", "skewed", "own", "other"])
def test_a_mix_that_the_person_cannot_fill_is_not_drawn(mix: Mix) -> None:
    assert draw(PEOPLE, 16, Condition(10, mix), RNG(0)) is None


def test_the_rarest_emotion_of_a_person_is_the_first_that_has_no_even_support() -> None:
    """The scored clip is taken out before it is decided whether the mix can be filled."""
    people = People.of(["ann"] * 7, np.array([0, 0, 1, 1, 1, 1, 1]), 2)
    drawn = [draw(people, clip, Condition(4, "even"), RNG(0)) for clip in range(7)]
    assert [support is None for support in drawn] == [True] * 2 + [False] * 5


def test_a_natural_support_is_as_large_as_it_can_be() -> None:
    assert len(draw(PEOPLE, 16, Condition(10), RNG(0))) == 5  # type: ignore[arg-type]
    assert len(draw(PEOPLE, 22, Condition(10), RNG(0))) == 0  # type: ignore[arg-type]
    assert len(draw(PEOPLE, 0, Condition(0), RNG(0))) == 0  # type: ignore[arg-type]


def test_training_meets_every_size_and_single_emotions() -> None:
    drawn = [draw_for_training(PEOPLE, 0, (0, 3, 10), RNG(seed)) for seed in range(60)]
    assert {0, 3, 10} <= {len(support) for support in drawn}
    assert any(len(support) == 3 and len(set(PEOPLE.emotion[support])) == 1 for support in drawn)
    assert all(0 not in support for support in drawn)


def test_a_condition_is_named() -> None:
    assert [str(Condition(0)), str(Condition(10, "even"))] == ["alone", "even-10"]
