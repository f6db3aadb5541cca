"""`cimeu embed`: what a model makes of recordings, as vectors."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.predict import SETTING_SUCH_AS, STARTER_LINE, WEIGHTS_SUCH_AS, Model, Setting, Weights
from cimeu.cli.terminal import PARTLY, Device, Output, pairs, progress_bars, say


def embed(
    paths: Annotated[list[Path], typer.Argument(help="Videos, sound files or folders of them.")],
    output: Output = Path("embeddings.parquet"),
    model: Model = None,
    setting: Setting = None,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """Write the vectors of every window to one Parquet table: primitives of the model and means of its streams."""
    from cimeu.inference.model_store import model_named
    from cimeu.timeline.settings import TimelineSettings

    settings = TimelineSettings().changed(pairs(setting or (), SETTING_SUCH_AS))
    chosen = model_named(model)
    from cimeu.inference.embed import embed_files
    from cimeu.inference.recogniser import Recogniser

    if model is None:
        say(STARTER_LINE)
    files = pairs(weights or (), WEIGHTS_SUCH_AS)
    recogniser = Recogniser.from_pretrained(chosen, settings=settings, weights=files, device=device, style="none")
    with progress_bars() as progress:
        report = embed_files(paths, output, recogniser, progress)
    for path, reason in report.failures.itertuples(index=False):
        say(f"{path}: {reason}")
    done = report.recordings - len(report.failures)
    say(f"vectors of {done:,} of {report.recordings:,} recordings written to {output}")
    if done < report.recordings:
        raise typer.Exit(PARTLY)
