"""`cimeu extract` and `cimeu features import`: clips, or arrays made elsewhere, to a feature store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cimeu.cli.terminal import Output, Workers, parse_shard, progress_bars, say
from cimeu.errors import RecipeError
from cimeu.labels import guess

if TYPE_CHECKING:
    from cimeu.experiments.recipe import EncoderConfig

REGIONS = ("face", "frame")
OPTIONS = {
    "source": "--region",
    "precision": "--precision",
    "engine": "--engine",
    "batch_size": "--batch",
    "fuse": "--fuse",
}
"""Options by the setting of an encoder that they give."""


def extract(
    manifest: Annotated[Path, typer.Argument(help="Table written by `cimeu prepare`.")],
    output: Output = Path("features"),
    encoder: Annotated[
        list[str] | None, typer.Option(help="Encoder; repeat for several. [default: by the media]")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Weights file of the encoder; ENCODER=FILE where there are several. See `cimeu weights list`."
        ),
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option(help="What is seen: `face` or `frame`; repeat for both. [default: face]")
    ] = None,
    forward_only: Annotated[list[str] | None, typer.Option(help="Encoder that is never played backward.")] = None,
    precision: Annotated[
        Literal["bf16", "fp32"] | None, typer.Option(help="Arithmetic of networks; part of the fingerprint.")
    ] = None,
    engine: Annotated[
        Literal["auto", "torch", "openvino", "ray"],
        typer.Option(help="What computes networks; `ray` sends clips to a running Ray cluster."),
    ] = "auto",
    batch: Annotated[int, typer.Option(help="Windows computed at once; 0 takes what suits the machine.")] = 0,
    fuse: Annotated[bool, typer.Option("--fuse", help="Let torch.compile fuse operations.")] = False,
    workers: Workers = 0,
    shard: Annotated[str, typer.Option(help="Part i of N, as in 2/8, for job arrays.")] = "1/1",
) -> None:
    """Compute frozen features of every clip, forward and backward; goes on where it stopped."""
    from cimeu.corpora.manifest import read_manifest
    from cimeu.encoders.registry import build_encoder
    from cimeu.experiments.run import cores, default_streams
    from cimeu.features.extract import extract as fill_stores

    part, clips = parse_shard(shard), read_manifest(manifest)
    for one in region or ():
        if one not in REGIONS:
            raise RecipeError(f"unknown region `{one}`\n\nhint: {' or '.join(REGIONS)}")
    given: dict[str, object] = {"precision": precision, "batch_size": batch or None, "fuse": fuse or None}
    given["engine"] = engine if engine in ("torch", "openvino") else None
    settings = {name: value for name, value in given.items() if value is not None}
    if encoder:
        check_taken(encoder, [*settings, *(["source"] if region else [])])
        for name in forward_only or ():
            if name not in encoder:
                raise RecipeError(f"--forward-only `{name}` is not among the encoders\n\nhint: {guess(name, encoder)}")
        streams = [
            (each, name not in (forward_only or ()))
            for name in encoder
            for each in configured(name, weights_of(encoder, weights or ()), region or (), settings)
        ]
    elif weights or region or forward_only or settings:
        raise RecipeError("no encoder is named for these settings\n\nhint: add --encoder NAME")
    else:
        streams = default_streams(clips)
    on_ray = engine == "ray"
    with progress_bars() as progress:
        extraction = fill_stores(
            clips,
            [build_encoder(one.encoder, **one.settings) for one, _ in streams],
            output,
            second=[one.encoder for one, backward in streams if not backward],
            workers=workers if on_ray else workers or cores(),
            shard=part,
            on="ray" if on_ray else "here",
            progress=progress,
        )
    say(f"{output}: {extraction.done} clips computed, {extraction.kept} already there")
    if len(extraction.failures):
        table = output / ("failures.csv" if part == (1, 1) else f"failures-{part[0]}-of-{part[1]}.csv")
        extraction.failures.to_csv(table, index=False)
        say(f"{len(extraction.failures)} streams could not be computed; reasons in {table}")


def check_taken(names: Sequence[str], settings: Sequence[str]) -> None:
    """Refuse a setting that none of the encoders takes; one of several encoders is enough.

    Raises:
        RecipeError: such a setting, by the name of its option, or an unknown encoder.
    """
    from cimeu.encoders.registry import ENCODERS, settings_of

    taken = {setting for name in names for setting in settings_of(name)}
    for setting in settings:
        if setting not in taken:
            able = ", ".join(name for name in ENCODERS if setting in settings_of(name))
            raise RecipeError(f"{OPTIONS[setting]} means nothing to {', '.join(names)}\n\nhint: it is for {able}")


def configured(
    name: str, weights: Mapping[str, Path], regions: Sequence[str], settings: Mapping[str, object]
) -> "list[EncoderConfig]":
    """One encoder with what it takes of the settings, once for each region it is asked to see."""
    from cimeu.encoders.registry import settings_of
    from cimeu.experiments.recipe import EncoderConfig

    known = settings_of(name)
    taken = {key: value for key, value in settings.items() if key in known}
    if name in weights:
        taken["weights"] = str(weights[name])
    if "source" not in known or not regions:
        return [EncoderConfig(encoder=name, settings=taken)]
    return [EncoderConfig(encoder=name, settings=taken | {"source": region}) for region in dict.fromkeys(regions)]


def weights_of(names: Sequence[str], weights: Sequence[str]) -> dict[str, Path]:
    """Weights file of each encoder, from `FILE` (one encoder that takes weights) or `ENCODER=FILE`.

    Raises:
        RecipeError: a file that goes with no encoder, or with more than one.
    """
    from cimeu.encoders.registry import settings_of

    taking = [name for name in names if "weights" in settings_of(name)]
    found: dict[str, Path] = {}
    for text in weights:
        name, separator, file = text.partition("=")
        if separator and name in names:
            found[name] = Path(file)
        elif len(taking) == 1:
            found[taking[0]] = Path(text)
        else:
            raise RecipeError(
                f"weights `{text}` belong to {'no encoder' if not taking else 'one of ' + ', '.join(taking)}"
                "\n\nhint: write --weights ENCODER=FILE"
            )
    return found


def import_(
    list_file: Annotated[Path, typer.Argument(help="List of `path n_steps label` lines.")],
    root: Annotated[Path, typer.Option(help="Folder that the paths start from.")],
    encoder: Annotated[str, typer.Option(help="Encoder that made the features.")],
    stride: Annotated[int, typer.Option(help="Frames between two steps.")] = 4,
    direction: Annotated[
        Literal["forward", "backward", "both"],
        typer.Option(help="How the clips were played; `both` takes ROOT/forward and ROOT/backward."),
    ] = "forward",
    output: Output = Path("features"),
) -> None:
    """Bring ready `.npy` features `[T', D]` into the store."""
    from cimeu.features.imports import import_features
    from cimeu.pyramid import DIRECTIONS

    roots = {each: root / each for each in DIRECTIONS} if direction == "both" else {direction: root}
    for each, folder in roots.items():
        count = import_features(list_file, root=folder, encoder=encoder, stride=stride, direction=each, folder=output)
        say(f"{output}: {count} clips imported, {each}")
