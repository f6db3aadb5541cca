"""Many recordings, one after another: timelines as files, goes on where it stopped.

The `.json` of a recording comes last and seals it: it says which model and settings made it and which files were
written beside it.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from cimeu.errors import CimeuError, RecipeError
from cimeu.inference.exports import WRITERS
from cimeu.inference.recogniser import Recogniser
from cimeu.progress import Progress, silent

logger = logging.getLogger(__name__)

FORMATS = (".csv", ".vtt", ".eaf", ".html", ".json")
"""What `predict_files` writes for each recording; `.json` comes last and seals it."""
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
) -> pd.DataFrame:
    """Write a timeline in each format for each recording, and `failures.csv`.

    Files of folders keep their place below `output`. A recording whose timelines are there, whole and by the same
    model and settings, is kept as it is; one that fails stops no other.

    Args:
        paths: recordings, and folders that are searched for them.
        output: folder for the results.
        model: run folder, or a recogniser.
        progress: counts recordings (`files`) and seconds of each.
        formats: suffixes among those of `Timeline.save`.

    Returns:
        Failures: `path` and `reason`.

    Raises:
        CheckpointError, FingerprintMismatch, WeightsMissing: the model cannot be used here.
        RecipeError: an unknown format, or two recordings whose results would have one name.
    """
    for suffix in formats:
        if suffix not in WRITERS:
            raise RecipeError(f"unknown format `{suffix}`\n\nhint: one of {', '.join(WRITERS)}")
    recogniser = model if isinstance(model, Recogniser) else Recogniser.from_pretrained(model)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    wanted = _recordings(paths)
    failures: list[tuple[str, str]] = []
    for number, (name, path) in enumerate(wanted.items()):
        progress("files", number, len(wanted))
        try:
            if not _is_done(output, name, path, recogniser, formats):
                timeline = recogniser(path, progress=progress)
                for suffix in sorted({*formats, ".json"}, key=lambda suffix: suffix == ".json"):
                    timeline.save(output / f"{name}{suffix}")
        except CimeuError as error:
            failures.append((str(path), str(error).split("\n", 1)[0]))
        except Exception as error:
            logger.exception("`%s` failed", path)
            failures.append((str(path), f"unexpected {type(error).__name__}: {error}"))
    progress("files", len(wanted), len(wanted))
    table = pd.DataFrame(failures, columns=["path", "reason"])
    _write_whole(output / "failures.csv", table.to_csv(index=False, lineterminator="\n"))
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


def _is_done(output: Path, name: str, path: Path, recogniser: Recogniser, formats: Sequence[str]) -> bool:
    """All results are there and say that they come from this recording, model and settings."""
    seal = output / f"{name}.json"
    if not path.is_file() or not all((output / f"{name}{suffix}").is_file() for suffix in {*formats, ".json"}):
        return False
    try:
        found = json.loads(seal.read_text(encoding="utf-8"))
        wanted = asdict(recogniser.header(path, found["duration_s"]))
        return json.loads(json.dumps(wanted)) == {key: found[key] for key in wanted}
    except (ValueError, KeyError, TypeError):
        return False


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
