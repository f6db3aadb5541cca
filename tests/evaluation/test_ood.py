"""What a run knows of its training clips, and what it finds foreign."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32

from cimeu.errors import CheckpointError
from cimeu.evaluation.ood import FILE, Familiarity, View, mean_step


def clips(count: int, seed: int, *, width: int = 40, scale: float = 1.0) -> Float32[np.ndarray, "N D"]:
    """Rows on three directions and a little beside them."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(0).standard_normal((3, width))
    rows = scale * rng.standard_normal((count, 3)) @ directions + 0.2 * rng.standard_normal((count, width))
    return rows.astype(np.float32)


TRAIN, HELD_OUT = clips(120, 1), clips(60, 2)


@pytest.fixture(scope="module")
def familiarity() -> Familiarity:
    return Familiarity.of({"first": TRAIN}, {"first": HELD_OUT})


def test_training_clips_are_about_one_away() -> None:
    assert np.sqrt((View.of(TRAIN, HELD_OUT).distances(TRAIN) ** 2).mean()) == pytest.approx(1, abs=0.1)


def test_it_stays_quiet_on_others_of_their_kind(familiarity: Familiarity) -> None:
    assert (familiarity.ood_scores({"first": clips(200, 3)}) > 1).mean() < 0.06


@pytest.mark.parametrize(
    "foreign",
    [
        np.random.default_rng(4).standard_normal((50, 40)).astype(np.float32),
        clips(50, 5)[:, ::-1].copy(),
        clips(50, 6, scale=8.0),
        clips(50, 7) + np.float32(5),
    ],
    ids=["noise", "another encoder", "far out", "another microphone"],
)
def test_it_fires_on_foreign_material(familiarity: Familiarity, foreign: Float32[np.ndarray, "N D"]) -> None:
    assert (familiarity.ood_scores({"first": foreign}) > 1).mean() > 0.9


def test_the_most_foreign_view_counts_and_a_missing_one_does_not(familiarity: Familiarity) -> None:
    both = Familiarity({"first": familiarity.views["first"], "second": familiarity.views["first"]})
    near, far, missing = HELD_OUT[:1], HELD_OUT[:1] + np.float32(50), np.full((1, 40), np.nan, np.float32)
    alone = familiarity.ood_scores({"first": far})
    np.testing.assert_array_equal(both.ood_scores({"first": near, "second": far}), alone)
    np.testing.assert_array_equal(both.ood_scores({"first": missing, "second": far}), alone)
    assert np.isnan(both.ood_scores({"first": missing, "second": missing})).all()


def test_views_that_were_never_fitted_say_nothing(familiarity: Familiarity) -> None:
    assert np.isnan(familiarity.ood_scores({"second": HELD_OUT})).all()


def test_with_too_few_clips_there_is_no_view() -> None:
    assert Familiarity.of({"first": TRAIN}, {"first": HELD_OUT[:3]}).views == {}


def test_it_is_read_back_as_it_was_written(familiarity: Familiarity, tmp_path: Path) -> None:
    familiarity.save(tmp_path)
    loaded = Familiarity.load(tmp_path)
    assert loaded is not None
    rows = {"first": HELD_OUT}
    np.testing.assert_array_equal(loaded.ood_scores(rows), familiarity.ood_scores(rows))


def test_a_run_without_the_file_knows_nothing(tmp_path: Path) -> None:
    assert Familiarity.load(tmp_path) is None


def test_a_damaged_file_is_refused(familiarity: Familiarity, tmp_path: Path) -> None:
    path = familiarity.save(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=rf"{FILE}` is damaged .*\n\nhint: `cimeu evaluate`"):
        Familiarity.load(tmp_path)


def test_what_was_not_measurable_does_not_count_into_the_mean() -> None:
    features = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]], np.float32)
    np.testing.assert_array_equal(mean_step(features, 3), [2.0, 5.0, 0.0])
    assert np.isnan(mean_step(None, 3)).all()
