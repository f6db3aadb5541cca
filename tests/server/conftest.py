"""The service as it runs: a trained toy model and the checker in their own processes, a client, and a clock to turn."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from cimeu.media.audio import read_sound
from cimeu.media.video import frames, write_video
from cimeu.server.app import create_app
from cimeu.server.isolated import Isolated
from cimeu.server.live import Room
from cimeu.server.live_child import answering_live
from cimeu.server.predictions import Predictions
from cimeu.server.recording import checking, recognising
from cimeu.server.settings import ServerSettings
from cimeu.server.start import server_of

ADDRESS = "http://127.0.0.1:8000"
AppMaker = Callable[..., FastAPI]


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="session")
def checker() -> Iterator[Isolated]:
    """The process that looks at files."""
    made = Isolated(checking)
    yield made
    made.close()


@pytest.fixture(scope="session")
def recogniser(toy) -> Iterator[Isolated]:
    """The process that holds the toy model."""
    made = Isolated(partial(recognising, toy.run))
    yield made
    made.close()


@pytest.fixture(scope="session")
def live_child(toy) -> Iterator[Isolated]:
    """The process that holds the toy model for live sessions."""
    made = Isolated(partial(answering_live, toy.run))
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the server keeps recordings."""
    made = tmp_path / "files"
    made.mkdir()
    return made


@pytest.fixture
def make_app(checker: Isolated, recogniser: Isolated, folder: Path, clock: Clock) -> AppMaker:
    """A service with these settings."""

    def make(**settings: object) -> FastAPI:
        made = ServerSettings(**settings)
        return create_app(Predictions(made, folder, checker=checker, recogniser=recogniser, clock=clock))

    return make


@pytest.fixture(scope="module")
def make_shared(
    checker: Isolated, recogniser: Isolated, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., TestClient]]:
    """A client that the tests of a module share."""
    with ExitStack() as stack:

        def make(**settings: object) -> TestClient:
            folder = tmp_path_factory.mktemp("files")
            predictions = Predictions(ServerSettings(**settings), folder, checker=checker, recogniser=recogniser)
            return stack.enter_context(TestClient(create_app(predictions), base_url=ADDRESS))

        yield make


@pytest.fixture
def make_client(make_app: AppMaker) -> Iterator[Callable[..., TestClient]]:
    """A client of a service with these settings."""
    with ExitStack() as stack:

        def make(**settings: object) -> TestClient:
            return stack.enter_context(TestClient(make_app(**settings), base_url=ADDRESS))

        yield make


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    """A client of a service as it is started by default."""
    return make_client()


@pytest.fixture(scope="session")
def clip(toy) -> Path:
    """A drawn face that speaks for two seconds."""
    return toy.manifest.parent / "east" / "east01" / "anger_01.mp4"


def send(client: TestClient, path: Path, name: str = "interview.mp4", **options: object) -> dict:
    """Upload a recording; what the service says of it."""
    answer = client.post("/predictions", files={"file": (name, path.read_bytes())}, **options)
    assert answer.status_code == 202, answer.text
    return answer.json()


def when(client: TestClient, number: str, *statuses: str) -> dict:
    """What the service says once a recording has come so far."""
    for _ in range(600):
        found = client.get(f"/predictions/{number}").json()
        if found["status"] in statuses:
            return found
        time.sleep(0.05)
    raise AssertionError(f"still {found['status']} after half a minute")


def when_done(client: TestClient, number: str) -> dict:
    """What the service says once it has read a recording."""
    return when(client, number, "finished", "failed")


@contextmanager
def serving(predictions: Predictions, room: Room | None = None) -> Iterator[str]:
    """Address of a service that answers on a real socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = server_of(predictions, room)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def served(checker: Isolated, recogniser: Isolated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a service that whoever needs one shares."""
    folder = tmp_path_factory.mktemp("files")
    with serving(Predictions(ServerSettings(), folder, checker=checker, recogniser=recogniser)) as address:
        yield address


@pytest.fixture(scope="session")
def film(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn face speaks, leaves for four seconds, and comes back: too long to be known again."""
    there = [frame.pixels for frame in frames(clip)]
    # A wall in uneven light: frames without anything on them would not count as an absence.
    wall = np.broadcast_to(np.linspace(60, 120, there[0].shape[1], dtype=np.uint8)[:, None], there[0].shape)
    gone = [np.ascontiguousarray(wall)] * 100
    voice = read_sound(clip)
    samples = np.concatenate([voice[: len(there) * 640], np.zeros(100 * 640, np.float32), voice])
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, there + gone + there, rate_hz=25, samples=samples)
    return path
