"""What an encoder is: it turns the frames or the sound of one clip into one vector per window.

The work is split in three so that nothing is computed twice: `prepare` sees every frame once, windows are cut from the
prepared frames as views (`cimeu.encoders.encoding`), and the encoder maps a batch of windows to vectors. Encoders are
built by name in `cimeu.encoders.registry`; `cimeu.encoders.description` says what identifies one.

Axes: F frames of a clip, N windows, L frames of a window, D width of the vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

SOUND_RATE_HZ = 16_000
FRAME_SAMPLES = 400
SHIFT_SAMPLES = 160
"""A filterbank frame is 25 ms long, one every 10 ms, at 16 kHz."""


@dataclass(frozen=True)
class Window:
    """What one step sees: `length` frames, one window every `stride` frames (video frames, or 10 ms of sound)."""

    length: int
    stride: int


@runtime_checkable
class Encoder(Protocol):
    """What every encoder has and does.

    `window` is None where the whole clip is seen at once. In a dimension listed in `optional`, NaN means that the
    window held nothing to measure. `preprocessing` holds everything that shapes the numbers; a change of it is a change
    of the fingerprint. A `heavy` encoder is a network: one process computes it on all cores while others decode.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def window(self) -> Window | None: ...
    @property
    def source(self) -> Literal["face", "frame", "sound"]: ...
    @property
    def kind(self) -> Literal["steps", "tokens", "filterbank"]: ...
    @property
    def optional(self) -> tuple[int, ...]: ...
    @property
    def preprocessing(self) -> Mapping[str, object]: ...
    @property
    def heavy(self) -> bool: ...

    def prepare(self, source: np.ndarray) -> np.ndarray:
        """Work done once per frame: crops `[F, S, S, 3]` or samples `[N]` to `[F, ...]`."""
        ...

    def __call__(self, windows: np.ndarray) -> Float32[np.ndarray, "N D"]:
        """Windows `[N, L, ...]` to one vector each; a whole clip `[1, F, ...]` to its rows."""
        ...
