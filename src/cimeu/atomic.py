"""Write a file so that nobody ever reads half of it."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes, *, shared: bool = False) -> None:
    """Write under a temporary name beside it, then rename; folders on the way are made.

    What a killed process left under that name is written over by the next one. Where several may write the file at the
    same time (`shared`), each has a name of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f".{secrets.token_hex(4)}" if shared else ""
    partial = path.with_name(f".{path.name}{own}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
