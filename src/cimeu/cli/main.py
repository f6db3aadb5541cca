"""The command line: parse, call one function, print. Data goes to stdout, everything else to stderr.

Nothing heavy is imported until a command runs, so that `cimeu --help` answers at once.
"""

import errno
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from cimeu.errors import CimeuError, RecipeError
from cimeu.progress import Progress

app = typer.Typer(
    help="Emotion in clips of talking faces, tested on people and cultures never seen.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
features_app = typer.Typer(help="Work with stored features.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(features_app, name="features")

REFUSED = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a folder that you may write to"),
}
"""What the machine refuses, and the way out; any other error of the system is a bug of ours and keeps its traceback."""

Output = Annotated[Path, typer.Option("--output", "-o", help="Where the result goes.")]
Workers = Annotated[int, typer.Option(help="Processes that decode and encode; 0 takes one for each core.")]


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
def extract(
    manifest: Annotated[Path, typer.Argument(help="Table written by `cimeu prepare`.")],
    output: Output = Path("features"),
    encoder: Annotated[
        list[str] | None, typer.Option(help="Encoder; repeat for several. [default: by the media]")
    ] = None,
    forward_only: Annotated[list[str] | None, typer.Option(help="Encoder that is never played backward.")] = None,
    workers: Workers = 0,
    shard: Annotated[str, typer.Option(help="Part i of N, as in 2/8, for job arrays.")] = "1/1",
) -> None:
    """Compute frozen features of every clip, forward and backward; goes on where it stopped."""
    from cimeu.corpora.manifest import read_manifest
    from cimeu.experiments.recipe import EncoderConfig
    from cimeu.experiments.run import cores, default_streams, extract_streams

    clips = read_manifest(manifest)
    if encoder:
        streams = [(EncoderConfig(encoder=name), name not in (forward_only or ())) for name in encoder]
    else:
        streams = default_streams(clips)
    with progress_bars() as progress:
        extraction = extract_streams(
            clips, streams, output, workers=workers or cores(), shard=parse_shard(shard), progress=progress
        )
    say(f"{output}: {extraction.done} rows computed, {extraction.kept} already there")
    if len(extraction.failures):
        table = output / "failures.csv"
        extraction.failures.to_csv(table, index=False)
        say(f"{len(extraction.failures)} streams could not be computed; reasons in {table}")


@features_app.command("import")
def import_(
    list_file: Annotated[Path, typer.Argument(help="List of `path n_steps label` lines.")],
    root: Annotated[Path, typer.Option(help="Folder that the paths start from.")],
    encoder: Annotated[str, typer.Option(help="Encoder that made the features.")],
    stride: Annotated[int, typer.Option(help="Frames between two steps.")] = 4,
    direction: Annotated[Literal["forward", "backward"], typer.Option(help="How the clips were played.")] = "forward",
    output: Output = Path("features"),
) -> None:
    """Bring ready `.npy` features `[T', D]` into the store."""
    from cimeu.features.imports import import_features

    count = import_features(list_file, root=root, encoder=encoder, stride=stride, direction=direction, folder=output)
    say(f"{output}: {count} clips imported")


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
def bench(
    recipe: Annotated[Path, typer.Argument(help="A YAML file; it is the row `full`.")],
    settings: Annotated[list[str] | None, typer.Argument(help="key=value that replace settings of the recipe.")] = None,
    methods: Annotated[str, typer.Option(help="Rows, separated by commas; `main` or `all`.")] = "main",
    seeds: Annotated[int, typer.Option(help="Seeds of each row and fold.")] = 3,
    output: Output = Path("bench"),
    workers: Annotated[int, typer.Option(help="Processes that run cells; 0 takes one for each core.")] = 0,
    shard: Annotated[str, typer.Option(help="Part i of N, as in 2/8, for job arrays.")] = "1/1",
    looks: Annotated[Path | None, typer.Option(help="Log of looks at the table. [default: OUTPUT/looks.csv]")] = None,
) -> None:
    """Compare CiMEU with its parts left out and with other methods; goes on where it stopped."""
    from cimeu.experiments.bench import bench_recipe
    from cimeu.experiments.recipe import load_recipe
    from cimeu.experiments.run import cores
    from cimeu.generalisation.looks import log_look
    from cimeu.generalisation.protocols import failures_text
    from cimeu.generalisation.rows import rows_named
    from cimeu.generalisation.summary import summarise
    from cimeu.generalisation.tables import comparison_table, to_markdown, write_tables

    with progress_bars() as progress:
        found = bench_recipe(
            load_recipe(recipe, settings or ()),
            rows_named(methods),
            output,
            seeds=range(seeds),
            workers=workers or cores(),
            shard=parse_shard(shard),
            progress=progress,
        )
    say(f"{output}: {found.done} cells run, {found.kept} already there")
    if found.failures:
        say(failures_text(found.failures))
    summary = summarise(output)
    write_tables(summary, output)
    log_look(
        looks or output / "looks.csv",
        method_version=version("cimeu"),
        recipe=str(recipe),
        rows=summary.bench.rows,
        folds=summary.bench.folds,
        seeds=summary.bench.seeds,
        note="" if summary.complete else "incomplete",
    )
    print(to_markdown(comparison_table(summary)))


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(help="Videos, sound files or folders of them.")],
    output: Output = Path("predictions"),
    model: Annotated[Path | None, typer.Option(help="Run folder of a trained ensemble.")] = None,
) -> None:
    """Write a timeline for each file, with reasons where nothing can be said."""
    from cimeu.inference.recogniser import predict_files

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


def say(line: str) -> None:
    """One line for the person, on stderr."""
    print(line, file=sys.stderr)


def parse_shard(text: str) -> tuple[int, int]:
    """`2/8` -> (2, 8).

    Raises:
        RecipeError: not of that form, or outside 1..N.
    """
    part, separator, whole = text.partition("/")
    if not (separator and part.isdigit() and whole.isdigit() and 1 <= int(part) <= int(whole)):
        raise RecipeError(f"shard `{text}` is not i/N\n\nhint: write 2/8 for the second of eight parts")
    return int(part), int(whole)


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """`["0=happiness"]` -> {"0": "happiness"}.

    Raises:
        RecipeError: one without an equals sign.
    """
    for text in texts:
        if "=" not in text:
            raise RecipeError(f"`{text}` is not name=value\n\nhint: such as 0=happiness or test=test.csv")
    return dict(text.split("=", 1) for text in texts)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars with the time left on stderr, one for each step that reports; nothing until one does."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Bars(*columns, console=Console(stderr=True))
    tasks: dict[str, TaskID] = {}

    def show(step: str, completed: int, total: int) -> None:
        if not tasks:
            bars.start()
        if step not in tasks:
            tasks[step] = bars.add_task(step, total=total)
        bars.update(tasks[step], completed=completed, total=total)

    try:
        yield show
    finally:
        if tasks:
            bars.stop()
