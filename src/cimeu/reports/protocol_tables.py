"""The tables that belong to one protocol each, in percent with 95 % intervals."""

from itertools import product

from cimeu.bench.corruption import Condition
from cimeu.bench.corruption import compared as compared_conditions
from cimeu.bench.protocols import FEW_SHOT, MATRIX, NESTED, ROBUSTNESS, WITHIN, shots_of
from cimeu.evaluation.uncertainty import Estimate, Estimates, compared, difference
from cimeu.plots.label_curve import label_curve
from cimeu.reports.bench_summary import Summary
from cimeu.reports.gap import PARTS, TrainedOn, gap_of
from cimeu.reports.nested_table import nested_supports_table, nested_table
from cimeu.reports.views import View, pairs
from cimeu.tables import ABSENT, MISSING, Interval, Table, interval_of, span

ALLOWED_LOSS = 0.01
"""The fused answer may be this much below the better single stream."""


def protocol_tables(summary: Summary, trained_on: TrainedOn | None = None) -> dict[str, Table]:
    """Tables of the bench's protocol by file name; none for protocols that the comparison says everything about."""
    bench = summary.bench
    if bench.protocol == MATRIX:
        return {"matrix": matrix_table(summary)}
    if bench.protocol == WITHIN:
        return {"within": within_table(summary, trained_on)} if trained_on is not None else {}
    if bench.protocol == FEW_SHOT:
        return {"shots": shots_table(summary)}
    if bench.protocol == ROBUSTNESS:
        return {"robustness": robustness_table(summary)}
    if bench.protocol == NESTED:
        given_supports = {"nested_supports": nested_supports_table(summary)} if bench.supports else {}
        return {"nested": nested_table(summary), **given_supports}
    return {}


def matrix_table(summary: Summary) -> Table:
    """UAR of every source group (lines) on every tested group (columns); the diagonal is on unseen speakers."""
    bench = summary.bench
    names = list(dict.fromkeys(source for source, _ in pairs(bench)))
    lines, heat = [], []
    for row in bench.rows:
        pairs_of_row = summary.figures.pairs(row)
        for source in names:
            estimates = [pairs_of_row.get((source, tested)) for tested in names]
            means = [figures["uar"].mean if figures else None for figures in estimates]
            shown = [ABSENT if row in bench.absent else _in_words(mean) for mean in means]
            lines.append((row, source, *shown))
            heat.append((None, None, *(mean.value if mean else None for mean in means)))
    note = (
        f"Lines are trained on, columns are tested. On the diagonal, unseen speakers of the source {summary.word}. "
        "Training clips are not matched: a large group has more of them."
    )
    columns = ("row", "trained on", *(f"on {name}" for name in names))
    return Table(f"{bench.name}: UAR by source and tested {summary.word}", columns, tuple(lines), (note,), tuple(heat))


def within_table(summary: Summary, trained_on: TrainedOn) -> Table:
    """Both sides at equally many training clips, the gap between them, and its parts."""
    bench = summary.bench
    lines = []
    for row in bench.rows:
        row_gap = None if row in bench.absent else gap_of(summary.figures, row, trained_on)
        if row_gap is None:
            dash = ABSENT if row in bench.absent else MISSING
            lines.append((row, *[dash] * (4 + len(PARTS))))
            continue
        parts = [ABSENT if part is None else _in_words(part, signed=True) for part in row_gap.parts.values()]
        groups = " ".join(f"{name} {100 * difference.value:+.1f}" for name, difference in row_gap.gap.cultures.items())
        gap = span(interval_of(row_gap.gap), signed=True)
        lines.append((row, _in_words(row_gap.within.mean), _in_words(row_gap.across.mean), gap, *parts, groups))
    columns = ("row", "within [95 %]", "across [95 %]", "gap [95 %]", *PARTS, f"gap by {summary.word}")
    notes = (
        "Within: unseen speakers, trained on their own group. Across: the same clips, trained on the other groups with "
        "as many clips. The parts add up to the gap, in their order; n/a cannot be separated from the rest.",
        "The label prior is a diagnosis: its correction looks at the labels of the tested group.",
    )
    return Table(f"{bench.name}: within and across {summary.word}s", columns, tuple(lines), notes)


def shots_table(summary: Summary) -> Table:
    """UAR with 0, 8, 32... labels of each emotion from other speakers of the tested group."""
    bench = summary.bench
    counts = sorted(set(map(shots_of, bench.folds)))
    views = {count: View(tuple(fold for fold in bench.folds if shots_of(fold) == count)) for count in counts}
    lines = []
    for row in bench.rows:
        means = [_mean(summary, row, view) for view in views.values()]
        means_in_words = [ABSENT if row in bench.absent else _in_words(mean) for mean in means]
        none, *some = means
        gains = [
            ABSENT if row in bench.absent else _in_words(difference(none, mean) if none and mean else None, signed=True)
            for mean in some
        ]
        lines.append((row, *means_in_words, *gains))
    columns = (
        "row",
        *(f"{count} labels [95 %]" for count in counts),
        *(f"{count} minus {counts[0]} [95 %]" for count in counts[1:]),
    )
    note = (
        "Labels are those of each emotion, from speakers of the tested group who are not tested; they join the "
        "training clips. A group that has fewer gives all it has (folds.csv counts them). All figures of a row are on "
        "the same test clips, about half of each group's speakers."
    )
    return Table(f"{bench.name}: labels of the tested {summary.word}", columns, tuple(lines), (note,))


def shots_curve(summary: Summary) -> str:
    """The same as a drawing; nothing under other protocols."""
    bench = summary.bench
    if bench.protocol != FEW_SHOT:
        return ""
    lines: dict[str, list[tuple[int, Interval]]] = {}
    for count in sorted(set(map(shots_of, bench.folds))):
        view = View(tuple(fold for fold in bench.folds if shots_of(fold) == count))
        for row in bench.rows:
            mean = _mean(summary, row, view)
            if mean is not None:
                lines.setdefault(row, []).append((count, interval_of(mean)))
    return label_curve(lines)


def robustness_table(summary: Summary) -> Table:
    """UAR under every condition, and where both streams are there, against the better one alone."""
    bench = summary.bench
    measured = {
        condition
        for cells in summary.cells.values()
        for cell in cells.values()
        if "condition" in cell.predictions
        for condition in cell.predictions.loc[cell.predictions["part"] == "test", "condition"]
    }
    names = sorted(map(Condition.named, measured))
    two_streams = any(name.second for name in names)
    compared_with = compared_conditions(two_streams) if two_streams else []
    lines = []
    for row, condition in product(bench.rows, names):
        if "absent" in (condition.first, condition.second) and (condition.first and condition.second):
            continue  # one stream alone: shown beside both
        title = (row, str(condition) or "untouched")
        fused = _estimates(summary, row, View(bench.folds, str(condition)))
        if fused is None:
            lines.append((*title, *[ABSENT if row in bench.absent else MISSING] * 4))
            continue
        if condition not in compared_with:
            lines.append((*title, _in_words(fused.mean), ABSENT, ABSENT, ABSENT))
            continue
        singles = {str(single): View(bench.folds, str(single)) for single in condition.alone()}
        alone = {name: _estimates(summary, row, view) for name, view in singles.items()}
        drawn = {name: cells for name, cells in alone.items() if cells is not None}
        better = max(drawn, key=lambda name: drawn[name].mean.value)
        minus = compared(drawn[better], fused)
        stream = "second" if better == str(condition.alone()[1]) else "first"
        lines.append(
            (
                *title,
                _in_words(fused.mean),
                f"{stream} {_in_words(drawn[better].mean)}",
                span(interval_of(minus), signed=True),
                "yes" if minus.value >= -ALLOWED_LOSS else "NO",
            )
        )
    columns = ("row", "test clips", "UAR [95 %]", "better stream alone", "minus it [95 %]", "at most 1 below")
    notes = (
        "Training never sees noise, cuts or removals of a test clip. Noise is as strong as the training clips differ; "
        "a cut leaves half of the steps unmeasured.",
        "One stream alone is the same model with the other stream taken away, under the same condition.",
    )
    return Table(f"{bench.name}: corrupted test clips", columns, tuple(lines), notes)


def _estimates(summary: Summary, row: str, view: View) -> Estimates | None:
    figures = summary.figures.view(row, view)
    return None if figures is None else figures["uar"]


def _mean(summary: Summary, row: str, view: View) -> Estimate | None:
    estimates = _estimates(summary, row, view)
    return None if estimates is None else estimates.mean


def _in_words(estimate: Estimate | None, *, signed: bool = False) -> str:
    return MISSING if estimate is None else span(interval_of(estimate), signed=signed)
