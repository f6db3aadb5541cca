"""`cimeu extract` and `cimeu features import`: clips, or arrays made elsewhere, to a feature store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cimeu.cli.terminal import Device, Output, Ray, Shard, Workers, finish, pairs, parse_shard, progress_bars, say
from cimeu.cluster import Machines
from cimeu.errors import RecipeError, guess

if TYPE_CHECKING:
    from cimeu.experiments.recipe import EncoderConfig
    from cimeu.features.extract import Extraction

REGIONS = ("face", "frame")
OPTIONS = {
    "source": "--region",
    "precision": "--precision",
    "device": "--device",
    "engine": "--engine",
    "batch_size": "--batch",
    "fuse": "--fuse",
}
"""Options by the setting of an encoder that they give."""


Encoder = Annotated[list[str] | None, typer.Option(help="Encoder; repeat for several. [default: by the media]")]
Weights = Annotated[
    list[str] | None,
    typer.Option(help="Weights file of the encoder; ENCODER=FILE where there are several. See `cimeu weights list`."),
]
Region = Annotated[
    list[str] | None, typer.Option(help="What is seen: `face` or `frame`; repeat for both. [default: face]")
]
Precision = Annotated[
    Literal["auto", "bf16", "fp32"] | None,
    typer.Option(
        help="Arithmetic of networks, part of the fingerprint; auto: bf16 where it is native. [default: auto]"
    ),
]
Engine = Annotated[
    Literal["auto", "torch", "openvino"],
    typer.Option(help="What computes networks."),
]
Setting = Annotated[
    list[str] | None,
    typer.Option(help="NAME=VALUE of any other setting of the encoder, as layer=9; repeat for several."),
]


def extract(
    manifest: Annotated[Path, typer.Argument(help="Table written by `cimeu prepare`.")],
    output: Output = Path("features"),
    encoder: Encoder = None,
    weights: Weights = None,
    region: Region = None,
    forward_only: Annotated[list[str] | None, typer.Option(help="Encoder that is never played backward.")] = None,
    precision: Precision = None,
    device: Device = "auto",
    engine: Engine = "auto",
    setting: Setting = None,
    batch: Annotated[int, typer.Option(help="Windows computed at once; 0 takes what suits the machine.", min=0)] = 0,
    fuse: Annotated[bool, typer.Option("--fuse", help="Let torch.compile fuse operations.")] = False,
    workers: Workers = 0,
    shard: Shard = "1/1",
    ray: Ray = "",
) -> None:
    """Compute frozen features of every clip, forward and backward; resumes where it was stopped."""
    from cimeu.atomic import check_free, write_whole
    from cimeu.corpora.adapters.folder import read_recordings
    from cimeu.csv_files import frame_text
    from cimeu.encoders.registry import build_encoder
    from cimeu.experiments.prepare import cores, default_streams, usable_clips
    from cimeu.features.extract import extract as fill_stores

    part, clips = parse_shard(shard), read_recordings(manifest)
    table = output / ("failures.csv" if part == (1, 1) else f"failures-{part[0]}-of-{part[1]}.csv")
    check_free([table], "failures")
    usable_clips(clips)
    given: dict[str, object] = {
        "precision": precision,
        "device": None if device == "auto" else device,
        "engine": None if engine == "auto" else engine,
        "batch_size": batch or None,
        "fuse": fuse or None,
        **parse_settings(setting or ()),
    }
    settings = {name: value for name, value in given.items() if value is not None}
    if encoder:
        streams = streams_named(encoder, weights or (), region or (), forward_only or (), settings)
    elif weights or region or forward_only or settings:
        raise RecipeError("no encoder is named for these settings\n\nhint: add --encoder NAME")
    else:
        streams = default_streams(clips)
    with progress_bars() as progress:
        extraction = fill_stores(
            clips,
            [build_encoder(config.encoder, **config.settings) for config, _ in streams],
            output,
            second=[config.encoder for config, backward in streams if not backward],
            workers=workers if ray else workers or cores(),
            machines=Machines(part, ray),
            progress=progress,
        )
    say(f"{output}: {extraction.done} clips computed, {extraction.kept} already there")
    write_whole(table, frame_text(extraction.failures), "failures")
    finish(*_complete(extraction), "clips have all features", table)


def _complete(extraction: "Extraction") -> tuple[int, int]:
    """How many clips have all features, and of how many."""
    from cimeu.corpora.paths import UNREADABLE

    failures = extraction.failures
    in_manifest = failures["stream"] == "manifest"
    unreadable = int((in_manifest & failures["reason"].isin(UNREADABLE)).sum())
    total = extraction.done + extraction.kept + unreadable
    return total - unreadable - failures["clip_id"][~in_manifest].nunique(), total


def streams_named(
    encoders: Sequence[str],
    weights: Sequence[str],
    regions: Sequence[str],
    forward_only: Sequence[str],
    settings: Mapping[str, object],
) -> "list[tuple[EncoderConfig, bool]]":
    """Each encoder with its settings, once for each region, and whether it is also played backward.

    Raises:
        RecipeError: an unknown encoder or region, or a setting that applies to none of the encoders.
    """
    for region in regions:
        if region not in REGIONS:
            raise RecipeError(f"unknown region `{region}`\n\nhint: {' or '.join(REGIONS)}")
    check_taken(encoders, [*settings, *(["source"] if regions else [])])
    for name in forward_only:
        if name not in encoders:
            raise RecipeError(f"--forward-only `{name}` is not among the encoders\n\nhint: {guess(name, encoders)}")
    files = weights_of(encoders, weights)
    return [
        (config, name not in forward_only) for name in encoders for config in configured(name, files, regions, settings)
    ]


def parse_settings(texts: Sequence[str]) -> dict[str, object]:
    """`["layer=9", "trim=true"]` -> {"layer": 9, "trim": True}; values are read as YAML, as in a recipe.

    Raises:
        RecipeError: not of that form.
    """
    from cimeu.strict_yaml import parse_yaml

    settings: dict[str, object] = {}
    for name, value in pairs(texts, "--setting layer=9").items():
        settings[name] = parse_yaml(value, f"`{name}={value}`", RecipeError, "close every bracket and quote")
    return settings


def check_taken(names: Sequence[str], settings: Sequence[str]) -> None:
    """Refuse a setting that none of the encoders takes; one of several encoders is enough.

    Raises:
        RecipeError: such a setting, by the name of its option, or an unknown encoder.
    """
    from cimeu.encoders.registry import encoder_names, settings_of

    taken = {setting for name in names for setting in settings_of(name)}
    for setting in settings:
        if setting not in taken:
            able = ", ".join(name for name in encoder_names() if setting in settings_of(name)) or "no encoder"
            option = OPTIONS.get(setting, f"--setting {setting}")
            raise RecipeError(f"{option} does not apply to {', '.join(names)}\n\nhint: it is for {able}")


def configured(
    name: str, weights: Mapping[str, Path], regions: Sequence[str], settings: Mapping[str, object]
) -> "list[EncoderConfig]":
    """One encoder with what it takes of the settings, once for each region."""
    from cimeu.encoders.registry import settings_of
    from cimeu.experiments.recipe import EncoderConfig

    accepted = settings_of(name)
    taken = {key: value for key, value in settings.items() if key in accepted}
    if name in weights:
        taken["weights"] = str(weights[name])
    if "source" not in accepted or not regions:
        return [EncoderConfig(encoder=name, settings=taken)]
    return [EncoderConfig(encoder=name, settings=taken | {"source": region}) for region in dict.fromkeys(regions)]


def weights_of(names: Sequence[str], weights: Sequence[str]) -> dict[str, Path]:
    """Weights file of each encoder, from `FILE` (one encoder that takes weights) or `ENCODER=FILE`.

    Raises:
        RecipeError: a file that goes with no encoder, or with more than one.
    """
    from cimeu.encoders.registry import settings_of

    taking = [name for name in names if "weights" in settings_of(name)]
    files: dict[str, Path] = {}
    for text in weights:
        name, separator, file = text.partition("=")
        if separator and name in names:
            files[name] = Path(file)
        elif len(taking) == 1:
            files[taking[0]] = Path(text)
        else:
            raise RecipeError(
                f"weights `{text}` belong to {'no encoder' if not taking else 'one of ' + ', '.join(taking)}"
                "\n\nhint: write --weights ENCODER=FILE"
            )
    return files


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

    roots = {name: root / name for name in DIRECTIONS} if direction == "both" else {direction: root}
    for played, folder in roots.items():
        count = import_features(list_file, root=folder, encoder=encoder, stride=stride, direction=played, folder=output)
        say(f"{output}: {count} clips imported, {played}")
