"""Steps of windows that are answered again once a style is known, in a temporary file.

An hour of sound in windows that overlap has some hundred megabytes of steps: too much to hold, and much faster to read
back than to encode again. Short recordings never leave the memory.

Axes: T steps, D width.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import overload
from weakref import finalize

import numpy as np

from cimeu.model.classifier import Clip
from cimeu.pyramid import Direction

IN_MEMORY_BYTES = 16 * 2**20
"""More than this goes to the disk."""


@dataclass(frozen=True)
class _Place:
    """Where an array lies in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype


class KeptSteps:
    """Steps of the windows of one reading; the file is gone when nothing refers to them any more."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - closed when nothing refers to it
        finalize(self, self._file.close)

    def keep(self, clip: Clip) -> "KeptClip":
        """Write the steps of a window."""
        first = {direction: self._write(steps) for direction, steps in clip.first.items()}
        return KeptClip(self, first, None if clip.second is None else self._write(clip.second))

    def read(self, place: _Place) -> np.ndarray:
        """An array as it was written."""
        self._file.seek(place.offset)
        size = int(np.prod(place.shape)) * place.dtype.itemsize
        return np.frombuffer(self._file.read(size), place.dtype).reshape(place.shape)

    def _write(self, steps: np.ndarray) -> _Place:
        offset = self._file.seek(0, os.SEEK_END)
        self._file.write(np.ascontiguousarray(steps).tobytes())
        return _Place(offset, steps.shape, steps.dtype)


@dataclass(frozen=True)
class KeptClip:
    """The steps of one window."""

    steps: KeptSteps
    first: Mapping[Direction, _Place]
    second: _Place | None

    def clip(self) -> Clip:
        """The window as a classifier reads it."""
        first = {direction: self.steps.read(place) for direction, place in self.first.items()}
        return Clip(first, None if self.second is None else self.steps.read(self.second))


@dataclass(frozen=True)
class KeptClips(Sequence[Clip]):
    """Some windows, each read when it is asked for."""

    kept: Sequence[KeptClip]

    def __len__(self) -> int:
        return len(self.kept)

    @overload
    def __getitem__(self, row: int) -> Clip: ...
    @overload
    def __getitem__(self, row: slice) -> "KeptClips": ...
    def __getitem__(self, row: int | slice) -> "Clip | KeptClips":
        return KeptClips(self.kept[row]) if isinstance(row, slice) else self.kept[row].clip()
