"""What nested selection tried, what it scored and what it cost; and which row it prefers for each outer group."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from cimeu.bench.comparison import Bench
from cimeu.bench.nested import mean_uar, tried
from cimeu.bench.protocols import held_out_pair
from cimeu.bench.rows import row_named
from cimeu.bench.search_space import configuration
from cimeu.evaluation.uncertainty import Estimate, estimates_over
from cimeu.reports.bench_summary import Summary
from cimeu.reports.support_tables import counted_groups, pairs_given, tested_groups
from cimeu.tables import ABSENT, MISSING, Table, interval_of, percent, span


def tuning_table(bench: Bench, folder: Path, groups: Mapping[str, Sequence[str]]) -> Table:
    """One line for each row, fold and configuration: what was tried, what it scored, what it cost, what was chosen.

    A configuration that was not tried on all of the fold's inner `groups` has no mean, and nothing is chosen then.
    """
    columns = ("row", "fold", "configuration", "chosen", "UAR, %", "by inner group", "trainings", "wall_s", "cpu_s")
    lines = []
    trainings, cpu_s = 0, 0.0
    for row, fold in product(bench.rows, bench.folds):
        configurations = [tried(bench, folder, row, fold, number, groups[fold]) for number in range(bench.tune)]
        means = [mean_uar(trials) if len(trials) == len(groups[fold]) else None for trials in configurations]
        measured = [mean for mean in means if mean is not None]
        best = int(np.argmax(measured)) if len(measured) == bench.tune else None
        for number, trials in enumerate(configurations):
            if not trials:
                continue
            costs = [sum(trial[cost] for trial in trials.values()) for cost in ("wall_s", "cpu_s")]
            trainings, cpu_s = trainings + len(trials), cpu_s + costs[1]
            by_group = " ".join(f"{name} {percent(trial['uar'])}" for name, trial in trials.items())
            chosen = "yes" if number == best else ""
            described = (f"{number + 1} of {bench.tune}", chosen, percent(means[number]), by_group)
            settings = json.dumps(configuration(row_named(row), number))
            lines.append((row, fold, *described, str(len(trials)), *(f"{cost:.1f}" for cost in costs), settings))
    notes = (
        f"N = {bench.tune} configurations for each row and fold, {trainings} trainings, {cpu_s:.0f} s of processor "
        "time, beside the time of the cells. The outer test group took no part.",
    )
    return Table(f"{bench.name}: tuning", (*columns, "settings"), tuple(lines), notes)


def nested_table(summary: Summary) -> Table:
    """Rows by the outer group that took no part: mean over the other groups, each tested by a model of the rest."""
    bench = summary.bench
    outer_groups = _outer_groups(bench)
    estimates = {
        row: {pair: figures["uar"].mean for pair, figures in summary.figures.pairs(row).items()}
        for row in bench.rows
        if row not in bench.absent
    }
    lines = [(row, *cells) for row, cells in _choices(summary, estimates, outer_groups).items()]
    notes = (
        f"UAR in percent, mean over the {summary.word}s that are left: each is tested by a model that knows neither it "
        "nor the one named above. A choice for a fold of leave-one-out looks at the column of its tested group alone; "
        "* is the best row there.",
    )
    return Table(f"{bench.name}: nested", ("row", *_choice_columns(outer_groups)), tuple(lines), notes)


def nested_supports_table(summary: Summary) -> Table:
    """The same under each support set, over the groups that have a figure under it."""
    bench = summary.bench
    lines: list[tuple[str, ...]] = []
    for condition in bench.supports:
        counted = counted_groups(summary, condition)
        estimates = {
            row: pairs_given(summary, row, condition, counted) for row in bench.rows if row not in bench.absent
        }
        lines += [(row, condition, *cells) for row, cells in _choices(summary, estimates, counted).items()]
    notes = (
        f"As `nested`, of clips given a support: mean over the {summary.word}s that are left and have a figure under "
        f"the set (`support_sets`), {ABSENT} where none has. * is the best row under the set.",
    )
    columns = ("row", "support set", *_choice_columns(_outer_groups(bench)))
    return Table(f"{bench.name}: nested, with unlabelled clips of the tested people", columns, tuple(lines), notes)


def _choices(
    summary: Summary, estimates: Mapping[str, Mapping[tuple[str, str], Estimate]], counted: Sequence[str]
) -> dict[str, list[str]]:
    """What every row has for each outer group, from its pairs whose tested group is counted; the best one is marked."""
    bench, begun = summary.bench, bool(tested_groups(summary))
    left = {outer: {name for name in counted if name != outer} for outer in _outer_groups(bench)}
    means: dict[tuple[str, str], Estimate] = {}
    for row, of_pairs in estimates.items():
        for outer, names in left.items():
            inner = {name: of_pairs[outer, name] for name in names if (outer, name) in of_pairs}
            if inner and len(inner) == len(names):
                means[row, outer] = estimates_over(inner).mean
    best = {
        outer: max((row for row in bench.rows if (row, outer) in means), key=lambda row: means[row, outer].value)
        for outer in left
        if any((row, outer) in means for row in bench.rows)
    }

    def shown(row: str, outer: str) -> str:
        if (row, outer) in means:
            return span(interval_of(means[row, outer])) + (" *" if best[outer] == row else "")
        return ABSENT if row in bench.absent or (begun and not left[outer]) else MISSING

    return {row: [shown(row, outer) for outer in left] for row in bench.rows}


def _outer_groups(bench: Bench) -> list[str]:
    return list(dict.fromkeys(name for fold in bench.folds for name in held_out_pair(fold)))


def _choice_columns(outer_groups: Sequence[str]) -> list[str]:
    return [f"choice for {outer} [95 %]" for outer in outer_groups]
