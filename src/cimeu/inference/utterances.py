"""Sound cut at pauses into stretches like training clips, each encoded once and whole.

Encoders such as Moonshine see all of a clip in each of its steps, so that a step of two seconds cut out of a sentence
differs from the same step of the sentence. A recording is therefore cut where somebody pauses, or at its quietest
place after `LONGEST_S`; each stretch is trimmed, levelled and encoded as a training clip is; and a window takes the
steps that lie in it. What stands in silence has no step.

Axes: N samples, F frames of 25 ms, T steps, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from cimeu.encoders.base import Encoder
from cimeu.encoders.encoding import encode
from cimeu.inference.buffers import SoundBuffer
from cimeu.media.audio import FRAME_S, RATE_HZ, TRIM_DB, at_level, frame_energies, trim_silence
from cimeu.pyramid import Direction

LONGEST_S, SHORTEST_S = 6.0, 1.0
"""Of a stretch, before it is trimmed; training clips last 0.8 to 6 s."""
PAUSE_S = 0.25
"""A pause this long ends a stretch."""
FEWEST_SAMPLES = RATE_HZ // 10
"""Less sound than this in a stretch is no speech."""
FRAME = round(FRAME_S * RATE_HZ)


@runtime_checkable
class ContextEncoder(Encoder, Protocol):
    """An encoder of sound whose every step depends on the whole clip."""

    @property
    def step_s(self) -> float:
        """Seconds of sound that one step stands for."""
        ...


@dataclass(frozen=True)
class _Stretch:
    start_s: float
    """Of what was encoded, in the time of the sound track."""
    end_s: float
    steps: dict[Direction, Float32[np.ndarray, "T D"]]

    def times_s(self, step_s: float) -> Float[np.ndarray, " T"]:
        """Middle of each forward step."""
        return self.start_s + (np.arange(len(self.steps["forward"])) + 0.5) * step_s


class Utterances:
    """Steps of the last seconds of a recording, encoded stretch by stretch as they are asked for."""

    def __init__(self, sound: SoundBuffer, encoder: ContextEncoder, directions: Sequence[Direction]) -> None:
        self._sound, self._encoder, self._directions = sound, encoder, tuple(directions)
        self._stretches: list[_Stretch] = []
        self._cut_s = 0.0

    def window(
        self, start_s: float, end_s: float
    ) -> tuple[dict[Direction, Float32[np.ndarray, "T D"]], tuple[float, float]]:
        """Steps of a window by direction, and from when to when the encoder listened for them; empty in silence."""
        self._encode_until(end_s)
        inside = [stretch for stretch in self._stretches if stretch.start_s < end_s and stretch.end_s > start_s]
        vectors: dict[Direction, list[np.ndarray]] = {direction: [] for direction in self._directions}
        for stretch in inside:
            times_s = stretch.times_s(self._encoder.step_s)
            # A step belongs to the window that holds its middle, so neighbouring windows share none.
            kept = (times_s >= start_s) & (times_s < end_s)
            for direction in self._directions:
                # Backward steps were computed on reversed sound and lie in reversed order.
                where = kept if direction == "forward" else kept[::-1]
                vectors[direction].append(stretch.steps[direction][where])
        reach = (
            min([start_s, *(stretch.start_s for stretch in inside)]),
            max([end_s, *(stretch.end_s for stretch in inside)]),
        )
        if not any(map(len, vectors[self._directions[0]])):
            return {}, reach
        # Stretches too: played backward, the last one comes first.
        in_order = {d: rows if d == "forward" else rows[::-1] for d, rows in vectors.items()}
        return {direction: np.concatenate(rows) for direction, rows in in_order.items()}, reach

    def forget(self, before_s: float) -> None:
        """Drop stretches that ended before this time, and sound before it that no window asked for."""
        self._stretches = [stretch for stretch in self._stretches if stretch.end_s > before_s]
        self._cut_s = max(self._cut_s, before_s)

    def _encode_until(self, time_s: float) -> None:
        """Encode every stretch that begins before this time."""
        while self._cut_s < time_s:
            # A pause at the very end of the longest stretch must be heard whole.
            self._sound.read_until(self._cut_s + LONGEST_S + PAUSE_S)
            samples = self._sound.samples(self._cut_s, self._cut_s + LONGEST_S + PAUSE_S)
            if len(samples) < FRAME:
                return
            length = first_cut(samples)
            self._encode(samples[:length])
            self._cut_s += length / RATE_HZ

    def _encode(self, samples: Float32[np.ndarray, " N"]) -> None:
        first, last = trim_silence(samples, RATE_HZ) if self._encoder.preprocessing.get("trim") else (0, len(samples))
        if last - first < FEWEST_SAMPLES:
            return
        spoken = samples[first:last]
        ready = at_level(spoken) if self._encoder.preprocessing.get("level") else spoken
        steps = {d: encode(self._encoder, ready, d) for d in dict.fromkeys(("forward", *self._directions))}
        self._stretches.append(_Stretch(self._cut_s + first / RATE_HZ, self._cut_s + last / RATE_HZ, steps))


def first_cut(samples: Float32[np.ndarray, " N"]) -> int:
    """Where the first stretch of these samples ends: in the middle of its first pause, at the quietest place of its
    second half where it has none, or at its end where it is short enough."""
    energies = frame_energies(samples[: len(samples) // FRAME * FRAME], FRAME)
    longest, shortest, pause = (round(time_s / FRAME_S) for time_s in (LONGEST_S, SHORTEST_S, PAUSE_S))
    # Relative to the loudest of these seconds, as silence is trimmed in training.
    loud = energies >= np.percentile(energies, 98) * 10 ** (-TRIM_DB / 10)
    spoken = np.flatnonzero(loud)
    earliest = (int(spoken[0]) if len(spoken) else 0) + shortest
    for start in _pauses(loud, pause):
        if earliest <= start <= longest and (loud[start:].any() or len(energies) > longest):
            return (start + pause // 2) * FRAME
    if len(energies) <= longest:
        return len(samples)
    # The quietest place for as long as a pause: a single quiet frame lies inside of many sounds.
    smooth = np.convolve(energies, np.ones(pause), "same")
    return (longest // 2 + int(smooth[longest // 2 : longest].argmin())) * FRAME


def _pauses(loud: np.ndarray, pause: int) -> Iterator[int]:
    """First frames of the quiet spells of at least `pause` frames, at every frame from which that many are quiet."""
    if len(loud) < pause:
        return
    quiet = np.lib.stride_tricks.sliding_window_view(~loud, pause).all(axis=1)
    yield from np.flatnonzero(quiet).tolist()
