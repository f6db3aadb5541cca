"""Pictures out of any file FFmpeg can open, one at a time and by their time stamps.

A video is a list of pictures that each stay on screen until the next one; frame numbers mean nothing when the rate
varies. So we ask what is on screen at regular moments, decode once from front to back, and keep one picture in memory.
Time 0 is the first picture, or the first sound where sound starts clearly earlier: the same zero for both.

A clip may also be a folder of images, as corpora of faces are often packed: image k, counted in the order of the
numbers in the names, is on screen from k / IMAGES_RATE_HZ on.

Source: FFmpeg through PyAV (presentation time stamps, display matrix, sample aspect ratio).
Axes: H rows, W columns, 3 colours (RGB), N sound samples.
"""

import logging
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EINVAL
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import Float32, UInt8

from cimeu.errors import MediaError

logger = logging.getLogger(__name__)

FRAME_RATE_HZ = 25.0
"""Rate at which video is read: that of the encoders' published training clips."""
IMAGES_RATE_HZ = 25.0
"""Pictures a second of a folder of images, unless the caller knows better."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})

ROUNDING_S = 0.001
"""Time stamps are only this exact: some containers round them to milliseconds."""
SEEK_FROM_S = 1.0
"""Earlier starts are reached by decoding from the front: cheaper than a seek and never wrong."""
CODEC_DELAY_S = 0.1
"""Sound that starts less than this before the first picture is encoder delay, not a time zero of its own."""
LONGEST_STILL_S = 600.0
"""A picture stays on screen this long at most; a later time stamp is broken, and what follows is taken to follow at
once. Slides and screen recordings hold a picture for minutes; two pictures a year apart must not become a year."""
MOST_PIXELS = 2**26
"""Larger pictures (67 million; 8K has 33) are not decoded: a few bytes may claim any size."""
STILLS = "image2,jpeg_pipe,jpegls_pipe,jpegxl_pipe,j2k_pipe,png_pipe,bmp_pipe,gif_pipe,webp_pipe,tiff_pipe"
"""Formats of one image, as FFmpeg names them."""
FORMATS = (
    # containers
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,live_flv,asf,asf_o,rm,ogg,nut,mxf,gxf,wtv,dv,"
    # one track of pictures
    "h261,h263,h264,hevc,vvc,av1,obu,ivf,m4v,vc1,mjpeg,mjpeg_2000,gif,apng,yuv4mpegpipe,cavsvideo,dirac,"
    # one track of sound
    "wav,w64,aiff,caf,au,flac,mp3,aac,ac3,eac3,dts,dtshd,truehd,amr,amrnb,amrwb,ape,wv,tta,mpc,mpc8,tak,oma,gsm,voc,"
    "sox,ircam,nistsphere,dsf,iff,loas," + STILLS
)
"""Formats that are opened, as FFmpeg names them. Playlists (HLS, DASH, concat, SDP, IMF) are not among them: a
file that somebody uploads must not say which other files of this machine are read. `img%d.jpg` is one file, no list."""
BROKEN_OFF_S = 0.5
"""A video this much shorter than its header says is reported as broken off."""


@dataclass(frozen=True)
class Frame:
    """One picture and the moment, in seconds from time 0, at which it is on screen; upright, with square pixels."""

    time_s: float
    pixels: UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds. Width and height are as seen: after rotation, with square pixels, 0 without a picture."""

    duration_s: float
    width: int
    height: int
    rate_hz: float
    rotation_deg: int
    has_video: bool
    has_sound: bool


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a local file for reading.

    Raises:
        MediaError: the file is missing, empty, a folder, or no media.
    """
    path = Path(path)
    if not path.is_file():
        reason = "is a folder" if path.is_dir() else "does not exist"
        raise MediaError(f"`{path}` {reason}\n\nhint: give the path of one video or sound file")
    if path.stat().st_size == 0:
        raise MediaError(f"`{path}` is empty (0 bytes)\n\nhint: copy or download it again")
    try:
        # Absolute, or a colon in the name would read as a protocol; this file only, whatever it says of others.
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "pattern_type": "none"}
        limit = {"max_pixels": str(MOST_PIXELS)}
        container = av.open(str(path.absolute()), metadata_errors="ignore", options=options | limit)
        for stream in container.streams.video:
            stream.codec_context.options = limit
    except (av.FFmpegError, OSError) as error:
        # FFmpeg says "invalid argument" of a format outside `FORMATS`.
        said = "a playlist, or a format that is not read" if error.errno == EINVAL else error.strerror
        raise MediaError(
            f"`{path}` is not a video or sound file that can be opened ({said})\n\n"
            "hint: play it elsewhere; a file cut off while it was written cannot be repaired here"
        ) from error
    with container:
        yield container


def picture_stream(container: InputContainer) -> av.VideoStream | None:
    """The video stream of a container; cover pictures of music files are none."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    return best if best in streams else next(iter(streams), None)


def sound_stream(container: InputContainer) -> av.AudioStream | None:
    """The sound track that FFmpeg calls best (the one marked as default, else the richest)."""
    best = container.streams.best("audio")
    return best if isinstance(best, av.AudioStream) else None


def origin_s(container: InputContainer) -> float:
    """The time stamp that counts as 0."""
    picture, sound = picture_stream(container), sound_stream(container)
    starts = [_start_s(stream) for stream in (picture, sound) if stream is not None]
    if not starts:
        return 0.0
    return starts[0] if starts[0] - min(starts) < CODEC_DELAY_S else min(starts)


def packet_times(container: InputContainer, streams: Sequence[Stream] = ()) -> Iterator[tuple[float, float]]:
    """Start and end of each packet that has a time, of all streams or these, up to where the file is damaged."""
    try:
        for packet in container.demux(*streams):
            if packet.pts is not None and packet.time_base:
                yield (
                    float(packet.pts * packet.time_base),
                    float((packet.pts + (packet.duration or 0)) * packet.time_base),
                )
    except (av.FFmpegError, OSError):
        logger.debug("packets end early")


def decoded(container: InputContainer, stream: av.VideoStream | av.AudioStream, path: Path) -> Iterator[Any]:
    """Decoded frames of one stream. Damaged packets are skipped and a damaged tail ends the stream, with a warning."""
    damaged = 0
    demuxer = container.demux(stream)
    while True:
        try:
            packet = next(demuxer, None)
        except (av.FFmpegError, OSError):
            packet, damaged = None, damaged + 1
        try:
            # A stream that broke off still holds pictures that wait for their order: decode(None) lets them out.
            yield from stream.decode(packet)
        except EOFError:
            break
        except (av.FFmpegError, OSError):
            damaged += 1
        if packet is None:
            break
    if damaged:
        logger.warning("`%s`: %d damaged %s packets skipped", path, damaged, stream.type)


def decoded_from(
    start_s: float | int, container: InputContainer, stream: av.VideoStream | av.AudioStream, path: Path
) -> Iterator[Any]:
    """Decoded frames from the key frame at or before `start_s`, or from the front where the file cannot be searched."""
    origin = origin_s(container)
    if start_s > SEEK_FROM_S and stream.time_base is not None:
        try:
            container.seek(int((start_s + origin) / stream.time_base), stream=stream)
            frames = decoded(container, stream, path)
            first = next(frames, None)
            if first is not None and first.time is not None and first.time - origin <= start_s:
                yield first
                yield from frames
                return
        except (av.FFmpegError, OSError):
            logger.debug("`%s` cannot be searched; decoding from the front", path)
        container.seek(0)
    yield from decoded(container, stream, path)


def images(folder: Path) -> list[Path]:
    """Images of a folder in the order of the numbers in their names: `img9.jpg` comes before `img10.jpg`."""

    def in_order(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.stem)]

    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    return sorted(found, key=in_order)


def probe(path: Path, *, images_rate_hz: float | int = IMAGES_RATE_HZ) -> MediaInfo:
    """Look at a file, or a folder of images, without decoding more than its first picture.

    Raises:
        MediaError: the file is missing, empty or no media; the folder holds no image.
    """
    path = Path(path)
    if path.is_dir():
        found = _some_images(path)
        height, width = next(frames(found[0], rate_hz=None)).pixels.shape[:2]
        return MediaInfo(len(found) / images_rate_hz, width, height, float(images_rate_hz), 0, True, False)
    with open_media(path) as container:
        picture, sound = picture_stream(container), sound_stream(container)
        if picture is None and sound is None:
            raise MediaError(f"`{path}` holds neither picture nor sound\n\nhint: give a video or sound file")
        first = next(decoded(container, picture, path), None) if picture is not None else None
        width, height = _size_seen(first, None, picture.sample_aspect_ratio) if picture and first else (0, 0)
        return MediaInfo(
            duration_s=container.duration / av.time_base if container.duration else _measured_s(container),
            width=width,
            height=height,
            rate_hz=float(picture.average_rate or picture.guessed_rate or 0) if picture is not None else 0.0,
            rotation_deg=first.rotation % 360 if first is not None else 0,
            has_video=first is not None,
            has_sound=sound is not None,
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
    """What is on screen at `start_s + k / rate_hz`, k = 0, 1, ... before `end_s` or the end of the last picture.

    `path` is a file, or a folder of images that follow each other at `images_rate_hz`. `rate_hz=None` gives every
    decoded picture at its own time. Pictures larger than `max_side` are scaled down (area average); none is enlarged.
    All have the size of the first. One picture is in memory at a time.

    Raises:
        MediaError: missing, empty or no media; no picture, or none that can be decoded. A file that breaks off later
            gives what it holds and a warning; an image that cannot be decoded leaves the one before it on screen.
    """
    path = Path(path)
    if path.is_dir():
        yield from _frames_of_images(path, rate_hz, start_s, end_s, max_side, images_rate_hz)
        return
    with open_media(path) as container:
        stream = picture_stream(container)
        if stream is None:
            raise MediaError(f"`{path}` has no picture, only sound\n\nhint: use it as a sound file")
        stream.thread_type = "AUTO"
        origin, interval_s = origin_s(container), 1 / float(stream.average_rate or stream.guessed_rate or 25)
        scaler = VideoReformatter()  # keeps its tables from picture to picture
        shown: av.VideoFrame | None = None
        shown_s = until_s = 0.0
        size = (0, 0)
        count = 0

        def moments(until_s: float) -> Iterator[float]:
            """Times still to be answered with the picture shown now, which leaves the screen at `until_s`."""
            until_s = until_s if end_s is None else min(until_s, end_s)
            if rate_hz is None:
                return iter([shown_s] if start_s + ROUNDING_S < until_s and shown_s < until_s else [])
            stop = math.ceil((until_s - ROUNDING_S - start_s) * rate_hz)
            return (start_s + step / rate_hz for step in range(count, stop))

        skipped_s = 0.0
        for picture in decoded_from(start_s, container, stream, path):
            time_s = picture.time - origin - skipped_s if picture.time is not None else until_s
            if shown is not None and time_s - shown_s > LONGEST_STILL_S:
                skipped_s += time_s - until_s
                time_s = until_s
            if shown is None:
                size = _size_seen(picture, max_side, stream.sample_aspect_ratio)
            else:
                for frame in _shown_at(shown, scaler, size, moments(time_s)):
                    yield frame
                    count += 1
            shown, shown_s = picture, time_s
            lasts_s = float(picture.duration * picture.time_base) if picture.duration else interval_s
            until_s = time_s + min(lasts_s, LONGEST_STILL_S)
            if end_s is not None and time_s >= end_s:
                break
        if shown is not None:
            for frame in _shown_at(shown, scaler, size, moments(until_s)):
                yield frame
                count += 1
        if count == 0:
            raise MediaError(
                f"`{path}` has no picture that can be decoded after {start_s:g} s\n\n"
                "hint: check that the video is whole and that the start lies within it"
            )
        declared_s = _declared_s(container, stream)
        if end_s is None and until_s < declared_s - BROKEN_OFF_S:
            logger.warning("`%s` breaks off after %.1f s of %.1f s", path, until_s, declared_s)


def _some_images(folder: Path) -> list[Path]:
    found = images(folder)
    if not found:
        raise MediaError(
            f"`{folder}` is a folder without an image\n\n"
            f"hint: give a video or sound file, or a folder of {', '.join(sorted(IMAGE_SUFFIXES))} files"
        )
    return found


def _frames_of_images(
    folder: Path,
    rate_hz: float | int | None,
    start_s: float | int,
    end_s: float | int | None,
    max_side: int | None,
    images_rate_hz: float | int,
) -> Iterator[Frame]:
    paths = _some_images(folder)
    until_s = len(paths) / images_rate_hz if end_s is None else min(len(paths) / images_rate_hz, end_s)
    if rate_hz is None:
        first, last = (math.ceil((time_s - ROUNDING_S) * images_rate_hz) for time_s in (start_s, until_s))
        moments = [(index / images_rate_hz, index) for index in range(first, last)]
    else:
        times = [start_s + step / rate_hz for step in range(math.ceil((until_s - ROUNDING_S - start_s) * rate_hz))]
        moments = [(time_s, int((time_s + ROUNDING_S) * images_rate_hz)) for time_s in times]
    if not moments:
        raise MediaError(
            f"`{folder}` has no picture after {start_s:g} s\n\nhint: check that the start lies within its "
            f"{len(paths)} images"
        )
    shown: UInt8[np.ndarray, "H W 3"] | None = None
    shown_index = damaged = 0
    for time_s, index in moments:
        if shown is None or index != shown_index:
            try:
                pixels = next(frames(paths[index], rate_hz=None, max_side=max_side)).pixels
            except MediaError:
                damaged += 1
                if shown is None:
                    continue
            else:
                same = shown is None or pixels.shape == shown.shape
                shown = pixels if same or shown is None else resized(pixels, shown.shape[1], shown.shape[0])
            shown_index = index
        yield Frame(time_s, shown)
    if shown is None:
        raise MediaError(f"none of the images of `{folder}` can be decoded\n\nhint: copy or download them again")
    if damaged:
        logger.warning("`%s`: %d damaged images skipped", folder, damaged)


def resized(pixels: UInt8[np.ndarray, "H W 3"], width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """A picture stretched to this size by area averages, fast: for looking at, not for features."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return frame.reformat(width=width, height=height, interpolation=Interpolation.AREA).to_ndarray()


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
    with av.open(str(Path(path).absolute()), "w", format="mp4") as container:
        video = container.add_stream(video_encoder(), rate=rate, options=options)
        assert isinstance(video, av.VideoStream)
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = 1 / rate
        sound = None
        if samples is not None:
            sound = container.add_stream("aac", rate=sound_rate_hz, layout="mono")
            sound.codec_context.time_base = Fraction(1, sound_rate_hz)
        written = 0
        for index, pixels in enumerate(frames):
            pixels = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
            if index == 0:
                video.height, video.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(video.encode(frame))
            if sound is not None and samples is not None:  # alternating with the pictures keeps the muxer's queue short
                until = round((index + 1) / rate_hz * sound_rate_hz)
                _encode_sound(container, sound, samples[written:until], written)
                written = until
        if sound is not None and samples is not None:
            _encode_sound(container, sound, samples[written:], written)
            container.mux(sound.encode(None))
        container.mux(video.encode(None))


def _shown_at(
    picture: av.VideoFrame, scaler: VideoReformatter, size: tuple[int, int], moments: Iterator[float]
) -> Iterator[Frame]:
    """One picture at each of these times, converted once and only if there is any."""
    pixels = None
    for time_s in moments:
        pixels = _pixels(picture, scaler, size) if pixels is None else pixels
        yield Frame(time_s, pixels)


def _size_seen(picture: av.VideoFrame, max_side: int | None, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height as seen, at most `max_side`."""
    width, height = picture.width * float(aspect or 1), float(picture.height)
    if _is_turned(picture):
        width, height = height, width
    scale = 1.0 if max_side is None else min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _pixels(picture: av.VideoFrame, scaler: VideoReformatter, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """RGB of one decoded picture, upright, in the size asked for (width, height)."""
    width, height = size[::-1] if _is_turned(picture) else size
    smaller = width < picture.width or height < picture.height
    scaled = scaler.reformat(
        picture, width=width, height=height, format="rgb24", interpolation=Interpolation.AREA if smaller else None
    )
    pixels = scaled.to_ndarray()
    a, b, c, d = _display_matrix(picture)
    if abs(b) > abs(a):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _display_matrix(picture: av.VideoFrame) -> tuple[int, int, int, int]:
    """Where the picture's axes point on screen: x' = a x + c y, y' = b x + d y (ISO/IEC 14496-12)."""
    matrix: Any = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5].tolist()
    return a, b, c, d


def _is_turned(picture: av.VideoFrame) -> bool:
    a, b, _, _ = _display_matrix(picture)
    return abs(b) > abs(a)


def _start_s(stream: av.VideoStream | av.AudioStream) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _declared_s(container: InputContainer, stream: av.VideoStream) -> float:
    """Duration of the video as its header says, 0 if it does not."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _measured_s(container: InputContainer) -> float:
    """Duration by walking through all packets: for files whose header has none (browser and live recordings)."""
    container.seek(0)
    return max((end_s for _, end_s in packet_times(container)), default=0.0) - origin_s(container)


def video_encoder() -> str:
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def _encode_sound(
    container: av.container.OutputContainer, stream: av.AudioStream, part: Float32[np.ndarray, " N"], start: int
) -> None:
    if len(part):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = stream.rate, start, Fraction(1, stream.rate)
        container.mux(stream.encode(frame))
