"""Where the paths of a table lead, whichever system wrote them.

Windows writes backslashes; macOS may store `é` as two characters (NFD) where a table has one (NFC). A path is taken as
it stands where a file has it, else in the form that a file has. Names of clips are always NFC, so that tables meet.
"""

import errno
import os
import re
import stat
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from cimeu.media.packed import has_row

MISSING_FILE = "missing file"
TOO_LONG = "a name that is too long"
NO_FILE = "neither a file nor a folder of images"
NOT_UTF8 = "a name that is not UTF-8: rename the file"
_PLAIN = re.compile(r"/?(?:[\w-][\w .-]*/)*[\w-]+\.\w+", re.ASCII)
FROM_DISK = frozenset({MISSING_FILE, TOO_LONG, NO_FILE})
"""Problems that are looked up each time a manifest is read."""


class PathFinder:
    """Finds the files of one table; every folder is listed once at most."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[str, dict[str, str]] = {}

    def find(self, text: str) -> str:
        """The path below the root, or an absolute one, of the file that a cell means."""
        plain = inside(text, self.root)
        if problem_of(os.path.join(self.root, plain)) != MISSING_FILE:
            return plain
        slashed = inside(text.replace("\\", "/"), self.root)
        if slashed != plain and problem_of(os.path.join(self.root, slashed)) != MISSING_FILE:
            return slashed
        return self._composed(slashed) or slashed

    def _composed(self, path: str) -> str:
        """The path with each name as its folder has it; empty where a folder has none like it."""
        if path.isascii():
            return ""
        whole = self.root / path
        reached = whole.anchor
        for name in whole.parts[1:]:
            if reached not in self._names:
                try:
                    self._names[reached] = {normalize("NFC", entry): entry for entry in os.listdir(reached)}
                except OSError:
                    self._names[reached] = {}
            entry = self._names[reached].get(normalize("NFC", name))
            if entry is None:
                return ""
            reached = os.path.join(reached, entry)
        return inside(reached, self.root)


def problem_of(path: Path | str) -> str:
    """Why there is nothing to open at a path; empty where there is a file, a folder, or the row of a table."""
    try:
        mode = os.stat(path).st_mode
    except ValueError:  # a zero byte in the name
        return MISSING_FILE
    except NotADirectoryError:
        return "" if has_row(Path(path)) else MISSING_FILE
    except OSError as error:
        return TOO_LONG if error.errno == errno.ENAMETOOLONG else MISSING_FILE
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else NO_FILE  # a pipe might never end


def readable(path: Path | str) -> str:
    """A path as text: bytes that are not UTF-8 become `\\xfc`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def absolute(path: Path) -> Path:
    """Absolute and without `..`, so that the names of clips do not depend on the working directory."""
    return Path(os.path.abspath(path))


def inside(path: str | Path, root: Path) -> str:
    """Path relative to an absolute `root` with forward slashes where it lies below it, else absolute."""
    whole = os.path.normpath(os.path.join(root, path))
    below = whole.removeprefix(os.path.join(root, ""))
    return below.replace(os.sep, "/")


def clip_id_of(path: str) -> str:
    """Name of a clip that is a whole file: its path without suffix."""
    if _PLAIN.fullmatch(path):  # nearly all; a path object costs ten times as much
        return path.rpartition(".")[0].lstrip("/")
    return normalize("NFC", PurePosixPath(path).with_suffix("").as_posix().lstrip("/"))
