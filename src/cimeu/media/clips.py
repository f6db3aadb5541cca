"""One clip as its encoders want it: steady crops of its main face, and its samples.

The file is decoded once, and all of its crops are in memory at the end; `cimeu.media.regions` says how they are cut,
and `cimeu.features.sources` reads clips of any length a piece at a time.

Axes: F frames, S side of the crop, N samples.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from cimeu.errors import MediaError
from cimeu.media.audio import RATE_HZ, at_level, is_silent, read_sound, trim_silence
from cimeu.media.face_crops import Resampling, TrackedFrame, track_faces
from cimeu.media.faces import DEFAULT_DETECTOR, DETECTORS, FaceDetector
from cimeu.media.regions import MainFace, Region, WholePicture
from cimeu.media.video import FRAME_RATE_HZ, frames, probe

PICTURE_SIDES = 10
"""Pictures are scaled down to this many crop sides: a face a tenth of the picture wide is still cut out unenlarged."""


@dataclass(frozen=True)
class ClipMedia:
    """Pixels and samples of one clip.

    What was not asked for or cannot be had is None; `problems` then says why, under `video` and `sound`. `face_share`
    is the share of pictures with a face; the others repeat the nearest crop.
    """

    crops: UInt8[np.ndarray, "F S S 3"] | None
    samples: Float32[np.ndarray, " N"] | None
    face_share: float
    problems: dict[str, str]


def read_clip(
    path: Path,
    *,
    audio_path: Path | None = None,
    start_s: float | int = 0.0,
    end_s: float | int | None = None,
    want: Set[Literal["crops", "frame", "sound"]] = frozenset({"crops", "sound"}),
    rate_hz: float | int = FRAME_RATE_HZ,
    side: int = 64,
    region: Literal["face", "frame"] = "face",
    resampling: Resampling = "area",
    detector: FaceDetector | None = None,
    trim: bool = True,
    level: bool = True,
) -> ClipMedia:
    """Read the pictures (`crops`; `frame` is short for crops of `region="frame"`: whole pictures, stretched) and the
    sound (16 kHz, from `audio_path` if given) of one clip.

    `trim` takes leading and trailing silence away, `level` brings what is left to a fixed level.

    Raises:
        MediaError: the file is missing, empty or no media. A stream that cannot be had is a problem, not an error.
    """
    problems: dict[str, str] = {}
    crops, samples, face_share = None, None, 0.0
    info = probe(path)
    if want & {"crops", "frame"}:
        if not info.has_video:
            problems["video"] = "no picture"
        else:
            max_side = scaled_down_to(side, resampling)
            pictures = frames(path, rate_hz=rate_hz, start_s=start_s, end_s=end_s, max_side=max_side)
            try:
                if region == "frame" or "frame" in want:
                    unseen = (TrackedFrame(picture, {}) for picture in pictures)
                    crops, problem = _crops(WholePicture(side, resampling), unseen)
                else:
                    face = MainFace(side, resampling, rate_hz)
                    crops, problem = _crops(face, track_faces(pictures, detector or DETECTORS[DEFAULT_DETECTOR]()))
                    face_share = face.face_share
                if problem:
                    problems["video"] = problem
            except MediaError as error:
                problems["video"] = _reason(error)
    if "sound" in want:
        if audio_path is None and not info.has_sound:
            problems["sound"] = "no sound track"
        else:
            try:
                samples = read_sound(audio_path or path, start_s=start_s, end_s=end_s)
            except MediaError as error:
                problems["sound"] = _reason(error)
    if samples is not None and is_silent(samples):
        samples, problems["sound"] = None, "silent sound"
    if samples is not None and trim:
        first, last = trim_silence(samples, RATE_HZ)
        samples = samples[first:last]
    if samples is not None and level:
        samples = at_level(samples)
    return ClipMedia(crops, samples, face_share, problems)


def scaled_down_to(side: int, resampling: Resampling) -> int | None:
    """Longest side of the pictures that crops are cut from; None: as they are."""
    return None if resampling == "bilinear" else PICTURE_SIDES * side


def _crops(region: Region, pictures: Iterable[TrackedFrame]) -> tuple[UInt8[np.ndarray, "F S S 3"] | None, str]:
    """All crops of a region, or why there are none."""
    for picture in pictures:
        region.see(picture)
    problem = region.settle()
    return (None, problem) if problem else (np.stack([crop for crop, n in region.crops() for _ in range(n)]), "")


def _reason(error: MediaError) -> str:
    return str(error).split("\n", 1)[0]
