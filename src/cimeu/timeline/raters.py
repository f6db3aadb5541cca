"""How far several annotators of one recording agree.

Moments are compared on the grid of `cimeu.timeline.agreement`. Alpha uses every moment that two or more labelled;
Fleiss' kappa those that all labelled.

Sources: Krippendorff, Computing Krippendorff's alpha-reliability (2011); Fleiss, Measuring nominal scale agreement
among many raters, Psychological Bulletin 76 (1971).
Axes: U stretches of moments with the same labels, L labels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cimeu.csv_files import csv_text
from cimeu.errors import ManifestError
from cimeu.label_words import check_known
from cimeu.timeline.agreement import GRID_S, compare, labelled_runs, share_time
from cimeu.timeline.annotations import Tier, only_tier, read_tiers


@dataclass(frozen=True, kw_only=True)
class RaterAgreement:
    """Three or more tiers compared."""

    tiers: tuple[Tier, ...]
    alpha: float | None
    """Krippendorff's alpha, nominal; None where a single label was given."""
    alpha_s: float
    """Time that two or more labelled."""
    fleiss_kappa: float | None
    """None where all labelled nothing together, or a single label."""
    fleiss_s: float
    """Time that all labelled."""
    pairs: tuple[tuple[str, str, float | None, float], ...]
    """Both sources, Cohen's kappa and the time that both labelled; no kappa where that is none."""


def agree_all(tiers: Sequence[Tier], *, grid_s: float = GRID_S) -> RaterAgreement:
    """Compare tiers of several annotators.

    Raises:
        ManifestError: fewer than three, one that shares no time with any other, or a tier that cannot be compared.
    """
    if len(tiers) < 3:
        raise ManifestError(f"{len(tiers)} annotators\n\nhint: give three or more; two are compared in full")
    counts, seconds = _counts(tiers, grid_s)
    given = counts.sum(axis=1)
    if not (given > 1).any():
        raise ManifestError("no two annotations share labelled time\n\nhint: are all about the same recording?")
    pairs: list[tuple[str, str, float | None, float]] = []
    with_company: set[int] = set()
    for (first, one), (second, other) in combinations(enumerate(tiers), 2):
        if not share_time(one, other, grid_s):
            pairs.append((one.source, other.source, None, 0.0))
            continue
        with_company |= {first, second}
        pair = compare(one, other, grid_s=grid_s)
        pairs.append((one.source, other.source, pair.kappa, pair.both_s))
    for number, tier in enumerate(tiers):
        if number not in with_company:
            raise ManifestError(
                f"`{tier.name}` of `{tier.source}` shares no labelled time with any other annotator\n\n"
                "hint: are all about the same recording, with times in seconds?"
            )
    by_all = given == len(tiers)
    return RaterAgreement(
        tiers=tuple(tiers),
        alpha=alpha_of_counts(counts, seconds / grid_s),
        alpha_s=round(float(seconds[given > 1].sum()), 3),
        fleiss_kappa=fleiss_kappa(counts[by_all], seconds[by_all] / grid_s),
        fleiss_s=round(float(seconds[by_all].sum()), 3),
        pairs=tuple(pairs),
    )


def further_tiers(
    paths: Sequence[Path], name: str, *, label_map: Mapping[str, str] | None = None, allow_unknown: bool = False
) -> list[Tier]:
    """The tier of each file that has the name of the first annotator's, or its only one with emotions.

    Raises:
        ManifestError: a file cannot be read, or a tier is not clear.
        UnknownLabel: a label that no label space has.
    """
    tiers = []
    for path in paths:
        read = read_tiers(path, label_map=label_map)
        tier = only_tier(read, name if name in {present.name for present in read} else None, path)
        if not allow_unknown:
            counts = Counter(annotation.label for annotation in tier.annotations)
            check_known(counts, f"`{tier.name}` of `{tier.source}`")
        tiers.append(tier)
    return tiers


def alpha_of_counts(counts: Float[np.ndarray, "U L"], weights: Float[np.ndarray, " U"]) -> float | None:
    """Krippendorff's alpha, nominal, from how often each label was given to each unit; None for a single label.

    Args:
        counts: annotators by unit and label; they may differ in number.
        weights: how many units each row stands for.
    """
    given = counts.sum(axis=1)
    # A unit with one label tells nothing about agreement.
    pairable = given > 1
    counts, given, weights = counts[pairable], given[pairable], weights[pairable]
    totals = weights @ counts
    n = totals.sum()
    observed = weights @ ((given**2 - (counts**2).sum(axis=1)) / (given - 1))
    expected = (n**2 - (totals**2).sum()) / (n - 1) if n > 1 else 0.0
    return None if expected == 0 else float(1 - observed / expected)


def fleiss_kappa(counts: Float[np.ndarray, "U L"], weights: Float[np.ndarray, " U"]) -> float | None:
    """Fleiss' kappa of units that all have the same number of labels; None without units, or for a single label."""
    if not len(counts) or (counts.sum(axis=0) > 0).sum() < 2:
        return None
    n = counts[0].sum()
    shares = weights @ counts / (n * weights.sum())
    observed = weights @ (((counts**2).sum(axis=1) - n) / (n * (n - 1))) / weights.sum()
    by_chance = (shares**2).sum()
    return None if by_chance >= 1 else float((observed - by_chance) / (1 - by_chance))


def pairs_csv(agreement: RaterAgreement) -> str:
    """A table: every pair, then all together."""
    rows: list[Sequence[object]] = [("first", "second", "figure", "value", "seconds")]
    rows += [(one, other, "cohen_kappa", kappa, seconds) for one, other, kappa, seconds in agreement.pairs]
    rows.append(("all", "", "krippendorff_alpha", agreement.alpha, agreement.alpha_s))
    rows.append(("all", "", "fleiss_kappa", agreement.fleiss_kappa, agreement.fleiss_s))
    return csv_text(rows)


def _counts(tiers: Sequence[Tier], grid_s: float) -> tuple[Float[np.ndarray, "U L"], Float[np.ndarray, " U"]]:
    """How many gave each label in each stretch between two borders of any tier, and its seconds."""
    labels = sorted({label for tier in tiers for label in tier.labels})
    runs = [labelled_runs(tier, labels, grid_s) for tier in tiers]
    # Between two borders nobody changes the label: a stretch stands for all of its moments, and hours cost no more than
    # seconds.
    edges = sorted({edge for of_tier in runs for run in of_tier for edge in (run.first, run.last)})
    counts = np.zeros((max(0, len(edges) - 1), len(labels)))
    place = {edge: number for number, edge in enumerate(edges)}
    for of_tier in runs:
        for run in of_tier:
            counts[place[run.first] : place[run.last], run.label] += 1
    return counts, np.array([(end - start) * grid_s for start, end in pairwise(edges)])
