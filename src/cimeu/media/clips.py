"""One clip as its encoders read it: how far its frames are scaled down, and its samples, trimmed and levelled.

`cimeu.media.regions` cuts crops out of the frames, and `cimeu.features.sources` reads clips of any length a piece at a
time.

Axes: N samples.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from cimeu.errors import MediaError, first_line
from cimeu.media.audio import RATE_HZ, at_level, is_silent, read_sound, trim_silence
from cimeu.media.face_crops import Resampling

FRAME_SIDES = 10
"""Frames are scaled down to this many crop sides: a face a tenth of the frame wide is still cut out unenlarged."""
LARGEST_SIDE = 2560
"""Frames whose pixels are to stay as they are, for encoders that interpolate them, are scaled down beyond this: several
of them wait in memory, 100 MB each at 8K. No corpus of faces has larger ones."""


@dataclass(frozen=True, kw_only=True)
class SoundSettings:
    """What is done to the sound of a clip."""

    trim: bool = True
    """Leading and trailing silence is cut off."""
    level: bool = True
    """What is left is brought to a fixed level."""


def read_clip_sound(
    path: Path, start_s: float | int, end_s: float | int | None, settings: SoundSettings
) -> tuple[Float32[np.ndarray, " N"] | None, str]:
    """Samples of a clip, or why there are none."""
    try:
        samples = read_sound(path, start_s=start_s, end_s=end_s)
    except MediaError as error:
        return None, first_line(error)
    return (None, "silent sound") if is_silent(samples) else (prepared_sound(samples, settings), "")


def prepared_sound(samples: Float32[np.ndarray, " N"], settings: SoundSettings) -> Float32[np.ndarray, " M"]:
    """Sound trimmed and levelled as the settings say."""
    if settings.trim:
        first, last = trim_silence(samples, RATE_HZ)
        samples = samples[first:last]
    return at_level(samples) if settings.level else samples


def scaled_down_to(side: int, resampling: Resampling) -> int:
    """Longest side of the frames that crops are cut from."""
    # Area averaging can be done in two steps; interpolation of an already reduced frame would give other values.
    return LARGEST_SIDE if resampling == "bilinear" else FRAME_SIDES * side
