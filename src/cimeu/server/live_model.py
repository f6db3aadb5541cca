"""A model that answers live: one camera and one microphone at a time, fed in small pieces.

Sound is 16-bit PCM, mono at 16 kHz; frames are JPEG. Both are damaged at worst: whatever arrives is read as samples and
as images, in a process whose memory is bounded.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cimeu.inference.live import LiveSession, Moment
from cimeu.inference.recogniser import Recogniser
from cimeu.media.audio import RATE_HZ
from cimeu.progress import Progress, silent
from cimeu.server.pieces import FULL_SCALE, SAMPLE_BYTES, Answered, Needs, Piece
from cimeu.server.schema import MomentOut
from cimeu.timeline.settings import TimelineSettings


class LiveModel:
    """A model, and the session that is running."""

    def __init__(self, run_folder: Path, weights: Mapping[str, str], device: str) -> None:
        """Raises CheckpointError, FingerprintMismatch, WeightsMissing."""
        self._recogniser = Recogniser.from_pretrained(run_folder, weights=weights, device=device)
        self._session: LiveSession | None = None
        self._warm_up()

    def _warm_up(self) -> None:
        """Compute a window once: networks are read when they are first needed."""
        self.begin(self._recogniser.settings, None)
        times_s = np.arange(round(self._recogniser.window_s * RATE_HZ)) / RATE_HZ
        swelling = np.sin(2 * np.pi * times_s) ** 2 * np.random.default_rng(0).standard_normal(len(times_s))
        self.feed(Piece(sound=(3_000 * swelling).astype("<i2").tobytes()))
        self.end()

    def needs(self, *, progress: Progress = silent) -> Needs:
        """What the model reads, and how its windows lie."""
        sources = {encoder.source for encoder in self._recogniser.encoders.values()}
        frames_hz = self._recogniser.frame_rate_hz if sources - {"sound"} else 0.0
        return Needs("sound" in sources, frames_hz, self._recogniser.window_s, self._recogniser.hop_s)

    def begin(self, settings: TimelineSettings, size: tuple[int, int] | None, *, progress: Progress = silent) -> None:
        """Start; what was running before ends."""
        self.end()
        self._session = LiveSession(self._recogniser.with_settings(settings), size=size)

    def feed(self, piece: Piece, *, progress: Progress = silent) -> Answered:
        """Take in a piece, and answer the newest window that is over."""
        assert self._session is not None, "begin comes first"
        if piece.lost_bytes:
            self._session.lose(piece.lost_bytes // SAMPLE_BYTES)
        # A frame stays until the next one: sound is taken in up to each, or only the last of a piece would be seen.
        samples = np.frombuffer(piece.sound, "<i2").astype(np.float32) / FULL_SCALE
        begins_s, heard = self._session.heard_s, 0
        for time_s, jpeg in piece.frames:
            until = min(len(samples), max(heard, round((time_s - begins_s) * RATE_HZ)))
            self._session.hear(samples[heard:until])
            self._session.see(time_s, jpeg)
            heard = until
        self._session.hear(samples[heard:])
        moments = [_moment_out(moment) for moment in self._session.answers()]
        return Answered(moments, self._session.heard_s, self._session.dropped)

    def end(self, *, progress: Progress = silent) -> None:
        """Forget everything that came in."""
        if self._session is not None:
            self._session.close()
        self._session = None


def _moment_out(moment: Moment) -> MomentOut:
    scored, segment = moment.scored, moment.segment
    return MomentOut(
        person=scored.person,
        window_start_s=round(moment.window_s[0], 3),
        window_end_s=round(moment.window_s[1], 3),
        start_s=scored.start_s,
        end_s=scored.end_s,
        scores=None if scored.scores is None else list(scored.scores),
        continuous=None if scored.continuous is None else list(scored.continuous),
        smoothed=list(segment.scores.values()) or None,
        label=segment.label,
        confidence=segment.confidence,
        abstain=segment.abstain,
        modality=segment.modality,
        reason=segment.reason,
    )
