"""Where frames and sound come from: a recording, or (`cimeu.inference.live`) a camera and a microphone.

Axes: N samples.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from cimeu.media.audio import stream_sound
from cimeu.media.video import Frame, frames

SOUND_BLOCK_S = 1.0


@runtime_checkable
class Streams(Protocol):
    """Frames and sound of one recording, each read once and in order."""

    @property
    def live(self) -> bool:
        """Whether it happens now: nothing after the window in hand is there to be heard yet."""
        ...

    def frames(self, rate_hz: float, start_s: float, max_side: int) -> Generator[Frame, None, None]:
        """Frames on a grid of times from `start_s` on, none larger than `max_side`."""
        ...

    def sound(self, start_s: float) -> Iterator[Float32[np.ndarray, " N"] | None]:
        """Blocks of sound, mono at 16 kHz; None where the next one is not there yet."""
        ...


@dataclass(frozen=True)
class Recorded:
    """A file."""

    path: Path
    live: ClassVar[bool] = False

    def frames(self, rate_hz: float, start_s: float, max_side: int) -> Generator[Frame, None, None]:
        """Decoded frames. Raises MediaError."""
        yield from frames(self.path, rate_hz=rate_hz, start_s=start_s, max_side=max_side)

    def sound(self, start_s: float) -> Iterator[Float32[np.ndarray, " N"]]:
        """Decoded sound, block by block. Raises MediaError."""
        return stream_sound(self.path, block_s=SOUND_BLOCK_S, start_s=start_s)
