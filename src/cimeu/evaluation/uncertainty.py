"""How far would the figure move with other speakers?

Clips of one speaker resemble each other, so the bootstrap draws whole speakers, with replacement, within each culture
(cluster bootstrap; Davison & Hinkley, *Bootstrap Methods and their Application*, 1997, chapter 3). A figure is
computed in each culture and averaged without weights, so a large corpus does not drown a small one. Intervals are
percentiles.

Seeds are not samples: the statistic of a resample is the mean over seeds of the metric on that same resample, that is,
each clip enters with its hits averaged over seeds. More seeds steady the figure; they never narrow the interval as more
speakers would.

A comparison is paired: both sides are computed on the same resamples (same clips and same `seed` draw the same
speakers) and subtracted. Where speakers are unknown every clip is its own speaker, and the interval is too narrow: say
so beside it. A culture with one speaker has no interval.

Counts add up over clips, so each speaker is one row of counts and a resample is one row of a matrix product.

Axes: S seeds, N clips, P speakers of a culture, R resamples, K emotions, M figures.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from cimeu.evaluation.metrics import METRICS, UNUSED, Metric

N_RESAMPLES = 2_000
_BLOCK = 200  # resamples drawn at a time: bounds memory where every clip is its own speaker


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure with its 95 % interval (not numbers where there is a single speaker)."""

    value: float
    low: float
    high: float
    n_clips: int
    n_speakers: int
    resamples: Float[np.ndarray, " R"] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Estimates:
    """The unweighted mean over cultures, and each culture."""

    mean: Estimate
    cultures: dict[str, Estimate]


@dataclass(frozen=True, eq=False)
class Difference:
    """Second minus first on the same resamples, and in how many cultures it is above zero."""

    value: float
    low: float
    high: float
    p: float
    improved: int
    n_cultures: int
    cultures: dict[str, Estimate]


@dataclass(frozen=True, eq=False)
class MeansOverPeople:
    """M means over people with their 95 % intervals; not numbers where fewer than two people have a figure."""

    value: Float[np.ndarray, " M"]
    low: Float[np.ndarray, " M"]
    high: Float[np.ndarray, " M"]
    p: Float[np.ndarray, " M"]
    """Two-sided bootstrap p-value of a mean of zero."""
    n_people: Int[np.ndarray, " M"]
    """People with a figure."""


def bootstrap(
    truth: Int[np.ndarray, " N"],
    predicted: Int[np.ndarray, "S N"],
    speakers: Sequence[str],
    cultures: Sequence[str],
    *,
    n_classes: int,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    kept: Bool[np.ndarray, " N"] | None = None,
) -> dict[Metric, Estimates]:
    """Every metric with its interval, for the mean over cultures and for each culture.

    `speakers` are distinct within a culture; an empty name is a speaker of its own. Where every culture is one
    speaker (`group: speaker`), cultures are drawn instead. `kept` leaves clips out and still draws the same speakers,
    so that figures on some of the clips can be compared with figures on all; a culture without a kept clip is left out.
    """
    assert truth.shape[0] == predicted.shape[1] == len(speakers) == len(cultures) > 0
    culture_of = np.asarray(cultures, dtype=object)
    counted = np.ones(len(truth), bool) if kept is None else kept
    by_culture: dict[str, dict[Metric, Estimate]] = {}
    for position, culture in enumerate(sorted(set(cultures))):
        rows = np.flatnonzero(culture_of == culture)
        used = counted[rows]
        if not used.any():
            continue
        clusters = _clusters([speakers[row] for row in rows.tolist()])
        counts = _counts(truth[rows], predicted[:, rows], clusters, n_classes, used)
        # By position in the alphabet, so that two systems on the same clips draw the same speakers of every culture.
        generator = np.random.default_rng((seed, position))
        by_culture[culture] = _estimates(counts, int(used.sum()), n_resamples, generator)
    return {
        metric: estimates_over({culture: estimates[metric] for culture, estimates in by_culture.items()}, seed)
        for metric in METRICS
    }


def concordance_estimate(
    truth: Float[np.ndarray, " N"],
    predicted: Float[np.ndarray, "S N"],
    speakers: Sequence[str],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """CCC of all labelled clips pooled, mean over seeds, with an interval from whole speakers drawn with replacement.

    Clips without a label (NaN) are left out; one that could not be used (NaN in `predicted`) gets the mean prediction,
    so that it cannot agree. Not a number where under 2 clips have a label.
    """
    labelled = np.isfinite(truth)
    truth, predicted = truth[labelled], predicted[:, labelled]
    clusters = _clusters([speaker for speaker, kept in zip(speakers, labelled.tolist(), strict=True) if kept])
    n_speakers = int(clusters.max(initial=-1)) + 1
    if len(truth) < 2 or not np.isfinite(predicted).any(axis=1).all():
        nothing = np.full(n_resamples, np.nan)
        return Estimate(float("nan"), float("nan"), float("nan"), len(truth), n_speakers, nothing)
    predicted = np.where(np.isfinite(predicted), predicted, np.nanmean(predicted, axis=1, keepdims=True))
    # Sums add up over clips; around the mean of all labels, so that the squares do not cancel.
    x, y = predicted - truth.mean(), np.broadcast_to(truth - truth.mean(), predicted.shape)
    moments = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)  # [S, N, 6]
    sums = np.zeros((n_speakers, len(predicted), 6))
    np.add.at(sums, clusters, moments.swapaxes(0, 1))
    generator = np.random.default_rng((seed, n_speakers))
    drawn = generator.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), n_resamples).astype(float)
    resamples = _concordance((drawn @ sums.reshape(n_speakers, -1)).reshape(n_resamples, len(predicted), 6))
    resamples = resamples if n_speakers > 1 else np.full(n_resamples, np.nan)
    value = float(_concordance(sums.sum(axis=0)[None])[0])
    return Estimate(value, *_interval(resamples), len(truth), n_speakers, resamples)


def _concordance(sums: Float[np.ndarray, "R S 6"]) -> Float[np.ndarray, " R"]:
    """CCC, mean over seeds, from sums of 1, x, y, x², y² and x y; 0 where nothing varies at all."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    covariance = xy / n - x / n * y / n
    spread = (xx / n - (x / n) ** 2) + (yy / n - (y / n) ** 2) + (x / n - y / n) ** 2
    return np.divide(2 * covariance, spread, out=np.zeros_like(spread), where=spread > 0).mean(axis=-1)


def speaker_names(corpora: Iterable[str], speakers: Iterable[str]) -> list[str]:
    """Names that tell speakers of several corpora apart; empty where the speaker is unknown.

    >>> speaker_names(["emodb", "emodb"], ["03", ""])
    ['emodb/03', '']
    """
    return [f"{corpus}/{speaker}" if speaker else "" for corpus, speaker in zip(corpora, speakers, strict=True)]


def estimates_over(cultures: dict[str, Estimate], seed: int = 0) -> Estimates:
    """The unweighted mean over cultures beside each of them; nothing is drawn but cultures of one speaker each."""
    alone = len(cultures) > 1 and all(estimate.n_speakers == 1 for estimate in cultures.values())
    mean = _mean_over_speakers(list(cultures.values()), seed) if alone else _mean_over(list(cultures.values()))
    return Estimates(mean, cultures)


def averaged(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of figures on the same clips and draws, such as those of several models."""
    resamples = np.mean([estimate.resamples for estimate in estimates], axis=0)
    value = float(np.mean([estimate.value for estimate in estimates]))
    return Estimate(value, *_interval(resamples), estimates[0].n_clips, estimates[0].n_speakers, resamples)


def compared(before: Estimates, after: Estimates) -> Difference:
    """`after` minus `before`, drawn with the same speakers (same clips and seed), in every culture and the mean.

    `p` is the two-sided bootstrap p-value of no difference, (1 + resamples beyond zero) / (1 + R), doubled.
    """
    differences = {culture: difference(before.cultures[culture], after.cultures[culture]) for culture in after.cultures}
    mean = difference(before.mean, after.mean)
    return Difference(
        value=mean.value,
        low=mean.low,
        high=mean.high,
        p=_p_value(mean.resamples),
        improved=sum(estimate.value > 0 for estimate in differences.values()),
        n_cultures=len(differences),
        cultures=differences,
    )


def difference(before: Estimate, after: Estimate) -> Estimate:
    """`after - before`, resample by resample (independent samples too, when drawn with different seeds)."""
    resamples = after.resamples - before.resamples
    low, high = _interval(resamples)
    return Estimate(
        after.value - before.value, low, high, after.n_clips, min(before.n_speakers, after.n_speakers), resamples
    )


def mean_over_people(
    values: Float[np.ndarray, "P M"], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> MeansOverPeople:
    """Means of several figures of the same people, who are drawn with replacement; every person counts once.

    Args:
        values: M figures of P people; a person without one (NaN) is left out of that figure alone.
        n_resamples: how many groups of people are drawn.
        seed: the same seed draws the same people for all figures.
    """
    n_people, n_figures = values.shape
    has_value = np.isfinite(values)
    n = has_value.sum(axis=0)
    value, low, high, p = np.full((4, n_figures), np.nan)
    value[n > 0] = np.nanmean(values[:, n > 0], axis=0)
    generator = np.random.default_rng((seed, n_people))
    # How often each person is drawn is all that a mean needs.
    drawn = generator.multinomial(n_people, np.full(n_people, 1 / n_people), n_resamples) if n_people else np.empty(0)
    several = np.flatnonzero(n > 1)
    for columns in np.array_split(several, max(1, len(several) // _BLOCK)):
        counts = drawn @ has_value[:, columns].astype(float)
        sums = drawn @ np.where(has_value[:, columns], values[:, columns], 0.0)
        # A draw may hold nobody with a value; it is left out of the percentiles.
        resamples = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        for place, column in enumerate(columns.tolist()):
            low[column], high[column] = _interval(resamples[:, place])
            p[column] = _p_value(resamples[:, place])
    return MeansOverPeople(value, low, high, p, n)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values of the comparisons listed beforehand (Holm, Scand. J. Statist. 6, 1979).

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        # Never below the one before: the order of adjusted values is that of the raw ones.
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _clusters(speakers: Sequence[str]) -> Int[np.ndarray, " N"]:
    """A number per clip, equal for clips of one speaker."""
    # A tuple can be no speaker's name.
    names = [speaker or ("unknown", position) for position, speaker in enumerate(speakers)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def _counts(
    truth: Int[np.ndarray, " N"],
    predicted: Int[np.ndarray, "S N"],
    clusters: Int[np.ndarray, " N"],
    n_classes: int,
    kept: Bool[np.ndarray, " N"],
) -> Float[np.ndarray, "P 3 S K"]:
    """Hits, truths and guesses of each speaker, over the clips that are kept."""
    counts = np.zeros((int(clusters.max()) + 1, 3, len(predicted), n_classes))  # speakers without a kept clip too
    truth, clusters = truth[kept], clusters[kept]
    for seed, labels in enumerate(predicted[:, kept]):
        hit, used = labels == truth, labels != UNUSED
        np.add.at(counts[:, 0, seed], (clusters[hit], truth[hit]), 1)
        np.add.at(counts[:, 1, seed], (clusters, truth), 1)
        np.add.at(counts[:, 2, seed], (clusters[used], labels[used]), 1)
    return counts


def _estimates(
    counts: Float[np.ndarray, "P 3 S K"], n_clips: int, n_resamples: int, generator: np.random.Generator
) -> dict[Metric, Estimate]:
    n_speakers = len(counts)
    resamples: dict[Metric, list[np.ndarray]] = {metric: [] for metric in METRICS}
    for start in range(0, n_resamples, _BLOCK):
        size = min(_BLOCK, n_resamples - start)
        # Drawing speakers with replacement is a multinomial over how often each is drawn, and a resample's counts are
        # then one matrix product.
        times_drawn = generator.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=size).astype(float)
        drawn = (times_drawn @ counts.reshape(n_speakers, -1)).reshape(size, *counts.shape[1:])
        for metric, value_of in METRICS.items():
            resamples[metric].append(value_of(*np.moveaxis(drawn, 1, 0)).mean(axis=-1))
    whole = counts.sum(axis=0)
    estimates: dict[Metric, Estimate] = {}
    for metric, value_of in METRICS.items():
        values = np.concatenate(resamples[metric]) if n_speakers > 1 else np.full(n_resamples, np.nan)
        estimates[metric] = Estimate(float(value_of(*whole).mean()), *_interval(values), n_clips, n_speakers, values)
    return estimates


def _mean_over(estimates: Sequence[Estimate]) -> Estimate:
    resamples = np.mean([estimate.resamples for estimate in estimates], axis=0)
    return Estimate(
        float(np.mean([estimate.value for estimate in estimates])),
        *_interval(resamples),
        sum(estimate.n_clips for estimate in estimates),
        sum(estimate.n_speakers for estimate in estimates),
        resamples,
    )


def _mean_over_speakers(estimates: Sequence[Estimate], seed: int) -> Estimate:
    values = np.array([estimate.value for estimate in estimates])
    n_speakers = len(values)
    generator = np.random.default_rng((seed, n_speakers))
    times_drawn = generator.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), len(estimates[0].resamples))
    resamples = times_drawn @ values / n_speakers
    n_clips = sum(estimate.n_clips for estimate in estimates)
    return Estimate(float(values.mean()), *_interval(resamples), n_clips, n_speakers, resamples)


def _p_value(resamples: Float[np.ndarray, " R"]) -> float:
    """Of no difference from zero: (1 + resamples beyond zero) / (1 + R), doubled."""
    finite = resamples[np.isfinite(resamples)]
    # Draws of exactly zero count on both sides: systems that answer alike differ by nothing, and p is 1.
    beyond = min((finite <= 0).sum(), (finite >= 0).sum())
    return min(1.0, 2.0 * float(1 + beyond) / (1 + len(finite))) if len(finite) else float("nan")


def _interval(resamples: Float[np.ndarray, " R"]) -> tuple[float, float]:
    if np.isnan(resamples).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(resamples, (2.5, 97.5))
    return float(low), float(high)
