"""`cimeu bundle`: everything a machine without a network needs to use a model, in one file."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.terminal import say


def bundle(
    run: Annotated[Path, typer.Argument(help="Run folder that `cimeu train` printed.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Name of the bundle, ends in .zip.")] = Path(
        "model.zip"
    ),
) -> None:
    """Pack a model with its card, licences, version pins and encoder weights; `predict --model` opens it offline."""
    from cimeu.inference.bundle import write_bundle

    path = write_bundle(run, output)
    say(f"{path}: {path.stat().st_size / 2**20:.1f} MiB; its terms are in LICENCES.md")
    print(path)
