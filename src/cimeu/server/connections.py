"""How many connections a client may hold, and for how long without a request.

    connected ── head of a request ── request under way ── answered ── head of the next request ...
        └────────── HEAD_S ────────┘                           └────────── HEAD_S ─────────┘

A client at its limit loses the connection that has been idle longest, or else the one whose request has waited longest
for the client, so that a new one is still answered while a thousand silent or slow ones are being opened; only where
the server is at work for every connection is the new one refused. This happens in the protocol below the application,
which never sees a request whose head is incomplete.
"""

import asyncio
import ipaddress
import json
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from uvicorn.protocols.http.h11_impl import H11Protocol

from cimeu.server.settings import ServerSettings

HEAD_S = 10.0
"""From connecting, or from the last answer, to the end of a request's headers."""
STALLED_S = 0.2
"""A request that has waited for its client for less is not ended for another one."""
MOST_CONNECTIONS = 400
"""Of all clients together. Each may need a second descriptor for a file, and processes often have 1024."""
ACCEPT_AT_ONCE = 100
"""Connections accepted before any is counted; with more, a burst would use up the descriptors."""
BUSY = json.dumps(
    {"code": "too_many_connections", "message": "too many connections at once", "hint": "close some of them"}
).encode()
BUSY_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 10\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(BUSY), BUSY)
)

Peer = tuple[str, int]


@dataclass(eq=False)
class Connection:
    """One connection and how it is used."""

    peer: Peer
    transport: asyncio.Transport
    idle_since_s: float
    requests: int = 0
    """Requests under way: two for a moment where a client sends the next one early."""
    waits_since_s: float | None = None
    """Since when its request has waited for the client, to send more of its body or to read more of the answer."""
    unsent_bytes: int = 0
    timer: asyncio.TimerHandle | None = None


class Connections:
    """Every open connection; used in the server's event loop only."""

    def __init__(self, settings: ServerSettings) -> None:
        self._per_client = settings.max_connections_per_client
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._in_total = max(8, min(MOST_CONNECTIONS, descriptors // 2 - 32))
        self._open: dict[Peer, Connection] = {}

    def admit(self, peer: Peer, transport: asyncio.Transport) -> bool:
        """Count a new connection; False where it was refused with 503 and closed."""
        client, everyone = client_of(peer[0]), list(self._open.values())
        own = [connection for connection in everyone if client_of(connection.peer[0]) == client]
        for held, limit in ((own, self._per_client), (everyone, self._in_total)):
            if len(held) < limit:
                continue
            longest = _longest_unused(held)
            if longest is None:
                transport.write(BUSY_ANSWER)
                transport.close()
                return False
            self._drop(longest)
        connection = Connection(peer, transport, asyncio.get_running_loop().time())
        self._open[peer] = connection
        self._expect_request(connection)
        return True

    def forget(self, peer: Peer) -> None:
        """A connection has ended."""
        connection = self._open.pop(peer, None)
        if connection is not None and connection.timer is not None:
            connection.timer.cancel()

    @contextmanager
    def request(self, peer: Peer | None) -> Iterator[Connection | None]:
        """While a request is under way its connection is not idle. None for one that is not counted (a test client)."""
        connection = None if peer is None else self._open.get((peer[0], peer[1]))
        if connection is None:
            yield None
            return
        connection.requests += 1
        if connection.timer is not None:
            connection.timer.cancel()
        try:
            yield connection
        finally:
            connection.requests -= 1
            if not connection.requests and not connection.transport.is_closing():
                connection.idle_since_s = asyncio.get_running_loop().time()
                self._expect_request(connection)

    def _expect_request(self, connection: Connection) -> None:
        connection.unsent_bytes = connection.transport.get_write_buffer_size()
        connection.timer = asyncio.get_running_loop().call_later(HEAD_S, self._head_is_late, connection)

    def _head_is_late(self, connection: Connection) -> None:
        # The end of an answer may still be on its way to a client that reads slowly.
        if 0 < connection.transport.get_write_buffer_size() < connection.unsent_bytes:
            self._expect_request(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """End a connection now: `close` would wait for a client that reads nothing."""
        self.forget(connection.peer)
        connection.transport.abort()


def _longest_unused(held: Sequence[Connection]) -> Connection | None:
    """The connection that has been idle longest, or else has waited longest for its client; None where all are used."""
    idle = [connection for connection in held if not connection.requests]
    if idle:
        return min(idle, key=lambda connection: connection.idle_since_s)
    since_s = {connection: connection.waits_since_s for connection in held if connection.waits_since_s is not None}
    longest = min(since_s, key=since_s.__getitem__, default=None)
    if longest is None or asyncio.get_running_loop().time() - since_s[longest] < STALLED_S:
        return None
    return longest


def client_of(host: str) -> str:
    """Who is behind an address: one customer of a network provider holds a whole /64 of IPv6 addresses.

    >>> client_of("192.0.2.7"), client_of("2001:db8::1") == client_of("2001:db8::ffff:1")
    ('192.0.2.7', True)
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


def protocol_of(connections: Connections) -> type[asyncio.Protocol]:
    """HTTP as uvicorn speaks it, on connections that are counted."""

    class CountedProtocol(H11Protocol):
        counted = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.counted = self.client is not None and connections.admit(self.client, transport)

        def data_received(self, data: bytes) -> None:
            if self.counted:  # the rest of what a refused client sent is ignored
                super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None and self.counted:
                connections.forget(self.client)
            super().connection_lost(exc)

    return CountedProtocol


def socket_protocol_of(connections: Connections) -> type[asyncio.Protocol]:
    """WebSockets as uvicorn speaks them, on the connections that the protocol above counted."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    class CountedSocket(WebSocketsSansIOProtocol):
        def handle_ping(self) -> None:
            # Pongs bypass `send`: a client that reads none of them would fill the memory.
            if self.writable.is_set():
                super().handle_ping()
            else:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            # The protocol before it hears nothing any more of a connection that it gave away.
            if self.client is not None:
                connections.forget(self.client)
            super().connection_lost(exc)

    return CountedSocket
