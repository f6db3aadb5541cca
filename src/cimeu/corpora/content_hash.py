"""What a clip holds, as a number: the same bytes between the same seconds are the same clip, wherever they lie."""

import stat
from functools import cache
from hashlib import blake2b
from pathlib import Path

from cimeu.corpora.manifest import Clip
from cimeu.errors import MediaError
from cimeu.media.packed import packed_bytes, table_of
from cimeu.media.video import images

_BLOCK_BYTES = 2**20


def content_of(clip: Clip) -> str:
    """What a clip holds, as 32 hexadecimal digits: the bytes of its files, where it starts and ends.

    A file is read once per process as long as its size and time of change stay the same. A missing file stands for
    its path, so that the clip is looked at again when the file is there.
    """
    digest = blake2b(digest_size=16)
    for path in (clip.path, clip.audio_path):
        digest.update(content_of_file(path).encode() if path else b"-")
    digest.update(f"{clip.start_s!r} {clip.end_s!r}".encode())
    return digest.hexdigest()


def content_of_file(path: Path) -> str:
    """32 hexadecimal digits that change with any byte of a file, of the images of a folder, or of a row of a table."""
    if table_of(path) is not None:
        try:
            return blake2b(packed_bytes(path), digest_size=16).hexdigest()
        except MediaError:
            return f"missing {path}"
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return f"missing {path}"
    if stat.S_ISDIR(status.st_mode):  # a clip of images
        return blake2b("".join(map(content_of_file, images(path))).encode(), digest_size=16).hexdigest()
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device might never end
        return f"unreadable {path}: not a regular file"
    return _hash_of_file(path, status.st_size, status.st_mtime_ns)


@cache
def _hash_of_file(path: Path, size: int, modified_ns: int) -> str:
    digest = blake2b(digest_size=16)
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        return f"unreadable {path}: {error.strerror}"
    return digest.hexdigest()
