"""`cimeu predict`: recordings to timelines."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from cimeu.cli.terminal import Device, Output, Ray, Shard, finish, pairs, parse_shard, progress_bars, say
from cimeu.cluster import Machines
from cimeu.errors import RecipeError

if TYPE_CHECKING:
    from cimeu.inference.recogniser import Recogniser

Weights = Annotated[
    list[str] | None,
    typer.Option("--weights", help="ENCODER=PATH of weights that lie elsewhere, as hub-sound=FOLDER; may be repeated."),
]
WEIGHTS_SUCH_AS = "--weights hub-sound=FOLDER"
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--setting",
        help="NAME=VALUE of a threshold of the timeline, as minimum_s=2 or abstain_unlike=false; may be repeated.",
    ),
]
SETTING_SUCH_AS = "--setting minimum_s=2"
Style = Annotated[
    str,
    typer.Option(
        help="Where the way of speaking of a person is read from, without labels, by models that can: recording (other "
        "windows of it), person or study (all recordings given), none."
    ),
]
DEFAULT_STYLE = "recording"
STARTER_LINE = (
    "model: the voice model that ships with cimeu (research use; anger, happiness, neutral, sadness; no faces)"
)


Model = Annotated[
    str | None,
    typer.Option(
        help="Run folder, bundle (.zip), name of a model here, or USER/NAME on the hub. [default: the voice that ships]"
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Run folder, bundle (.zip), name of a model here, or USER/NAME on the hub; repeated, each writes to a "
        "folder of its name. [default: the voice that ships]",
    ),
]
Formats = Annotated[
    str,
    typer.Option(
        "--format", help="Separated by commas; `all`. [default: csv,series.csv,series.parquet,vtt,eaf,html,json]"
    ),
]
AbstainAt = Annotated[
    str, typer.Option("--abstain-at", help="Confidence below which no emotion is named; --setting abstain_below.")
]
BlurFaces = Annotated[
    bool, typer.Option("--blur-faces", help="Cover every face in an annotated video (.mp4); the page plays that.")
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Say what each segment rests on, in .json and .html; takes longer.")
]

Participants = Annotated[
    Path | None,
    typer.Option(help="Table of a study, kept beside the results for `cimeu collect`: file, participant, person."),
]
Events = Annotated[
    Path | None, typer.Option(help="Table of a study, kept beside the results: file (or *), start, end, condition.")
]


def predict(
    paths: Annotated[list[Path], typer.Argument(help="Videos, sound files or folders of them.")],
    output: Output = Path("predictions"),
    model: Models = None,
    formats: Formats = "",
    setting: Setting = None,
    weights: Weights = None,
    device: Device = "auto",
    style: Style = DEFAULT_STYLE,
    start: Annotated[str, typer.Option(help="Leave out what comes before: seconds, 10:00 or 1:02:03.")] = "",
    end: Annotated[str, typer.Option(help="Leave out what comes after.")] = "",
    hop: Annotated[str, typer.Option(help="Seconds between two windows; --setting hop_s.")] = "",
    abstain_at: AbstainAt = "",
    participants: Participants = None,
    events: Events = None,
    shard: Shard = "1/1",
    ray: Ray = "",
    blur_faces: BlurFaces = False,
    no_sound: Annotated[bool, typer.Option("--no-sound", help="Leave the sound out of annotated videos.")] = False,
    explain: Explain = False,
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time went, stage by stage.")] = False,
) -> None:
    """Write a timeline for each file, with reasons where nothing can be said."""
    options = {"start_s": start, "end_s": end, "hop_s": hop, "abstain_below": abstain_at}
    given = {name: text for name, text in options.items() if text}
    models: list[str | None] = [*model] if model else [None]
    folders = folder_names([name for name in models if name is not None])
    from cimeu.inference.batch import FAILURES, predict_files, recordings_by_name
    from cimeu.inference.side_by_side import SideBySide
    from cimeu.timeline.overlay import VideoOptions
    from cimeu.timeline.study.kept_tables import read_tables

    suffixes = suffixes_of(formats, with_video=blur_faces or no_sound)
    results = [output / folder for folder in folders] if len(folders) > 1 else [output]
    tables = read_tables(participants, events, recordings_by_name(paths, suffixes) if participants or events else {})
    tables.check_free(results)
    for file in tables.without_recordings:
        say(f"not among the recordings, though a table names it: {file}")
    recognisers = [recogniser_of(name, setting, weights, device, style, given) for name in models]
    if (several := len(recognisers)) > 1:
        passes = several if explain else SideBySide(recognisers).passes
        say(f"{several} models read each recording {'once together' if passes == 1 else f'in {passes} passes'}")
    tables.write(results)  # before the work: a run that is stopped has its tables too
    with progress_bars() as progress:
        report = predict_files(
            paths,
            output,
            dict(zip(folders, recognisers, strict=True)) if len(recognisers) > 1 else recognisers[0],
            progress,
            formats=suffixes,
            explained=explain,
            machines=Machines(parse_shard(shard), ray),
            video=VideoOptions(blur_faces=blur_faces, sound=not no_sound),
        )
    for line in (line for recogniser in recognisers if profile for line in recogniser.stopwatch.lines()):
        say(line)
    for path, reason in report.failures.itertuples(index=False):
        say(f"{path}: {reason}")
    done, lists = report.recordings - len(report.failures), ", ".join(str(folder / FAILURES) for folder in results)
    finish(done, report.recordings, f"timelines written to {output}", lists)


def suffixes_of(formats: str, *, with_video: bool = False) -> tuple[str, ...]:
    """The formats that an option names, as suffixes; the annotated video too where its own options are given."""
    from cimeu.inference.batch import FORMATS
    from cimeu.timeline.formats import EVERY_FORMAT
    from cimeu.timeline.overlay import OVERLAY

    named = tuple(f".{name.strip().lower().removeprefix('.')}" for name in formats.split(",") if name.strip())
    suffixes = EVERY_FORMAT if named == (".all",) else named or FORMATS
    return suffixes if OVERLAY in suffixes or not with_video else (*suffixes, OVERLAY)


def folder_names(models: Sequence[str]) -> list[str]:
    """What the folders of the results of several models are called: as the model's own folder or bundle.

    >>> folder_names(["runs/german", "voice", "laughter.zip", "user/name@main"])
    ['german', 'voice', 'laughter', 'name@main']
    """
    names = [Path(model).absolute().resolve().name.removesuffix(".zip") for model in models]
    for name, times in Counter(names).items():
        if times > 1:
            raise RecipeError(
                f"{times} models are called `{name}`, and each writes to a folder of its name\n\n"
                "hint: predict with one of them into another -o, or pack it under another name with `cimeu bundle`"
            )
    return names


def recogniser_of(
    model: str | None,
    setting: list[str] | None,
    weights: list[str] | None,
    device: str,
    style: str,
    further: Mapping[str, str] = MappingProxyType({}),
) -> "Recogniser":
    """The model that the options of a command name, or the one that ships; `further` are more thresholds by name."""
    from cimeu.inference.model_store import model_named
    from cimeu.timeline.settings import TimelineSettings

    settings = TimelineSettings().changed(pairs(setting or (), SETTING_SUCH_AS) | dict(further))
    chosen, files = model_named(model), pairs(weights or (), WEIGHTS_SUCH_AS)
    from cimeu.inference.recogniser import Recogniser  # after what is refused at once: it loads torch

    if model is None:
        say(STARTER_LINE)
    recogniser = Recogniser.from_pretrained(chosen, settings=settings, weights=files, device=device, style=style)
    # `recording` is the default: only who asked for another scope is told that there is nothing to read a style with.
    if recogniser.style != style != DEFAULT_STYLE:
        say(
            f"{recogniser.model_id} reads no style: each window is answered alone (`training.supports=true` trains one)"
        )
    return recogniser
