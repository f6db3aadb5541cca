"""The digests of a folder: what was written is what is read, however often it was copied in between.

    digests.json    {"format": 1, "files": {"ensemble.json": {"size": 226, "sha256": "..."}, ...}}

A run seals its folder when it is finished; a bundle carries the same list. Digests show that nothing was lost or
changed, not who made it: values are checked against their ranges as well.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cimeu.atomic import STATE, write_whole
from cimeu.errors import CheckpointError
from cimeu.reading import read_json, require_regular

SEAL = "digests.json"
FORMAT = 1
LARGEST_SEAL_BYTES = 2**20


@dataclass(frozen=True)
class Digest:
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, content: Path | bytes) -> "Digest":
        """Of a file or of bytes."""
        if isinstance(content, bytes):
            return cls(len(content), hashlib.sha256(content).hexdigest())
        with content.open("rb") as file:
            return cls(content.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def seal(folder: Path) -> Path:
    """Write the digests of every file of a folder, hidden ones left out; an earlier list is replaced."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / SEAL]
    names = {path.relative_to(folder): path for path in paths}
    shown = {name: path for name, path in names.items() if not any(part.startswith(".") for part in name.parts)}
    return write_seal(folder, {name.as_posix(): Digest.of(path) for name, path in shown.items()})


def write_seal(folder: Path, digests: Mapping[str, Digest]) -> Path:
    """Write digests by name."""
    values = {"format": FORMAT, "files": to_plain(digests)}
    return write_whole(folder / SEAL, json.dumps(values, indent=1) + "\n", STATE)


def unseal(folder: Path) -> None:
    """Take the list away before files of the folder are written again."""
    (folder / SEAL).unlink(missing_ok=True)


def check_seal(folder: Path, names: Iterable[str]) -> None:
    """Compare files with the list of their folder; a folder without one (a run before 0.2) is not compared.

    Args:
        folder: a run folder, or an unpacked bundle.
        names: of the files that are about to be read; other files may have changed, as a card that a person corrected.

    Raises:
        CheckpointError: a listed file is missing or was changed, or one that is there is not listed.
    """
    hint = f"copy the folder again; if the change is meant, delete `{SEAL}`"
    if not (folder / SEAL).is_file():
        return
    listed = from_plain(read_json(folder / SEAL, CheckpointError, hint, at_most=LARGEST_SEAL_BYTES), folder / SEAL)
    for name in names:
        path = folder / name
        if name not in listed:
            if path.exists():
                raise CheckpointError(f"`{path}` is not listed in `{SEAL}`\n\nhint: {hint}")
            continue
        size = require_regular(path, CheckpointError, hint)
        if size != listed[name].size or Digest.of(path) != listed[name]:
            raise CheckpointError(f"`{path}` is not what was written: its digest differs\n\nhint: {hint}")


def to_plain(digests: Mapping[str, Digest]) -> dict[str, dict[str, Any]]:
    """Ready for JSON."""
    return {name: {"size": digest.size, "sha256": digest.sha256} for name, digest in digests.items()}


def from_plain(values: Mapping[str, Any], path: Path) -> dict[str, Digest]:
    """Digests by name, from the values of `path`.

    Raises:
        CheckpointError: the values are not such a list, or of a newer format.
    """
    if isinstance(values.get("format"), int) and values["format"] > FORMAT:
        raise CheckpointError(
            f"`{path}` has format {values['format']}, this version reads {FORMAT}\n\nhint: install a newer cimeu"
        )
    files = values.get("files")
    if values.get("format") != FORMAT or not isinstance(files, dict):
        raise CheckpointError(f"`{path}` is not a list of digests\n\nhint: copy it again")
    digests = {}
    for name, entry in files.items():
        size, sha256 = (entry.get("size"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        if type(size) is not int or size < 0 or not isinstance(sha256, str):
            raise CheckpointError(f"`{path}` gives `{name}` the size {size!r:.40}\n\nhint: copy it again")
        digests[name] = Digest(size, sha256)
    return digests
