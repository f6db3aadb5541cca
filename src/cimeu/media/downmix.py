"""Keep channels of opposite phase from cancelling each other when they are mixed to one.

A balanced microphone wired as stereo delivers each sample twice, once with the opposite sign: the sum is silence,
though each channel alone is fine. Such a channel is turned before FFmpeg mixes; all others pass untouched.

Axes: C channels, N samples.
"""

from collections.abc import Iterable, Iterator

import av
import numpy as np
from jaxtyping import Bool, Float

OPPOSED, TOGETHER = -0.6, -0.2
"""A channel is turned below the first correlation with the loudest, and turned back above the second. Two microphones
in one room give values around 0 or above, a turned copy -1."""
MEMORY_S = 5.0
"""What came so long before counts a third as much, so that the quiet between words does not decide."""
STEP = 4
"""Every so many samples are looked at: enough to tell the sign."""
MOST_PLANES = 8
"""PyAV counts the planes of a frame by reading on until it meets a null: that array ends without one beyond eight."""


class InPhase:
    """Passes the frames of a track on, with channels turned that oppose the loudest one."""

    def __init__(self) -> None:
        self._moments: np.ndarray | None = None  # [C, C]: products of each pair of channels, without their means
        self._turned = np.zeros(0, bool)

    def __call__(self, frames: Iterable[av.AudioFrame]) -> Iterator[av.AudioFrame]:
        """The same frames in the same order; more than eight channels apart from each other are left as they are."""
        for frame in frames:
            n_channels = frame.layout.nb_channels
            is_readable = n_channels <= MOST_PLANES or not frame.format.is_planar
            yield self._in_phase(frame) if n_channels > 1 and is_readable else frame

    def _in_phase(self, frame: av.AudioFrame) -> av.AudioFrame:
        raw = frame.to_ndarray()
        # Planar sound is [C, N]; packed sound is one row of samples, channel after channel.
        channels = raw if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels).T
        turned = self._opposed(channels[:, ::STEP].astype(np.float64), channels.shape[1] / frame.sample_rate)
        if not turned.any():
            return frame
        # -1 - x is the complement of all bits: the mirror of an integer that cannot overflow, unsigned ones included.
        mirrored = -channels if np.issubdtype(channels.dtype, np.floating) else np.invert(channels)
        mixed = np.where(turned[:, None], mirrored, channels)
        copy = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(mixed if frame.format.is_planar else mixed.T.reshape(1, -1)),
            format=frame.format.name,
            layout=frame.layout.name,
        )
        copy.sample_rate, copy.pts, copy.time_base = frame.sample_rate, frame.pts, frame.time_base
        return copy

    def _opposed(self, channels: Float[np.ndarray, "C n"], lasts_s: float) -> Bool[np.ndarray, " C"]:
        """Which channels oppose the loudest, by what was heard up to now."""
        with np.errstate(all="ignore"):  # floating-point sound may hold infinities
            centred = channels - channels.mean(axis=1, keepdims=True)
            moments = np.nan_to_num(centred @ centred.T, posinf=0.0, neginf=0.0)
        if self._moments is not None and self._moments.shape == moments.shape:
            moments = moments + self._moments * np.exp(-lasts_s / MEMORY_S)
        else:
            self._turned = np.zeros(len(channels), bool)
        self._moments = moments
        powers = np.diagonal(moments)
        loudest = int(powers.argmax())
        scale = np.sqrt(powers * powers[loudest])
        likeness = np.divide(moments[loudest], scale, out=np.zeros_like(scale), where=scale > 0)
        # Relative to the loudest: whichever channel that is just now, the first one keeps its sign.
        against = np.where(self._turned == self._turned[loudest], likeness < OPPOSED, likeness < TOGETHER)
        self._turned = against ^ against[0]
        return self._turned
