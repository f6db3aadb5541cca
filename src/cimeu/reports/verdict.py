"""What figures say, in sentences: where a model stands against chance, and which differences are detectable.

A difference counts as one where its p-value, adjusted by Holm over all comparisons of the page, is below 5 %; in a
bench with several seeds it must also be twice its standard error over them, because p is about other speakers and not
about other trainings. The sentences repeat figures of the tables and choose nothing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cimeu.bench.rows import row_named
from cimeu.experiments.run_folder import Json
from cimeu.pyramid import DIRECTIONS
from cimeu.reports.bench_summary import RowSummary, Summary
from cimeu.tables import Interval, percent, span

SIGNIFICANT = 0.05
STANDARD_ERRORS = 2
"""How many of them a difference must have over seeds."""


def against_chance(name: str, uar: Interval, chance: float) -> str:
    """One sentence about one model.

    >>> against_chance("`full`", Interval(0.42, 0.38, 0.45), 0.25)
    '`full` has a UAR of 42.0 [38.0, 45.0] %, above chance (25.0 %).'
    >>> against_chance("`full`", Interval(0.27, 0.2, 0.34), 0.25)
    '`full` has a UAR of 27.0 [20.0, 34.0] %, not distinguishable from chance (25.0 %).'
    """
    if uar.low is None or uar.high is None:
        place = f"where chance is {percent(chance)} %; one speaker gives no interval"
    elif uar.low > chance:
        place = f"above chance ({percent(chance)} %)"
    elif uar.high < chance:
        place = f"below chance ({percent(chance)} %)"
    else:
        place = f"not distinguishable from chance ({percent(chance)} %)"
    return f"{name} has a UAR of {span(uar)} %, {place}."


def report_answer(summary: Json) -> list[str]:
    """What a report says: the fused model against chance, what the backward model is worth, groups and baselines."""
    fused = [row for row in summary["results"] if row["kind"] == "fused"]
    clips = f"On {fused[-1]['n_clips']:,} {'synthetic ' if summary['synthetic'] else ''}clips, the fused model"
    sentences = [against_chance(clips, interval_in(fused[-1]["uar"]), summary["chance"])]
    if summary["comparisons"]:
        sentences.append(_fusion(summary["comparisons"]))
    groups = {row["group"]: row["uar"]["value"] for row in fused if not row["is_mean"]}
    if len(groups) > 1:
        low, high = min(groups, key=groups.__getitem__), max(groups, key=groups.__getitem__)
        sentences.append(
            f"By {summary['group_word']}, its UAR goes from {percent(groups[low])} % ({low}) to "
            f"{percent(groups[high])} % ({high})."
        )
    if summary["baselines"]:
        sentences.append(_baselines(summary["baselines"], fused[-1]["uar"]["value"]))
    return sentences


def bench_answer(summary: Summary) -> list[str]:
    """What a bench says: the reference and the best row against chance, and how the rows stand to the reference."""
    bench = summary.bench
    finished = {line.row: line for line in summary.lines if line.uar is not None}
    best = max(finished.values(), key=lambda line: _uar(line).value, default=None)
    sentences = []
    if bench.reference in finished:
        sentences.append(against_chance(f"`{bench.reference}`", _uar(finished[bench.reference]), summary.chance))
    if best is not None and best.row != bench.reference:
        sentences.append(against_chance(f"The highest row, `{best.row}`,", _uar(best), summary.chance))
    compared = [line for line in finished.values() if line.p_holm is not None]
    for which, lines in (
        ("Parts left out or replaced", [line for line in compared if row_named(line.row).kind == "cimeu"]),
        ("Other methods", [line for line in compared if row_named(line.row).kind != "cimeu"]),
    ):
        if lines:
            sentences.append(f"{which}, against `{bench.reference}`: {_sides(lines)}.")
    if not summary.complete:
        done, total = sum(line.cells for line in summary.lines), sum(line.cells_expected for line in summary.lines)
        sentences.append(f"The bench is not finished: {done:,} of {total:,} cells are there.")
    return sentences


def interval_in(estimate: Mapping[str, Any]) -> Interval:
    """Figure and interval of a row of a report's summary."""
    return Interval(estimate["value"], estimate["low"], estimate["high"])


def baseline_interval(row: Json) -> Interval | None:
    """UAR of a line of `baselines.csv`, where it stands as `50.3 [47.1, 55.3]`; None where there is none."""
    text = str(next((value for name, value in row.items() if name.startswith("UAR")), ""))
    # The file is written for people, in percent with an interval in brackets, and may be edited by them.
    numbers = text.replace("[", "").replace("]", "").replace(",", "").split()
    try:
        shares = [float(number) / 100 for number in numbers]
    except ValueError:
        return None
    if not shares or not all(map(math.isfinite, shares)):
        return None
    low, high = shares[1:3] if len(shares) == 3 else (None, None)
    return Interval(shares[0], low, high)


def _fusion(comparisons: Sequence[Json]) -> str:
    """What the backward model is worth: fused against each direction alone."""
    forward, backward = comparisons
    assert [row["name"].split()[-1] for row in comparisons] == list(DIRECTIONS)
    worth = {
        1: "The backward model helped: the fused model is above the forward one by",
        0: "The backward model has no detectable effect: the fused model minus the forward one is",
        -1: "The backward model did harm: the fused model is below the forward one by",
    }[_sign(forward["value"], forward["p_holm"])]
    beside = {
        1: "and above the backward one by",
        0: "and without a detectable difference to the backward one,",
        -1: "but below the backward one by",
    }[_sign(backward["value"], backward["p_holm"])]
    return f"{worth} {_points(forward)}, {beside} {_points(backward)}."


def _points(row: Json) -> str:
    """A difference in points: without its sign where the sentence around says it."""
    detected = _sign(row["value"], row["p_holm"])
    value = percent(abs(row["value"]) if detected else row["value"], signed=not detected)
    ends = "" if row["low"] is None else f" [{percent(row['low'], signed=True)}, {percent(row['high'], signed=True)}]"
    return f"{value} points{ends}".replace("-", "−")


def _sign(value: float, p: float | None) -> int:
    """1 above, -1 below, 0 where no difference is detectable."""
    if p is None or p >= SIGNIFICANT or value == 0:
        return 0
    return 1 if value > 0 else -1


def _sides(lines: Sequence[RowSummary]) -> str:
    """Rows below and above the reference, and those without a detectable difference."""
    by_sign: dict[int, list[str]] = {-1: [], 1: [], 0: []}
    for line in lines:
        assert line.difference is not None, "rows with a p-value have a difference"
        clear = abs(line.difference.value) >= STANDARD_ERRORS * (line.training_error or 0.0)
        sign = _sign(line.difference.value, line.p_holm) if clear else 0
        points = f" ({_signed(line.difference)})" if sign else ""
        by_sign[sign].append(f"`{line.row}`{points}")
    words = {-1: "below", 1: "above", 0: "no detectable difference"}
    return "; ".join(f"{words[sign]}: {', '.join(rows)}" for sign, rows in by_sign.items() if rows)


def _signed(difference: Interval) -> str:
    return percent(difference.value, signed=True).replace("-", "−")


def _baselines(rows: Sequence[Json], fused: float) -> str:
    uars = {str(next(iter(row.values()))): baseline_interval(row) for row in rows}
    values = {name: uar.value for name, uar in uars.items() if uar is not None}
    if not values:
        return "The baselines have no UAR yet."
    best = max(values, key=values.__getitem__)
    above = sum(value > fused for value in values.values())
    return (
        f"{above or 'None'} of {len(values)} baselines {'has' if above <= 1 else 'have'} a higher UAR; the best, "
        f"`{best}`, has {percent(values[best])} %."
    )


def _uar(line: RowSummary) -> Interval:
    assert line.uar is not None, "only finished rows are counted"
    return line.uar
