"""`cimeu embed`: what a model makes of recordings, as vectors."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.predict import Model, Setting, Weights, recogniser_of
from cimeu.cli.terminal import PARTLY, Device, Output, progress_bars, say


def embed(
    paths: Annotated[list[Path], typer.Argument(help="Videos, sound files or folders of them.")],
    output: Output = Path("embeddings.parquet"),
    model: Model = None,
    setting: Setting = None,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """Write the vectors of every window to one Parquet table: primitives of the model and means of its streams."""
    recogniser = recogniser_of(model, setting, weights, device, style="none")
    from cimeu.inference.embed import embed_files

    with progress_bars() as progress:
        report = embed_files(paths, output, recogniser, progress)
    for path, reason in report.failures.itertuples(index=False):
        say(f"{path}: {reason}")
    done = report.recordings - len(report.failures)
    say(f"vectors of {done:,} of {report.recordings:,} recordings written to {output}")
    if done < report.recordings:
        raise typer.Exit(PARTLY)
