"""The log-mel filterbank itself, for a model that trains its own audio encoder (AST, Interspeech 2021).

Axes: N samples or frames, F frames (10 ms).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float32

from cimeu.encoders.base import Window
from cimeu.encoders.spectral import BINS, SpeechWindows, log_mel


@dataclass(frozen=True)
class Filterbank(SpeechWindows):
    """One row of 128 log-mel energies every 10 ms."""

    # As published: an audio encoder that is trained inside the network learns what to do with silence and level.
    trim: bool = False
    level: bool = False

    name: ClassVar[str] = "filterbank"
    width: ClassVar[int] = BINS
    window: ClassVar[Window | None] = Window(1, 1)
    kind: ClassVar[Literal["steps", "filterbank"]] = "filterbank"

    def prepare(self, source: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "F 128"]:
        """Log-mel filterbank."""
        return log_mel(source)

    def __call__(self, windows: Float32[np.ndarray, "N 1 128"]) -> Float32[np.ndarray, "N 128"]:
        """The frames themselves."""
        return windows[:, 0]
