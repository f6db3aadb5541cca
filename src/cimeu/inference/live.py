"""A camera and a microphone, recognised while they run: the windows of a recording, each answered when it is over.

    sound ──┐                          ┌─ voice activity, encoders, model: as in a recording
    frames ─┴─ streams ─ window is over ┤
                                        └─ style from windows before it ─ smoothed over windows before it ─ answer

A window knows nothing of what comes after it. That is the only difference to a recording: encoders that listen to
whole stretches of speech hear the stretch so far, a style is read from earlier windows, and smoothing looks back. Only
the last seconds of sound, frames and answers are in memory. Where several windows are over at once, the machine is too
slow for all of them: the newest one is answered, and the others are counted.

Axes: N samples.
"""

import io
import logging
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import count
from math import ceil, inf
from queue import Empty, SimpleQueue
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from cimeu.inference.face_path import REACH_S
from cimeu.inference.lanes import Lane
from cimeu.inference.own_style import MOST_SUPPORT, Support, Windows, adapt
from cimeu.inference.recogniser import Recogniser
from cimeu.inference.windows import PLACES_HZ, Span, WindowInput
from cimeu.media.audio import RATE_HZ
from cimeu.media.video import Frame, MediaInfo
from cimeu.model.classifier import StyleReader
from cimeu.timeline.segmenting import latest_segment
from cimeu.timeline.segments import NOBODY, Cell, ScoredWindow, Segment
from cimeu.timeline.series import scored_windows

logger = logging.getLogger(__name__)

STALLED_S = 0.5
"""A camera that is silent for longer shows what it showed last."""
GIVEN_UP_S = 60.0
"""Frames that do not come for so long do not come at all."""
MOST_PEOPLE = 32
"""Of whom earlier windows are remembered."""
MOST_PIXELS = 1920 * 1080
"""Larger frames are not decoded."""


@dataclass(frozen=True)
class Moment:
    """What is said of one stretch of one lane, once its window is over."""

    window_s: tuple[float, float]
    context_s: float
    """How far before the end of the window the encoders listened or looked: at least its length, where they did."""
    scored: ScoredWindow
    """The stretch that the window speaks for, as in the series of a recording."""
    segment: Segment
    """The same, smoothed with the stretches before: an emotion, or why none is named."""


class LiveStreams:
    """Frames and sound as they come in: put in by one thread, read by `WindowReader`."""

    live: ClassVar[bool] = True

    def __init__(self, rate_hz: float, size: tuple[int, int] | None, *, has_ears: bool = True) -> None:
        """`size` is width and height of the camera's frames, None without a camera; without `has_ears`, sound is a
        clock only."""
        self._rate_hz, self._size, self._has_ears = rate_hz, size, has_ears
        self._blocks: deque[Float32[np.ndarray, " N"]] = deque()
        self._waiting: SimpleQueue[tuple[float, bytes | None] | None] = SimpleQueue()
        self._shown: bytes | None = None
        self._n_frames = 0
        self._n_samples = 0
        self._is_over = False

    @property
    def heard_s(self) -> float:
        """Time up to which sound came in."""
        return self._n_samples / RATE_HZ

    @property
    def seen_s(self) -> float:
        """Time up to which frames are known; infinite without a camera."""
        return self._n_frames / self._rate_hz if self._size else inf

    def hear(self, samples: Float32[np.ndarray, " N"]) -> None:
        """The next samples, mono at 16 kHz."""
        if self._has_ears:
            self._blocks.append(samples)
        self._n_samples += len(samples)
        if self._size:
            self._show_until(self.heard_s - STALLED_S)

    def see(self, time_s: float, jpeg: bytes) -> None:
        """A frame that is on screen from `time_s` on, on the clock of the sound; ignored where none is read."""
        if self._size is None:
            return
        # No clock runs ahead of the sound: a wrong time must not fill the memory with frames.
        self._show_until(min(time_s, self.heard_s))
        self._shown = jpeg

    def close(self) -> None:
        """Nothing more comes."""
        self._is_over = True
        self._waiting.put(None)

    def _show_until(self, time_s: float) -> None:
        while self._n_frames / self._rate_hz < time_s - 1e-6:
            self._waiting.put((self._n_frames / self._rate_hz, self._shown))
            self._shown = None  # the same again need not be decoded again
            self._n_frames += 1

    def frames(self, rate_hz: float, start_s: float, max_side: int) -> Generator[Frame, None, None]:
        """Frames on the grid, in the size of the first; waits for them, in the thread that reads ahead."""
        assert self._size is not None, "frames are read where there is a camera"
        shrink = min(1.0, max_side / max(self._size))
        width, height = (max(1, round(side * shrink)) for side in self._size)
        pixels = np.zeros((height, width, 3), np.uint8)
        while True:
            try:
                shown = self._waiting.get(timeout=GIVEN_UP_S)
            except Empty:
                return
            if shown is None:
                return
            time_s, jpeg = shown
            pixels = pixels if jpeg is None else _decoded(jpeg, (width, height), pixels)
            yield Frame(time_s, pixels)

    def sound(self, start_s: float) -> Iterator[Float32[np.ndarray, " N"] | None]:
        """What came in so far."""
        while self._blocks or not self._is_over:
            yield self._blocks.popleft() if self._blocks else None


def _decoded(jpeg: bytes, size: tuple[int, int], before: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Pixels of a frame, or those before it where it is damaged or too large."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                return before
            pixels = image.convert("RGB")
        return np.asarray(pixels if pixels.size == size else pixels.resize(size, Image.Resampling.BOX))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return before


class LiveSession:
    """One run of a camera and a microphone; used by one thread."""

    def __init__(self, recogniser: Recogniser, *, size: tuple[int, int] | None = None) -> None:
        """`size` is width and height of the camera's frames; None where there is sound alone."""
        # Voices are told apart after the end of a recording.
        self._recogniser = recogniser.with_settings(replace(recogniser.settings, voices=1, start_s=0.0, end_s=0.0))
        sources, rate_hz = {encoder.source for encoder in recogniser.encoders.values()}, recogniser.frame_rate_hz
        self._streams = LiveStreams(rate_hz, size if sources - {"sound"} else None, has_ears="sound" in sources)
        width, height = size or (0, 0)
        info = MediaInfo(0.0, width, height, rate_hz, 0, has_video=size is not None, has_sound=True)
        self._reader, self._spans = self._recogniser.reader(self._streams, info)
        # The path of a face is smoothed over what comes after it, and followed from one detection to the next.
        self._look_ahead_s = REACH_S + 1 / PLACES_HZ + 3 / rate_hz
        self._n_windows = 0
        self._lost: deque[tuple[float, float]] = deque(maxlen=1000)
        self._numbers = count()
        self._people: dict[str, str] = {}
        self._past: dict[str, deque[tuple[np.ndarray, tuple[float, float], np.ndarray]]] = {}
        self._cells: dict[str, deque[Cell]] = {}
        self.dropped = 0
        """Windows that were not answered, because the machine was too slow or what they hold did not arrive."""

    @property
    def heard_s(self) -> float:
        """Time up to which sound came in."""
        return self._streams.heard_s

    def hear(self, samples: Float32[np.ndarray, " N"]) -> None:
        """The next samples, mono at 16 kHz."""
        self._streams.hear(samples)

    def lose(self, n_samples: int) -> None:
        """So many samples were lost on the way; no window that holds them is answered."""
        before_s = self.heard_s
        self._streams.hear(np.zeros(n_samples, np.float32))
        self._lost.append((before_s, self.heard_s))

    def see(self, time_s: float, jpeg: bytes) -> None:
        """A frame of the camera, on the clock of the sound."""
        self._streams.see(time_s, jpeg)

    def close(self) -> None:
        """End the threads that read ahead."""
        self._streams.close()

    def answers(self) -> list[Moment]:
        """What is said of the newest window that is over since the last call; of those before it, nothing."""
        newest: list[tuple[int, Span]] = []
        while self._is_over(self._end_s):
            self.dropped += bool(newest)
            newest = self._next_window()
        if not newest:
            return []
        window_s = newest[0][1].start_s, newest[0][1].end_s
        if any(start_s < window_s[1] and end_s > window_s[0] for start_s, end_s in self._lost):
            self.dropped += 1
            return []
        moments = [moment for number, span in newest for moment in self._answer(number, span)]
        self._forget(newest[-1][0])
        return moments

    @property
    def _end_s(self) -> float:
        """When the next window is over."""
        return self._recogniser.window_s + self._n_windows * self._recogniser.hop_s

    def _is_over(self, end_s: float) -> bool:
        return self.heard_s >= end_s and self._streams.seen_s >= end_s + self._look_ahead_s

    def _next_window(self) -> list[tuple[int, Span]]:
        """The stretches that the next window speaks for; the first speaks for the beginning too."""
        until_s = self._end_s - (self._recogniser.window_s - self._recogniser.hop_s) / 2
        spans: list[tuple[int, Span]] = []
        while not spans or spans[-1][1].until_s < until_s - 1e-6:
            spans.append((next(self._numbers), next(self._spans)))
        self._n_windows += 1
        return spans

    def _answer(self, number: int, span: Span) -> Iterator[Moment]:
        reader, recogniser = self._reader, self._recogniser
        inputs = {window.lane: window for window in reader.inputs(number, span)}
        recogniser.score(list(inputs.values()), reader.lanes)
        for track, lane in reader.lanes.items():
            if number not in lane.basis:
                continue
            name = self._name_of(track)
            probabilities = lane.probabilities.get(number)
            if probabilities is not None:
                probabilities = self._given_style(name, lane, inputs[track], probabilities)
            answers = lane.ood_scores.get(number, float("nan")), lane.continuous.get(number)
            cell = Cell(span.from_s, span.until_s, probabilities, *lane.basis[number], *answers)
            context_s = span.end_s - inputs[track].reach_s[0] if track in inputs else 0.0
            window_s = span.start_s, span.end_s
            yield Moment(window_s, context_s, scored_windows(name, [cell])[0], self._smoothed(name, cell))

    def _name_of(self, track: str) -> str:
        """What a lane is called: people in the order in which they were seen."""
        if track in NOBODY:
            return track
        person = self._reader.people.person_of(track)
        return self._people.setdefault(person, f"person {len(self._people) + 1}")

    def _given_style(
        self, name: str, lane: Lane, window: WindowInput, alone: Float[np.ndarray, " K"]
    ) -> Float[np.ndarray, " K"]:
        """What is answered given the style of the windows before, as far as they share nothing with this one."""
        classifier, scope = self._recogniser.classifier, self._recogniser.style
        if scope == "none":
            return alone
        assert isinstance(classifier, StyleReader), "any other model scores each window alone"
        x = lane.representations[window.number]
        past = self._past[name] = self._past.pop(name, deque(maxlen=MOST_SUPPORT))
        disjoint = [earlier for earlier in past if earlier[1][1] <= window.reach_s[0] + 1e-6]
        before = [Support(*(np.stack(part) for part in zip(*disjoint, strict=True)))] if disjoint else []
        this = Windows((window.number,), x[None], np.array([window.reach_s]), alone[None], [window.clip])
        given = adapt(classifier, this, before, scope=scope).probabilities[0]
        # Windows of the support do not overlap, so that the same second does not count twice.
        if np.isfinite(x).any() and len(disjoint) == len(past):
            past.append((x, window.reach_s, alone))
        return given

    def _smoothed(self, name: str, cell: Cell) -> Segment:
        settings = self._recogniser.settings
        most = ceil(settings.smoothing_s / self._recogniser.hop_s) + 1
        cells = self._cells[name] = self._cells.pop(name, deque(maxlen=most))  # last in order: seen most recently
        cells.append(cell)
        return latest_segment(name, list(cells), self._recogniser.emotions, settings, self._recogniser.abstain_below)

    def _forget(self, number: int) -> None:
        """Keep what the next windows need."""
        self._reader.forget_stretches(number)
        while self._lost and self._lost[0][1] < self._end_s - self._recogniser.window_s:
            self._lost.popleft()
        # A camera in a crowd sees new faces all day: those not seen for longest are dropped.
        for by_lane in (self._past, self._cells):
            while len(by_lane) > MOST_PEOPLE:
                by_lane.pop(next(iter(by_lane)))
