"""The live socket: sound and frames come in, answers go out, nothing is kept.

    page ── messages ── waiting (a few seconds at most) ── child ── answers ── page

Whoever sends faster than the model reads, or reads more slowly than it answers, loses windows and is told how many; no
queue grows. One camera and microphone at a time.
"""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketDisconnect, WebSocketState

from cimeu.errors import CimeuError
from cimeu.server.isolated import Isolated, Lost
from cimeu.server.pieces import SAMPLE_BYTES, Answered, Needs, Piece
from cimeu.server.refusals import Refused, from_error
from cimeu.server.settings import ServerSettings

SOCKET = "/live/socket"
SOUND, FRAME, LOST = 1, 2, 3
"""First byte of a message: 16-bit PCM, mono at 16 kHz, little-endian; or milliseconds (uint32, little-endian) on the
clock of the sound, and a JPEG; or how many samples (uint32, little-endian) the page could not send."""
LARGEST_MESSAGE_BYTES = 512 * 1024
MOST_WAITING_S = 3.0
"""Older sound is thrown away while the model is busy."""
MOST_WAITING_FRAMES = 75
IDLE_S = 10.0
"""A socket over which nothing comes for so long is closed."""
TURN_S = 10.0
"""How long a page waits for the one before it to leave."""
UNREAD_S = 20.0
"""An answer that is not read for so long ends the session."""
SILENCE_S = 60.0
"""A child that does not answer for so long is stopped."""
SOUND_BYTES_S = 16_000 * SAMPLE_BYTES
LONGEST_SIDE = 1920
TRY_AGAIN, NOT_ALLOWED, BROKEN = 1013, 1008, 1011
"""Codes with which a socket is closed (RFC 6455, and IANA's registry)."""


class Hello(BaseModel):
    """The first message: width and height of the camera's frames, both or none."""

    model_config = ConfigDict(extra="forbid")

    width: int | None = Field(None, ge=16, le=LONGEST_SIDE)
    height: int | None = Field(None, ge=16, le=LONGEST_SIDE)

    @model_validator(mode="after")
    def _both(self) -> "Hello":
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height come together")
        return self

    @property
    def size(self) -> tuple[int, int] | None:
        """Of frames; None without a camera."""
        return None if self.width is None or self.height is None else (self.width, self.height)


class Room:
    """The one place for a live session."""

    def __init__(self, child: Isolated, settings: ServerSettings) -> None:
        """`child` runs the functions of `cimeu.server.live_child.answering_live`."""
        self._child, self.settings = child, settings
        self.needs: Needs = child("needs", silence_s=SILENCE_S)
        self._place = asyncio.Lock()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Raises Refused where somebody is live and stays so: a session that was just left has yet to end."""
        try:
            await asyncio.wait_for(self._place.acquire(), TURN_S)
        except TimeoutError:
            raise Refused(
                503, "live_taken", "another page is live", "stop it there; one at a time is possible"
            ) from None
        try:
            yield
        finally:
            self._place.release()

    async def begin(self, size: tuple[int, int] | None) -> None:
        """Start a session. Raises CimeuError."""
        await self._ask("begin", self.settings.timeline, size)

    async def feed(self, piece: Piece) -> Answered:
        """What is said after a piece. Raises CimeuError."""
        answered = await self._ask("feed", piece)
        assert isinstance(answered, Answered)
        return answered

    async def end(self) -> None:
        """Forget what came in."""
        with suppress(CimeuError):
            await self._ask("end")

    async def _ask(self, name: str, *arguments: object) -> object:
        def ask() -> object:
            try:
                return self._child(name, *arguments, silence_s=SILENCE_S)
            except Lost as lost:  # its hint speaks of a file
                reason = str(lost).partition("\n\nhint: ")[0]
                raise Lost(
                    f"the live session ended: {reason}\n\nhint: start again; the server's log says why"
                ) from lost

        return await run_in_threadpool(ask)


class _Waiting:
    """What came in and was not read yet; of too much, the oldest is thrown away."""

    def __init__(self, *, has_frames: bool) -> None:
        self._has_frames = has_frames
        self._sound, self._frames = bytearray(), list[tuple[float, bytes]]()
        self._lost_bytes = 0
        self.came_in = asyncio.Event()

    def put(self, message: bytes) -> None:
        """One message of the page. Raises Refused."""
        kind, content = message[:1], message[1:]
        if kind == bytes([SOUND]) and not len(content) % SAMPLE_BYTES:
            self._sound += content
            too_many = max(0, len(self._sound) - int(MOST_WAITING_S * SOUND_BYTES_S))
            del self._sound[:too_many]
            self._lost_bytes += too_many
        elif kind == bytes([LOST]) and len(content) == 4:
            # What waits before a gap goes with it: no window across the gap is answered.
            self._lost_bytes += len(self._sound) + SAMPLE_BYTES * struct.unpack("<I", content)[0]
            self._sound.clear()
        elif kind == bytes([FRAME]) and len(content) > 4:
            if self._has_frames:
                (time_ms,) = struct.unpack_from("<I", content)
                self._frames.append((time_ms / 1000, content[4:]))
                del self._frames[:-MOST_WAITING_FRAMES]
        else:
            raise _not_understood("a message is neither sound nor a frame")
        # As much is lost in real time only while a child is stopped; the child has to make room for it.
        if self._lost_bytes > SILENCE_S * SOUND_BYTES_S:
            raise Refused(
                413, "too_fast", f"more than {SILENCE_S:g} s of sound were lost at once", "send sound as it is spoken"
            )
        self.came_in.set()

    def take(self) -> Piece:
        """All of it."""
        piece = Piece(self._lost_bytes, bytes(self._sound), tuple(self._frames))
        self._sound, self._frames, self._lost_bytes = bytearray(), [], 0
        self.came_in.clear()
        return piece


live_router = APIRouter()


@live_router.websocket(SOCKET)
async def live(socket: WebSocket) -> None:
    """A session: the page says hello, sends sound and frames, and receives answers until it closes."""
    room = socket.app.state.room
    assert isinstance(room, Room)
    await socket.accept()
    try:
        hello = await _hello(socket)
        async with room.place():
            try:
                await _session(socket, room, hello)
            except CimeuError as error:
                await _refuse(socket, from_error(error), BROKEN)  # before `end` starts a lost child again
            finally:
                await room.end()
    except WebSocketDisconnect:
        return
    except Refused as refused:
        await _refuse(socket, refused)


async def _session(socket: WebSocket, room: Room, hello: Hello) -> None:
    await room.begin(hello.size)
    await _send(socket, {"type": "ready"})
    waiting = _Waiting(has_frames=hello.size is not None)
    receiving = asyncio.create_task(_receive(socket, waiting, room.settings.max_duration_s))
    try:
        dropped = 0
        while True:
            coming = asyncio.create_task(waiting.came_in.wait())
            await asyncio.wait((receiving, coming), return_when=asyncio.FIRST_COMPLETED)
            coming.cancel()
            if receiving.done():
                receiving.result()  # raises what ended it
            answered = await room.feed(waiting.take())
            if answered.moments or answered.dropped != dropped:
                dropped = answered.dropped
                await _send(socket, _message(answered))
    finally:
        receiving.cancel()
        with suppress(asyncio.CancelledError, WebSocketDisconnect, Refused):
            await receiving


async def _receive(socket: WebSocket, waiting: _Waiting, longest_s: float | int) -> None:
    """Take in messages until the page leaves (WebSocketDisconnect) or must (Refused)."""
    clock = asyncio.get_running_loop().time
    ends_s = clock() + longest_s
    while clock() < ends_s:
        message = await _next(socket)
        if message.get("bytes") is None:
            raise _not_understood("a message is text after the first one")
        waiting.put(message["bytes"])
    raise Refused(413, "too_long", f"the session is longer than {longest_s:g} s", "start another one")


async def _hello(socket: WebSocket) -> Hello:
    message = await _next(socket)
    try:
        return Hello.model_validate(json.loads(message.get("text") or ""))
    except (ValueError, RecursionError):
        raise _not_understood('the first message is not JSON such as {"width": 640, "height": 480}') from None


async def _next(socket: WebSocket) -> Any:
    """The next message. Raises Refused after a while, and WebSocketDisconnect."""
    try:
        message = await asyncio.wait_for(socket.receive(), IDLE_S)
    except TimeoutError:
        raise Refused(408, "idle", f"nothing came for {IDLE_S:g} s", "start again") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    return message


async def _send(socket: WebSocket, message: dict[str, Any]) -> None:
    """Raises WebSocketDisconnect where nobody reads any more."""
    try:
        await asyncio.wait_for(socket.send_json(message), UNREAD_S)
    except TimeoutError:
        raise WebSocketDisconnect(NOT_ALLOWED) from None


async def _refuse(socket: WebSocket, refused: Refused, code: int = NOT_ALLOWED) -> None:
    """Say why, in the shape of all refusals, and close."""
    if socket.client_state is not WebSocketState.CONNECTED:
        return
    content = {"type": "refused", "code": refused.code, "message": refused.message, "hint": refused.hint}
    with suppress(WebSocketDisconnect):
        await _send(socket, content)
        await socket.close(TRY_AGAIN if refused.code == "live_taken" else code)


def _message(answered: Answered) -> dict[str, Any]:
    moments = [moment.model_dump() for moment in answered.moments]
    return {"type": "answers", "moments": moments, "heard_s": answered.heard_s, "dropped": answered.dropped}


def _not_understood(message: str) -> Refused:
    return Refused(422, "not_understood", message, "see docs/guides/service.md")
