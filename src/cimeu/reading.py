"""Read files that somebody else may have written: bounded, regular files only, and what is wrong is said in words.

A pipe or a device may never end, a few kilobytes may claim to be gigabytes, and parsers raise whatever they like on
damaged bytes. So every reader of a run folder, bundle, store or recipe opens its file here. Each takes the `error` that
suits it and a `hint`, the way out.
"""

import json
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cimeu.errors import CimeuError

MEBI = 2**20
LARGEST_JSON_BYTES = 64 * MEBI
"""Of a description: two statistics of ten thousand dimensions take less than one."""
LARGEST_ARRAYS_BYTES = 512 * MEBI
"""Of an `.npz`, expanded."""
MOST_MEMBERS = 10_000
"""Of an archive."""
ErrorKind = type[CimeuError]


@contextmanager
def blaming(path: Path, error: ErrorKind, hint: str) -> Iterator[None]:
    """Whatever a parser raises inside the block is a fault of this file. Keep our own code out of the block.

    Raises:
        CimeuError: of the kind `error`: the file is damaged; deliberate errors pass as they are.
    """
    try:
        yield
    except CimeuError:
        raise
    except Exception as raised:  # also RecursionError and MemoryError
        reason = str(raised).strip().splitlines()[0] if str(raised).strip() else "it breaks off"
        raise error(f"`{path}` is damaged ({type(raised).__name__}: {reason[:200]})\n\nhint: {hint}") from raised


def require_regular(path: Path, error: ErrorKind, hint: str, *, at_most: int | None = None) -> int:
    """Size of a file in bytes, after a look at what it is; nothing is opened.

    Raises:
        CimeuError: of the kind `error`: the file is missing, not a regular file, or larger than `at_most` bytes.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"`{path}` does not exist\n\nhint: {hint}") from None
    except (OSError, ValueError) as refused:  # ValueError: a name with a zero byte
        reason = getattr(refused, "strerror", None) or str(refused)
        raise error(f"`{path}` cannot be read ({reason})\n\nhint: {hint}") from refused
    if not stat.S_ISREG(status.st_mode):
        raise error(f"`{path}` is {kind_of(status.st_mode)}\n\nhint: {hint}")
    if at_most is not None and status.st_size > at_most:
        raise error(f"`{path}` has {_size(status.st_size)}, at most {_size(at_most)} are read\n\nhint: {hint}")
    return status.st_size


def is_there(path: Path, error: ErrorKind, hint: str) -> bool:
    """Whether there is such a file. For readers that have words of their own for one that is missing.

    Raises:
        CimeuError: of the kind `error`: a folder, pipe, socket or device has the name, or it cannot be looked up.
    """
    if not os.path.exists(path):
        return False
    require_regular(path, error, hint)
    return True


def kind_of(mode: int) -> str:
    """What a thing is that is not a file, by its mode.

    >>> kind_of(stat.S_IFDIR), kind_of(stat.S_IFIFO)
    ('a folder', 'a pipe, not a regular file')
    """
    if stat.S_ISDIR(mode):
        return "a folder"
    kind = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
    return f"a {kind}, not a regular file"


def read_bytes(path: Path, error: ErrorKind, hint: str, *, at_most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        CimeuError: of the kind `error`: the file is missing, not a regular file, too large, or cannot be read.
    """
    require_regular(path, error, hint, at_most=at_most)
    try:
        with path.open("rb") as file:
            content = file.read(at_most + 1)
    except OSError as refused:
        raise error(f"`{path}` cannot be read ({refused.strerror})\n\nhint: {hint}") from refused
    if len(content) > at_most:
        raise error(f"`{path}` grows while it is read, beyond {_size(at_most)}\n\nhint: {hint}")
    return content


def read_text(path: Path, error: ErrorKind, hint: str, *, at_most: int) -> str:
    """The text of a regular file in UTF-8; a byte order mark at its start is dropped.

    Raises:
        CimeuError: of the kind `error`: as `read_bytes`, or it is not text in UTF-8.
    """
    content = read_bytes(path, error, hint, at_most=at_most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        encoding = " but UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise error(
            f"`{path}` is not text in UTF-8{encoding} (byte {wrong.start})\n\nhint: save it as UTF-8, or {hint}"
        ) from None


def read_json(path: Path, error: ErrorKind, hint: str, *, at_most: int = LARGEST_JSON_BYTES) -> dict[str, Any]:
    """The values by name that a JSON file holds.

    Raises:
        CimeuError: of the kind `error`: as `read_text`, or it is not a JSON object. NaN and infinity are not JSON.
    """
    return parse_json(read_text(path, error, hint, at_most=at_most), path, error, hint)


def parse_json(text: str | bytes, path: Path, error: ErrorKind, hint: str) -> dict[str, Any]:
    """As `read_json`, of text from inside `path`."""
    with blaming(path, error, hint):
        values = json.loads(text, parse_constant=_no_constant)
    if not isinstance(values, dict):
        raise error(f"`{path}` holds no named values\n\nhint: {hint}")
    return values


def read_arrays(path: Path, error: ErrorKind, hint: str) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` by name; object arrays, which could run code, are refused.

    Raises:
        CimeuError: of the kind `error`: as `require_regular`, damaged, or larger expanded than
            `LARGEST_ARRAYS_BYTES`.
    """
    require_regular(path, error, hint, at_most=LARGEST_ARRAYS_BYTES)
    with blaming(path, error, hint):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        expanded = sum(member.file_size for member in members)
        if len(members) > MOST_MEMBERS or expanded > LARGEST_ARRAYS_BYTES:
            raise error(f"`{path}` would take {_size(expanded)}, {len(members)} arrays\n\nhint: {hint}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _size(n_bytes: int) -> str:
    """For people.

    >>> _size(999), _size(3 * 2**20), _size(5 * 2**30)
    ('999 bytes', '3.0 MiB', '5.0 GiB')
    """
    for unit, name in ((2**30, "GiB"), (MEBI, "MiB")):
        if n_bytes >= unit:
            return f"{n_bytes / unit:.1f} {name}"
    return f"{n_bytes:,} bytes"
