"""Many recordings, one after another: timelines as files, resumed where it was stopped.

The `.json` of a recording comes last and seals it: it says which model and settings made it and which files were
written beside it.
"""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from os.path import isfile, samefile
from pathlib import Path

import pandas as pd

from cimeu.atomic import NO_ROOM, ROOM, adopt_file, check_free, is_own, locked, write_whole
from cimeu.cluster import HERE, LOST, Event, Machines, on_ray, part_of
from cimeu.csv_files import frame_text, read_csv
from cimeu.errors import CimeuError, MediaError, RecipeError, first_line
from cimeu.inference.explain import explained_timeline
from cimeu.inference.own_style import Support
from cimeu.inference.recogniser import Recogniser
from cimeu.inference.side_by_side import SideBySide
from cimeu.media.recordings import recordings_below
from cimeu.progress import Progress, silent
from cimeu.timeline.formats import EVERY_FORMAT, KIND, save, to_json
from cimeu.timeline.overlay import OVERLAY, VideoOptions, is_overlay
from cimeu.timeline.result import Timeline

logger = logging.getLogger(__name__)

FORMATS = (".csv", ".series.csv", ".series.parquet", ".vtt", ".eaf", ".html", ".json")
"""What `predict_files` writes by default: what is cheap and what most people open."""
FAILURES = "failures.csv"
LONGEST_NAME = 255
"""Bytes of a name on the usual file systems."""


SERIES = {".series.csv", ".series.parquet"}
LINKED = {".html", ".eaf"}
"""Formats that refer to a recording."""
DEFAULT_VIDEO = VideoOptions()
TOGETHER = ("person", "study")
"""Scopes of a style that is read from all recordings of a call; each of these is then read twice."""


@dataclass(frozen=True)
class BatchReport:
    """How many timelines there were to write, and which failed and why."""

    recordings: int
    failures: pd.DataFrame
    """Columns `path` and `reason`."""


def predict_files(
    paths: Iterable[Path | str],
    output: Path | str,
    model: Path | str | Recogniser | Mapping[str, Recogniser],
    progress: Progress = silent,
    *,
    formats: Sequence[str] = FORMATS,
    explained: bool = False,
    machines: Machines = HERE,
    video: VideoOptions = DEFAULT_VIDEO,
) -> BatchReport:
    """Write a timeline in each format for each recording, its `.json` in any case, and `failures.csv`.

    Files of folders keep their place below `output`. A recording that is finished, by the same model and settings, is
    not recognised again: only formats that were not written yet are added. One that fails stops no other. Several
    processes may write to one folder.

    Args:
        paths: recordings, and folders that are searched for them.
        output: folder for the results.
        model: run folder or bundle, or a recogniser. Several by name: the results of each are in a folder of its name
            below `output`, and models with the same encoders read each recording together.
        progress: counts recordings (`files`) and seconds of each.
        formats: suffixes among those of `Timeline.save`.
        explained: whether each segment is explained: the network then runs about ten times as often.
        machines: the part of the recordings that is meant, or whose workers have a recording each. One whose workers
            died has failed.
        video: what annotated videos show. Where these cover faces, pages play them instead of the recording.

    Raises:
        CheckpointError, FingerprintMismatch, WeightsMissing: the model cannot be used here.
        RecipeError: an unknown format, an impossible shard, or two recordings whose results would have one name.
        OutputError: `failures.csv` is not ours to replace.
        OSError: nothing can be written to `output`, or its disk is full; what is finished is kept.
    """
    _check_formats(formats)
    output, given = Path(output), [Path(path) for path in paths]
    results = [output / name for name in model] if isinstance(model, Mapping) else [output]
    check_free([folder / FAILURES for folder in results], "failures")
    recordings = dict(part_of(list(recordings_by_name(given, formats).items()), machines.shard))
    with locked(output / ROOM / "failures.writing"):  # also shows that the folder can be written to
        recognisers = _by_folder(model, output)
    if machines != HERE:
        _check_apart(recognisers.values(), "ray" if machines.ray else "shard")
    work = partial(_predict_all, recognisers=recognisers, formats=formats, explained=explained, video=video)
    if machines.ray:
        heavy = any(recogniser.device.type == "cuda" for recogniser in recognisers.values())
        failures = _on_cluster(recordings, work, machines.ray, list(recognisers), progress, heavy=heavy)
    else:
        failures = work(recordings, progress)
    # Other shards answer for the other recordings of a folder.
    folders = [path for path in given if path.is_dir()] if machines.shard == HERE.shard else []
    tables = {folder: failures_table(reasons) for folder, reasons in failures.items()}
    for folder, table in tables.items():
        _write_failures(folder, table, folders, recordings.values())
    return BatchReport(len(recordings) * len(recognisers), pd.concat(tables.values(), ignore_index=True))


Failures = dict[Path, dict[Path, str]]
"""By folder of results: which recordings failed and why."""


def _on_cluster(
    recordings: Mapping[str, Path],
    work: Callable[[Mapping[str, Path], Progress], Failures],
    ray: str,
    folders: Sequence[Path],
    progress: Progress,
    *,
    heavy: bool = False,
) -> Failures:
    """A recording to each worker at a time, which writes its results itself."""
    failures: Failures = {folder: {} for folder in folders}
    tasks, ended = [{name: path} for name, path in recordings.items()], 0
    progress("files", ended, len(tasks))
    for task, message in on_ray(tasks, partial(_one_task, work), ray, heavy=heavy):
        if isinstance(message, Event):
            ended += 1
            progress("files", ended, len(tasks))
            reasons = dict.fromkeys(task.values(), LOST) if message is Event.LOST else {}
            message = dict.fromkeys(folders, reasons)
        assert isinstance(message, dict)
        for folder, reasons in message.items():
            failures[folder] |= reasons
    # In the order of the recordings, whichever ended first.
    in_order = list(recordings.values())
    return {
        folder: {path: reasons[path] for path in in_order if path in reasons} for folder, reasons in failures.items()
    }


def _one_task(work: Callable[[Mapping[str, Path], Progress], Failures], task: Mapping[str, Path]) -> list[Failures]:
    return [work(task, silent)]


def _predict_all(
    recordings: Mapping[str, Path],
    progress: Progress,
    *,
    recognisers: Mapping[Path, Recogniser],
    formats: Sequence[str],
    explained: bool,
    video: VideoOptions,
) -> Failures:
    """Write the results of each recording and model."""
    supports = {
        folder: _supports(recogniser, recordings.values(), progress) for folder, recogniser in recognisers.items()
    }
    failures: Failures = {folder: {} for folder in recognisers}
    side_by_side = SideBySide(list(recognisers.values()))
    for number, (name, path) in enumerate(recordings.items()):
        progress("files", number, len(recordings))
        for folder, recogniser in recognisers.items():
            others = [support for other, windows in supports[folder].items() if other != path for support in windows]
            # What a segment rests on needs the windows themselves, which are not kept for a second model.
            recognise = partial(explained_timeline if explained else side_by_side, recogniser, others=others)
            work = partial(_predict, recogniser, path, folder / name, formats, recognise)
            if reason := failure_of(partial(work, explained=explained, video=video, progress=progress), path):
                failures[folder][path] = reason
    progress("files", len(recordings), len(recordings))
    return failures


def _check_apart(recognisers: Iterable[Recogniser], option: str) -> None:
    """Recordings can be worked on apart. Raises RecipeError where one model reads all of them together."""
    for recogniser in recognisers:
        if recogniser.style in TOGETHER:
            raise RecipeError(
                f"a style of the {recogniser.style} is read from all recordings\n\n"
                f"hint: leave out --{option}, or --style none"
            )


def _check_formats(formats: Iterable[str]) -> None:
    for suffix in formats:
        if suffix not in EVERY_FORMAT:
            raise RecipeError(f"unknown format `{suffix}`\n\nhint: one of {', '.join(EVERY_FORMAT)}")


def _by_folder(model: Path | str | Recogniser | Mapping[str, Recogniser], output: Path) -> dict[Path, Recogniser]:
    """Models by the folder of their results."""
    if isinstance(model, Mapping):
        return {output / name: recogniser for name, recogniser in model.items()}
    return {output: model if isinstance(model, Recogniser) else Recogniser.from_pretrained(model)}


def failures_table(failures: Mapping[Path, str]) -> pd.DataFrame:
    """Columns `path` and `reason`."""
    return pd.DataFrame([(printable(path), reason) for path, reason in failures.items()], columns=["path", "reason"])


def failure_of(work: Callable[[], object], path: Path) -> str:
    """Why the work on a recording failed; empty where it did not. Only a full disk is raised: it would stop all."""
    try:
        work()
    except CimeuError as error:
        return first_line(error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        if isinstance(error, OSError) and error.errno:  # the machine refuses: no bug, and its words say enough
            return printable(Path(str(error)))
        logger.exception("`%s` failed", printable(path))
        return f"unexpected {type(error).__name__}: {error}"
    return ""


def _predict(
    recogniser: Recogniser,
    path: Path,
    target: Path,
    formats: Sequence[str],
    recognise: Callable[..., Timeline],
    *,
    explained: bool,
    video: VideoOptions,
    progress: Progress,
) -> None:
    """Write what is missing of one recording; `target` is the path of its results without suffix."""
    check_recording(path)
    # A style that is read from several recordings changes with each that joins them.
    finished = None if recogniser.style in TOGETHER else _finished(_with(target, ".json"), path, recogniser)
    wants_series = not SERIES.isdisjoint(formats)
    if (
        finished is None
        or (explained and finished[0].explanations is None)
        or (wants_series and finished[0].series is None)
    ):
        check_free((_with(target, suffix) for suffix in {*formats, ".json"}), KIND)
        finished = recognise(path, progress=progress), set(), DEFAULT_VIDEO
    timeline, written, earlier_video = finished
    if OVERLAY not in formats:
        video = earlier_video  # what is there stays, and pages keep referring to it
    elif video != earlier_video:
        written = written - {OVERLAY, *LINKED}
    _write(timeline, written, target, formats, video)


def _supports(recogniser: Recogniser, paths: Iterable[Path], progress: Progress) -> dict[Path, list[Support]]:
    """Windows of each recording that a style is read from, where it is read from several; recordings that fail have
    none, and are reported later."""
    supports: dict[Path, list[Support]] = {}
    if recogniser.style not in TOGETHER:
        return supports
    for path in paths:
        try:
            check_recording(path)
            supports[path] = recogniser.supports(path, progress=progress)
        except CimeuError:
            continue
    return supports


def check_recording(path: Path) -> None:
    """Refuse a file that is not a recording of somebody. Raises MediaError."""
    if printable(path) != str(path):
        raise MediaError(f"`{printable(path)}` has a name that is not UTF-8\n\nhint: rename it")
    if path.is_dir():
        raise MediaError(f"`{path}` holds no recording\n\nhint: give a folder with video or sound files in it")
    if is_own(path) or is_overlay(path):
        raise MediaError(f"`{path}` was written by `cimeu predict`\n\nhint: give the recording that it was made from")


def recordings_by_name(paths: Sequence[Path], formats: Sequence[str] = ()) -> dict[str, Path]:
    """Recordings by the name of their results, without suffix; formats say how long a name may be."""
    places: dict[Path, Path] = {}  # recording: its place among the results
    spellings: dict[str, Path] = {}  # one file may be given as `a.mp4` and by its whole path
    for path in paths:
        inside = list(recordings_below(path)) if path.is_dir() else []
        if inside:
            place_of = {file: file.relative_to(path) for file in inside if not is_overlay(file)}
        else:
            place_of = {path: Path(path.name or path.absolute().name)}
        places |= {spellings.setdefault(os.path.abspath(file), file): place for file, place in place_of.items()}
    # `a.mp4` gives `a.csv`, unless `a.wav` is there too: then `a.mp4.csv` and `a.wav.csv`.
    n_uses = Counter([*(str(place.with_suffix("")) for place in places.values()), *map(str, places.values())])
    n_uses[Path(FAILURES).stem] += 1
    # The segments of `a.series.wav` must not take the name of the series of `a.wav`.
    n_uses.update(f"{name}.series" for place in places.values() for name in {place.with_suffix(""), place})
    named: dict[str, Path] = {}
    for path, place in places.items():
        bare = str(place.with_suffix(""))
        name = _fitting(str(place) if n_uses[bare] > 1 + (bare == str(place)) else bare, formats)
        if name in named:
            raise RecipeError(
                f"`{named[name]}` and `{path}` would both be written as `{name}`\n\n"
                "hint: give the folder that holds both"
            )
        named[name] = path
    return named


def _fitting(name: str, formats: Sequence[str]) -> str:
    """The name of results, cut where it would be too long with a suffix; a digest keeps two such names apart."""
    folder, slash, last = name.rpartition("/")
    encoded = os.fsencode(last)
    room = LONGEST_NAME - max(len(suffix) for suffix in (*formats, ".json"))
    if len(encoded) <= room:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    kept = encoded[: room - len(digest) - 1].decode("utf-8", "ignore")  # without half a character at its end
    return f"{folder}{slash}{kept}~{digest}"


def _finished(seal: Path, path: Path, recogniser: Recogniser) -> tuple[Timeline, set[str], VideoOptions] | None:
    """A timeline that this model made of this recording, the formats it was written in, and what its video shows."""
    try:
        content = seal.read_bytes()
        timeline = Timeline.from_json(content, path)
        values = json.loads(content)
        written, video = set(values["written"]), VideoOptions(**values.get("video", {}))
        current = recogniser.header(path, timeline.header.duration_s)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # How many windows a style was read from is known only once a recording is read.
    if replace(timeline.header, style_windows=0, style_note="") != current:
        return None
    if content == to_json(timeline, seal, **_sealed(written, video)):
        adopt_file(seal, KIND)  # versions before 0.2 kept no list of what they wrote
    return timeline, written, video


def _sealed(written: Iterable[str], video: VideoOptions) -> dict[str, object]:
    """What the `.json` says of the files beside it."""
    return {"written": sorted(written)} | ({"video": asdict(video)} if video != DEFAULT_VIDEO else {})


def _write(timeline: Timeline, written: set[str], target: Path, formats: Sequence[str], video: VideoOptions) -> None:
    """Add the formats that are missing, and those of an earlier timeline; the `.json` comes last and lists them."""
    kept = {suffix for suffix in written if isfile(_with(target, suffix))}
    added = [suffix for suffix in formats if suffix not in kept and suffix != ".json"]
    if written and not added:
        return
    seal = _with(target, ".json")
    check_free([*(_with(target, suffix) for suffix in added), seal], KIND)
    for suffix in sorted(set(EVERY_FORMAT) - kept - {*added, ".json"}):
        earlier = _with(target, suffix)
        if is_own(earlier):  # by another model or of another recording of this name
            added.append(suffix)
        elif isfile(earlier) and not (isfile(timeline.media_path) and samefile(earlier, timeline.media_path)):
            logger.warning("`%s` is not of this timeline: it was there before or was changed by hand", earlier)
    linked = timeline
    if video.blur_faces and OVERLAY in {*kept, *added}:
        linked = replace(timeline, media_path=_with(target, OVERLAY))
    for suffix in sorted(added, key=lambda suffix: suffix != OVERLAY):  # pages look whether the video is there
        save(timeline if suffix == OVERLAY else linked, _with(target, suffix), video)
    write_whole(seal, to_json(timeline, seal, **_sealed({*kept, *added, ".json"}, video)), KIND)


def _write_failures(output: Path, failures: pd.DataFrame, folders: Sequence[Path], answered: Iterable[Path]) -> None:
    """Rows of this call; those of other calls stay unless they are about recordings that this one answered for."""
    path, names = output / FAILURES, {printable(recording) for recording in answered}

    def is_answered(row: str) -> bool:
        return row in names or any(Path(row).is_relative_to(folder) for folder in folders)

    with locked(output / ROOM / "failures.writing"):
        if is_own(path):
            earlier = read_csv(path).frame
            failures = pd.concat([earlier[[not is_answered(row) for row in earlier["path"]]], failures])
        write_whole(path, frame_text(failures), "failures")


def _with(target: Path, suffix: str) -> Path:
    """A result beside the others; what follows a dot in the name of the recording stays."""
    return target.with_name(target.name + suffix)


def printable(path: Path) -> str:
    """A path as text; bytes that are none are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()
