"""What is kept of a recording while it streams by: prepared frames of each face, and the last seconds of sound.

Windows overlap, work does not: every frame is prepared once, and every window of the encoder is encoded once per
direction, whichever windows of the recording share it.

Axes: F frames, S side of a crop, L frames of an encoder's window, N samples, T' steps, D width.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, UInt8

from cimeu.encoders.base import Encoder
from cimeu.encoders.encoding import cut_windows
from cimeu.media.audio import RATE_HZ
from cimeu.pyramid import Direction


class FrameBuffer:
    """The recent crops of one face (or of the whole frame), ready for one encoder.

    Frames are counted from the start of the recording. A frame in which the face was missed repeats the one before, and
    does not count as seen.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._first = 0  # number of the first frame kept
        self._prepared: list[np.ndarray] = []
        self._waiting: list[UInt8[np.ndarray, "S S 3"] | None] = []  # None: repeat the frame before
        self._vectors: dict[tuple[int, Direction], Float32[np.ndarray, " D"]] = {}

    def add(self, index: int, crop: UInt8[np.ndarray, "S S 3"]) -> None:
        """The face in frame `index`; frames missed since the last one are filled."""
        if not self._prepared and not self._waiting:
            self._first = index
        self._waiting += [None] * (index - self.stop)
        self._waiting.append(crop)

    @property
    def stop(self) -> int:
        """Number after the last frame kept."""
        return self._first + len(self._prepared) + len(self._waiting)

    def holds(self, start: int, stop: int) -> bool:
        """Whether any frame from `start` to `stop` is there."""
        return max(start, self._first) < min(stop, self.stop)

    def vectors(self, start: int, stop: int, direction: Direction) -> Float32[np.ndarray, "T D"]:
        """What `encode` gives for the frames that are there from `start` to `stop`, one at least."""
        assert self.holds(start, stop), "no frame to encode"
        self._prepare()
        start, stop = max(start, self._first), min(stop, self.stop)
        window = self.encoder.window
        if window is None or stop - start < window.length:
            frames = np.stack(self._prepared[start - self._first : stop - self._first])
            return self.encoder(cut_windows(frames if direction == "forward" else frames[::-1], window))
        if direction == "forward":
            firsts = range(start, stop - window.length + 1, window.stride)
        else:
            firsts = range(stop - window.length, start - 1, -window.stride)
        self._encode([first for first in firsts if (first, direction) not in self._vectors], direction)
        return np.stack([self._vectors[first, direction] for first in firsts])

    def forget(self, before: int) -> None:
        """Drop frames before this one."""
        self._prepare()
        gone = max(0, min(before - self._first, len(self._prepared)))
        self._first += gone
        del self._prepared[:gone]
        for key in [key for key in self._vectors if key[0] < self._first]:
            del self._vectors[key]

    def _prepare(self) -> None:
        crops = [crop for crop in self._waiting if crop is not None]
        fresh = iter(self.encoder.prepare(np.stack(crops))) if crops else iter(())
        for crop in self._waiting:
            self._prepared.append(next(fresh) if crop is not None else self._prepared[-1])
        self._waiting.clear()

    def _encode(self, firsts: list[int], direction: Direction) -> None:
        if not firsts:
            return
        window = self.encoder.window
        assert window is not None
        frames = [np.stack(self._prepared[f - self._first : f - self._first + window.length]) for f in firsts]
        windows = np.stack(frames)
        encoded = self.encoder(windows if direction == "forward" else np.ascontiguousarray(windows[:, ::-1]))
        self._vectors.update({(first, direction): row for first, row in zip(firsts, encoded, strict=True)})


class Sightings:
    """In which recent frames a face was there, and how large; held ones are where it was only supposed to be."""

    def __init__(self) -> None:
        self._widths_px: dict[int, float] = {}
        self._held: set[int] = set()

    def add(self, index: int, width_px: float, *, is_held: bool = False) -> None:
        """The face in frame `index`."""
        self._widths_px[index] = width_px
        if is_held:
            self._held.add(index)

    def any(self, start: int, stop: int) -> bool:
        """Whether the face is there in any of these frames."""
        return bool(self.frames(start, stop))

    def frames(self, start: int, stop: int) -> set[int]:
        """The frames, among these, in which the face is there."""
        return {index for index in self._widths_px if start <= index < stop}

    def frames_found(self, start: int, stop: int) -> set[int]:
        """The frames, among these, in which the face was really found."""
        return self.frames(start, stop) - self._held

    def width_px(self, start: int, stop: int) -> float:
        """Median width of the face in these frames, 0 if it is in none."""
        within = [self._widths_px[index] for index in self.frames(start, stop)]
        return float(np.median(within)) if within else 0.0

    def forget(self, before: int) -> None:
        """Drop frames before this one."""
        self._widths_px = {index: width for index, width in self._widths_px.items() if index >= before}
        self._held = {index for index in self._held if index >= before}


class SoundBuffer:
    """The last seconds of sound, read block by block as far as needed."""

    def __init__(self, blocks: Iterator[Float32[np.ndarray, " n"] | None]) -> None:
        """None among the blocks: the next one is not there yet."""
        self._blocks = blocks
        self._start = 0  # number of the first sample kept
        self._kept = np.zeros(0, np.float32)
        self.exhausted = False

    @property
    def end_s(self) -> float:
        """Time up to which sound was read."""
        return (self._start + len(self._kept)) / RATE_HZ

    def read_until(self, time_s: float) -> None:
        """Read on until this time, the end, or what is not there yet."""
        parts = [self._kept]
        count = self._start + len(self._kept)
        while not self.exhausted and count < time_s * RATE_HZ:
            try:
                block = next(self._blocks)
            except StopIteration:
                self.exhausted = True
                break
            if block is None:
                break
            parts.append(block)
            count += len(block)
        self._kept = np.concatenate(parts)

    def samples(self, start_s: float, end_s: float) -> Float32[np.ndarray, " N"]:
        """Samples between two times, as far as they were read."""
        first, last = (round(time_s * RATE_HZ) - self._start for time_s in (start_s, end_s))
        return self._kept[max(0, first) : max(0, last)]

    def forget(self, before_s: float) -> None:
        """Drop sound before this time."""
        gone = max(0, min(round(before_s * RATE_HZ) - self._start, len(self._kept)))
        self._start += gone
        self._kept = self._kept[gone:].copy()
