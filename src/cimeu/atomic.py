"""Write files so that nobody reads half of one and nothing that a person made is replaced.

    folder/report.html             gets its name when all of it is written
    folder/.cimeu/3f5c....partial  the same file while it is written; `3f5c....lock` is held by its writer
    folder/.cimeu/digests/3f       a line per file written here: SHA-256, kind, name; `3f` begins the name's own digest

A file may be replaced if it still has bytes that we wrote under its name, as a file of the same kind. A file of
somebody else, one that a person corrected, and a result of another command stay as they are: the writer gets an error.
Temporary files have short names in a folder of their own: the longest legal name can be written, and a write costs the
same however many files lie in `folder`.
"""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cimeu.errors import OutputError

ROOM = ".cimeu"
"""Folder beside the files, for what is being written and for the list of what was."""
LIST = "digests"
"""Folder of the lists: one would be long to read where 50,000 files lie."""
STATE = "state"
"""Kind of a file that only programs read and change, inside a folder that is ours: it is replaced without a look."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""Errors of a disk that takes no more: they end a command, where any other error ends one recording or cell."""
SAMPLE = "sample"
"""Kind of a recording that a command leaves to be tried as input: never taken for a result."""
_LONGEST_SUFFIX = 16
_DIGITS = 64


def write_whole(path: Path, content: bytes | str, kind: str) -> Path:
    """Write a file whole or not at all; folders on the way are made. See `whole`.

    Text is written as UTF-8; bytes of a file name that are none stand in it as `\\udce9`, which JSON reads back.
    """
    with whole(path, kind) as partial:
        partial.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
    return path


@contextmanager
def whole(path: Path, kind: str) -> Iterator[Path]:
    """A temporary path to write to; the file gets its own name when the block ends well, and nothing stays otherwise.

    Args:
        path: the file; folders on the way are made.
        kind: one word for what the file is, as in `timeline`; only a file of the same kind is replaced. `STATE`: files
            of a folder that is ours, which no person edits.

    Raises:
        OutputError: the file is there and is not ours to replace; raised before anything is written.
        OSError: the machine refuses; what was there before is still there.
    """
    check_free([path], kind)
    with _partial(path) as partial:
        try:
            yield partial
            if kind == STATE:
                os.replace(partial, path)
            else:
                _publish(partial, path, kind)
        except OSError as error:
            if error.filename in (str(partial), None) and error.errno in NO_ROOM:
                error.filename = str(path)  # of use to a person, unlike a temporary name or none
            raise


def check_free(paths: Iterable[Path], kind: str) -> None:
    """Refuse before the work what could not be written after it.

    Raises:
        OutputError: files that are not ours to replace, or names that are too long, all of them named.
        OSError: a folder that nobody, or not this user, may write to.
    """
    # All of them at once: who has moved one file away does not want to hear of the next.
    places = [path for path in paths if kind != STATE]
    taken = [reason for path in places if (reason := _reason_to_keep(path, kind))]
    if taken:
        raise OutputError("; ".join(taken) + "\n\nhint: choose another place with -o, or move what is there away")
    for folder in dict.fromkeys(path.parent for path in places):
        check_writable(folder)


def check_writable(folder: Path) -> None:
    """Refuse a folder before the work that nobody, or not this user, may write to, made already or yet to be made.

    Raises:
        OSError: as writing would after the work.
    """
    folder = Path(os.path.abspath(folder))
    nearest = next(place for place in (folder, *folder.parents) if os.path.isdir(place) or place == place.parent)
    if not os.access(nearest, os.W_OK | os.X_OK):
        code = errno.EROFS if hasattr(os, "statvfs") and os.statvfs(nearest).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(code, os.strerror(code), str(nearest))


def page_path(output: Path, name: str) -> Path:
    """The page that `-o` names: `results/base.html` as it is, `NAME.html` in a folder, which has no suffix or is there
    already, and `results/base.rater1.html` for `results/base.rater1`.

    >>> page_path(Path("results/base.rater1"), "agreement").as_posix()
    'results/base.rater1.html'
    """
    if output.suffix == ".html" and not output.is_dir():
        return output
    return output / f"{name}.html" if output.is_dir() or not output.suffix else beside(output, ".html", cut="")


def beside(path: Path, suffix: str, *, cut: str = ".html") -> Path:
    """A file of the same name with another suffix; dots before `cut` belong to the name.

    >>> beside(Path("base.rater1.html"), ".csv").name
    'base.rater1.csv'
    """
    return path.with_name(path.name.removesuffix(cut) + suffix)


def is_own(path: Path) -> bool:
    """Whether a file is a result: it still has bytes that we wrote under its name, of whatever kind but `SAMPLE`."""
    digests = [digest for digest, kind in _entries(path) if kind != SAMPLE]
    return bool(digests) and os.path.isfile(path) and _digest(path) in digests


def adopt(folder: Path, names: Iterable[str], kind: str) -> None:
    """Take files as ours that an earlier version wrote, which kept no list of them.

    Nothing is done where there is a list, for a file that is not on it was put there by somebody else.
    """
    if not (folder / ROOM / LIST).is_dir():
        for path in (folder / name for name in names):
            if path.is_file() and not path.is_symlink():
                adopt_file(path, kind)


def adopt_file(path: Path, kind: str) -> None:
    """Take a file as ours that has, to the byte, what we would write."""
    if not is_own(path):
        _note(path, kind, _digest(path))


@contextmanager
def locked(path: Path, *, wait: bool = True, once: bool = False) -> Iterator[bool]:
    """Hold a lock that ends with its process; False where another holds it and `wait` is off.

    The file stays, unless the lock is needed only `once`. Inside `ROOM` its name does not end in `.lock`: those belong
    to files that are being written.
    """
    lock = FileLock(path)
    while not lock.is_locked:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=wait)
        except FileNotFoundError:  # another process removed the folder, which was empty
            continue
        except Timeout:
            yield False
            return
    try:
        yield True
    finally:
        if once:
            with suppress(OSError):  # before it is released, or another process could take it; Windows refuses
                path.unlink()
        lock.release()
        if once:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                path.parent.rmdir()


def _reason_to_keep(path: Path, kind: str) -> str:
    """Why a file must not be replaced; empty where it may be, or where there is none."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return ""
    except NotADirectoryError:
        file = next(parent for parent in path.parents if parent.exists())
        return f"`{file}` is a file, not a folder for `{path.name}`"
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return f"`{path}` is too long a name"
    if path.is_symlink() or not path.is_file():
        return f"`{path}` is a {'link' if path.is_symlink() else 'folder' if path.is_dir() else 'device'}"
    entries = list(_entries(path))
    if not entries:
        return f"`{path}` is not a file that cimeu wrote"
    digest = _digest(path)
    kinds = [entry_kind for entry_digest, entry_kind in entries if entry_digest == digest]
    if kind in kinds:
        return ""
    return f"`{path}` is another result ({kinds[-1]})" if kinds else f"`{path}` was changed since cimeu wrote it"


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """A short name beside the file, locked as long as its writer lives."""
    room = path.parent / ROOM
    _sweep(room)
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""  # some writers go by the suffix
    while True:
        # Not the name of the file: two writers of one file would share a temporary one.
        token = secrets.token_hex(8)
        with locked(room / f"{token}.lock", wait=False, once=True) as held:
            if not held or not (room / f"{token}.lock").exists():
                continue  # the sweep of another process was faster
            partial = room / f"{token}.partial{suffix}"
            try:
                yield partial
            finally:
                partial.unlink(missing_ok=True)
            return


def _sweep(room: Path) -> None:
    """Delete what killed writers left; a lock that can be had belongs to no living writer."""
    with suppress(OSError):  # no such folder, or files of another user
        for entry in os.listdir(room):
            token, dot, kind = entry.partition(".")
            if kind != "lock":
                continue
            with locked(room / entry, wait=False) as dead:
                if dead:
                    for name in os.listdir(room):
                        if name.startswith(token + dot):
                            with suppress(OSError):
                                (room / name).unlink()


def _publish(partial: Path, path: Path, kind: str) -> None:
    """Give the file its name. Its digest is noted first, so that a killed writer leaves no file of unknown origin."""
    _note(path, kind, _digest(partial))
    while True:
        check_free([path], kind)
        if os.path.lexists(path):
            os.replace(partial, path)
            return
        try:
            os.link(partial, path)  # unlike a rename, never replaces what appeared since the check
            return
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            os.replace(partial, path)  # a file system without links
            return


def _note(path: Path, kind: str, digest: bytes) -> None:
    """Append to the list of a folder; one write, so that lines of several processes do not mix."""
    place = _list_of(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    line = b"%s %s %s\n" % (digest, kind.encode(), _name(path))
    file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        if os.write(file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
    finally:
        os.close(file)


def _entries(path: Path) -> Iterator[tuple[bytes, str]]:
    """Digest and kind of everything that was written under a name, the oldest first.

    A line that a full disk cut short may stand before another one, which is found by its end.
    """
    try:
        written = _list_of(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    # Searched from the end of a line: names may hold blanks, digests and kinds do not.
    end = b" %s\n" % _name(path)
    place = written.find(end)
    while place >= 0:
        line = written[written.rfind(b"\n", 0, place) + 1 : place]
        digest, _, kind = line.rpartition(b" ")
        yield digest[-_DIGITS:], kind.decode()
        place = written.find(end, place + 1)


def _list_of(path: Path) -> Path:
    # 256 lists by a hash of the name: looking one up costs the same among 50,000 files as among ten.
    return path.parent / ROOM / LIST / hashlib.sha256(_name(path)).hexdigest()[:2]


def _name(path: Path) -> bytes:
    """The name in quotes, on one line, in ASCII: a name may hold line breaks and bytes that are no text."""
    return json.dumps(path.name).encode()


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().encode()
