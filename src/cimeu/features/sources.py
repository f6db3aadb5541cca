"""The frames each encoder asks for, from one reading of a clip, a piece at a time.

Frames are decoded once for all encoders that want them at one rate and size, face and whole frame alike; the crops
of a clip wait in memory until its main face is known. A clip whose crops would take more than `KEPT_BYTES` is decoded
a second time instead, so that memory does not grow with its length. Sound is read whole: its level and its silent ends
are those of the whole clip (4 bytes a sample, 115 MB for half an hour).

Axes: F frames of a piece, S side of a crop, N samples.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cimeu.encoders.base import SOUND_RATE_HZ, Encoder
from cimeu.encoders.encoding import at_least_one_window, refuse_empty
from cimeu.errors import CimeuError, first_line
from cimeu.media.clips import SoundSettings, read_clip_sound, scaled_down_to
from cimeu.media.face_crops import Resampling
from cimeu.media.face_tracks import TrackedFrame, track_faces
from cimeu.media.faces import DETECTORS, FaceDetector
from cimeu.media.regions import MainFace, Region, WholeFrame
from cimeu.media.video import frames, probe
from cimeu.pyramid import Direction

KEPT_BYTES = 128 * 2**20
"""Crops kept of one clip until its main face is known (fourteen seconds of one face at 224 pixels)."""
PIECE_FRAMES = 64

logger = logging.getLogger(__name__)


class Request(NamedTuple):
    """An encoder, its place among all, and the directions it lacks of a clip."""

    place: int
    encoder: Encoder
    directions: tuple[Direction, ...]


@dataclass(frozen=True)
class Piece:
    """Prepared frames `[F, ...]` of a clip for one encoder, or why there are none.

    Pieces of one encoder and directions arrive in order and make `n_frames` in all; `duration_s` is that of the clip.
    """

    place: int
    directions: tuple[Direction, ...]
    frames: np.ndarray | None
    n_frames: int = 0
    duration_s: float = 0.0
    problem: str = ""


def stream_of(encoder: Encoder) -> str:
    """The stream of a clip an encoder reads: `video` or `sound`."""
    return "sound" if encoder.source == "sound" else "video"


def read_pieces(
    path: Path,
    requests: Sequence[Request],
    *,
    audio_path: Path | None = None,
    start_s: float | int = 0.0,
    end_s: float | int | None = None,
) -> Iterator[Piece]:
    """Read a clip for several encoders.

    Raises:
        MediaError: the file cannot be used at all.
    """
    info = probe(path)
    video = [request for request in requests if request.encoder.source != "sound"]
    if video and not info.has_video:
        yield from (Piece(request.place, request.directions, None, problem="no picture") for request in video)
    else:
        for shared in _alike(path, start_s, end_s, video):
            yield from shared.pieces()
    sound = [request for request in requests if request.encoder.source == "sound"]
    for settings in dict.fromkeys(sound_settings(request.encoder) for request in sound):
        if audio_path is None and not info.has_sound:
            samples, problem = None, "no sound track"
        else:
            samples, problem = read_clip_sound(audio_path or path, start_s, end_s, settings)
        for request in sound:
            if sound_settings(request.encoder) != settings:
                continue
            if samples is None:
                yield Piece(request.place, request.directions, None, problem=problem)
            else:
                yield from _pieces_of_sound(request, samples)


def reason_of(error: Exception) -> str:
    """First line of a message of ours; an error nobody foresaw is logged in full and named."""
    if isinstance(error, CimeuError):
        return first_line(error)
    logger.warning("an error nobody foresaw", exc_info=error)
    return f"{type(error).__name__}: {first_line(error)}"


def _pieces_of_sound(request: Request, samples: np.ndarray) -> Iterator[Piece]:
    place, encoder, directions = request
    for direction in directions:
        try:
            refuse_empty(encoder, samples)
            played = at_least_one_window(samples, encoder.window)
            prepared = encoder.prepare(played if direction == "forward" else np.ascontiguousarray(played[::-1]))
            yield Piece(place, (direction,), prepared, len(prepared), len(samples) / SOUND_RATE_HZ)
        except Exception as error:
            yield Piece(place, (direction,), None, problem=reason_of(error))


def sound_settings(encoder: Encoder) -> SoundSettings:
    """What is done to the sound that an encoder reads."""
    return SoundSettings(
        trim=bool(encoder.preprocessing.get("trim", False)), level=bool(encoder.preprocessing.get("level", False))
    )


# Frames


class _Cut(NamedTuple):
    """What is cut out of frames."""

    region: str
    side: int
    resampling: Resampling


class _SharedFrames:
    """Encoders that see the frames of a clip at one rate and size."""

    def __init__(
        self, path: Path, rate_hz: float, max_side: int | None, start_s: float | int, end_s: float | int | None
    ) -> None:
        self._path, self.rate_hz, self.max_side, self._start_s, self._end_s = path, rate_hz, max_side, start_s, end_s
        self.detector = ""
        self.cuts: dict[_Cut, list[Request]] = {}

    def pieces(self) -> Iterator[Piece]:
        """The pieces of all their encoders."""
        regions = {cut: self._region(cut) for cut in self.cuts}
        try:
            kept = self._see_all(list(regions.values()))
        except Exception as error:  # whatever stops one clip stops no other
            problems = dict.fromkeys(regions, reason_of(error))
        else:
            problems = {cut: region.settle() for cut, region in regions.items()}
        for cut, problem in problems.items():
            if problem:
                regions.pop(cut)
                yield from (Piece(place, directions, None, problem=problem) for place, _, directions in self.cuts[cut])
        streams = [_Stream(self.cuts[cut], region, self.rate_hz) for cut, region in regions.items()]
        if streams and kept:
            for stream in streams:
                for crop, count in stream.region.crops():
                    yield from stream.add(crop, count)
                yield from stream.rest()
        elif streams:
            for index, tracked in enumerate(self._decoded()):
                for stream in streams:
                    for crop, count in stream.region.again(index, tracked):
                        yield from stream.add(crop, count)
            for stream in streams:
                yield from stream.rest()

    def _see_all(self, regions: list[Region]) -> bool:
        """Show every frame to every region; whether its crops were kept."""
        tracked_frames = self._decoded()
        if self.detector:
            tracked_frames = track_faces((tracked.frame for tracked in tracked_frames), _detector(self.detector))
        kept = True
        for tracked in tracked_frames:
            for region in regions:
                region.see(tracked)
            # A long clip is decoded a second time, once its main face is known, instead of kept in memory.
            if kept and sum(region.kept_bytes for region in regions) > KEPT_BYTES:
                kept = False
                for region in regions:
                    region.forget()
        return kept

    def _decoded(self) -> Iterator[TrackedFrame]:
        shown = frames(
            self._path, rate_hz=self.rate_hz, start_s=self._start_s, end_s=self._end_s, max_side=self.max_side
        )
        return (TrackedFrame(frame, {}) for frame in shown)

    def _region(self, cut: _Cut) -> Region:
        if cut.region == "frame":
            return WholeFrame(cut.side, cut.resampling)
        return MainFace(cut.side, cut.resampling, self.rate_hz)


class _Stream:
    """Crops to the pieces of every encoder that sees them."""

    def __init__(self, requests: list[Request], region: Region, rate_hz: float) -> None:
        self._requests, self.region = list(requests), region
        self._duration_s = region.n_frames / rate_hz
        self._waiting: list[np.ndarray] = []

    def add(self, crop: np.ndarray, count: int) -> Iterator[Piece]:
        """A crop that stands for `count` frames."""
        for _ in range(count):
            self._waiting.append(crop)
            if len(self._waiting) == PIECE_FRAMES:
                yield from self.rest()

    def rest(self) -> Iterator[Piece]:
        """What is left."""
        if not self._waiting:
            return
        crops, self._waiting = np.stack(self._waiting), []
        for request in list(self._requests):
            try:
                prepared = request.encoder.prepare(crops)
            except Exception as error:
                # One failure per encoder and clip is enough.
                self._requests.remove(request)
                yield Piece(request.place, request.directions, None, problem=reason_of(error))
            else:
                yield Piece(request.place, request.directions, prepared, self.region.n_frames, self._duration_s)


def _alike(
    path: Path, start_s: float | int, end_s: float | int | None, requests: Sequence[Request]
) -> list[_SharedFrames]:
    """Encoders in groups that share one decoding."""
    groups: list[_SharedFrames] = []
    for request in requests:
        preprocessing = request.encoder.preprocessing
        side, resampling = preprocessing["side"], preprocessing.get("resampling", "area")
        rate_hz, detector = preprocessing["rate_hz"], str(preprocessing.get("detector", "")).split(" ")[0]
        assert isinstance(side, int) and isinstance(rate_hz, float) and resampling in ("area", "bilinear")  # noqa: PT018
        max_side = scaled_down_to(side, resampling)
        fitting = (
            group
            for group in groups
            if (group.rate_hz, group.max_side) == (rate_hz, max_side) and detector in ("", group.detector or detector)
        )
        group = next(fitting, None)
        if group is None:
            group = _SharedFrames(path, rate_hz, max_side, start_s, end_s)
            groups.append(group)
        group.detector = group.detector or detector
        group.cuts.setdefault(_Cut(request.encoder.source, side, resampling), []).append(request)
    return groups


@cache
def _detector(name: str) -> FaceDetector:
    return DETECTORS[name]()
