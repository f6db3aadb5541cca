"""The command line: parse, call one function, print. Data goes to stdout, everything else to stderr.

Nothing heavy is imported until a command runs, so that `cimeu --help` answers at once.
"""

import errno
import io
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.adapt import adapt
from cimeu.cli.agree import agree
from cimeu.cli.audit import audit
from cimeu.cli.bench import bench
from cimeu.cli.bundle import bundle
from cimeu.cli.extract import extract, import_
from cimeu.cli.predict import predict
from cimeu.cli.prepare import prepare
from cimeu.cli.recipes import recipes_app
from cimeu.cli.score import score
from cimeu.cli.serve import serve
from cimeu.cli.terminal import PARTLY, Output, progress_bars, say
from cimeu.cli.weights import weights_app
from cimeu.errors import CimeuError

app = typer.Typer(
    help="Emotion in clips of talking faces, tested on people and cultures never seen.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
features_app = typer.Typer(help="Work with stored features.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(features_app, name="features")
app.command()(prepare)
app.command()(audit)
app.add_typer(weights_app, name="weights")
app.add_typer(recipes_app, name="recipes")
app.command()(extract)
features_app.command("import")(import_)
app.command()(bench)
app.command()(adapt)
app.command()(score)
app.command()(predict)
app.command()(agree)
app.command()(bundle)
app.command()(serve)

KEPT = "; what is finished is kept, run the command again"
REFUSED = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space" + KEPT),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a folder that you may write to" + KEPT),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP), "choose a shorter name"),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), "a file is where a folder should be, or a folder"),
    errno.ENOENT: "check the name",
}
"""What the machine refuses, and the way out; any other error of the system is a bug of ours and keeps its traceback."""


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML file, or a name that `cimeu recipes list` shows.")],
    settings: Annotated[list[str] | None, typer.Argument(help="key=value that replace settings of the recipe.")] = None,
    devices: Annotated[int | None, typer.Option(help="Processes on each node, such as its GPUs.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines that train together.")] = None,
) -> None:
    """Run a recipe: features where missing, then an ensemble for each fold and seed. Goes on where it stopped."""
    from cimeu.experiments.recipe import load_recipe
    from cimeu.experiments.run import run_recipe
    from cimeu.training.distributed import is_first

    counts = {"devices": devices, "nodes": nodes}
    shared = [f"training.{name}={count}" for name, count in counts.items() if count is not None]
    asked = load_recipe(recipe, [*(settings or ()), *shared])
    with progress_bars() as progress:
        runs = run_recipe(asked, progress=progress)
    if not is_first(asked.training):
        return
    show_figures(runs)
    for run in runs:
        print(run)


@app.command()
def evaluate(runs: Annotated[list[Path], typer.Argument(help="Run folders.")]) -> None:
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
                say(f"{run}: {error}")
    if scored:
        show_figures(scored)
    if len(scored) < len(runs):
        say(f"{len(scored):,} of {len(runs):,} runs scored, {len(runs) - len(scored):,} failed")
        raise typer.Exit(PARTLY)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    output: Output = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
) -> None:
    """Write one page about runs, with Markdown, CSV and JSON beside it; trains nothing."""
    from cimeu.reports.report import report as write_report

    print(write_report(runs, output, title=title))


def main() -> None:
    """Run the command line; a deliberate error is one message and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):  # a file name may hold bytes that are no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except CimeuError as error:
        say(f"error: {error}")
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        say(f"error: {error}\n\nhint: {REFUSED[error.errno]}")
        raise SystemExit(1) from None


def show_figures(runs: list[Path]) -> None:
    """Print UAR and WAR of runs as a table."""
    from rich.console import Console
    from rich.table import Table

    from cimeu.reports.run_summary import summarise

    summary = summarise(runs)
    marks = [" (synthetic clips)"] * bool(summary["synthetic"]) + [" (ORACLE selection)"] * bool(summary["oracle"])
    marks += [" (speakers shared)"] * any("speakers shared" in run["note"] for run in summary["runs"])
    table = Table(title=summary["recipe"] + "".join(marks), caption="percent, 95 % intervals; `cimeu report` says more")
    for heading in (summary["group_word"], "model", "N", "UAR", "WAR"):
        table.add_column(heading)
    for row in summary["results"]:
        spans = [f"{100 * row[name]['value']:.1f}" + span(row[name]) for name in ("uar", "war")]
        table.add_row(row["group"], row["kind"], str(row["n_clips"]), *spans)
    Console(stderr=True).print(table)


def span(estimate: dict[str, float | None]) -> str:
    """The interval of an estimate; nothing where it has none.

    >>> span({"value": 0.5, "low": 0.4, "high": 0.6}), span({"value": 0.5, "low": None, "high": None})
    (' [40.0, 60.0]', '')
    """
    low, high = estimate["low"], estimate["high"]
    return "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
