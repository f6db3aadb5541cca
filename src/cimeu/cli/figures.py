"""Figures of runs as a table on stderr."""

from pathlib import Path


def show_figures(runs: list[Path]) -> None:
    """Print UAR and WAR of runs as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cimeu.reports.run_summary import summarise

    summary = summarise(runs)
    marks = [" (synthetic clips)"] * bool(summary["synthetic"]) + [" (ORACLE selection)"] * bool(summary["oracle"])
    marks += [" (speakers shared)"] * any("speakers shared" in run["note"] for run in summary["runs"])
    title = escape(summary["recipe"] + "".join(marks))  # a name with brackets is no markup
    table = Table(title=title, caption="percent, 95 % intervals; `cimeu report` says more")
    for heading in (summary["group_word"], "model", "N", "UAR", "WAR"):
        table.add_column(heading)
    for row in summary["results"]:
        spans = [f"{100 * row[name]['value']:.1f}" + span(row[name]) for name in ("uar", "war")]
        table.add_row(escape(row["group"]), row["kind"], str(row["n_clips"]), *spans)
    Console(stderr=True).print(table)


def span(estimate: dict[str, float | None]) -> str:
    """The interval of an estimate; nothing where it has none.

    >>> span({"value": 0.5, "low": 0.4, "high": 0.6}), span({"value": 0.5, "low": None, "high": None})
    (' [40.0, 60.0]', '')
    """
    low, high = estimate["low"], estimate["high"]
    return "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
