"""Open a media file, and get packets and decoded frames out of it, whatever is wrong with it.

Everything FFmpeg or PyAV may raise becomes a `MediaError` here: a file that cannot be decoded is a fault of the file,
and must stop no other. What is damaged in part is read as far as it goes.

Source: FFmpeg through PyAV (presentation time stamps, dispositions, durations of tracks).
"""

import logging
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EINVAL
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import av.subtitles.stream  # otherwise loaded with the first file, when a bound on memory may forbid it
from av.container import InputContainer
from av.stream import Disposition, Stream

from cimeu.errors import CimeuError, MediaError
from cimeu.media.packed import packed_bytes, table_of
from cimeu.reading import kind_of

logger = logging.getLogger(__name__)

SEEK_FROM_S = 1.0
"""Earlier starts are reached by decoding from the beginning: cheaper than a seek and never wrong."""
CODEC_DELAY_S = 0.1
"""Sound that starts less than this before the first frame is encoder delay, not a time zero of its own."""
LONGEST_GAP_S = 600.0
"""Time stamps further apart are broken, and what follows is taken to follow at once. Slides and screen recordings hold
a frame for minutes; two frames a year apart must not become a year."""
MOST_PIXELS = 2**26
"""Larger frames (67 million pixels; 8K has 33) are not decoded: a few bytes may claim any size."""
STILLS = "image2,jpeg_pipe,jpegls_pipe,jpegxl_pipe,j2k_pipe,png_pipe,bmp_pipe,gif_pipe,webp_pipe,tiff_pipe"
"""Formats of one image, as FFmpeg names them."""
FORMATS = (
    # containers
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,live_flv,asf,asf_o,rm,ogg,nut,mxf,gxf,wtv,dv,"
    # one video track
    "h261,h263,h264,hevc,vvc,av1,obu,ivf,m4v,vc1,mjpeg,mjpeg_2000,gif,apng,yuv4mpegpipe,cavsvideo,dirac,"
    # one sound track
    "wav,w64,aiff,caf,au,flac,mp3,aac,ac3,eac3,dts,dtshd,truehd,amr,amrnb,amrwb,ape,wv,tta,mpc,mpc8,tak,oma,gsm,voc,"
    "sox,ircam,nistsphere,dsf,iff,loas," + STILLS
)
"""Formats that are opened, as FFmpeg names them. Playlists (HLS, DASH, concat, SDP, IMF) are not among them: a
file that somebody uploads must not say which other files of this machine are read. `img%d.jpg` is one file, no list."""
GUESSED = frozenset({"aac", "loas"})
"""Formats whose length FFmpeg always guesses from the bit rate of the beginning, 5 s for 3 s."""

LACK_OF_MEMORY = (MemoryError, BlockingIOError)
"""The second where a decoder cannot start its threads."""
OWN_FAULTS = (AssertionError, AttributeError, NameError, TypeError)
"""What FFmpeg does not raise about a file: these come of our own code and stay what they are."""


def require_regular_file(path: Path) -> None:
    """Check that a path names a file with content: reading a pipe or a device such as `/dev/zero` might never end.

    Raises:
        MediaError: the file is missing, empty, a folder, or neither file nor folder.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        # The usual case has a usual message; others (no permission, a name too long) are worth their own words.
        reason = getattr(error, "strerror", None) or str(error)
        is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        fault = "does not exist" if is_missing else f"cannot be read ({reason})"
        raise MediaError(f"`{path}` {fault}\n\nhint: give the path of one video or sound file") from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(f"`{path}` is {kind_of(status.st_mode)}\n\nhint: give the path of one video or sound file")
    if status.st_size == 0:
        raise MediaError(f"`{path}` is empty (0 bytes)\n\nhint: copy or download it again")


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a local file for reading. What FFmpeg raises within the `with` block becomes a `MediaError` too.

    Raises:
        MediaError: the file is missing, empty, no regular file, no media, or cannot be decoded.
    """
    path = Path(path)
    is_packed = table_of(path) is not None
    if not is_packed:
        require_regular_file(path)
    # Absolute, or a colon in the name would read as a protocol; this file only, whatever it says of others.
    source: Any = BytesIO(packed_bytes(path)) if is_packed else str(path.absolute())
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "pattern_type": "none"}
    limit = {"max_pixels": str(MOST_PIXELS)}
    try:
        container = av.open(source, mode="r", metadata_errors="ignore", options=options | limit)
    except LACK_OF_MEMORY as error:  # nothing is known of the file yet
        raise _undecodable(path, error) from error
    except Exception as error:
        # FFmpeg says "invalid argument" of a format outside `FORMATS`.
        is_unknown_format = getattr(error, "errno", None) == EINVAL
        fault = "a playlist, or a format that is not read" if is_unknown_format else in_words(error)
        raise MediaError(
            f"`{path}` is not a video or sound file that can be opened ({fault})\n\n"
            "hint: play it elsewhere; a file cut off while it was written cannot be repaired here"
        ) from error
    try:
        with container:
            for stream in container.streams.video:
                if has_decoder(stream):
                    stream.codec_context.options = limit
            yield container
    except (CimeuError, *OWN_FAULTS):
        raise
    except Exception as error:
        logger.debug("`%s` cannot be decoded", path, exc_info=error)
        raise _undecodable(path, error) from error


def _undecodable(path: Path, error: Exception) -> MediaError:
    return MediaError(
        f"`{path}` cannot be decoded ({in_words(error)})\n\n"
        "hint: play it elsewhere; if it plays there, convert it to mp4 or wav"
    )


def in_words(error: Exception) -> str:
    """What a library said of a file, short enough for a message."""
    if isinstance(error, LACK_OF_MEMORY):
        return "it asks for more memory than there is"
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return str(reason).splitlines()[0]


def has_decoder(stream: Stream) -> bool:
    """Whether FFmpeg knows how to decode a stream; PyAV has no codec context of one whose format is unknown."""
    return stream.codec_context is not None


def video_stream(container: InputContainer) -> av.VideoStream | None:
    """The video stream of a container; cover images of music files do not count, nor what no decoder reads."""
    streams = [
        stream
        for stream in container.streams.video
        if has_decoder(stream) and not stream.disposition & Disposition.attached_pic
    ]
    # Cover art is a video stream with one picture; FFmpeg may call it the best.
    best = container.streams.best("video")
    return best if best in streams else next(iter(streams), None)


def sound_stream(container: InputContainer) -> av.AudioStream | None:
    """The sound track that FFmpeg calls best (the one marked as default, else the richest)."""
    streams = [stream for stream in container.streams.audio if has_decoder(stream)]
    best = container.streams.best("audio")
    return best if isinstance(best, av.AudioStream) and best in streams else next(iter(streams), None)


def origin_s(container: InputContainer) -> float:
    """The time stamp that counts as 0."""
    video, sound = video_stream(container), sound_stream(container)
    starts = [_start_s(stream) for stream in (video, sound) if stream is not None]
    if not starts:
        return 0.0
    # A codec's delay puts sound a little before the first frame; only a longer lead is real.
    return starts[0] if starts[0] - min(starts) < CODEC_DELAY_S else min(starts)


def declared_end_s(container: InputContainer, stream: av.VideoStream | av.AudioStream) -> float | None:
    """When a track ends, from time 0, as the file says; None where it does not say so of this track.

    The length of the container is that of its longest track, so it stands for a track only where there is no other.
    """
    duration_s: float | None = None
    if container.format.name in GUESSED:
        return None
    if stream.duration and stream.time_base:
        duration_s = float(stream.duration * stream.time_base)
    elif "DURATION" in stream.metadata:  # Matroska: hours:minutes:seconds of each track, where its writer left it
        duration_s = _seconds(stream.metadata["DURATION"])
        if duration_s is not None and _counts_from_zero(container) and duration_s > origin_s(container):
            return duration_s - origin_s(container)
    elif len(container.streams) == 1:
        duration_s = _container_length_s(container)
    return None if duration_s is None else _start_s(stream) + duration_s - origin_s(container)


def declared_length_s(container: InputContainer) -> float | None:
    """Length of the recording as the file says: that of the longer of its video and sound; None if it says nothing."""
    streams = [stream for stream in (video_stream(container), sound_stream(container)) if stream is not None]
    ends = [end_s for stream in streams if (end_s := declared_end_s(container, stream)) is not None]
    if len(ends) == len(streams) and max(ends, default=0.0) > 0:
        return max(ends)
    return _container_length_s(container) or max(ends, default=None)


def longest_gap_s(length_s: float | None, time_s: float | int) -> float:
    """How long one frame, or one pause in the sound, may last from `time_s` on.

    A track whose time scale is wrong claims minutes for each frame. What the file says of its own length, where it says
    anything, bounds them.
    """
    return LONGEST_GAP_S if length_s is None else min(LONGEST_GAP_S, max(0.0, length_s - time_s))


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


def measured_length_s(container: InputContainer) -> float:
    """Length by walking through all packets: for files whose header has none (browser and live recordings)."""
    container.seek(0)
    return max((end_s for _, end_s in packet_times(container)), default=0.0) - origin_s(container)


def decoded(container: InputContainer, stream: av.VideoStream | av.AudioStream, path: Path) -> Iterator[Any]:
    """Decoded frames of one stream. Damaged packets are skipped and a damaged tail ends the stream, with a warning."""
    damaged = 0
    demuxer = container.demux(stream)
    while True:
        try:
            packet = next(demuxer, None)
        except LACK_OF_MEMORY:  # not damage: what is skipped would be missing from the result without a word
            raise
        except (av.FFmpegError, OSError):
            packet, damaged = None, damaged + 1
        try:
            # A stream that broke off still holds frames that wait for their order: decode(None) lets them out.
            yield from stream.decode(packet)
        except EOFError:
            break
        except LACK_OF_MEMORY:
            raise
        except (av.FFmpegError, OSError):
            damaged += 1
        if packet is None:
            break
    if damaged:
        logger.warning("`%s`: %d damaged %s packets skipped", path, damaged, stream.type)


def decoded_from(
    start_s: float | int, container: InputContainer, stream: av.VideoStream | av.AudioStream, path: Path
) -> Iterator[Any]:
    """Decoded frames from the key frame at or before `start_s`, or from the first where the file cannot be searched."""
    origin = origin_s(container)
    if start_s > SEEK_FROM_S and stream.time_base is not None:
        try:
            # Time stamps of the file count from its own origin, ours from 0.
            container.seek(int((start_s + origin) / stream.time_base), stream=stream)
            frames = decoded(container, stream, path)
            first = next(frames, None)
            if first is not None and first.time is not None and first.time - origin <= start_s:
                yield first
                yield from frames
                return
        except (av.FFmpegError, OSError):
            logger.debug("`%s` cannot be searched; decoding from the beginning", path)
        container.seek(0)
    yield from decoded(container, stream, path)


def _start_s(stream: av.VideoStream | av.AudioStream) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _counts_from_zero(container: InputContainer) -> bool:
    """Whether stored lengths are times of the end, counted from 0, as FFmpeg writes them into Matroska, where a clip
    may begin at an hour. Other programs may keep its name and write true lengths, which are then below the start."""
    writer = container.metadata.get("ENCODER", container.metadata.get("encoder", ""))
    return "matroska" in container.format.name and writer.startswith("Lavf")


def _container_length_s(container: InputContainer) -> float | None:
    """Length of the container as the file says; None if it says nothing."""
    if not container.duration or container.format.name in GUESSED:
        return None
    start = (container.start_time or 0) if _counts_from_zero(container) else 0
    return float((container.duration - (start if start < container.duration else 0)) / av.time_base)


def _seconds(text: str) -> float | None:
    """`00:01:02.500000000` in seconds; None for anything else."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return None
