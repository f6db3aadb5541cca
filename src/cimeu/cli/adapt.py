"""`cimeu adapt`: a few labels of a new group."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cimeu.cli.terminal import Output, progress_bars, say


def adapt(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    settings: Annotated[list[str] | None, typer.Argument(help="key=value that replace settings of its recipe.")] = None,
    *,
    target: Annotated[Path, typer.Option(help="Manifest of the new group.")],
    shots: Annotated[int, typer.Option(help="Labels of each emotion.", min=1)] = 16,
    part: Annotated[Literal["heads", "style"], typer.Option(help="What is fitted.")] = "heads",
    prior: Annotated[bool, typer.Option("--prior", help="Also correct the shares of the emotions.")] = False,
    seed: Annotated[int, typer.Option(help="Which speakers and clips give labels.", min=0)] = 0,
    output: Output = Path("adapted"),
) -> None:
    """Fit a run to a new group with a few labels; before, after and the labels in between, on other speakers."""
    from cimeu.experiments.adapt import Adaptation, adapt_run, adaptation_table
    from cimeu.tables import to_markdown

    adaptation = Adaptation(shots=shots, part=part, prior=prior, seed=seed)
    with progress_bars() as progress:
        rows = adapt_run(run, target, output, adaptation, settings=settings or (), progress=progress)
    say(f"{output}: a run folder like any other; tables in adaptation.*")
    print(to_markdown(adaptation_table(rows, f"{run.name} on {target.name}")))
