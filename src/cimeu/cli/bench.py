"""`cimeu bench`: rows of a comparison, a cell each."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.terminal import Output, parse_shard, progress_bars, say


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
    from cimeu.generalisation.sharing import failures_text
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
