"""Figures of runs as a table on stderr."""

from pathlib import Path


def show_figures(runs: list[Path]) -> None:
    """Print UAR and WAR of runs as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cimeu.reports.run_summary import summarise
    from cimeu.tables import Interval, span

    summary = summarise(runs)
    marks = [" (synthetic clips)"] * bool(summary["synthetic"]) + [" (ORACLE selection)"] * bool(summary["oracle"])
    marks += [" (speakers shared)"] * any("speakers shared" in run["note"] for run in summary["runs"])
    title = escape(summary["recipe"] + "".join(marks))  # a name with brackets is no markup
    table = Table(title=title, caption="percent, 95 % intervals; `cimeu report` says more")
    for heading in (summary["group_word"], "model", "N", "UAR", "WAR"):
        table.add_column(heading)
    for row in summary["results"]:
        spans = [span(Interval(*(row[name][end] for end in ("value", "low", "high")))) for name in ("uar", "war")]
        table.add_row(escape(row["group"]), row["kind"], str(row["n_clips"]), *spans)
    Console(stderr=True).print(table)
