"""What nested selection tried, what it scored and what it cost."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from cimeu.bench.comparison import Bench
from cimeu.bench.nested import mean_uar, tried
from cimeu.bench.rows import row_named
from cimeu.bench.search_space import configuration
from cimeu.tables import Table, percent


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
        known = [mean for mean in means if mean is not None]
        best = int(np.argmax(known)) if len(known) == bench.tune else None
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
