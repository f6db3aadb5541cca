"""Frames out of any file FFmpeg can open, one at a time and by their time stamps.

A video is a list of frames that each stay on screen until the next one; frame numbers mean nothing when the rate
varies. So we ask what is on screen at regular times, decode once from beginning to end, and keep one frame in memory.
Time 0 is the first frame, or the first sound where sound starts clearly earlier: the same zero for both.

A clip may also be a folder of images, as corpora of faces are often packed: image k, counted in the order of the
numbers in the names, is on screen from k / IMAGES_RATE_HZ on.

Source: FFmpeg through PyAV (presentation time stamps, sample aspect ratio).
Axes: H rows, W columns, 3 colours (RGB), N sound samples.
"""

import logging
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Float32, UInt8

from cimeu.errors import MediaError
from cimeu.media.container import (
    declared_end_s,
    declared_length_s,
    decoded,
    decoded_from,
    has_decoder,
    longest_gap_s,
    measured_length_s,
    open_media,
    origin_s,
    sound_stream,
    video_stream,
)
from cimeu.media.pixels import FrameConverter, add_video_stream, display_size, encodable, even_sized, resized
from cimeu.media.recordings import IMAGE_SUFFIXES, is_image

logger = logging.getLogger(__name__)

FRAME_RATE_HZ = 25.0
"""Rate at which video is read: that of the encoders' published training clips."""
IMAGES_RATE_HZ = 25.0
"""Frames a second of a folder of images, unless the caller knows better."""

ROUNDING_S = 0.001
"""Time stamps are only this exact: some containers round them to milliseconds."""
LONGEST_INTERVAL_S = 0.2
"""A frame may last this long whatever the file says of its length: 5 frames a second are the slowest camera. A lower
rate may come of a wrong time scale and does not say how long the last frame lasts."""
BROKEN_OFF_S = 0.5
"""A video track this much shorter than the file says is reported as broken off."""


@dataclass(frozen=True)
class Frame:
    """A frame and the time, in seconds from time 0, at which it is on screen; upright, with square pixels."""

    time_s: float
    pixels: UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds. Width and height are as seen: after rotation, with square pixels, 0 without video."""

    duration_s: float
    """Of the longer track, video or sound."""
    width: int
    height: int
    rate_hz: float
    rotation_deg: int
    has_video: bool
    has_sound: bool
    video_s: float = 0.0
    """Length of the video track, which may be shorter than the sound; 0 without video."""


@dataclass(frozen=True)
class _Sampling:
    """The times at which somebody wants to know what is on screen."""

    rate_hz: float | int | None
    start_s: float | int
    end_s: float | int | None

    def times(self, shown_s: float, until_s: float, n_given: int) -> Iterator[float]:
        """Times, after the first `n_given`, at which a frame is on screen that is shown from `shown_s` to `until_s`."""
        until_s = until_s if self.end_s is None else min(until_s, self.end_s)
        if self.rate_hz is None:
            return iter([shown_s] if self.start_s + ROUNDING_S < until_s and shown_s < until_s else [])
        stop = math.ceil((until_s - ROUNDING_S - self.start_s) * self.rate_hz)
        return (self.start_s + step / self.rate_hz for step in range(n_given, stop))


def probe(path: Path, *, images_rate_hz: float | int = IMAGES_RATE_HZ) -> MediaInfo:
    """What a file, or a folder of images, holds, without decoding more than its first frame.

    Raises:
        MediaError: the file is missing, empty, no media or not a regular file; the folder holds no image.
    """
    path = Path(path)
    if os.path.isdir(path):  # unlike Path.is_dir, answers of every name
        paths = _at_least_one_image(path)
        height, width = next(frames(paths[0], rate_hz=None)).pixels.shape[:2]
        length_s = len(paths) / images_rate_hz
        return MediaInfo(length_s, width, height, float(images_rate_hz), 0, True, False, length_s)
    with open_media(path) as container:
        video, sound = video_stream(container), sound_stream(container)
        unread = sorted({stream.type for stream in container.streams if not has_decoder(stream)} & {"audio", "video"})
        if video is None and sound is None:
            content = (
                f"a format that cannot be decoded ({', '.join(unread)})" if unread else "neither picture nor sound"
            )
            raise MediaError(f"`{path}` holds {content}\n\nhint: give a video or sound file, such as mp4 or wav")
        if unread:
            logger.warning("`%s`: a track whose format cannot be decoded is left out (%s)", path, ", ".join(unread))
        first = next(decoded(container, video, path), None) if video is not None else None
        length_s = declared_length_s(container) or measured_length_s(container)
        if video is None or first is None:
            return MediaInfo(length_s, 0, 0, 0.0, 0, False, sound is not None)
        width, height = display_size(first, video.sample_aspect_ratio)
        return MediaInfo(
            duration_s=length_s,
            width=width,
            height=height,
            rate_hz=float(video.average_rate or video.guessed_rate or 0),
            rotation_deg=first.rotation % 360,
            has_video=True,
            has_sound=sound is not None,
            video_s=min(length_s, declared_end_s(container, video) or length_s),
        )


def frames(
    path: Path,
    *,
    rate_hz: float | int | None = FRAME_RATE_HZ,
    start_s: float | int = 0.0,
    end_s: float | int | None = None,
    max_side: int | None = None,
    images_rate_hz: float | int = IMAGES_RATE_HZ,
) -> Iterator[Frame]:
    """What is on screen at `start_s + k / rate_hz`, k = 0, 1, ... before `end_s` or the end of the last frame.

    `path` is a file, or a folder of images that follow each other at `images_rate_hz`. `rate_hz=None` gives every
    decoded frame at its own time. Frames larger than `max_side` are scaled down (area average); none is enlarged. All
    have the size of the first. One frame is in memory at a time.

    Raises:
        MediaError: missing, empty, no media or not a regular file; no video, or none that can be decoded. A file that
            breaks off later gives what it holds and a warning; an image that cannot be decoded leaves the one before it
            on screen.
    """
    path, sampling = Path(path), _Sampling(rate_hz, start_s, end_s)
    if os.path.isdir(path):  # unlike Path.is_dir, answers of every name
        yield from _frames_of_images(path, sampling, max_side, images_rate_hz)
    else:
        yield from _frames_of_video(path, sampling, max_side)


def images(folder: Path) -> list[Path]:
    """Images of a folder in the order of the numbers in their names: `img9.jpg` comes before `img10.jpg`."""

    def in_order(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.stem)]

    paths = [path for path in folder.iterdir() if is_image(path.name)]
    return sorted(paths, key=in_order)


def write_video(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    *,
    rate_hz: float | int,
    samples: Float32[np.ndarray, " N"] | None = None,
    sound_rate_hz: int = 16_000,
    **options: str,
) -> None:
    """Write an mp4: H.264 (MPEG-4 part 2 where FFmpeg lacks it) and AAC sound. Odd sizes gain a repeated row or column.

    `options` go to the video encoder: `crf="18"`, `preset="veryfast"`.
    """
    rate = Fraction(rate_hz).limit_denominator(100_000)
    remaining = map(even_sized, frames)
    first = next(remaining)
    with av.open(str(Path(path).absolute()), "w", format="mp4") as container:
        video = add_video_stream(container, rate, first.shape[1], first.shape[0], options)
        video.codec_context.time_base = 1 / rate
        sound = None
        if samples is not None:
            sound = container.add_stream("aac", rate=sound_rate_hz, layout="mono")
            sound.codec_context.time_base = Fraction(1, sound_rate_hz)
        written, scaler = 0, VideoReformatter()
        for index, pixels in enumerate(chain([first], remaining)):
            frame = encodable(pixels, scaler)
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(video.encode(frame))
            if sound is not None and samples is not None:  # alternating with the frames keeps the muxer's queue short
                until = round((index + 1) / rate_hz * sound_rate_hz)
                _encode_sound(container, sound, samples[written:until], written)
                written = until
        if sound is not None and samples is not None:
            _encode_sound(container, sound, samples[written:], written)
            container.mux(sound.encode(None))
        container.mux(video.encode(None))


def _frames_of_video(path: Path, sampling: _Sampling, max_side: int | None) -> Iterator[Frame]:
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise MediaError(f"`{path}` has no picture, only sound\n\nhint: use it as a sound file")
        stream.thread_type = "AUTO"
        converter: FrameConverter | None = None
        n_given, ends_s = 0, 0.0
        for frame, shown_s, until_s in _on_screen(container, stream, sampling.start_s, path):
            converter = converter or FrameConverter(frame, max_side, stream.sample_aspect_ratio)
            pixels = None  # converted once, and only if anybody wants to see the frame
            for time_s in sampling.times(shown_s, until_s, n_given):
                pixels = converter(frame) if pixels is None else pixels
                yield Frame(time_s, pixels)
                n_given += 1
            ends_s = until_s
            if sampling.end_s is not None and until_s >= sampling.end_s:
                break
        if n_given == 0:
            raise MediaError(
                f"`{path}` has no picture that can be decoded after {sampling.start_s:g} s\n\n"
                "hint: check that the video is whole and that the start lies within it"
            )
        declared_s = declared_end_s(container, stream)
        if sampling.end_s is None and declared_s is not None and ends_s < declared_s - BROKEN_OFF_S:
            logger.warning("`%s` breaks off after %.1f s of %.1f s", path, ends_s, declared_s)


def _on_screen(
    container: av.container.InputContainer, stream: av.VideoStream, start_s: float | int, path: Path
) -> Iterator[tuple[av.VideoFrame, float, float]]:
    """Decoded frames with the times at which they appear and disappear, in seconds from time 0."""
    origin, length_s = origin_s(container), declared_length_s(container)
    interval_s = min(LONGEST_INTERVAL_S, 1 / float(stream.average_rate or stream.guessed_rate or FRAME_RATE_HZ))

    def longest_s(shown_s: float) -> float:
        return max(LONGEST_INTERVAL_S, longest_gap_s(length_s, shown_s))

    shown: av.VideoFrame | None = None
    shown_s = until_s = skipped_s = 0.0
    for frame in decoded_from(start_s, container, stream, path):
        time_s = frame.time - origin - skipped_s if frame.time is not None else until_s
        if shown is not None:
            if time_s - shown_s > longest_s(shown_s) + ROUNDING_S:  # a broken time stamp: the frame follows at once
                until_s = min(until_s, shown_s + longest_s(shown_s))
                skipped_s += time_s - until_s
                time_s = until_s
            yield shown, shown_s, time_s
        shown, shown_s = frame, time_s
        lasts_s = float(frame.duration * frame.time_base) if frame.duration else interval_s
        until_s = time_s + min(lasts_s, longest_s(time_s))
    if shown is not None:
        yield shown, shown_s, until_s


def _at_least_one_image(folder: Path) -> list[Path]:
    paths = images(folder)
    if not paths:
        raise MediaError(
            f"`{folder}` is a folder without an image\n\n"
            f"hint: give a video or sound file, or a folder of {', '.join(sorted(IMAGE_SUFFIXES))} files"
        )
    return paths


def _frames_of_images(
    folder: Path, sampling: _Sampling, max_side: int | None, images_rate_hz: float | int
) -> Iterator[Frame]:
    paths = _at_least_one_image(folder)
    ends_s = len(paths) / images_rate_hz
    until_s = ends_s if sampling.end_s is None else min(ends_s, sampling.end_s)
    if sampling.rate_hz is None:
        first, last = (math.ceil((time_s - ROUNDING_S) * images_rate_hz) for time_s in (sampling.start_s, until_s))
        moments = [(index / images_rate_hz, index) for index in range(first, last)]
    else:
        times = sampling.times(0.0, until_s, 0)
        moments = [(time_s, int((time_s + ROUNDING_S) * images_rate_hz)) for time_s in times]
    if not moments:
        raise MediaError(
            f"`{folder}` has no picture after {sampling.start_s:g} s\n\nhint: check that the start lies within its "
            f"{len(paths)} images"
        )
    shown: UInt8[np.ndarray, "H W 3"] | None = None
    shown_index = n_damaged = 0
    for time_s, index in moments:
        if shown is None or index != shown_index:
            try:
                pixels = next(frames(paths[index], rate_hz=None, max_side=max_side)).pixels
            except MediaError:
                n_damaged += 1
                if shown is None:
                    continue
            else:
                same = shown is None or pixels.shape == shown.shape
                shown = pixels if same or shown is None else resized(pixels, shown.shape[1], shown.shape[0])
            shown_index = index
        yield Frame(time_s, shown)
    if shown is None:
        raise MediaError(f"none of the images of `{folder}` can be decoded\n\nhint: copy or download them again")
    if n_damaged:
        logger.warning("`%s`: %d damaged images skipped", folder, n_damaged)


def _encode_sound(
    container: av.container.OutputContainer, stream: av.AudioStream, part: Float32[np.ndarray, " N"], start: int
) -> None:
    if len(part):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = stream.rate, start, Fraction(1, stream.rate)
        container.mux(stream.encode(frame))
