"""What the tracks of a recording hold, whatever container they lie in: a copy into another one, with other metadata or
without its sound, is the same recording.

Only packets are read, nothing is decoded: about a millisecond for a sound file, 20 for a video of four seconds. Copies
that were recoded, cut or made louder are found by `cimeu.corpora.audit.shared_recordings`.

Source: FFmpeg's bitstream filters, which bring packets of one codec to one form.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from math import inf
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from cimeu.corpora.content_hash import content_of_file
from cimeu.corpora.manifest import Clip
from cimeu.errors import MediaError
from cimeu.media.container import open_media, sound_stream, video_stream
from cimeu.media.packed import table_of

logger = logging.getLogger(__name__)

# MP4 and Matroska write lengths where transport streams write start codes, and keep parameter sets, delimiters and
# messages of the encoder (unit types 6 to 9, and 32 to 40 of HEVC) outside of the packets.
ONE_FORM = {
    "h264": "h264_mp4toannexb,filter_units=remove_types=6-9",
    "hevc": "hevc_mp4toannexb,filter_units=remove_types=32-40",
    "aac": "aac_adtstoasc",
}


@dataclass(frozen=True)
class Tracks:
    """A stretch of the video and of the sound of a recording; the digest of a track that it lacks is empty."""

    video: str
    sound: str
    start_s: float = 0.0
    end_s: float = inf

    def shares_with(self, other: "Tracks") -> bool:
        """Whether both hold seconds of one recording: their stretches overlap, and every kind of track that both have
        is the same. (Films with the same silent sound are not the same, nor are songs with the same still image.)
        """
        pairs = [(mine, its) for mine, its in ((self.video, other.video), (self.sound, other.sound)) if mine and its]
        overlap = self.start_s < other.end_s and other.start_s < self.end_s
        return overlap and bool(pairs) and all(mine == its for mine, its in pairs)


def tracks_of(clips: Sequence[Clip]) -> list[Tracks]:
    """The tracks of each clip. What is no media file, such as a folder of images, counts by its bytes, as video."""
    paths = {path for clip in clips for path in (clip.path, clip.audio_path) if path}
    # FFmpeg lets other threads run while it opens and reads a file.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        digests = dict(zip(paths, threads.map(_tracks_of_file, paths), strict=True))
    tracks = []
    for clip in clips:
        video, sound = digests[clip.path]
        if clip.audio_path:
            sound = digests[clip.audio_path][1]
        tracks.append(Tracks(video, sound, clip.start_s, inf if clip.end_s is None else clip.end_s))
    return tracks


def _tracks_of_file(path: Path) -> tuple[str, str]:
    """Digests of the packets of video and sound. A file is read once per process as long as its size and time of change
    stay the same."""
    if table_of(path) is not None:  # a row of Parquet
        return _digests(path)
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return content_of_file(path), ""
    return _digests_of_file(path, status.st_size, status.st_mtime_ns)


@cache
def _digests_of_file(path: Path, size: int, modified_ns: int) -> tuple[str, str]:
    return _digests(path)


def _digests(path: Path) -> tuple[str, str]:
    try:
        with open_media(path) as container:
            video, sound = video_stream(container), sound_stream(container)
            digests: dict[int, Any] = {}
            for number, packet in _packets(container, [stream for stream in (video, sound) if stream is not None]):
                digests.setdefault(number, blake2b(digest_size=16)).update(packet)
            digest_of = {number: digest.hexdigest() for number, digest in digests.items()}
            tracks = tuple(digest_of.get(stream.index, "") if stream else "" for stream in (video, sound))
    except MediaError as error:
        logger.debug("no digest of tracks: %s", error)
        return content_of_file(path), ""
    return (tracks[0], tracks[1]) if any(tracks) else (content_of_file(path), "")


def _packets(container: InputContainer, streams: list[Stream]) -> Iterator[tuple[int, Packet]]:  # type: ignore[type-arg]
    """Packets with content and the numbers of their streams, in one form where FFmpeg can bring them to it, up to where
    the file is damaged."""
    filters = {
        stream.index: BitStreamFilterContext(ONE_FORM[name], stream)
        for stream in streams
        if (name := stream.codec_context.name) in ONE_FORM
    }
    try:
        for packet in container.demux(*streams):
            if not packet.size:
                continue
            number = packet.stream.index
            try:
                whole = filters[number].filter(packet) if number in filters else [packet]
            except av.FFmpegError:  # damaged, or a variety of the codec that the filter lacks
                continue
            yield from ((number, part) for part in whole if part.size)
    except (av.FFmpegError, OSError):
        logger.debug("packets end early")
