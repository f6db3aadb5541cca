"""Where the paths of a table lead, whichever system wrote them.

Windows writes backslashes; macOS may store `é` as two characters (NFD) where a table has one (NFC). A path is taken as
it stands where a file has it, else in the form that a file has: Windows ignores capital letters, and cells of table
programs have blanks at their ends. Names of clips are always NFC, so that tables meet.
"""

import errno
import os
import re
import stat
from pathlib import Path, PurePath, PurePosixPath
from unicodedata import normalize

from cimeu.media.packed import has_row
from cimeu.media.recordings import MEDIA_SUFFIXES, is_hidden, is_image

MISSING_FILE = "missing file"
TOO_LONG = "a name that is too long"
NO_FILE = "neither a file nor a folder of images"
NO_SOUND_FILE = "sound that is no file"
MIXED = "a folder of both images and recordings: name one file, or move the recordings out"
NOT_UTF8 = "a name that is not UTF-8: rename the file"
_PLAIN = re.compile(r"/?(?:[\w-][\w .-]*/)*[\w-]+\.\w+", re.ASCII)
FROM_DISK = frozenset({MISSING_FILE, TOO_LONG, NO_FILE, NO_SOUND_FILE, MIXED})
"""Problems that are looked up each time a manifest is read."""
UNREADABLE = FROM_DISK | {NOT_UTF8}
"""Problems of files: work on such a clip has failed. Others, such as a clip that was never released, are no failure."""


class PathFinder:
    """Finds the files of one table; every folder is listed once at most."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._start = os.path.join(root, "")
        self._names: dict[str, dict[str, list[str]]] = {}
        self._folders: dict[str, str] = {}

    def find(self, text: str) -> tuple[str, bool]:
        """The path below the root, or an absolute one, of the file that a cell means, and whether it is there."""
        plain = inside(text, self.root)
        if self._is_there(plain):
            return plain, True
        slashed = inside(text.replace("\\", "/"), self.root) if "\\" in text else plain
        if slashed != plain and self._is_there(slashed):
            return slashed, True
        on_disk = self._as_on_disk(slashed.strip())
        return (inside(on_disk, self.root), True) if on_disk else (slashed, False)

    def _is_there(self, path: str) -> bool:
        return _looked_up(os.path.join(self._start, path))[1] != MISSING_FILE

    def _as_on_disk(self, path: str) -> str:
        """The path with each name as its folder has it; empty where a folder has none like it, or several."""
        above, slash, name = path.rpartition("/")
        above += slash
        if above not in self._folders:  # thousands of rows share one
            names_on_the_way, reached = list(PurePath(above).parts), str(self.root)
            if os.path.isabs(above):
                reached, *names_on_the_way = names_on_the_way
            for one in names_on_the_way:
                reached = reached and self._in_folder(reached, one)
            self._folders[above] = reached
        folder = self._folders[above]
        return self._in_folder(folder, name) if folder else ""

    def _in_folder(self, folder: str, name: str) -> str:
        names = self._names_in(folder)
        alike = names and (names.get(normalize("NFC", name)) or names.get(_folded(name)))
        return os.path.join(folder, alike[0]) if alike and len(alike) == 1 else ""

    def _names_in(self, folder: str) -> dict[str, list[str]]:
        """Names of a folder by their composed form, and by that without capital letters and outer blanks."""
        if folder not in self._names:
            names: dict[str, list[str]] = {}
            try:
                entries = os.listdir(folder)
            except OSError:
                entries = []
            for entry in entries:
                # The second form begins with a sign that no name has, so that the two never mix.
                for form in (normalize("NFC", entry), _folded(entry)):
                    names.setdefault(form, []).append(entry)
            self._names[folder] = names
        return self._names[folder]


def _folded(name: str) -> str:
    return "/" + normalize("NFC", name).casefold().strip()


def problem_of(path: str, sound: str = "") -> str:
    """Why a clip cannot be opened; empty where it is a file, a folder of images, or the row of a table.

    Args:
        path: of the clip.
        sound: file of its sound where that is another one; it may lie in the folder of the images.
    """
    mode, problem = _looked_up(path)
    if not problem and stat.S_ISDIR(mode):
        problem = _problem_of_folder(path, sound)
    elif not problem and not stat.S_ISREG(mode):  # a pipe might never end
        problem = NO_FILE
    if problem or not sound:
        return problem
    mode, problem = _looked_up(sound)
    return problem or ("" if stat.S_ISREG(mode) else NO_SOUND_FILE)


def _looked_up(path: str) -> tuple[int, str]:
    """Mode of what a path names, and why there is nothing; a row of a table counts as a file."""
    try:
        return os.stat(path).st_mode, ""
    except ValueError:  # a zero byte in the name
        return 0, MISSING_FILE
    except NotADirectoryError:
        return stat.S_IFREG, "" if has_row(Path(path)) else MISSING_FILE
    except OSError as error:
        return 0, TOO_LONG if error.errno == errno.ENAMETOOLONG else MISSING_FILE


def _problem_of_folder(path: str, sound: str) -> str:
    """Recordings beside the images would be left out without a word."""
    try:
        names = [name for name in os.listdir(path) if not is_hidden(name)]
    except OSError:
        return NO_FILE
    if not any(map(is_image, names)):
        return NO_FILE
    recordings = {name for name in names if os.path.splitext(name)[1].lower() in MEDIA_SUFFIXES}
    own = os.path.basename(sound) if os.path.dirname(sound) == path.rstrip("/") else ""
    return MIXED if recordings - {own} else ""


def readable(path: Path | str) -> str:
    """A path as text: bytes that are not UTF-8 become `\\xfc`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def absolute(path: Path) -> Path:
    """Absolute and without `..`, so that the names of clips do not depend on the working directory."""
    return Path(os.path.abspath(path))


def inside(path: str | Path, root: Path) -> str:
    """Path relative to an absolute `root` with forward slashes where it lies below it, else absolute."""
    is_plain = isinstance(path, str) and _PLAIN.fullmatch(path)  # nearly all are as they should be
    whole = str(path) if is_plain else os.path.normpath(os.path.join(root, path))
    below = whole.removeprefix(os.path.join(root, ""))
    return below.replace(os.sep, "/")


def clip_id_of(path: str) -> str:
    """Name of a clip that is a whole file: its path without suffix."""
    if _PLAIN.fullmatch(path):  # nearly all; a path object costs ten times as much
        return path.rpartition(".")[0].lstrip("/")
    whole = PurePosixPath(path)
    name = (whole.with_suffix("") if whole.name else whole).as_posix().lstrip("/")
    return normalize("NFC", name) or path  # `.` and `/` are what they are
