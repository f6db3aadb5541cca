import time

import numpy as np
import pytest

from cimeu.evaluation.continuous import concordance
from cimeu.evaluation.metrics import uar
from cimeu.evaluation.uncertainty import (
    averaged,
    bootstrap,
    compared,
    concordance_estimate,
    difference,
    holm,
    mean_over_people,
)


def made_up(n_clips=400, n_speakers=20, n_seeds=2, accuracy=0.6, seed=0, n_classes=4):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, n_classes, n_clips)
    right = generator.random((n_seeds, n_clips)) < accuracy
    predicted = np.where(right, truth, (truth + 1) % n_classes)
    speakers = [f"s{number}" for number in generator.integers(0, n_speakers, n_clips)]
    cultures = [("a", "b", "c")[int(speaker[1:]) % 3] for speaker in speakers]
    return truth, predicted, speakers, cultures


def test_the_mean_over_cultures_does_not_weigh_them():
    truth, predicted, speakers, cultures = made_up(n_seeds=1)
    estimates = bootstrap(truth, predicted, speakers, cultures, n_classes=4, n_resamples=50)["uar"]
    rows = {culture: np.array(cultures) == culture for culture in "abc"}
    each = [uar(truth[rows[culture]], predicted[0][rows[culture]]) for culture in "abc"]
    assert [estimates.cultures[culture].value for culture in "abc"] == pytest.approx(each)
    assert estimates.mean.value == pytest.approx(np.mean(each))


def test_a_seed_that_repeats_another_never_narrows_the_interval():
    truth, predicted, speakers, cultures = made_up(n_seeds=1)
    once = bootstrap(truth, predicted, speakers, cultures, n_classes=4)["uar"].mean
    thrice = bootstrap(truth, np.repeat(predicted, 3, axis=0), speakers, cultures, n_classes=4)["uar"].mean
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high))


def test_clips_of_one_speaker_count_as_one_witness():
    truth = np.zeros(400, dtype=int)
    predicted = np.repeat(np.arange(10) % 2, 40)[None]
    by_speaker = [f"s{clip // 40}" for clip in range(400)]
    wide = bootstrap(truth, predicted, by_speaker, [""] * 400, n_classes=2)["war"].mean
    narrow = bootstrap(truth, predicted, [""] * 400, [""] * 400, n_classes=2)["war"].mean
    assert (wide.n_speakers, narrow.n_speakers) == (10, 400)
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)


def test_the_interval_has_the_width_theory_asks_for():
    truth = np.zeros(900, dtype=int)
    predicted = (np.random.default_rng(1).random((1, 900)) < 0.3).astype(int)
    estimate = bootstrap(truth, predicted, [""] * 900, ["a"] * 900, n_classes=2, n_resamples=4000)["war"].mean
    expected = 2 * 1.96 * np.sqrt(estimate.value * (1 - estimate.value) / 900)
    assert estimate.high - estimate.low == pytest.approx(expected, rel=0.05)


def test_equal_names_in_two_cultures_are_two_speakers():
    truth = np.zeros(4, dtype=int)
    estimates = bootstrap(truth, truth[None], ["1", "2", "1", "2"], ["a", "a", "b", "b"], n_classes=1, n_resamples=9)
    assert estimates["uar"].mean.n_speakers == 4


def test_a_culture_with_one_speaker_has_no_interval():
    truth = np.array([0, 1, 0, 1])
    estimate = bootstrap(truth, truth[None], ["only"] * 4, ["a"] * 4, n_classes=2)["uar"].mean
    assert estimate.value == 1
    assert np.isnan([estimate.low, estimate.high]).all()


def test_a_comparison_uses_the_same_resamples_on_both_sides():
    truth, predicted, speakers, cultures = made_up()
    sides = [bootstrap(truth, predicted, speakers, cultures, n_classes=4, n_resamples=200)["uar"] for _ in range(2)]
    same = compared(*sides)
    assert (same.value, same.low, same.high, same.p, same.improved) == (0, 0, 0, 1, 0)


def test_a_better_side_improves_every_culture():
    truth, worse, speakers, cultures = made_up(accuracy=0.4)
    better = np.where(np.random.default_rng(5).random(worse.shape) < 0.5, truth, worse)
    before, after = (
        bootstrap(truth, side, speakers, cultures, n_classes=4, n_resamples=500)["uar"] for side in (worse, better)
    )
    gain = compared(before, after)
    assert gain.low > 0
    assert (gain.improved, gain.n_cultures) == (3, 3)
    assert gain.p == pytest.approx(2 / 501)


def test_a_difference_subtracts_the_first_from_the_second():
    truth, predicted, speakers, cultures = made_up()
    low = bootstrap(truth, predicted, speakers, cultures, n_classes=4, n_resamples=50, seed=0)["uar"].mean
    high = bootstrap(truth, truth[None], speakers, cultures, n_classes=4, n_resamples=50, seed=1)["uar"].mean
    assert difference(low, high).value == pytest.approx(1 - low.value)


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm({"a": 0.04, "b": 0.001, "c": 0.03, "d": 0.9}) == pytest.approx(
        {"a": 0.09, "b": 0.004, "c": 0.09, "d": 0.9}
    )


def test_two_thousand_resamples_of_three_seeds_take_under_a_second():
    truth, predicted, speakers, cultures = made_up(n_clips=1500, n_speakers=90, n_seeds=3, n_classes=8)
    start_s = time.process_time()
    bootstrap(truth, predicted, speakers, cultures, n_classes=8)
    assert time.process_time() - start_s < 1.0


def test_where_every_group_is_one_speaker_the_speakers_are_drawn():
    truth, predicted, speakers, _ = made_up(n_clips=2000, n_seeds=1)
    estimates = bootstrap(truth, predicted, speakers, speakers, n_classes=4)["uar"]
    assert estimates.mean.n_speakers == 20
    spread = np.std([each.value for each in estimates.cultures.values()]) / np.sqrt(20)
    assert estimates.mean.high - estimates.mean.low == pytest.approx(3.92 * spread, rel=0.15)
    assert all(np.isnan(each.low) for each in estimates.cultures.values())


def test_clips_that_are_left_out_change_the_figure_and_not_the_draws():
    truth, predicted, speakers, cultures = made_up()
    kept = np.arange(len(truth)) % 3 > 0
    some = bootstrap(truth, predicted, speakers, cultures, n_classes=4, n_resamples=50, kept=kept)["uar"]
    whole = bootstrap(truth, predicted, speakers, cultures, n_classes=4, n_resamples=50)["uar"]
    alone = bootstrap(
        truth[kept],
        predicted[:, kept],
        [speaker for speaker, there in zip(speakers, kept, strict=True) if there],
        [culture for culture, there in zip(cultures, kept, strict=True) if there],
        n_classes=4,
        n_resamples=50,
    )["uar"]
    assert some.mean.value == pytest.approx(alone.mean.value)
    assert some.mean.n_clips == kept.sum()
    assert np.corrcoef(some.mean.resamples, whole.mean.resamples)[0, 1] > 0.5


def test_a_group_without_a_kept_clip_is_left_out_of_the_mean():
    truth, predicted, speakers, cultures = made_up()
    kept = np.array(cultures) != "b"
    found = bootstrap(truth, predicted, speakers, cultures, n_classes=4, n_resamples=10, kept=kept)["uar"]
    assert set(found.cultures) == {"a", "c"}


def test_several_models_on_the_same_draws_are_averaged_draw_by_draw():
    truth, predicted, speakers, cultures = made_up()
    found = [
        bootstrap(truth, each[None], speakers, cultures, n_classes=4, n_resamples=20)["uar"].mean for each in predicted
    ]
    together = bootstrap(truth, predicted, speakers, cultures, n_classes=4, n_resamples=20)["uar"].mean
    mean = averaged(found)
    assert mean.value == pytest.approx(together.value)
    np.testing.assert_allclose(mean.resamples, together.resamples)
    assert mean.n_clips == together.n_clips


def test_the_interval_of_a_mean_over_people_covers_the_truth_about_as_often_as_it_says() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, (40, 400))
    means = mean_over_people(values, n_resamples=500)
    covered = ((means.low < 0.3) & (means.high > 0.3)).mean()
    assert 0.91 <= covered <= 0.97
    assert np.allclose(means.value, values.mean(axis=0))


def test_a_person_without_a_figure_is_left_out_of_it_alone() -> None:
    values = np.array([[1.0, 1.0], [3.0, np.nan], [5.0, 3.0]])
    means = mean_over_people(values)
    assert means.value.tolist() == [3.0, 2.0]
    assert means.n_people.tolist() == [3, 2]


def test_one_person_has_no_interval_and_nobody_no_mean() -> None:
    means = mean_over_people(np.array([[2.0, np.nan]]))
    assert means.value[0] == 2.0
    assert np.isnan([means.value[1], *means.low, *means.high, *means.p]).all()


def test_the_concordance_of_all_clips_is_that_of_the_definition_and_its_interval_holds_it() -> None:
    generator = np.random.default_rng(1)
    truth = generator.normal(size=60)
    predicted = 0.7 * truth + generator.normal(0, 0.5, size=(2, 60))
    speakers = [f"s{number % 10}" for number in range(60)]
    estimate = concordance_estimate(truth, predicted, speakers)
    assert estimate.value == pytest.approx(np.mean([concordance(truth, answer) for answer in predicted]))
    assert estimate.low < estimate.value < estimate.high
    assert (estimate.n_clips, estimate.n_speakers) == (60, 10)


def test_clips_of_few_speakers_have_a_wider_interval_of_concordance_than_independent_ones() -> None:
    generator = np.random.default_rng(2)
    of_speaker = np.repeat(generator.normal(size=8), 25)
    truth = of_speaker + generator.normal(0, 0.1, 200)
    predicted = of_speaker[None] + np.repeat(generator.normal(size=8), 25) + generator.normal(0, 0.1, 200)
    few = concordance_estimate(truth, predicted, [f"s{number // 25}" for number in range(200)])
    many = concordance_estimate(truth, predicted, [""] * 200)
    assert few.value == pytest.approx(many.value)
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_unlabelled_clips_do_not_count_and_unusable_ones_cannot_agree() -> None:
    truth = np.array([0.0, 1.0, 2.0, 3.0, np.nan])
    predicted = np.array([[0.0, 1.0, 2.0, np.nan, 9.0]])
    estimate = concordance_estimate(truth, predicted, list("abcde"))
    assert estimate.value == pytest.approx(concordance(truth[:4], np.array([0.0, 1.0, 2.0, 1.0])))
    assert estimate.n_clips == 4
