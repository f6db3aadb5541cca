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
    outer_groups = list(dict.fromkeys(name for fold in bench.folds for name in held_out_pair(fold)))
    estimates: dict[tuple[str, str], Estimate] = {}
    for row in bench.rows:
        pairs = {} if row in bench.absent else summary.figures.pairs(row)
        for outer in outer_groups:
            inner = {
                tested: pair_figures["uar"].mean
                for (left_out, tested), pair_figures in pairs.items()
                if left_out == outer
            }
            if len(inner) == len(outer_groups) - 1:
                estimates[row, outer] = estimates_over(inner).mean
    best = {
        outer: max(
            (row for row in bench.rows if (row, outer) in estimates), key=lambda row: estimates[row, outer].value
        )
        for outer in outer_groups
        if any((row, outer) in estimates for row in bench.rows)
    }
    lines = [
        (
            row,
            *(
                (ABSENT if row in bench.absent else MISSING)
                if (row, outer) not in estimates
                else span(interval_of(estimates[row, outer])) + (" *" if best[outer] == row else "")
                for outer in outer_groups
            ),
        )
        for row in bench.rows
    ]
    notes = (
        f"UAR in percent, mean over the {summary.word}s that are left: each is tested by a model that knows neither it "
        "nor the one named above. A choice for a fold of leave-one-out looks at the column of its tested group alone; "
        "* is the best row there.",
    )
    columns = ("row", *(f"choice for {outer} [95 %]" for outer in outer_groups))
    return Table(f"{bench.name}: nested", columns, tuple(lines), notes)
