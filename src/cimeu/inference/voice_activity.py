"""Whether somebody may be speaking, and who: sound against the mouths that are seen.

Speech is a rule on energy (measured beside WebRTC's detector on the trial recordings: equal on speech, better on hum;
neither can tell speech from music), or what Silero VAD calls speech, where a probability is set. The speaker is the one
whose mouth moves when the voice is loud: the correlation of the motion in the mouth's part of the steady crop with the
level of the voice, both smoothed, over one window.

Axes: N samples, F frames, S side of a crop.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf

import numpy as np
import scipy  # its parts are imported when they are used
from jaxtyping import Bool, Float, Float32, UInt8

from cimeu.encoders.silero import SPEECH_FRAME_SAMPLES, speech_probabilities
from cimeu.media.audio import RATE_HZ, frame_energies, is_silent
from cimeu.timeline.settings import TimelineSettings

SILENT = "silent sound"
NO_SPEECH = "no speech"
FRAME_SAMPLES = 480
"""Samples of a frame of voice activity: 30 ms at 16 kHz."""
SPOKEN_SHARE = 0.25
"""A stretch with less speech belongs to what is beside it."""
MOUTH_ROWS, MOUTH_COLUMNS = (0.6, 0.87), (0.3, 0.69)
"""Where the mouth is in a steady crop of a face that looks ahead, as shares of its side."""
MOTION_S = 0.04
"""Deviation of the Gaussian that smooths motion and level."""
LAG_S = 0.12
"""Sound and video may be this far apart, either way."""
FLOOR_DBFS = -60.0
"""Levels below this count as equal."""
FEWEST_FRAMES = 12
"""A correlation over fewer moments says nothing."""


def why_not_heard(
    samples: Float32[np.ndarray, " N"],
    settings: TimelineSettings,
    from_s: float | int = 0.0,
    until_s: float | int = inf,
) -> str:
    """`silent sound`, `no speech`, or nothing if somebody may be speaking in a stretch of this window.

    A quarter of the stretch must be spoken, or lie in pauses of less than `speech_pause_s`.
    """
    first, last = (
        min(len(samples), int(time_s * RATE_HZ)) if time_s < inf else len(samples) for time_s in (from_s, until_s)
    )
    # Digital silence is a fact about the recording, no speech one about its content.
    silence = SILENT if is_silent(samples[first:last]) else NO_SPEECH
    if settings.speech_probability:
        frame_samples = SPEECH_FRAME_SAMPLES
        spoken = speech_probabilities(samples) >= settings.speech_probability
    else:
        frame_samples = FRAME_SAMPLES
        spoken = _loud(samples, settings)
    spoken = _bridged(spoken, round(settings.speech_pause_s * RATE_HZ) // frame_samples)
    inside = spoken[first // frame_samples : max(first // frame_samples + 1, round(last / frame_samples))]
    return "" if len(inside) and np.mean(inside) >= SPOKEN_SHARE else silence


def _loud(samples: Float32[np.ndarray, " N"], settings: TimelineSettings) -> Bool[np.ndarray, " F"]:
    """Frames of 30 ms that are loud as speech is.

    The window must hold enough frames above `speech_dbfs`, and its level must move by `speech_range_db` between its
    10th and 90th percentile, as speech does and hum does not.
    """
    whole = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES]
    levels_db = 10 * np.log10(frame_energies(whole, FRAME_SAMPLES) + 1e-12)
    if not len(levels_db):
        return np.zeros(0, bool)
    # Percentiles, not extremes: one click would pass for speech.
    low_db, high_db = np.percentile(levels_db, (10, 90))
    loud = levels_db > settings.speech_dbfs
    if np.mean(loud) < settings.speech_share or high_db - low_db < settings.speech_range_db:
        return np.zeros(len(levels_db), bool)
    return loud & (levels_db > low_db + settings.speech_range_db)


def _bridged(spoken: Bool[np.ndarray, " F"], pause: int) -> Bool[np.ndarray, " F"]:
    """Spoken frames and the pauses between them that are shorter than this many frames."""
    where = np.flatnonzero(spoken)
    bridged = spoken.copy()
    for before, after in pairwise(where.tolist()):
        if after - before < pause:
            bridged[before:after] = True
    return bridged


class MouthMotion:
    """How much the mouth of one person changed from one recent frame to the next."""

    def __init__(self) -> None:
        self._by_frame: dict[int, float] = {}
        self._last: tuple[int, Float32[np.ndarray, "_ _"]] | None = None

    def add(self, index: int, crop: UInt8[np.ndarray, "S S 3"]) -> None:
        """The steady crop of frame `index`."""
        rows, columns = (slice(*(round(share * len(crop)) for share in part)) for part in (MOUTH_ROWS, MOUTH_COLUMNS))
        mouth = crop[rows, columns].mean(axis=-1, dtype=np.float32)
        # Across a gap the difference would be that of two moments apart, not of a movement.
        if self._last is not None and self._last[0] == index - 1:
            self._by_frame[index] = float(np.abs(mouth - self._last[1]).mean())
        self._last = index, mouth

    def between(self, start: int, stop: int) -> Float[np.ndarray, " F"]:
        """Motion in each of these frames, NaN where the one before was not seen."""
        return np.array([self._by_frame.get(index, np.nan) for index in range(start, stop)])

    def forget(self, before: int) -> None:
        """Drop frames before this one."""
        self._by_frame = {index: motion for index, motion in self._by_frame.items() if index >= before}


def who_speaks(
    motions: Mapping[str, Float[np.ndarray, " F"]],
    samples: Float32[np.ndarray, " N"],
    rate_hz: float,
    settings: TimelineSettings,
) -> str | None:
    """The one whose mouth follows the voice clearly more than any other's; None where that is unclear.

    Args:
        motions: of each person seen, frame by frame.
        samples: the sound of the same time.
        rate_hz: frames a second.
        settings: `speaker_correlation` is the least, `speaker_margin` the lead over the next best.
    """
    fits = {name: _fit(motion, samples, rate_hz) for name, motion in motions.items()}
    # Somebody whose mouth was not seen may be the one.
    if any(np.isnan(fit) for fit in fits.values()):
        return None
    ranked = sorted(fits, key=fits.__getitem__, reverse=True)
    best, others = fits[ranked[0]], [fits[name] for name in ranked[1:]]
    clear = best >= settings.speaker_correlation and best - max(others, default=-inf) >= settings.speaker_margin
    return ranked[0] if clear else None


def _fit(motion: Float[np.ndarray, " F"], samples: Float32[np.ndarray, " N"], rate_hz: float) -> float:
    """Largest correlation of motion and level over the lags allowed; NaN where too little was seen."""
    seen = np.isfinite(motion)
    levels_db = _levels_db(samples, len(motion), rate_hz)
    if seen.sum() < FEWEST_FRAMES:
        return float("nan")
    moves = scipy.ndimage.gaussian_filter1d(
        np.interp(np.arange(len(motion)), np.flatnonzero(seen), motion[seen]), MOTION_S * rate_hz
    )
    voice = scipy.ndimage.gaussian_filter1d(levels_db, MOTION_S * rate_hz)
    most = round(LAG_S * rate_hz)
    return max(_correlation(moves, np.roll(voice, lag), seen) for lag in range(-most, most + 1))


def _levels_db(samples: Float32[np.ndarray, " N"], n_frames: int, rate_hz: float) -> Float[np.ndarray, " F"]:
    """Level of the sound during each frame."""
    edges = np.minimum(np.round(np.arange(n_frames + 1) * RATE_HZ / rate_hz).astype(int), len(samples))
    counts = np.maximum(np.diff(edges), 1)
    sums, squares = (
        np.concatenate([[0.0], np.cumsum(values)]) for values in (samples.astype(float), samples.astype(float) ** 2)
    )
    means, power = ((totals[edges[1:]] - totals[edges[:-1]]) / counts for totals in (sums, squares))
    return 10 * np.log10(np.maximum(power - means**2, 0.0) + 10 ** (FLOOR_DBFS / 10))


def _correlation(
    one: Float[np.ndarray, " F"], other: Float[np.ndarray, " F"], where: Sequence[bool] | np.ndarray
) -> float:
    one, other = one[where] - one[where].mean(), other[where] - other[where].mean()
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale > 1e-9 else 0.0
