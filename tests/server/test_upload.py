"""A file on its way in: to disk while it arrives, and no further than it may."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from cimeu.server.upload import LONGEST_NAME, display_name, printable

HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("interview.mp4", "interview.mp4"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\x", "x"),
        ("C:\\films\\a.mov", "a.mov"),
        ("\\\\server\\films\\a.mov", "a.mov"),
        ("$\\frac{$.mov", "$\\frac{$.mov"),
        ("..", "recording"),
        ("\u200d", "recording"),
        ("", "recording"),
        ("a\r\nSet-Cookie: b", "aSet-Cookie: b"),
        ("\u202egpj.exe", "gpj.exe"),
        ("\x00\x1b[31m", "[31m"),
        ("Gespräch mit Zoë 😀.mp4", "Gespräch mit Zoë 😀.mp4"),
        ("<img src=x onerror=alert(1)>.mp4", "<img src=x onerror=alert(1)>.mp4"),
    ],
)
def test_a_name_is_only_shown(raw: str, shown: str) -> None:
    assert display_name(raw) == shown


def test_a_name_has_an_end() -> None:
    assert len(printable("a" * 10_000)) == LONGEST_NAME


def test_a_large_file_is_stopped_on_its_way(make_app: Callable[..., FastAPI], folder: Path) -> None:
    """No length is declared and the body never ends."""
    app = make_app(max_size_mb=0.2)
    sent, received = [], 0

    async def receive() -> dict:
        nonlocal received
        chunk = HEAD if not received else bytes(10_000)
        received += len(chunk)
        assert received < 1_000_000, "nobody stopped it"
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: dict) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/predictions", "query_string": b""}
    asyncio.run(app({**scope, "scheme": "http", "headers": headers}, receive, send))
    assert sent[0]["status"] == 413
    assert b'"code":"too_large","message":"the recording is larger than 0.2 MB","hint":"cut' in sent[1]["body"]
    assert received < 250_000
    assert list(folder.iterdir()) == []


def test_a_file_that_says_it_is_too_large_is_not_read(make_client: Callable[..., TestClient]) -> None:
    answer = make_client(max_size_mb=0.1).post("/predictions", files={"file": ("a.mp4", bytes(200_000))})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


FORMS = {
    "another part": (
        b'--b\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\nx\r\n--b--\r\n',
        "no_file",
    ),
    "a field": (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n', "no_file"),
    "two files": (HEAD + b"x\r\n" + HEAD + b"y\r\n--b--\r\n", "no_file"),
    "nothing": (b"--b--\r\n", "no_file"),
    "broken off": (HEAD + b"half of it", "no_file"),
    "no boundary": (b"just words", "broken_form"),
    "long headers": (b"--b\r\n" + b"A" * 100_000 + b": x\r\n\r\nx\r\n--b--\r\n", "broken_form"),
}


@pytest.mark.parametrize(("body", "code"), FORMS.values(), ids=FORMS)
def test_a_form_holds_one_whole_file(client: TestClient, folder: Path, body: bytes, code: str) -> None:
    answer = client.post("/predictions", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["code"]) == (422 if code == "no_file" else 400, code)
    assert answer.json()["hint"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=" + 300 * "b"]
)
def test_anything_but_a_form_is_refused(client: TestClient, kind: str) -> None:
    answer = client.post("/predictions", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code in (400, 415)
    assert answer.json()["code"] in ("no_form", "broken_form")
