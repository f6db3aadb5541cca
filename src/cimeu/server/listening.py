"""What runs in the child that answers live: one camera and one microphone at a time, fed in small pieces.

Sound is 16-bit PCM, mono at 16 kHz; frames are JPEG. Both are damaged at worst: whatever arrives is read as samples and
as images, in a process whose memory is bounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from cimeu.progress import Progress, silent
from cimeu.server.isolated import Functions, bound_memory
from cimeu.server.recording import DEFAULT_MEMORY_BYTES
from cimeu.server.schema import MomentOut

if TYPE_CHECKING:
    from cimeu.inference.live import LiveSession, Moment
    from cimeu.inference.recogniser import Recogniser
    from cimeu.timeline.settings import TimelineSettings

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
    """What came in since the piece before, in this order."""

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


def listening(
    run_folder: Path,
    weights: Mapping[str, str] = MappingProxyType({}),
    device: str = "auto",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> Functions:
    """The functions of the child, with the model of a run folder or a bundle.

    Raises:
        CheckpointError, FingerprintMismatch, WeightsMissing: the model cannot be used here.
    """
    from cimeu.inference.recogniser import Recogniser

    ear = _Ear(Recogniser.from_pretrained(run_folder, weights=weights, device=device))
    ear.warm_up()
    bound_memory(memory_bytes)
    return {"needs": partial(_needs, ear.recogniser), "begin": ear.begin, "feed": ear.feed, "end": ear.end}


def _needs(recogniser: "Recogniser", *, progress: Progress = silent) -> Needs:
    sources = {encoder.source for encoder in recogniser.encoders.values()}
    frames_hz = recogniser.frame_rate_hz if sources - {"sound"} else 0.0
    return Needs("sound" in sources, frames_hz, recogniser.window_s, recogniser.hop_s)


class _Ear:
    """The model, and the session that is running."""

    def __init__(self, recogniser: "Recogniser") -> None:
        self.recogniser = recogniser
        self._session: LiveSession | None = None

    def warm_up(self) -> None:
        """Compute a window once: networks are read when they are first needed."""
        self.begin(self.recogniser.settings, None)
        times_s = np.arange(round(self.recogniser.window_s * 16_000)) / 16_000
        swelling = np.sin(2 * np.pi * times_s) ** 2 * np.random.default_rng(0).standard_normal(len(times_s))
        self.feed(Piece(sound=(3_000 * swelling).astype("<i2").tobytes()))
        self.end()

    def begin(self, settings: "TimelineSettings", size: tuple[int, int] | None, *, progress: Progress = silent) -> None:
        """Start; what was running before ends."""
        from cimeu.inference.live import LiveSession

        self.end()
        self._session = LiveSession(self.recogniser.with_settings(settings), size=size)

    def feed(self, piece: Piece, *, progress: Progress = silent) -> Answered:
        """Take in a piece, and answer the newest window that is over."""
        assert self._session is not None, "begin comes first"
        if piece.lost_bytes:
            self._session.lose(piece.lost_bytes // SAMPLE_BYTES)
        for time_s, jpeg in piece.frames:
            self._session.see(time_s, jpeg)
        if piece.sound:
            self._session.hear(np.frombuffer(piece.sound, "<i2").astype(np.float32) / FULL_SCALE)
        moments = [_moment_out(moment) for moment in self._session.answers()]
        return Answered(moments, self._session.heard_s, self._session.dropped)

    def end(self, *, progress: Progress = silent) -> None:
        """Forget everything that came in."""
        if self._session is not None:
            self._session.close()
        self._session = None


def _moment_out(moment: "Moment") -> MomentOut:
    scored, said = moment.scored, moment.said
    return MomentOut(
        person=scored.person,
        window_start_s=round(moment.window_s[0], 3),
        window_end_s=round(moment.window_s[1], 3),
        start_s=scored.start_s,
        end_s=scored.end_s,
        scores=None if scored.scores is None else list(scored.scores),
        continuous=None if scored.continuous is None else list(scored.continuous),
        label=said.label,
        confidence=said.confidence,
        abstain=said.abstain,
        modality=said.modality,
        reason=said.reason,
    )
