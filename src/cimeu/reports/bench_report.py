"""Every table of a bench, from the cells that are there."""

from pathlib import Path
from typing import Any

from cimeu.atomic import write_whole
from cimeu.bench.comparison import read_folds
from cimeu.bench.nested import inner_groups
from cimeu.bench.protocols import WITHIN
from cimeu.experiments.run_folder import read_rows
from cimeu.reports.bench_summary import Summary, summarise
from cimeu.reports.bench_tables import baselines_table, write_tables
from cimeu.reports.gap import training_priors
from cimeu.reports.nested_table import tuning_table
from cimeu.reports.probe_table import probes_in_percent
from cimeu.reports.protocol_tables import protocol_tables, shots_curve
from cimeu.reports.support_tables import support_sets_table, supports_table
from cimeu.tables import to_csv


def write_bench(folder: Path) -> Summary:
    """Write every table of a bench from the cells that are there, and the baselines beside the runs of its reference.

    Raises:
        RecipeError: the folder holds no bench.
    """
    summary = summarise(folder)
    bench = summary.bench
    trained_on = training_priors(read_folds(folder), bench.emotions) if bench.protocol == WITHIN else None
    tables = protocol_tables(summary, trained_on)
    if bench.tune:
        tables["tuning"] = tuning_table(bench, folder, inner_groups(read_folds(folder)))
    if (given_supports := supports_table(summary)) is not None:
        tables |= {"supports": given_supports, "support_sets": support_sets_table(summary)}
    probes = {row: _probes(folder / "runs" / row) for row in bench.rows}
    probes = {row: rows for row, rows in probes.items() if rows}
    if probes:
        tables["probes"] = probes_in_percent(probes, bench.name)
    write_tables(summary, folder, tables, drawing=shots_curve(summary))
    runs = folder / "runs" / bench.reference
    if runs.is_dir():
        write_whole(runs / "baselines.csv", to_csv(baselines_table(summary)), "table")
    return summary


def _probes(runs: Path) -> list[list[dict[str, Any]]]:
    return [read_rows(path) for path in sorted(runs.glob("*/probes.json"))]
