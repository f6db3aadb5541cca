"""Which files below a folder are recordings: one list of suffixes and one walk for every command."""

import os
from collections.abc import Iterator
from pathlib import Path

from cimeu.atomic import is_own

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".vob"}
    | {".ts", ".mts", ".m2ts", ".3gp", ".3g2", ".mxf", ".dv"}
)
SOUND_SUFFIXES = frozenset(
    {".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".wma", ".aiff", ".aif", ".aifc", ".caf"}
    | {".amr", ".ac3", ".mka", ".au", ".weba"}
)
MEDIA_SUFFIXES = VIDEO_SUFFIXES | SOUND_SUFFIXES
"""What counts as a recording inside a folder; a file that is named is always tried."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
"""Images of a folder that is a clip."""
TRASH = frozenset({"$RECYCLE.BIN", "RECYCLER", "System Volume Information", "__MACOSX", "lost+found", "@eaDir"})
"""Folders that operating systems and archives make, beside those whose names begin with a dot."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is there for a program: `._clip.mp4` of macOS, `.Trash`, `$RECYCLE.BIN`."""
    return name.startswith(".") or name in TRASH


def is_image(name: str) -> bool:
    """Whether a file is an image of a clip."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def recordings_below(folder: Path) -> Iterator[Path]:
    """Recordings below a folder in the order of their names; hidden files and results of `cimeu` are passed over."""
    return (path for path in _files_below(folder) if path.suffix.lower() in MEDIA_SUFFIXES)


def other_files_below(folder: Path) -> list[Path]:
    """Files that are not recordings by their suffix, in the order of their names."""
    return [path for path in _files_below(folder) if path.suffix.lower() not in MEDIA_SUFFIXES]


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(files):
            path = Path(parent, name)
            if not is_hidden(name) and not is_own(path):
                yield path
