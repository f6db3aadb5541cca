"""How far two annotations of one recording agree: people and the model, or two people.

Times are compared on a grid: a moment counts for the label whose segment covers its middle. Moments that only one of
the two labelled are no disagreement; they are counted. Every step is linear in the number of segments.

Sources: Cohen, A coefficient of agreement for nominal scales (1960); Krippendorff, Content analysis (2018), nominal
alpha from the coincidence matrix.
Axes: N moments, L labels.
"""

import heapq
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cimeu.atomic import beside, check_free, page_path, write_whole
from cimeu.csv_files import csv_text
from cimeu.errors import ManifestError
from cimeu.label_words import check_known, unknown_labels
from cimeu.labels import KNOWN_EMOTIONS
from cimeu.plots.pages import page_environment
from cimeu.timeline.annotations import Annotation, Tier, only_tier, read_tiers
from cimeu.timeline.figure import tiers_svg
from cimeu.timeline.style import clock

GRID_S = 0.1
"""Moments are this far apart."""
SAME_IOU = 0.5
"""Segments of one label that share at least this part of the time they cover together are the same."""
MOST_NAMED = 5
"""Of tiers that are left out, the others are counted."""
MOST_AT_ONCE = 100
"""Annotations of one tier that may overlap: more are several people, and would cost their square."""
SECONDS_PER_MILLISECOND = 1000.0


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A stretch of time to which both gave a label, and not the same."""

    start_s: float
    end_s: float
    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two tiers compared."""

    first: Tier
    second: Tier
    labels: tuple[str, ...]
    """Labels that count, by their canonical names."""
    unmatched: tuple[str, ...]
    """Labels of one side that the other never uses."""
    unknown: tuple[str, ...]
    """Labels that no label space has and that were allowed; they count as they are."""
    left_out: tuple[str, ...]
    """Instants and annotations without a label, in words with their number and where they are, and further tiers."""
    grid_s: float
    same_iou: float
    both_s: float
    """Time that both labelled; the figures on moments are about it."""
    first_only_s: float
    second_only_s: float
    observed: float
    """Share of that time with the same label."""
    by_chance: float
    """What that share would be if both gave their labels at random, as often as they do."""
    kappa: float | None
    """Cohen's kappa: 1 full agreement, 0 as by chance; None if by chance alone everything would agree."""
    alpha: float | None
    """Krippendorff's alpha, nominal."""
    precision: float
    """Share of the second's segments that are one of the first's."""
    recall: float
    """Share of the first's segments that are one of the second's."""
    f1: float
    confusion_s: tuple[tuple[float, ...], ...]
    """Seconds by label of the first (rows) and of the second (columns)."""
    disagreements: tuple[Disagreement, ...]


def agree(
    first: Path | str,
    second: Path | str,
    *,
    tier: str | None = None,
    second_tier: str | None = None,
    grid_s: float = GRID_S,
    same_iou: float = SAME_IOU,
    label_map: Mapping[str, str] | None = None,
    allow_unknown: bool = False,
) -> Agreement:
    """Compare a tier of one annotation with a tier of another.

    Args:
        first: ELAN `.eaf`, Praat `.TextGrid` or a table, usually of a person.
        second: the same, usually `results/interview.eaf` of `cimeu predict`.
        tier: name of the first's tier; may be left out where one tier alone holds emotions.
        second_tier: name of the second's; left out, the tier of the same name, or the only one with emotions.
        grid_s: seconds between two moments.
        same_iou: from which overlap on two segments are the same.
        label_map: emotion by label, for both files.
        allow_unknown: whether labels that no label space has count as they are.

    Raises:
        ManifestError: a file cannot be read, a tier is not clear, or nothing was labelled by both.
        UnknownLabel: a label that no label space has.
    """
    tiers, other_tiers = (read_tiers(path, label_map=label_map) for path in (first, second))
    one = only_tier(tiers, tier, Path(first))
    same_name = one.name if second_tier is None and one.name in {other.name for other in other_tiers} else second_tier
    other = only_tier(other_tiers, same_name, Path(second))
    if not allow_unknown:
        for side in (one, other):
            counts = Counter(annotation.label for annotation in side.annotations)
            check_known(counts, f"`{side.name}` of `{side.source}`")
    agreement = compare(one, other, grid_s=grid_s, same_iou=same_iou)
    if second_tier is not None:
        return agreement
    # One name chose the tier: nobody has said that the others do not count.
    others = [side for side in other_tiers if side is not other and side.labels & KNOWN_EMOTIONS]
    words = [f"tier `{side.name}` of `{side.source}` (--second-tier takes another one)" for side in others[:MOST_NAMED]]
    if len(others) > MOST_NAMED:
        words.append(f"{len(others) - MOST_NAMED:,} further tiers of `{other.source}`")
    return replace(agreement, left_out=(*agreement.left_out, *words))


def compare(first: Tier, second: Tier, *, grid_s: float = GRID_S, same_iou: float = SAME_IOU) -> Agreement:
    """Compare two tiers.

    Raises:
        ManifestError: there is no time that both labelled, one is in milliseconds, too many annotations of a tier
            overlap, or a setting is outside its range.
    """
    if not (math.isfinite(grid_s) and grid_s > 0):
        raise ManifestError(f"a grid of {grid_s} s\n\nhint: moments some time apart, such as {GRID_S}")
    if not 0 < same_iou <= 1:
        raise ManifestError(f"an overlap of {same_iou}\n\nhint: above 0 and at most 1, such as {SAME_IOU}")
    _check_units(first, second)
    labels = tuple(sorted(first.labels | second.labels))
    runs = [labelled_runs(tier, labels, grid_s) for tier in (first, second)]
    shared = list(_shared(*runs))
    counts = np.zeros((len(labels), len(labels)))
    for run in shared:
        counts[run.label, run.other] += run.last - run.first
    if not counts.any():
        raise ManifestError(
            f"`{first.name}` of `{first.source}` and `{second.name}` of `{second.source}` share no labelled time\n\n"
            "hint: are both about the same recording, with times in seconds?"
        )
    moments = [sum(run.last - run.first for run in of_tier) for of_tier in runs]
    n_both = int(counts.sum())
    shares = counts / n_both
    observed, by_chance = float(np.trace(shares)), float(shares.sum(1) @ shares.sum(0))
    n_same = _n_same(first.annotations, second.annotations, same_iou)
    return Agreement(
        first=first,
        second=second,
        labels=labels,
        unmatched=tuple(sorted(first.labels ^ second.labels)),
        unknown=tuple(unknown_labels(labels)),
        left_out=(*first.left_out, *second.left_out),
        grid_s=grid_s,
        same_iou=same_iou,
        both_s=round(n_both * grid_s, 3),
        first_only_s=round((moments[0] - n_both) * grid_s, 3),
        second_only_s=round((moments[1] - n_both) * grid_s, 3),
        observed=observed,
        by_chance=by_chance,
        # 1: both gave a single label, the same one; agreement beyond chance is then undefined.
        kappa=None if by_chance == 1 else (observed - by_chance) / (1 - by_chance),
        alpha=nominal_alpha(counts),
        precision=n_same / len(second.annotations),
        recall=n_same / len(first.annotations),
        f1=2 * n_same / (len(first.annotations) + len(second.annotations)),
        confusion_s=tuple(tuple(round(float(count) * grid_s, 3) for count in row) for row in counts),
        disagreements=tuple(_disagreements(shared, labels, grid_s)),
    )


def nominal_alpha(counts: Float[np.ndarray, "L L"]) -> float | None:
    """Krippendorff's alpha of two annotators from how often each pair of labels was given; None for a single label."""
    # Each pair counts in both orders: alpha knows no first and second annotator.
    coincidences = counts + counts.T
    n = coincidences.sum()
    totals = coincidences.sum(0)
    expected = n * n - (totals**2).sum()
    if expected == 0:
        return None
    return float(1 - (n - 1) * (n - np.trace(coincidences)) / expected)


def write_agreement(agreement: Agreement, path: Path | str, further: Mapping[str, str] | None = None) -> list[Path]:
    """Write the page, and beside it `.json` (everything) and `.csv` (the disagreements), or nothing at all.

    Args:
        agreement: what is written.
        path: the page, or a folder for it.
        further: texts of other files beside the page, by suffix.

    Raises:
        OutputError: a file of one of these names is not ours to replace.
    """
    page = page_path(Path(path), "agreement")
    contents = {".html": to_page(agreement), ".json": to_json(agreement), ".csv": to_csv(agreement)}
    contents |= further or {}
    targets = {beside(page, suffix): content for suffix, content in contents.items()}
    check_free(targets, "agreement")
    return [write_whole(target, content, "agreement") for target, content in targets.items()]


def to_json(agreement: Agreement) -> str:
    """Everything, with names of settings."""
    return json.dumps(asdict(agreement), indent=1, ensure_ascii=False) + "\n"


def to_csv(agreement: Agreement) -> str:
    """The disagreements, one per row."""
    rows = [
        (difference.start_s, difference.end_s, difference.first, difference.second)
        for difference in agreement.disagreements
    ]
    return csv_text([("start_s", "end_s", "first", "second"), *rows])


def to_page(agreement: Agreement) -> str:
    """One page without scripts or links."""
    template = page_environment("cimeu.timeline", "agreement.html").get_template("agreement.html")
    differences = [
        (difference.start_s, difference.end_s - difference.start_s) for difference in agreement.disagreements
    ]
    plot = tiers_svg((agreement.first, agreement.second), agreement.labels, differences)
    longest_s = max(max(row) for row in agreement.confusion_s)
    return template.render(a=agreement, clock=clock, plot=plot, longest_s=longest_s)


def _check_units(first: Tier, second: Tier) -> None:
    """Refuse seconds beside milliseconds: one annotation ends about a thousand times as late as the other."""
    ends_s = [max((annotation.end_s for annotation in tier.annotations), default=0.0) for tier in (first, second)]
    late, early = (first, second) if ends_s[0] > ends_s[1] else (second, first)
    ratio = max(ends_s) / min(ends_s) if min(ends_s) > 0 else 1.0
    # Milliseconds are whole numbers, seconds hardly ever all are.
    whole = all(float(t).is_integer() for entry in late.annotations for t in (entry.start_s, entry.end_s))
    if whole and SECONDS_PER_MILLISECOND / 2 <= ratio <= SECONDS_PER_MILLISECOND * 2:
        raise ManifestError(
            f"`{late.source}` ends at {max(ends_s):,.0f} s, `{early.source}` at {min(ends_s):,.1f} s: are times of the "
            "first milliseconds?\n\nhint: give seconds in both"
        )


class _Run(NamedTuple):
    """Moments from `first` to before `last`; numbers of the labels they have."""

    first: int
    last: int
    label: int
    other: int = -1


def labelled_runs(tier: Tier, labels: Sequence[str], grid_s: float) -> list[_Run]:
    """The labels of a tier over the moments, in order and without overlaps; the annotation that began last counts.

    Moments are counted, not stored: hours cost no more than seconds.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    spans = [
        (_moment(annotation.start_s, grid_s), _moment(annotation.end_s, grid_s), numbers[annotation.label])
        for annotation in tier.annotations
    ]
    edges = sorted({edge for first, last, _ in spans for edge in (first, last)})
    runs: list[_Run] = []
    open_spans: list[tuple[int, int, int]] = []  # the one that began last on top
    place = 0
    for start, end in pairwise(edges):
        while place < len(spans) and spans[place][0] <= start:
            # Spans are sorted by start, so the smallest -place is the one that began last.
            heapq.heappush(open_spans, (-place, spans[place][1], spans[place][2]))
            place += 1
        while open_spans and open_spans[0][1] <= start:
            heapq.heappop(open_spans)
        if open_spans:
            runs.append(_Run(start, end, open_spans[0][2]))
    return runs


def _moment(time_s: float, grid_s: float) -> int:
    """The first moment whose middle is not before a time; the tolerance is that of decimal fractions."""
    return math.ceil(time_s / grid_s - 0.5 - 1e-9)


def share_time(first: Tier, second: Tier, grid_s: float) -> bool:
    """Whether there is a moment that both tiers labelled."""
    labels = sorted(first.labels | second.labels)
    return next(_shared(*(labelled_runs(tier, labels, grid_s) for tier in (first, second))), None) is not None


def _shared(ones: Sequence[_Run], others: Sequence[_Run]) -> Iterator[_Run]:
    """Stretches that both labelled, with both labels."""
    one = other = 0
    while one < len(ones) and other < len(others):
        first, last = max(ones[one].first, others[other].first), min(ones[one].last, others[other].last)
        if first < last:  # runs that only touch share no moment
            yield _Run(first, last, ones[one].label, others[other].label)
        # The run that ends first can overlap with nothing that follows.
        if ones[one].last <= others[other].last:
            one += 1
        else:
            other += 1


def _n_same(first: Sequence[Annotation], second: Sequence[Annotation], same_iou: float) -> int:
    """Pairs of segments of one label that overlap enough, each in one pair at most, the best overlaps first."""
    # Negative, so that the best comes first and ties are broken by order of time.
    pairs = sorted((-iou, one, other) for one, other, iou in _overlaps(first, second) if iou >= same_iou)
    used: tuple[set[int], set[int]] = (set(), set())
    for _, one, other in pairs:
        if one not in used[0] and other not in used[1]:
            used[0].add(one)
            used[1].add(other)
    return len(used[0])


def _overlaps(first: Sequence[Annotation], second: Sequence[Annotation]) -> Iterator[tuple[int, int, float]]:
    """Numbers of the segments of one label that overlap, and how far; a sweep over their starts."""
    sides = (first, second)
    starts = sorted(
        (annotation.start_s, side, number) for side in (0, 1) for number, annotation in enumerate(sides[side])
    )
    running: tuple[list[int], list[int]] = ([], [])
    for start_s, side, number in starts:
        for of_side, numbers in zip(sides, running, strict=True):
            # Those that ended cannot overlap with what starts from here on.
            numbers[:] = [running_number for running_number in numbers if of_side[running_number].end_s > start_s]
        new = sides[side][number]
        for other in running[1 - side]:
            if new.label == sides[1 - side][other].label:
                iou = _iou(new, sides[1 - side][other])
                yield (number, other, iou) if side == 0 else (other, number, iou)
        running[side].append(number)
        if len(running[side]) > MOST_AT_ONCE:
            raise ManifestError(
                f"more than {MOST_AT_ONCE} annotations of a tier overlap at {start_s:g} s\n\n"
                "hint: a tier is about one person; name persons in a column `tier`"
            )


def _iou(one: Annotation, other: Annotation) -> float:
    shared_s = max(0.0, min(one.end_s, other.end_s) - max(one.start_s, other.start_s))
    return shared_s / (one.end_s - one.start_s + other.end_s - other.start_s - shared_s)


def _disagreements(shared: Sequence[_Run], labels: Sequence[str], grid_s: float) -> Iterator[Disagreement]:
    joined: list[_Run] = []
    for run in shared:
        before = joined[-1] if joined else None
        if before and before.last == run.first and before[2:] == run[2:]:
            joined[-1] = before._replace(last=run.last)
        else:
            joined.append(run)
    for run in joined:
        if run.label != run.other:
            yield Disagreement(
                start_s=round(run.first * grid_s, 3),
                end_s=round(run.last * grid_s, 3),
                first=labels[run.label],
                second=labels[run.other],
            )
