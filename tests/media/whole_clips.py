"""One clip read at once, to compare with what is read a piece at a time: crops of its main face, and its samples.

Axes: F frames, S side of the crop, N samples.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from cimeu.errors import MediaError
from cimeu.media.clips import SoundSettings, read_clip_sound, scaled_down_to
from cimeu.media.face_crops import Resampling
from cimeu.media.face_tracks import TrackedFrame, track_faces
from cimeu.media.faces import DEFAULT_DETECTOR, DETECTORS, FaceDetector
from cimeu.media.regions import MainFace, Region, WholeFrame
from cimeu.media.video import FRAME_RATE_HZ, frames, probe


@dataclass(frozen=True, kw_only=True)
class CropSettings:
    """What is cut out of the frames of a clip."""

    region: Literal["face", "frame"] = "face"
    """The main face, or whole frames stretched to a square."""
    rate_hz: float | int = FRAME_RATE_HZ
    side: int = 64
    resampling: Resampling = "area"


@dataclass(frozen=True)
class ClipMedia:
    """Pixels and samples of one clip.

    What was not wanted or cannot be had is None; `problems` then says why, under `video` and `sound`. `face_share` is
    the share of frames with a face; the others repeat the nearest crop.
    """

    crops: UInt8[np.ndarray, "F S S 3"] | None = None
    samples: Float32[np.ndarray, " N"] | None = None
    face_share: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)


def read_clip(
    path: Path,
    *,
    audio_path: Path | None = None,
    start_s: float | int = 0.0,
    end_s: float | int | None = None,
    want: Set[Literal["crops", "sound"]] = frozenset({"crops", "sound"}),
    crop: CropSettings | None = None,
    sound: SoundSettings | None = None,
    detector: FaceDetector | None = None,
) -> ClipMedia:
    """Read the crops and the sound (16 kHz, from `audio_path` if given) of one clip.

    Raises:
        MediaError: the file is missing, empty or no media. A stream that cannot be had is a problem, not an error.
    """
    info = probe(path)
    problems: dict[str, str] = {}
    crops, samples, face_share = None, None, 0.0
    if "crops" in want:
        crops, face_share, problem = (
            _read_crops(path, start_s, end_s, crop or CropSettings(), detector)
            if info.has_video
            else (None, 0.0, "no picture")
        )
        problems |= {"video": problem} if problem else {}
    if "sound" in want:
        samples, problem = (
            (None, "no sound track")
            if audio_path is None and not info.has_sound
            else read_clip_sound(audio_path or path, start_s, end_s, sound or SoundSettings())
        )
        problems |= {"sound": problem} if problem else {}
    return ClipMedia(crops, samples, face_share, problems)


def _read_crops(
    path: Path, start_s: float | int, end_s: float | int | None, settings: CropSettings, detector: FaceDetector | None
) -> tuple[UInt8[np.ndarray, "F S S 3"] | None, float, str]:
    """Crops and the share of frames with a face, or why there are none."""
    max_side = scaled_down_to(settings.side, settings.resampling)
    decoded = frames(path, rate_hz=settings.rate_hz, start_s=start_s, end_s=end_s, max_side=max_side)
    face = MainFace(settings.side, settings.resampling, settings.rate_hz)
    try:
        if settings.region == "frame":
            untracked = (TrackedFrame(frame, {}) for frame in decoded)
            crops, problem = _crops(WholeFrame(settings.side, settings.resampling), untracked)
        else:
            crops, problem = _crops(face, track_faces(decoded, detector or DETECTORS[DEFAULT_DETECTOR]()))
    except MediaError as error:
        return None, 0.0, str(error).split("\n", 1)[0]
    return crops, face.face_share, problem


def _crops(region: Region, tracked: Iterable[TrackedFrame]) -> tuple[UInt8[np.ndarray, "F S S 3"] | None, str]:
    """All crops of a region, or why there are none."""
    for frame in tracked:
        region.see(frame)
    problem = region.settle()
    return (None, problem) if problem else (np.stack([crop for crop, n in region.crops() for _ in range(n)]), "")
