"""How large a request may be, how slowly it may arrive, and how long its answer may lie unread."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cimeu.server.connections import Connection, Connections
from cimeu.server.refusals import Refused
from cimeu.server.settings import ServerSettings

LONGEST_PAUSE_S = 10.0
"""Within the body of a request, and head start of a slow one."""
ANSWER_STALL_S = 60.0
"""An answer of which nothing more is read for so long is given up. A paused player asks again for what it needs."""
LARGEST_BODY_BYTES = 4 * 2**20
"""Of any request but an upload; ten thousand corrections of a timeline take less."""


class Timed:
    """Middleware: bodies arrive at a lowest rate, answers are read, and a connection with a request is not idle."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, connections: Connections) -> None:
        """`connections` are those of the protocol that calls this application."""
        self._app, self._connections, self._rate = app, connections, settings.min_upload_kb_s * 1000

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request that keeps its time."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        with self._connections.request(scope.get("client")) as connection:
            if connection is not None:
                send = _while_read(send, connection)
            if scope["type"] == "websocket":  # no body: messages come as long as it is open
                receive = _while_waiting(receive, connection)
            else:
                receive = _at_a_rate(receive, self._rate, connection)
            await self._app(scope, receive, send)


class SmallBodies:
    """Middleware: every body but that of an upload is read here, up to a limit, before a route parses it."""

    def __init__(self, app: ASGIApp, upload: tuple[str, str]) -> None:
        """`upload` is method and path of the route that reads its body as it arrives."""
        self._app, self._upload = app, upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request whose body is not too large."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) == self._upload:
            await self._app(scope, receive, send)
            return
        try:
            waiting = [await _whole_body(receive)]
        except Refused as refused:
            await refused.response()(scope, receive, send)
            return

        async def receive_again() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, receive_again, send)


def _at_a_rate(receive: Receive, bytes_per_s: float | int, connection: Connection | None) -> Receive:
    """Refuse a body that arrives more slowly. Only time spent waiting for the client counts."""
    credit_s, is_complete = LONGEST_PAUSE_S, False

    async def receive_in_time() -> Message:
        nonlocal credit_s, is_complete
        if is_complete:  # what comes now is the news that the client is gone, at any time
            return await receive()
        clock = asyncio.get_running_loop().time
        started_s = clock()
        # A body that comes in drops waits from its first drop on: what it is behind its rate counts.
        message: Message | None = None
        with _waiting(connection, started_s - (LONGEST_PAUSE_S - credit_s)), suppress(TimeoutError):
            message = await asyncio.wait_for(receive(), credit_s)
        if message is None:
            raise Refused(
                408,
                "too_slow",
                f"the request arrives at less than {bytes_per_s / 1000:g} kB/s",
                "send it again over a faster connection",
                headers={"Connection": "close"},
            )
        is_complete = not message.get("more_body", False)
        # Never more than the first credit, or a fast beginning would pay for hours of silence.
        credit_s += len(message.get("body", b"")) / bytes_per_s - (clock() - started_s)
        credit_s = min(LONGEST_PAUSE_S, max(credit_s, 0.001))
        return message

    return receive_in_time


def _while_waiting(receive: Receive, connection: Connection | None) -> Receive:
    """Note while a socket waits for its client."""

    async def receive_noted() -> Message:
        with _waiting(connection, asyncio.get_running_loop().time()):
            return await receive()

    return receive_noted


@contextmanager
def _waiting(connection: Connection | None, since_s: float) -> Iterator[None]:
    """Note that a request waits for its client."""
    if connection is None:
        yield
        return
    connection.waits_since_s = since_s
    try:
        yield
    finally:
        connection.waits_since_s = None


def _while_read(send: Send, connection: Connection) -> Send:
    """Give up a connection whose client stopped reading: uvicorn's `send` waits for room in the socket."""

    async def send_in_time(message: Message) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(ANSWER_STALL_S, connection.transport.abort)
        try:
            # On a socket a `receive` may be waiting already, and for longer.
            is_waiting = connection.waits_since_s is not None
            with nullcontext() if is_waiting else _waiting(connection, loop.time()):
                await send(message)
        finally:
            timer.cancel()

    return send_in_time


async def _whole_body(receive: Receive) -> Message:
    """The body of a request as one message, or the message that the client is gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY_BYTES:
            raise Refused(
                413,
                "body_too_large",
                f"the body of the request is larger than {LARGEST_BODY_BYTES / 2**20:.0f} MiB",
                "send fewer changes at a time",
                headers={"Connection": "close"},
            )
        if not message.get("more_body"):
            return {"type": "http.request", "body": bytes(body), "more_body": False}
