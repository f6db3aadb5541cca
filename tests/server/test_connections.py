"""Attacks from one address: the server still answers, and the attacker's connections end."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cimeu.server import connections, limits
from cimeu.server.isolated import Isolated
from cimeu.server.predictions import Predictions
from cimeu.server.settings import ServerSettings

from .conftest import serving

ATTACKER, FRIEND = "127.0.0.1", "127.0.0.2"
HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = b"POST /predictions HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'


@pytest.fixture(scope="module")
def ports(checker: Isolated, recogniser: Isolated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a service of 8 connections a client and 4 recordings, with short times."""
    settings = ServerSettings(max_connections_per_client=8, max_waiting=4)
    predictions = Predictions(settings, tmp_path_factory.mktemp("files"), checker=checker, recogniser=recogniser)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "HEAD_S", 0.5)
        patch.setattr(limits, "LONGEST_PAUSE_S", 0.5)
        patch.setattr(limits, "ANSWER_STALL_S", 0.5)
        with serving(predictions) as address:
            port = urlsplit(address).port
            assert port is not None
            yield port


@pytest.fixture
def connect(ports: int) -> Iterator[Callable[..., socket.socket]]:
    """A connection from an address, which has sent something; all end with the test."""
    with ExitStack() as stack:

        def open_one(sent: bytes = b"", source: str = ATTACKER) -> socket.socket:
            made = socket.create_connection(("127.0.0.1", ports), timeout=5, source_address=(source, 0))
            stack.enter_context(closing(made))
            made.sendall(sent)
            return made

        yield open_one


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body; status 0 where the server closed without a word."""
    content = b""
    try:
        while block := connection.recv(2**16):
            content += block
    except ConnectionResetError:
        pass
    head, _, body = content.partition(b"\r\n\r\n")
    return (int(head.split()[1]), body) if head else (0, b"")


def health_in_time(connect: Callable[..., socket.socket], source: str = ATTACKER) -> None:
    started_s = time.monotonic()
    status, body = answer(connect(HEAD + b"Connection: close\r\n\r\n", source))
    assert (status, json.loads(body)["status"]) == (200, "ok")
    assert time.monotonic() - started_s < 1


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has ended a connection, without waiting for it to do so."""
    connection.settimeout(0.01)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def is_ended_while_sending(connection: socket.socket, content: bytes) -> bool:
    """Whether the server ends a connection on which a little arrives now and then, for four seconds."""
    try:
        for _ in range(200):
            connection.sendall(content)
            time.sleep(0.02)
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("sent", [b"", HEAD], ids=["nothing", "half a head"])
def test_silent_connections_keep_nobody_out_and_are_closed(connect: Callable[..., socket.socket], sent: bytes) -> None:
    silent = [connect(sent) for _ in range(150)]
    health_in_time(connect)
    health_in_time(connect, FRIEND)
    assert sum(not is_closed(connection) for connection in silent) <= 8
    time.sleep(0.6)
    assert all(is_closed(connection) for connection in silent)


def test_a_head_that_never_ends_is_not_waited_for(connect: Callable[..., socket.socket]) -> None:
    assert is_ended_while_sending(connect(HEAD), b"X: x\r\n")


def test_an_idle_connection_is_closed_after_its_answer(connect: Callable[..., socket.socket]) -> None:
    used = connect(HEAD + b"\r\n")
    assert answer(used)[0] == 200  # read until the server closes it


def test_slow_uploads_leave_room_for_others_and_are_ended(connect: Callable[..., socket.socket], clip: Path) -> None:
    slow = [connect(UPLOAD + b"Content-Length: 1000000\r\n\r\n" + PART) for _ in range(2)]
    time.sleep(0.1)
    status, body = answer(connect(UPLOAD + b"Content-Length: 1000000\r\n\r\n" + PART))
    assert (status, json.loads(body)["message"]) == (429, "2 recordings are arriving from your address")
    health_in_time(connect)
    whole = PART + clip.read_bytes() + b"\r\n--b--\r\n"
    head = UPLOAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(whole)
    assert answer(connect(head + whole, FRIEND))[0] == 202
    for connection in slow:
        status, body = answer(connection)
        assert (status, json.loads(body)["code"]) == (408, "too_slow")
    assert answer(connect(head + whole))[0] == 202


def test_an_upload_of_a_byte_now_and_then_is_ended(connect: Callable[..., socket.socket]) -> None:
    assert is_ended_while_sending(connect(UPLOAD + b"Content-Length: 1000000\r\n\r\n" + PART), b"x")


CHANGE = b"PATCH /predictions/0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"


def test_requests_that_wait_for_their_client_make_room(connect: Callable[..., socket.socket]) -> None:
    slow = [connect(CHANGE) for _ in range(8)]
    time.sleep(0.3)
    health_in_time(connect)
    health_in_time(connect, FRIEND)
    assert sum(answer(connection)[0] == 408 for connection in slow) == 7


def test_answers_that_nobody_reads_make_room(
    connect: Callable[..., socket.socket], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ANSWER_STALL_S", 60)
    whole = PART + clip.read_bytes() + bytes(10_000_000) + b"\r\n--b--\r\n"
    head = UPLOAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(whole)
    number = json.loads(answer(connect(head + whole, FRIEND))[1])["id"]
    media = f"GET /predictions/{number}/media HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for _ in range(8):
        connect(media)
    time.sleep(1.5)  # until what fits into the buffers on the way has been sent
    health_in_time(connect)


def test_where_every_connection_is_busy_a_new_one_is_refused_at_once(
    connect: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STALLED_S", 60)
    busy = [connect(CHANGE) for _ in range(8)]
    time.sleep(0.1)
    status, body = answer(connect(HEAD + b"\r\n"))
    assert (status, json.loads(body)["code"]) == (503, "too_many_connections")
    health_in_time(connect, FRIEND)
    assert {answer(connection)[0] for connection in busy} == {408}


def test_an_answer_that_nobody_reads_is_given_up(connect: Callable[..., socket.socket], clip: Path) -> None:
    whole = PART + clip.read_bytes() + bytes(30_000_000) + b"\r\n--b--\r\n"
    head = UPLOAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(whole)
    status, body = answer(connect(head + whole, FRIEND))
    assert status == 202
    path = f"/predictions/{json.loads(body)['id']}/media"
    unread = connect(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), FRIEND)
    time.sleep(1.5)
    assert len(answer(unread)[1]) < 30_000_000


def test_all_clients_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections.resource, "getrlimit", lambda which: (100, 100))
    assert connections.Connections(ServerSettings())._in_total == 18
