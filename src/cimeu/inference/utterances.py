"""Sound cut at pauses into stretches like training clips, each encoded once and whole.

Encoders such as Moonshine see all of a clip in each of its steps, so that a step of two seconds cut out of a sentence
differs from the same step of the sentence. A recording is therefore cut where somebody pauses, or at its quietest
place after `LONGEST_S`; each stretch is trimmed, levelled and encoded as a training clip is; and a window takes the
steps that lie in it. What stands in silence has no step.

Live, the sound after a window is not there yet: what is cut before the end of `LONGEST_S` is cut again with the next
window, when more of it has been heard.

Axes: N samples, F frames of 25 ms, T steps, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
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

    def __init__(
        self, sound: SoundBuffer, encoder: ContextEncoder, directions: Sequence[Direction], *, live: bool = False
    ) -> None:
        """`live`: no window is given anything of what comes after it."""
        self._sound, self._encoder, self._directions, self._is_live = sound, encoder, tuple(directions), live
        self._stretches: list[_Stretch] = []
        self._provisional: list[_Stretch] = []
        self._cut_s = self._asked_s = 0.0

    def window(
        self, start_s: float, end_s: float
    ) -> tuple[dict[Direction, Float32[np.ndarray, "T D"]], tuple[float, float]]:
        """Steps of a window by direction, and from when to when the encoder listened for them; empty in silence."""
        self._encode_until(end_s)
        stretches = self._stretches + self._provisional
        inside = [stretch for stretch in stretches if stretch.start_s < end_s and stretch.end_s > start_s]
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
        # Live, the cut lies behind the window that was asked for last, until what follows is heard.
        if not self._is_live or before_s > self._asked_s:
            self._cut_s = max(self._cut_s, before_s)

    @property
    def needs_s(self) -> float:
        """From when on sound is needed that was read before."""
        return self._cut_s if self._is_live else inf

    def _encode_until(self, time_s: float) -> None:
        """Encode every stretch that begins before this time."""
        before, self._provisional = self._provisional, []
        self._asked_s, cut_s = time_s, self._cut_s
        while cut_s < time_s:
            # A pause at the very end of the longest stretch must be heard whole.
            until_s = cut_s + LONGEST_S + PAUSE_S
            if not self._is_live:
                self._sound.read_until(until_s)
            samples = self._sound.samples(cut_s, min(until_s, time_s) if self._is_live else until_s)
            if len(samples) < FRAME:
                return
            length = first_cut(samples)
            encoded = self._encoded(cut_s, samples[:length], before)
            is_settled = not self._is_live or until_s <= time_s
            (self._stretches if is_settled else self._provisional).extend(encoded)
            cut_s += length / RATE_HZ
            if is_settled:
                self._cut_s = cut_s

    def _encoded(
        self, cut_s: float, samples: Float32[np.ndarray, " N"], before: Sequence[_Stretch]
    ) -> Iterator[_Stretch]:
        """The stretch that begins at a cut, taken from those `before` where it is among them; nothing in silence."""
        first, last = trim_silence(samples, RATE_HZ) if self._encoder.preprocessing.get("trim") else (0, len(samples))
        if last - first < FEWEST_SAMPLES:
            return
        start_s, end_s = cut_s + first / RATE_HZ, cut_s + last / RATE_HZ
        earlier = next((stretch for stretch in before if (stretch.start_s, stretch.end_s) == (start_s, end_s)), None)
        if earlier is not None:
            yield earlier
            return
        spoken = samples[first:last]
        ready = at_level(spoken) if self._encoder.preprocessing.get("level") else spoken
        steps = {d: encode(self._encoder, ready, d) for d in dict.fromkeys(("forward", *self._directions))}
        yield _Stretch(start_s, end_s, steps)


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
