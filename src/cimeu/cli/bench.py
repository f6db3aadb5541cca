"""`cimeu bench`: rows of a comparison, a cell each."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimeu.cli.terminal import Output, Ray, Shard, complete_recipe, finish, parse_shard, progress_bars, say
from cimeu.cluster import Machines
from cimeu.errors import RecipeError

if TYPE_CHECKING:
    from cimeu.bench.runner import BenchReport


Reference = Annotated[
    Path,
    typer.Argument(
        help="A YAML file, or a name that `cimeu recipes list` shows; it is the row `full`.",
        autocompletion=complete_recipe,
    ),
]
Keep = Annotated[
    bool, typer.Option("--keep", help="Baselines and methods leave run folders too, for predict, serve and bundle.")
]
ProtocolName = Annotated[
    str,
    typer.Option(
        help="leave-one-out, nested, matrix, within, few-shot, robustness or transductive. "
        "[default: folds of the recipe]"
    ),
]
SelectionRule = Annotated[
    str,
    typer.Option(
        help="validation, `leave-one-group-out validation`, average, last or oracle. [default: the recipe's]",
        metavar="RULE",
    ),
]
Supports = Annotated[
    str,
    typer.Option(
        help="Answer test clips again given other unlabelled clips (transductive): "
        "person-10,person-10:even,person-10:skewed,person-10:single,culture-10.",
        metavar="SETS",
    ),
]


def bench(
    recipe: Reference,
    settings: Annotated[list[str] | None, typer.Argument(help="key=value that replace settings of the recipe.")] = None,
    methods: Annotated[str, typer.Option(help="Rows, separated by commas; `main` or `all`.")] = "main",
    seeds: Annotated[int, typer.Option(help="Seeds of each row and fold.", min=1)] = 3,
    output: Output = Path("bench"),
    workers: Annotated[int, typer.Option(help="Processes that run cells; 0 takes one for each core.", min=0)] = 0,
    shard: Shard = "1/1",
    ray: Ray = "",
    protocol: ProtocolName = "",
    selection: SelectionRule = "",
    shots: Annotated[str, typer.Option(help="Few-shot: labels of each emotion, separated by commas.")] = "0,8,32",
    tune: Annotated[
        int,
        typer.Option(help="Configurations tried for each row inside the training groups of each fold.", min=0),
    ] = 0,
    supports: Supports = "",
    keep: Keep = False,
    looks: Annotated[Path | None, typer.Option(help="Test-set access log. [default: OUTPUT/looks.csv]")] = None,
) -> None:
    """Compare CiMEU with its parts left out and with other methods; resumes."""
    from cimeu.bench.bench import bench_recipe
    from cimeu.bench.cell_runner import Comparison
    from cimeu.bench.rows import rows_named
    from cimeu.bench.style_offset import support_protocols
    from cimeu.bench.test_set_log import check_log
    from cimeu.experiments.prepare import cores
    from cimeu.experiments.recipe import load_recipe
    from cimeu.reports.bench_tables import check_tables_free

    how = Comparison(
        protocol=protocol,
        selection=selection,
        shots=parse_counts(shots),
        tune=tune,
        keep=keep,
        supports=support_protocols(supports),
    )
    log = looks or output / "looks.csv"
    check_tables_free(output)
    check_log(log)
    with progress_bars() as progress:
        cells = bench_recipe(
            load_recipe(recipe, settings or ()),
            rows_named(methods),
            output,
            how,
            seeds=range(seeds),
            workers=workers if ray else workers or cores(),
            machines=Machines(parse_shard(shard), ray),
            progress=progress,
        )
    say(f"{output}: {cells.done} cells run, {cells.kept} already there, {cells.wall_s:.0f} s")
    if cells.elsewhere:
        say(f"{cells.elsewhere:,} cells of other parts are not there yet; the part that ends last writes the tables")
    else:
        print_tables(output, log, str(recipe))
    if cells.failures:
        report_failures(cells)


def print_tables(folder: Path, log: Path, recipe: str) -> None:
    """Write and print the tables of a bench, and log that somebody has seen figures of the test set."""
    from cimeu.bench.test_set_log import log_look
    from cimeu.reports.bench_report import write_bench
    from cimeu.reports.bench_tables import comparison_table, directions_table
    from cimeu.tables import to_markdown

    summary = write_bench(folder)
    log_look(
        log,
        method_version=version("cimeu"),
        recipe=recipe,
        rows=summary.bench.rows,
        folds=summary.bench.folds,
        seeds=summary.bench.seeds,
        note="; ".join(
            filter(
                None,
                (summary.bench.protocol, " ".join(summary.bench.supports), "" if summary.complete else "incomplete"),
            )
        ),
    )
    print(to_markdown(comparison_table(summary)))
    directions = directions_table(summary)
    if directions is not None:
        print(to_markdown(directions))
    if summary.bench.supports:
        print((folder / "supports.md").read_text(encoding="utf-8"))


def report_failures(cells: "BenchReport") -> None:
    """Say which cells failed and why, and end with the exit status for that."""
    from cimeu.bench.runner import failures_text

    say(failures_text(cells.failures))
    done = cells.done + cells.kept
    finish(done, done + len(cells.failures), "cells are there")


def parse_counts(text: str) -> tuple[int, ...]:
    """`0,8,32` -> (0, 8, 32).

    Raises:
        RecipeError: not of that form.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise RecipeError(f"`{text}` is not a list of counts\n\nhint: write 0,8,32")
    return tuple(dict.fromkeys(int(part) for part in parts))
