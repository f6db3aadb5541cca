"""The command line: parse, call one function, print. Data goes to stdout, everything else to stderr.

Nothing heavy is imported until a command runs, so that `cimeu --help` answers at once.
"""

import errno
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from cimeu.cli.bench import bench
from cimeu.cli.extract import extract, import_
from cimeu.cli.terminal import Output, progress_bars, say
from cimeu.errors import CimeuError, RecipeError

app = typer.Typer(
    help="Emotion in clips of talking faces, tested on people and cultures never seen.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
features_app = typer.Typer(help="Work with stored features.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(features_app, name="features")
app.command()(extract)
features_app.command("import")(import_)
app.command()(bench)

REFUSED = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a folder that you may write to"),
}
"""What the machine refuses, and the way out; any other error of the system is a bug of ours and keeps its traceback."""


@app.command()
def prepare(
    corpus: Annotated[str, typer.Argument(help="`folder`, `csv`, `toy`, or the name of a corpus.")],
    root: Annotated[Path, typer.Argument(help="Folder of the recordings (for `toy`: where to draw them).")],
    output: Output = Path("manifest.csv"),
    csv: Annotated[
        Path | None, typer.Option(help="Table with the manifest's columns, instead of folder names.")
    ] = None,
    takes: Annotated[int, typer.Option(help="Toy corpus: clips of each speaker and emotion.")] = 4,
    speakers: Annotated[int, typer.Option(help="Toy corpus: speakers of each culture.")] = 8,
    strength: Annotated[float, typer.Option(help="Toy corpus: strength of culture's effect, 0 to 1.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Toy corpus: seed of the generator.")] = 0,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="Do not check the published counts.")] = False,
    task: Annotated[Literal["single", "compound"], typer.Option(help="MAFW: which labels.")] = "single",
    lists: Annotated[list[str] | None, typer.Option("--list", help="Lists: part=file, such as test=test.csv.")] = None,
    label_map: Annotated[
        list[str] | None, typer.Option(help="Lists: label=emotion, such as 0=happiness; repeat for each.")
    ] = None,
    speaker: Annotated[str, typer.Option(help="Lists: expression whose group finds the speaker in a path.")] = "",
) -> None:
    """Turn a folder of recordings into a manifest: one row a clip."""
    from cimeu.corpora.manifest import write_manifest
    from cimeu.corpora.registry import CORPORA, PUBLISHED
    from cimeu.corpora.toy import ToyConfig
    from cimeu.labels import guess

    if corpus not in CORPORA:
        raise RecipeError(f"unknown corpus `{corpus}`\n\nhint: {guess(corpus, tuple(CORPORA))}")
    with progress_bars() as progress:
        if corpus == "toy":
            config = ToyConfig(seed=seed, takes=takes, speakers_per_culture=speakers, culture_strength=strength)
            manifest = CORPORA["toy"](config, root, progress=progress)
        elif corpus in PUBLISHED and not csv:
            options: dict[str, object] = {"check_counts": not allow_partial}
            if corpus == "mafw":
                options["task"] = task
            if corpus == "lists":
                files = {part: Path(file) for part, file in pairs(lists or ()).items()}
                options |= {"lists": files, "labels": pairs(label_map or ()), "speaker": speaker}
            manifest = PUBLISHED[corpus](root, **options)
        else:
            manifest = CORPORA["csv"](csv, root=root) if csv else CORPORA[corpus](root)
    write_manifest(manifest, output)
    unusable = int((manifest.table["problem"] != "").sum())
    say(f"{output}: {len(manifest)} clips" + (f", {unusable} of them unusable (column `problem`)" if unusable else ""))


@app.command()
def audit(
    manifest: Annotated[Path, typer.Argument(help="Table written by `cimeu prepare`.")],
    output: Output = Path("audit.html"),
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON too.")] = False,
    labels: Annotated[str | None, typer.Option(help="Label space, or emotions separated by commas.")] = None,
    merge: Annotated[list[str] | None, typer.Option(help="Emotion that becomes another, as in calm=neutral.")] = None,
    group: Annotated[str, typer.Option(help="Column that names the groups.")] = "culture",
    mark: Annotated[
        Path | None,
        typer.Option(help="Write the manifest with near-duplicates marked, so that folds keep them together."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Clips decoded at a time; 0 takes one for each core.")] = 0,
) -> None:
    """Check the recordings themselves, the folds and the labels; exit status 2 if figures would be wrong."""
    from cimeu.corpora.audit import audit as look_at_all
    from cimeu.corpora.audit import to_json, with_duplicates, write_html
    from cimeu.corpora.manifest import read_manifest, write_manifest
    from cimeu.experiments.run import cores
    from cimeu.labels import label_space

    clips = read_manifest(manifest)
    space = label_space(labels.split(",") if "," in labels else labels) if labels else None
    with progress_bars() as progress:
        found = look_at_all(
            clips, labels=space, merge=pairs(merge or ()), group=group, workers=workers or cores(), progress=progress
        )
    write_html(found, output, title=manifest.name)
    if mark:
        write_manifest(with_duplicates(clips, found.duplicates), mark)
    for finding in found.findings:
        say(f"{finding.severity}: {finding.message}")
    say(f"{output}: {len(found.clips)} clips, {len(found.findings)} findings")
    if as_json:
        print(to_json(found))
    if found.failed:
        raise typer.Exit(2)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML file; the repository's are in recipes/.")],
    settings: Annotated[list[str] | None, typer.Argument(help="key=value that replace settings of the recipe.")] = None,
) -> None:
    """Run a recipe: features where missing, then an ensemble for each fold and seed. Goes on where it stopped."""
    from cimeu.experiments.recipe import load_recipe
    from cimeu.experiments.run import run_recipe

    with progress_bars() as progress:
        runs = run_recipe(load_recipe(recipe, settings or ()), progress=progress)
    show_figures(runs)
    for run in runs:
        print(run)


@app.command()
def evaluate(runs: Annotated[list[Path], typer.Argument(help="Run folders.")]) -> None:
    """Score the checkpoints of runs again on their own test clips and print the figures."""
    from cimeu.experiments.run import evaluate_run

    with progress_bars() as progress:
        for run in runs:
            evaluate_run(run, progress=progress)
    show_figures(runs)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    output: Output = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
) -> None:
    """Write one page about runs, with Markdown, CSV and JSON beside it; trains nothing."""
    from cimeu.experiments.report import report as write_report

    print(write_report(runs, output, title=title))


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(help="Videos, sound files or folders of them.")],
    output: Output = Path("predictions"),
    model: Annotated[Path | None, typer.Option(help="Run folder of a trained ensemble.")] = None,
) -> None:
    """Write a timeline for each file, with reasons where nothing can be said."""
    from cimeu.inference.files import predict_files

    if model is None:
        raise RecipeError("no model is named\n\nhint: pass --model RUN; `cimeu train` makes run folders")
    with progress_bars() as progress:
        failures = predict_files(paths, output, model, progress=progress)
    say(f"{output}: timelines written")
    if len(failures):
        say(f"{len(failures)} files could not be read; reasons in {output / 'failures.csv'}")


def main() -> None:
    """Run the command line; a deliberate error is one message and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        app()
    except CimeuError as error:
        say(f"error: {error}")
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        say(f"error: {error}\n\nhint: {REFUSED[error.errno]}; what is finished is kept, run the command again")
        raise SystemExit(1) from None


def show_figures(runs: list[Path]) -> None:
    """Print UAR and WAR of runs as a table."""
    from rich.console import Console
    from rich.table import Table

    from cimeu.experiments.summary import summarise

    summary = summarise(runs)
    marks = [" (synthetic clips)"] * bool(summary["synthetic"]) + [" (ORACLE selection)"] * bool(summary["oracle"])
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


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """`["0=happiness"]` -> {"0": "happiness"}.

    Raises:
        RecipeError: one without an equals sign.
    """
    for text in texts:
        if "=" not in text:
            raise RecipeError(f"`{text}` is not name=value\n\nhint: such as 0=happiness or test=test.csv")
    return dict(text.split("=", 1) for text in texts)
