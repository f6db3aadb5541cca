"""`cimeu submit`: answers for clips with hidden labels, as organisers read them."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.terminal import finish, progress_bars, say


def submit(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several answer together, as those of all folds.")],
    form: Annotated[
        str, typer.Option("--format", help="abaw-expr, abaw-va, blemore, mer, msp, or table (every probability).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
) -> None:
    """Answer the clips whose labels their corpus keeps to itself, and write the file that its organisers read."""
    from cimeu.experiments.submit import submit as submit_runs

    with progress_bars() as progress:
        answered = submit_runs(runs, form, output, progress=progress)
    n_clips = len(answered.manifest)
    print(output)
    if answered.unusable:
        say(f"{answered.unusable:,} clips cannot be used and have the mean answer to all others")
    finish(n_clips - answered.unusable, n_clips, f"clips answered by {len(runs):,} run{'s' * (len(runs) != 1)}")
