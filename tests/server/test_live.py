"""The live socket on a real connection: who may open it, what it answers, and what it refuses."""

import asyncio
import io
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from cimeu.media.video import frames
from cimeu.server import connections, live, start
from cimeu.server.app import LIVE_PAGE
from cimeu.server.connections import Connections
from cimeu.server.guard import COOKIE, cookie_value
from cimeu.server.isolated import Isolated
from cimeu.server.live import (
    FRAME,
    LARGEST_MESSAGE_BYTES,
    LOST,
    MOST_WAITING_S,
    SOCKET,
    SOUND,
    SOUND_BYTES_S,
    Room,
    _Waiting,
)
from cimeu.server.live_model import LiveModel
from cimeu.server.pieces import Answered, Piece
from cimeu.server.predictions import Predictions
from cimeu.server.refusals import Refused
from cimeu.server.settings import ServerSettings
from cimeu.timeline.settings import TimelineSettings

from .conftest import serving

TOKEN = "a-token-of-many-signs"
CHUNK_S = 0.1


def speech(duration_s: float) -> bytes:
    """Noise that swells and fades as syllables do, as messages carry it. Synthetic."""
    times_s = np.arange(round(duration_s * 16_000)) / 16_000
    noise = np.random.default_rng(0).standard_normal(len(times_s))
    return (3_000 * noise * np.sin(2 * np.pi * times_s) ** 2).astype("<i2").tobytes()


def say(talk: ClientConnection, sound: bytes, pace: float = 0.0) -> None:
    """Send sound in pieces, one every `pace` seconds."""
    size = round(CHUNK_S * SOUND_BYTES_S)
    for at in range(0, len(sound), size):
        talk.send(bytes([SOUND]) + sound[at : at + size])
        time.sleep(pace)


COUNTED: list[Connections] = []


class Watched(Connections):
    """Connections that a test can look at."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        COUNTED.append(self)


@pytest.fixture(scope="module")
def open_room(
    checker: Isolated, recogniser: Isolated, live_child: Isolated, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Address of a service with a live room, where a request must come within half a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "HEAD_S", 0.5)
        patch.setattr(start, "Connections", Watched)
        settings = ServerSettings(live=True)
        predictions = Predictions(settings, tmp_path_factory.mktemp("files"), checker=checker, recogniser=recogniser)
        with serving(predictions, Room(live_child, settings)) as address:
            yield address


@contextmanager
def entered(address: str, hello: str = "{}", **options: object) -> Iterator[ClientConnection]:
    """A socket after the first message."""
    with connect(f"ws://{urlsplit(address).netloc}{SOCKET}", **options) as talk:
        talk.send(hello)
        yield talk


def received(talk: ClientConnection, kind: str) -> dict:
    """The next message of a kind."""
    while True:
        message = json.loads(talk.recv(timeout=20))
        if message["type"] == kind:
            return message


def closed_with(talk: ClientConnection) -> tuple[str, int]:
    """Code of the refusal, and that of the close."""
    code = received(talk, "refused")["code"]
    with pytest.raises(ConnectionClosed) as closed:
        talk.recv(timeout=20)
    assert closed.value.rcvd is not None
    return code, closed.value.rcvd.code


def test_nothing_is_there_unless_asked_for(served: str) -> None:
    assert httpx2.get(f"{served}/health").json()["live"] is None
    for path in (*LIVE_PAGE, SOCKET):
        assert httpx2.get(f"{served}{path}").status_code == 404
    with pytest.raises(InvalidStatus, match="404"):
        connect(f"ws://{urlsplit(served).netloc}{SOCKET}")


def test_health_says_what_the_model_needs(open_room: str) -> None:
    assert httpx2.get(f"{open_room}/health").json()["live"] == {
        "sound": True,
        "frames_hz": 25.0,
        "window_s": pytest.approx(2.0, abs=0.1),
        "hop_s": pytest.approx(0.5, abs=0.1),
    }
    for path in LIVE_PAGE:
        assert httpx2.get(f"{open_room}{path}").status_code == 200


def test_sound_is_answered_while_it_comes_and_the_connection_is_forgotten_afterwards(open_room: str) -> None:
    """Longer than a connection may be idle; no recording is there afterwards."""
    with entered(open_room) as talk:
        received(talk, "ready")
        say(talk, speech(2.7), pace=0.05)
        first, second = received(talk, "answers"), received(talk, "answers")
        say(talk, bytes(SOUND_BYTES_S), pace=0.05)
    moment = first["moments"][0]
    assert (moment["person"], moment["window_start_s"], moment["start_s"]) == ("voice", 0.0, 0.0)
    assert sum(moment["scores"]) == sum(moment["smoothed"]) == pytest.approx(1, abs=0.001)
    assert second["moments"][0]["window_end_s"] > first["moments"][0]["window_end_s"]
    assert second["dropped"] == 0
    assert httpx2.get(f"{open_room}/predictions").json()["predictions"] == []
    for _ in range(100):
        if not any(each.requests for each in COUNTED[-1]._open.values()):
            break
        time.sleep(0.05)
    assert [each for each in COUNTED[-1]._open.values() if each.requests] == []


def test_a_second_page_is_told_and_may_come_when_the_first_has_left(
    open_room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "TURN_S", 0.1)
    with entered(open_room) as first:
        received(first, "ready")
        with entered(open_room) as second:
            assert closed_with(second) == ("live_taken", 1013)
        say(first, speech(0.2))
    monkeypatch.setattr(live, "TURN_S", 10)
    with entered(open_room) as third:
        received(third, "ready")


@pytest.mark.parametrize(
    "hello", ["", "no JSON", "[]", '{"width": 640}', '{"width": 1, "height": 1}', '{"more": 1}', "[" * 100_000]
)
def test_a_first_message_that_is_none_is_refused(open_room: str, hello: str) -> None:
    with entered(open_room, hello) as talk:
        assert closed_with(talk) == ("not_understood", 1008)


@pytest.mark.parametrize(
    "message", ["words", b"", b"\x07abc", bytes([SOUND]) + b"odd", bytes([FRAME]) + b"abc"], ids=str
)
def test_a_message_that_is_neither_sound_nor_frame_is_refused(open_room: str, message: str | bytes) -> None:
    with entered(open_room) as talk:
        received(talk, "ready")
        talk.send(message)
        assert closed_with(talk) == ("not_understood", 1008)


def test_a_message_that_is_too_large_ends_the_connection(open_room: str) -> None:
    with entered(open_room) as talk:
        received(talk, "ready")
        talk.send(bytes([SOUND]) + bytes(LARGEST_MESSAGE_BYTES + 1))
        with pytest.raises(ConnectionClosed) as closed:
            talk.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_a_socket_over_which_nothing_comes_is_closed(open_room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "IDLE_S", 0.3)
    with entered(open_room) as talk:
        received(talk, "ready")
        assert closed_with(talk) == ("idle", 1008)


def test_who_sends_faster_than_time_loses_windows_and_is_told(open_room: str) -> None:
    with entered(open_room) as talk:
        received(talk, "ready")
        say(talk, speech(20.0))
        dropped = 0
        while dropped < 10:
            message = received(talk, "answers")
            dropped = message["dropped"]
            assert message["heard_s"] <= 20.001


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_another_sites_page_cannot_listen(open_room: str, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{urlsplit(open_room).netloc}{SOCKET}", additional_headers=headers)
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["code"] == "foreign_origin"


def test_a_foreign_name_for_this_machine_cannot_listen(open_room: str) -> None:
    port = urlsplit(open_room).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port)) as own, pytest.raises(InvalidStatus, match="421"):
        connect(f"ws://evil.example:{port}{SOCKET}", sock=own)


def test_the_own_page_and_who_has_the_token_may(
    checker: Isolated, recogniser: Isolated, live_child: Isolated, tmp_path: Path
) -> None:
    settings = ServerSettings(live=True, token=TOKEN)
    predictions = Predictions(settings, tmp_path, checker=checker, recogniser=recogniser)
    with serving(predictions, Room(live_child, settings)) as address:
        where = f"ws://{urlsplit(address).netloc}{SOCKET}"
        with pytest.raises(InvalidStatus, match="401"):
            connect(where)
        with pytest.raises(InvalidStatus, match="401"):
            connect(where, additional_headers={"Cookie": f"{COOKIE}=wrong"})
        own_page = {"Cookie": f"{COOKIE}={cookie_value(TOKEN)}", "Origin": address}
        for headers in ({"Authorization": f"Bearer {TOKEN}"}, own_page):
            until_closed(where, headers)


def until_closed(where: str, headers: dict[str, str]) -> None:
    """A socket that was accepted: its first message is read."""
    with connect(where, additional_headers=headers) as talk:
        talk.send("no JSON")
        assert closed_with(talk) == ("not_understood", 1008)


def test_what_waits_is_bounded_and_what_is_thrown_away_is_counted() -> None:
    async def fill() -> None:
        waiting = _Waiting(has_frames=True)
        for number in range(200):
            waiting.put(bytes([SOUND]) + bytes(SOUND_BYTES_S // 10))
            waiting.put(bytes([FRAME]) + number.to_bytes(4, "little") + b"jpeg")
        piece = waiting.take()
        assert len(piece.sound) == MOST_WAITING_S * SOUND_BYTES_S
        assert piece.lost_bytes == 17 * SOUND_BYTES_S
        assert [round(1000 * time_s) for time_s, _ in piece.frames] == list(range(125, 200))
        assert waiting.take().sound == b""

    asyncio.run(fill())


def test_sound_that_the_page_could_not_send_is_lost_with_what_waits_before_it() -> None:
    async def fill() -> None:
        waiting = _Waiting(has_frames=False)
        waiting.put(bytes([SOUND]) + bytes(100))
        waiting.put(bytes([LOST]) + (1_600).to_bytes(4, "little"))
        waiting.put(bytes([SOUND]) + bytes(60))
        piece = waiting.take()
        assert (piece.lost_bytes, len(piece.sound)) == (100 + 3_200, 60)
        with pytest.raises(Refused) as refused:
            waiting.put(bytes([LOST]) + b"\xff\xff\xff\xff")
        assert refused.value.code == "too_fast"

    asyncio.run(fill())


def test_every_frame_of_a_piece_is_seen(toy) -> None:
    clip = toy.manifest.parent / "east" / "east01" / "anger_01.mp4"
    pictures = []
    for frame in frames(clip):
        Image.fromarray(frame.pixels).save(stream := io.BytesIO(), "JPEG", quality=95)
        pictures.append(stream.getvalue())
    sound, step = speech(2 * len(pictures) / 25), 2 * 640
    shown = [(number / 25, jpeg) for number, jpeg in enumerate(pictures * 2)]
    answers = []
    for size in (1, 10):  # frames in a piece
        model = LiveModel(toy.run, {}, "cpu")
        model.begin(TimelineSettings(), (128, 128))
        answered: list[Answered] = [
            model.feed(Piece(sound=sound[step * at : step * (at + size)], frames=shown[at : at + size]))
            for at in range(0, len(shown), size)
        ]
        model.end()
        answers.append([moment for one in answered for moment in one.moments])
    few = {moment.window_end_s: moment.scores for moment in answers[1]}
    many = {moment.window_end_s: moment.scores for moment in answers[0]}
    assert few
    for end_s, scores in few.items():
        assert scores == pytest.approx(many[end_s], abs=1e-6)
