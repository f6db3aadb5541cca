"""`cimeu embed`: what a model makes of recordings, as vectors."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.predict import Model, Setting, Weights, recogniser_of
from cimeu.cli.terminal import Device, Output, finish, progress_bars, say


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
    finish(done, report.recordings, f"recordings written to {output}" if done else "recordings have vectors")
