"""What a server and its child that answers live say to each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from cimeu.server.schema import MomentOut

SAMPLE_BYTES = 2
FULL_SCALE = 2**15


@dataclass(frozen=True)
class Needs:
    """What the model reads, and how its windows lie."""

    sound: bool
    frames_hz: float
    """Frames a second that it reads; 0 where it reads none."""
    window_s: float
    hop_s: float


@dataclass(frozen=True)
class Piece:
    """What came in since the piece before: sound that was lost, then sound, and the frames shown during both."""

    lost_bytes: int = 0
    """Of sound that came in and was thrown away."""
    sound: bytes = b""
    frames: Sequence[tuple[float, bytes]] = ()
    """Frames and since when each is on screen, on the clock of the sound."""


@dataclass(frozen=True)
class Answered:
    """What is said after a piece."""

    moments: list[MomentOut]
    heard_s: float
    dropped: int
