"""What a server is started with: who may reach it, what it accepts, and how long it keeps it."""

import ipaddress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from cimeu.errors import RecipeError
from cimeu.timeline.settings import TimelineSettings

SHORTEST_TOKEN = 16
LIMITS = (
    *("max_size_mb", "max_duration_s", "keep_minutes", "max_waiting"),
    *("max_connections_per_client", "min_upload_kb_s", "max_memory_gb"),
)
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of `cimeu serve`; together they bound what a stranger's request can cost."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but this machine's own needs a token."""
    port: int = 8000
    """0 takes any free port."""
    token: str = ""
    """Secret that every request must bring; empty for none."""
    max_size_mb: float | int = 2000
    """Larger uploads are stopped on their way, in units of 10**6 bytes."""
    max_duration_s: float | int = 7200
    """Longer recordings are refused."""
    keep_minutes: float | int = 240
    """Recording, result and corrections are deleted so long after the result is there."""
    max_waiting: int = 20
    """Recordings that may be under way at a time: arriving, waiting and running. One client may have half as many
    arriving."""
    max_connections_per_client: int = 64
    """Connections of one address (of one /64 network in IPv6). Behind a proxy, all clients are the proxy."""
    min_upload_kb_s: float | int = 20
    """Slower uploads are ended: whoever sends a byte a second would hold a place for years."""
    max_memory_gb: float | int = 4
    """Memory that reading one recording may take beyond what the loaded model takes, in units of 2**30 bytes."""
    folder: Path | None = None
    """Where recordings, results and corrections outlive the server, until they expire; None for a folder of its own
    that is deleted with it."""
    live: bool = False
    """Whether a page may send the camera and the microphone of its computer."""
    timeline: TimelineSettings = field(default_factory=TimelineSettings)
    """Thresholds of timelines, where an upload does not bring its own."""

    def __post_init__(self) -> None:
        for name in LIMITS:
            if not 0 < getattr(self, name) < inf:  # false for NaN too
                raise RecipeError(f"{name} is {getattr(self, name)}\n\nhint: a number above 0")
        if not 0 <= self.port <= 65535:
            raise RecipeError(f"port is {self.port}\n\nhint: 1 to 65535, or 0 for any free one")
        if self.token and (len(self.token) < SHORTEST_TOKEN or not self.token.isascii() or " " in self.token):
            raise RecipeError(
                f"the token has {len(self.token)} characters or signs that a header cannot carry\n\n"
                f"hint: {SHORTEST_TOKEN} ASCII characters or more without spaces, such as the output of "
                "`python -c 'import secrets; print(secrets.token_urlsafe())'`"
            )
        if not self.is_local and not self.token:
            raise RecipeError(
                f"host `{self.host}` lets other machines in, and there is no token\n\n"
                "hint: set --token (or CIMEU_TOKEN), or listen on 127.0.0.1"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def max_bytes(self) -> int:
        """Size limit of one recording."""
        return int(self.max_size_mb * 1e6)

    @property
    def max_arriving_per_client(self) -> int:
        """Uploads of one client at a time: half of all places, so that no client takes them all."""
        return max(1, self.max_waiting // 2)

    @property
    def max_memory_bytes(self) -> int:
        """What reading one recording may take."""
        return int(self.max_memory_gb * 2**30)
