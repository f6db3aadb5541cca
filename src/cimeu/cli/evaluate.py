"""`cimeu evaluate` and `cimeu report`: run folders to figures and pages."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.figures import show_figures
from cimeu.cli.terminal import Output, finish, progress_bars, say
from cimeu.errors import CimeuError

Runs = Annotated[list[Path], typer.Argument(help="Run folders that `cimeu train` printed.")]


def evaluate(runs: Runs) -> None:
    """Score the checkpoints of runs again on their own test clips and print the figures."""
    from cimeu.experiments.run import evaluate_run

    scored = []
    with progress_bars() as progress:
        for run in runs:
            try:
                scored.append(evaluate_run(run, progress=progress))
            except CimeuError as error:
                if len(runs) == 1:
                    raise
                say(f"error: {run}: {error}")
    if scored:
        show_figures(scored)
    finish(len(scored), len(runs), "runs scored")


def report(
    runs: Runs,
    output: Output = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
) -> None:
    """Write one page about runs, with Markdown, LaTeX, CSV and JSON beside it; trains nothing."""
    from cimeu.reports.report import report as write_report

    print(write_report(runs, output, title=title))
