from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cimeu.errors import ManifestError
from cimeu.evaluation.continuous import concordance
from cimeu.timeline.ratings import agree_on, intraclass, ratings_csv, read_rating

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]])
"""Table 2 of Shrout and Fleiss, Intraclass correlations, Psychological Bulletin 86 (1979)."""


def rated(path: Path, values: list[float | None], *, step_s: float = 0.5, **columns: object) -> Path:
    times = np.arange(len(values)) * step_s
    pd.DataFrame({"start_s": times, "end_s": times + step_s, "valence": values, **columns}).to_csv(path, index=False)
    return path


def test_intraclass_correlations_are_those_of_the_published_example() -> None:
    assert intraclass(SHROUT_FLEISS) == pytest.approx((0.29, 0.71, 0.62), abs=0.005)


def test_a_shift_lowers_agreement_and_not_consistency(tmp_path: Path) -> None:
    one = rated(tmp_path / "one.csv", [0.0, 0.2, 0.4, 0.6])
    other = rated(tmp_path / "other.csv", [0.5, 0.7, 0.9, 1.1])
    agreement = agree_on([read_rating(path, "valence") for path in (one, other)])
    assert agreement.icc_consistency == pytest.approx(1)
    assert agreement.icc_agreement is not None
    assert agreement.icc_agreement < 0.5
    assert agreement.seconds == pytest.approx(2.0)


def test_the_concordance_of_a_pair_is_that_of_its_moments(tmp_path: Path) -> None:
    one = rated(tmp_path / "one.csv", [0.0, 1.0, 2.0])
    other = rated(tmp_path / "other.csv", [1.0, 2.0, 3.0])
    agreement = agree_on([read_rating(path, "valence") for path in (one, other)], grid_s=0.5)
    assert agreement.pairs[0][2] == pytest.approx(0.5714, abs=1e-4)


def test_moments_that_one_rater_left_out_do_not_count(tmp_path: Path) -> None:
    one = rated(tmp_path / "one.csv", [0.0, 1.0, None, 3.0])
    other = rated(tmp_path / "other.csv", [0.0, 1.0, 9.0, 3.0])
    agreement = agree_on([read_rating(path, "valence") for path in (one, other)], grid_s=0.5)
    assert agreement.moments == 3
    assert agreement.icc_agreement == pytest.approx(1)


def test_a_value_with_a_time_holds_until_the_next(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("time_s,valence\n0,0\n1,1\n2,4\n")
    rating = read_rating(tmp_path / "trace.csv", "valence")
    np.testing.assert_array_equal(rating.at(np.array([0.0, 0.9, 1.0, 2.9])), [0, 0, 1, 4])
    assert np.isnan(rating.at(np.array([3.0, -0.1]))).all()


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, -0.3])
def test_rounding_is_no_variation(value: float) -> None:
    assert intraclass(np.full((10, 2), value)) == (None, None, None)
    # Two raters who never agree, and never change their minds.
    agreement, consistency, of_mean = intraclass(np.tile([value, value + 0.2], (10, 1)))
    assert (agreement, consistency, of_mean) == (0.0, None, 0.0)
    assert np.isnan(concordance(np.full(10, value), np.full(10, value)))


def test_ratings_that_never_vary_have_no_correlation(tmp_path: Path) -> None:
    paths = [rated(tmp_path / f"{name}.csv", [0.5, 0.5, 0.5]) for name in "ab"]
    agreement = agree_on([read_rating(path, "valence") for path in paths])
    assert (agreement.icc_agreement, agreement.icc_consistency, agreement.pairs[0][2]) == (None, None, None)
    assert "all,,icc_agreement,,15,1.5\n" in ratings_csv(agreement)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time_s,arousal\n0,1\n", "no column `valence`"),
        ("time_s,valence\n1,1\n0,2\n", "overlap or run backward"),
        ("start_s,end_s,valence\n0,2,1\n1,3,2\n", "overlap or run backward"),
        ("time_s,valence\n0,\n1,\n", "holds no number in `valence`"),
        ("time_s,valence\n-1,1\n0,2\n", "starts at -1 s\n\nhint: the recording starts at 0"),
        ("start_s,end_s,valence\n0,1e12,1\n", r"reaches 1e\+12 s"),
        ("time_s,valence\n0,1\n3600000,2\n", r"reaches 3,600,000 s, 1,000\.0 hours: are its times milliseconds\?"),
        ("start_s,end_s,person,valence\n0,1,anna,1\n0,1,ben,2\n", "ratings of anna, ben[^\0]*--tier"),
    ],
)
def test_a_table_that_cannot_be_compared_says_why(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_rating(tmp_path / "bad.csv", "valence")


def test_ratings_of_other_times_are_refused(tmp_path: Path) -> None:
    (tmp_path / "late.csv").write_text("start_s,end_s,valence\n100,101,1\n101,102,2\n")
    ratings = [read_rating(path, "valence") for path in (rated(tmp_path / "a.csv", [1.0, 2.0]), tmp_path / "late.csv")]
    with pytest.raises(ManifestError, match="0 moment that all 2 rated"):
        agree_on(ratings)


def test_more_moments_than_memory_holds_are_refused(tmp_path: Path) -> None:
    ratings = [read_rating(rated(tmp_path / f"{name}.csv", [1.0, 2.0]), "valence") for name in "ab"]
    with pytest.raises(
        ManifestError, match=r"a grid of 1e-09 s has 1,000,000,000 moments in 1 s\n\nhint: up to 5,000,"
    ):
        agree_on(ratings, grid_s=1e-9)


@pytest.mark.parametrize("header", ["time_s,valence,person\n", "start_s,end_s,valence\n"])
def test_a_table_without_rows_is_named(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.csv").write_text(header)
    with pytest.raises(ManifestError, match=r"a\.csv` has no row below its first line\n\nhint: "):
        read_rating(tmp_path / "a.csv", "valence")
