"""Recordings that outlive a server, in a folder that the user names.

    folder/3f...                the recording, as it was sent; the name is its id
    folder/3f....json           its name, times and settings, and what people changed
    folder/3f....timeline.json  what the model says, once it is there

All three are deleted together. A file of another name is never touched.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from cimeu.atomic import ROOM, STATE, locked, write_whole
from cimeu.errors import CimeuError, RecipeError
from cimeu.server.edits import Edits
from cimeu.server.recording import Recording
from cimeu.timeline.formats import to_json
from cimeu.timeline.result import Timeline
from cimeu.timeline.settings import TimelineSettings

logger = logging.getLogger(__name__)

ID = r"[0-9a-f]{32}"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is known about a recording beside its timeline."""

    name: str
    recording: Recording
    created_s: float
    finished_s: float
    """0 until it has been read."""
    settings: TimelineSettings
    edits: Edits
    schema_version: Literal[1] = 1


_JSON = TypeAdapter(Kept)


def keep(path: Path, kept: Kept, timeline: Timeline | None = None) -> None:
    """Write what is known about the recording at `path`; the timeline once is enough, for it never changes.

    Raises:
        OSError: the machine refuses, such as a full disk.
    """
    if timeline is not None:
        # First: once the state says that it is finished, the timeline is there.
        write_whole(_timeline_path(path), to_json(timeline, path), STATE)
    write_whole(_state_path(path), _JSON.dump_json(kept), STATE)


def remove(path: Path) -> None:
    """Delete a recording and everything beside it."""
    for file in (path, _state_path(path), _timeline_path(path)):
        file.unlink(missing_ok=True)


def kept_recordings(folder: Path) -> Iterator[tuple[Path, Kept, Timeline | None]]:
    """Recordings in a folder, in order of arrival, with their timelines where they have been read.

    What a crash left of an upload is deleted; what cannot be read is logged, left out and stays.
    """
    entries = []
    for path in folder.iterdir():
        if not re.fullmatch(ID, path.name):
            continue
        if not _state_path(path).is_file():
            remove(path)  # it broke off before it was accepted: nobody could find it
            continue
        try:
            kept = _JSON.validate_json(_state_path(path).read_bytes())
            timeline = Timeline.from_json(_timeline_path(path).read_bytes(), path) if kept.finished_s else None
        except (ValidationError, CimeuError, ValueError, KeyError, TypeError, OSError) as error:
            logger.warning("the recording %s cannot be opened again (%s)", path, type(error).__name__)
            continue
        entries.append((path, kept, timeline))
    yield from sorted(entries, key=lambda entry: entry[1].created_s)


@contextmanager
def kept_folder(folder: Path) -> Iterator[Path]:
    """A folder of one server at a time; it stays when the server ends.

    Raises:
        RecipeError: it holds files that no server put there, another server uses it, or it cannot be made.
    """
    lock = folder / ROOM / "server"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_foreign = not lock.exists() and any(folder.iterdir())
    except OSError as error:
        raise RecipeError(f"`{folder}` cannot be used: {error.strerror}\n\nhint: name another --folder") from None
    if is_foreign:
        # Recordings may be named by 32 digits as ours are, and what has expired is deleted.
        raise RecipeError(f"`{folder}` holds files of its own\n\nhint: name a new --folder")
    with locked(lock, wait=False) as is_free:
        if not is_free:
            raise RecipeError(f"another server uses `{folder}`\n\nhint: stop it, or name another --folder")
        yield folder


def _state_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _timeline_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.timeline.json")
