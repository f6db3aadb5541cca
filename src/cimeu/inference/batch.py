"""Many recordings, one after another: timelines as files, goes on where it stopped.

The `.json` of a recording comes last and seals it: it says which model and settings made it and which files were
written beside it.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from cimeu.errors import CimeuError, RecipeError
from cimeu.inference.explain import explained_timeline
from cimeu.inference.recogniser import Recogniser
from cimeu.progress import Progress, silent
from cimeu.timeline.formats import EVERY_FORMAT, from_json, to_json, whole
from cimeu.timeline.timeline import Timeline

logger = logging.getLogger(__name__)

FORMATS = (".csv", ".vtt", ".eaf", ".html", ".json")
"""What `predict_files` writes unless told otherwise: what is cheap and what most people open."""
SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".3gp", ".ogv"}
    | {".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".wma"}
)
"""What counts as a recording inside a folder; a file that is named is always tried."""


def predict_files(
    paths: Iterable[Path | str],
    output: Path | str,
    model: Path | str | Recogniser,
    progress: Progress = silent,
    *,
    formats: Sequence[str] = FORMATS,
    explained: bool = False,
) -> pd.DataFrame:
    """Write a timeline in each format for each recording, its `.json` in any case, and `failures.csv`.

    Files of folders keep their place below `output`. A recording that is finished, by the same model and settings, is
    not recognised again: only formats that were not written yet are added. One that fails stops no other.

    Args:
        paths: recordings, and folders that are searched for them.
        output: folder for the results.
        model: run folder or bundle, or a recogniser.
        progress: counts recordings (`files`) and seconds of each.
        formats: suffixes among those of `Timeline.save`.
        explained: whether each segment is explained: the network is asked about ten times as often.

    Returns:
        Failures: `path` and `reason`.

    Raises:
        CheckpointError, FingerprintMismatch, WeightsMissing: the model cannot be used here.
        RecipeError: an unknown format, or two recordings whose results would have one name.
    """
    for suffix in formats:
        if suffix not in EVERY_FORMAT:
            raise RecipeError(f"unknown format `{suffix}`\n\nhint: one of {', '.join(EVERY_FORMAT)}")
    recogniser = model if isinstance(model, Recogniser) else Recogniser.from_pretrained(model)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    wanted = _recordings(paths)
    failures: list[tuple[str, str]] = []
    for number, (name, path) in enumerate(wanted.items()):
        progress("files", number, len(wanted))
        try:
            finished = _finished(output / f"{name}.json", path, recogniser)
            if finished is None or (explained and finished[0].explanations is None):
                recognise = explained_timeline if explained else Recogniser.__call__
                finished = recognise(recogniser, path, progress=progress), set()
            _write(*finished, output, name, formats)
        except CimeuError as error:
            failures.append((str(path), str(error).split("\n", 1)[0]))
        except Exception as error:
            logger.exception("`%s` failed", path)
            failures.append((str(path), f"unexpected {type(error).__name__}: {error}"))
    progress("files", len(wanted), len(wanted))
    table = pd.DataFrame(failures, columns=["path", "reason"])
    with whole(output / "failures.csv") as temporary:
        temporary.write_text(table.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    return table


def _recordings(paths: Iterable[Path | str]) -> dict[str, Path]:
    """Recordings by the name of their results, without suffix."""
    found: dict[Path, Path] = {}  # recording: its place among the results
    for path in map(Path, paths):
        inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES) if path.is_dir() else []
        found |= {each: each.relative_to(path) for each in inside} or {path: Path(path.name)}
    plain = Counter(place.with_suffix("") for place in found.values())
    named: dict[str, Path] = {}
    for path, place in found.items():
        name = str(place if plain[place.with_suffix("")] > 1 else place.with_suffix(""))
        if name in named:
            raise RecipeError(
                f"`{named[name]}` and `{path}` would both be written as `{name}`\n\n"
                "hint: give the folder that holds both"
            )
        named[name] = path
    return named


def _finished(seal: Path, path: Path, recogniser: Recogniser) -> tuple[Timeline, set[str]] | None:
    """A timeline that this model made of this recording, and the formats it was written in."""
    try:
        content = seal.read_bytes()
        timeline = from_json(content, path)
        written = set(json.loads(content)["written"])
        wanted = recogniser.header(path, timeline.header.duration_s)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (timeline, written) if timeline.header == wanted else None


def _write(timeline: Timeline, written: set[str], output: Path, name: str, formats: Sequence[str]) -> None:
    """Add the formats that are missing; the `.json` comes last and lists them."""
    seal = output / f"{name}.json"
    there = {suffix for suffix in written if (output / f"{name}{suffix}").is_file()}
    added = [suffix for suffix in formats if suffix not in there and suffix != ".json"]
    if written and not added:
        return
    for suffix in added:
        timeline.save(output / f"{name}{suffix}")
    for suffix in set(EVERY_FORMAT) - there - {*added, ".json"}:
        if (output / f"{name}{suffix}").is_file():
            logger.warning("`%s` is of another model or settings", output / f"{name}{suffix}")
    seal.parent.mkdir(parents=True, exist_ok=True)
    with whole(seal) as temporary:
        temporary.write_bytes(to_json(timeline, seal, written=sorted({*there, *added, ".json"})))
