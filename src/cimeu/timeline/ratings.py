"""How far several people, or a person and the model, agree on ratings that are numbers, such as valence over time.

A rating holds from its time to the next one (`time_s`), or over a stretch (`start_s`, `end_s`). Values are compared in
the middle of each step of a grid, wherever every rater has one.

Sources: McGraw and Wong, Forming inferences about some intraclass correlation coefficients, Psychological Methods 1
(1996), cases 2 and 3; Lin, A concordance correlation coefficient, Biometrics 45 (1989).
Axes: N moments, R raters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cimeu.csv_files import csv_text, read_csv
from cimeu.errors import ManifestError
from cimeu.evaluation.continuous import concordance
from cimeu.timeline.agreement import GRID_S
from cimeu.timeline.annotations import LONGEST_S, readable

MOST_MOMENTS = 5_000_000
"""More would take gigabytes; 48 hours every 0.1 s are a third of it."""
PERSON = "person"
"""Column of a series that tells lanes apart."""


@dataclass(frozen=True)
class Rating:
    """One rater's values in order of time: each holds from its start to its end."""

    source: str
    start_s: Float[np.ndarray, " n"]
    end_s: Float[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]

    def at(self, times_s: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """Values at these times, NaN where there is none."""
        place = np.searchsorted(self.start_s, times_s, side="right") - 1
        inside = (place >= 0) & (times_s < self.end_s[place])
        return np.where(inside, self.values[place], np.nan)


@dataclass(frozen=True, kw_only=True)
class RatingAgreement:
    """Ratings compared; a figure is None where nothing varies."""

    sources: tuple[str, ...]
    moments: int
    seconds: float
    icc_agreement: float | None
    """ICC(A,1): a shift between raters counts against them."""
    icc_consistency: float | None
    """ICC(C,1): it does not."""
    icc_of_mean: float | None
    """ICC(A,k): of the mean of all raters."""
    pairs: tuple[tuple[str, str, float | None], ...]
    """Both sources and their CCC."""


def read_rating(path: Path | str, column: str, *, person: str | None = None) -> Rating:
    """A column of a table with `time_s`, or with `start_s` and `end_s`; rows without a value are moments without one.

    Args:
        path: the table, such as `interview.series.csv`.
        column: its values, such as `valence` or `score.happiness`.
        person: the lane, where the table has several.

    Raises:
        ManifestError: a column is missing, times overlap, run backward or cannot be seconds of a recording, several
            lanes, or no value at all.
    """
    table = read_csv(path)
    table.need(column)
    numbers = table.numbers(column).to_numpy()
    if not len(numbers):
        raise ManifestError(f"`{path}` has no row below its first line\n\nhint: one row per moment, in order of time")
    if PERSON in table.columns:
        lanes = table.frame[PERSON].to_numpy()
        names = sorted(set(lanes))
        if person is None and len(names) > 1:
            raise ManifestError(f"`{path}` has ratings of {', '.join(names)}\n\nhint: name one with --tier")
        chosen = lanes == (names[0] if person is None else person)
        if not chosen.any():
            raise ManifestError(f"`{path}` has no ratings of `{person}`\n\nhint: {', '.join(names)}")
    else:
        chosen = np.ones(len(numbers), bool)
    if "time_s" in table.columns:
        start_s = table.numbers("time_s").to_numpy()[chosen]
        # The last value holds as long as the one before it did.
        end_s = np.append(start_s[1:], 2 * start_s[-1] - start_s[-2] if len(start_s) > 1 else np.inf)
    else:
        table.need("start_s", "end_s")
        start_s, end_s = (table.numbers(name).to_numpy()[chosen] for name in ("start_s", "end_s"))
    if not (np.isfinite(start_s).all() and (start_s[1:] >= end_s[:-1] - 1e-6).all() and (end_s > start_s).all()):
        raise ManifestError(f"times of `{path}` overlap or run backward\n\nhint: one row per moment, in order of time")
    if start_s[0] < 0:
        raise ManifestError(f"`{path}` starts at {start_s[0]:g} s\n\nhint: the recording starts at 0")
    late = [float(time_s) for time_s in (start_s[-1], end_s[-1]) if LONGEST_S < time_s < np.inf]
    if late:
        raise ManifestError(
            f"`{path}` reaches {readable(late[0], 0)} s, {readable(late[0] / 3600, 1)} hours: are its times "
            "milliseconds?\n\n"
            "hint: give seconds, such as 12.5"
        )
    if not np.isfinite(numbers[chosen]).any():
        raise ManifestError(f"`{path}` holds no number in `{column}`\n\nhint: name the column of the ratings")
    return Rating(str(path), start_s, end_s, numbers[chosen])


def agree_on(ratings: Sequence[Rating], *, grid_s: float = GRID_S) -> RatingAgreement:
    """Compare ratings of one recording.

    Raises:
        ManifestError: fewer than two ratings, a grid that is not above 0 or too fine, or fewer than two moments that
            all rated.
    """
    if len(ratings) < 2:
        raise ManifestError(f"{len(ratings)} rating\n\nhint: give two or more")
    if not 0 < grid_s < np.inf:
        raise ManifestError(f"a grid of {grid_s:g} s\n\nhint: above 0, such as {GRID_S:g}")
    last_s = min(float(rating.end_s[np.isfinite(rating.end_s)].max(initial=0.0)) for rating in ratings)
    if last_s / grid_s > MOST_MOMENTS:
        raise ManifestError(
            f"a grid of {grid_s:g} s has {last_s / grid_s:,.0f} moments in {last_s:,.0f} s\n\n"
            f"hint: up to {MOST_MOMENTS:,} are compared; ratings seldom change within {GRID_S:g} s"
        )
    times_s = (np.arange(int(last_s / grid_s + 1e-6)) + 0.5) * grid_s
    values = np.stack([rating.at(times_s) for rating in ratings], axis=1)
    values = values[np.isfinite(values).all(axis=1)]
    if len(values) < 2:
        raise ManifestError(
            f"{len(values)} moment that all {len(ratings)} rated\n\n"
            "hint: are all about the same recording, with times in seconds?"
        )
    agreement, consistency, of_mean = intraclass(values)
    pairs = tuple(
        (ratings[one].source, ratings[other].source, _number(concordance(values[:, one], values[:, other])))
        for one, other in combinations(range(len(ratings)), 2)
    )
    return RatingAgreement(
        sources=tuple(rating.source for rating in ratings),
        moments=len(values),
        seconds=round(len(values) * grid_s, 3),
        icc_agreement=agreement,
        icc_consistency=consistency,
        icc_of_mean=of_mean,
        pairs=pairs,
    )


def intraclass(values: Float[np.ndarray, "N R"]) -> tuple[float | None, float | None, float | None]:
    """ICC(A,1), ICC(C,1) and ICC(A,k) of a two-way model; None where nothing varies."""
    n, raters = values.shape
    # From the first values on: the mean of equal ones, such as 0.1, is rounded, and noise would be all that varies.
    of_rater = (values - values[0, 0]).mean(axis=0)
    shifted = values - values[0]
    mean, of_moment = shifted.mean(), shifted.mean(axis=1)
    between_moments = raters * ((of_moment - mean) ** 2).sum() / (n - 1)
    between_raters = n * ((of_rater - of_rater.mean()) ** 2).sum() / (raters - 1)
    residual = ((shifted - of_moment[:, None] - shifted.mean(axis=0) + mean) ** 2).sum() / ((n - 1) * (raters - 1))
    shift = raters * (between_raters - residual) / n
    above = between_moments - residual
    single = between_moments + (raters - 1) * residual
    return _ratio(above, single + shift), _ratio(above, single), _ratio(above, between_moments + shift / raters)


def ratings_csv(agreement: RatingAgreement) -> str:
    """A table: every pair, then all together."""
    rows: list[Sequence[object]] = [("first", "second", "figure", "value", "moments", "seconds")]
    common = (agreement.moments, agreement.seconds)
    rows += [(one, other, "ccc", value, *common) for one, other, value in agreement.pairs]
    for name in ("icc_agreement", "icc_consistency", "icc_of_mean"):
        rows.append(("all", "", name, getattr(agreement, name), *common))
    return csv_text(rows)


def _ratio(above: float, below: float) -> float | None:
    return _number(above / below) if below > 0 else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
