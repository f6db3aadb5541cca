"""`cimeu publish`: a trained model for others, on the hub of Hugging Face."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.terminal import say


def publish(
    run: Annotated[Path, typer.Argument(help="Run folder that `cimeu train` printed.")],
    repository: Annotated[str, typer.Argument(help="USER/NAME on the hub.")],
    dry_run: Annotated[
        Path | None,
        typer.Option("--dry-run", help="Write what would be uploaded into this folder, and upload nothing."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Only for those who are given access.")] = False,
    terms_read: Annotated[
        bool, typer.Option("--terms-read", help="The terms of the training corpora were read and allow this.")
    ] = False,
) -> None:
    """Publish a model with its card and terms: tensors and settings only, nothing of single training clips."""
    from cimeu.inference.publish import upload, write_model

    if dry_run is not None:
        write_model(run, dry_run, terms_read=terms_read)
        say(f"nothing was uploaded; {dry_run} is what `{repository}` would hold")
        print(dry_run)
        return
    with tempfile.TemporaryDirectory(prefix="cimeu-publish-") as folder:
        address = upload(write_model(run, folder, terms_read=terms_read), repository, private=private)
    say(f"published: `cimeu predict interview.mp4 --model {repository}`")
    print(address)
