"""What runs in the children: is this file a recording, and what does the model say about it.

A file is judged by what can be decoded from it, never by its name. Only formats of recordings are opened at all: lists
of files and streams (playlists, image sequences) could name other files of this machine.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av

from cimeu.errors import MediaError
from cimeu.media.audio import stream_sound
from cimeu.media.video import picture_stream, probe, sound_stream
from cimeu.progress import Progress, silent
from cimeu.server.isolated import Functions

MEDIA_TYPES = {
    "mov": ("video/mp4", "audio/mp4"),
    "matroska": ("video/webm", "audio/webm"),
    "avi": ("video/x-msvideo", "audio/x-msvideo"),
    "mpegts": ("video/mp2t", "audio/mp2t"),
    "mpeg": ("video/mpeg", "audio/mpeg"),
    "asf": ("video/x-ms-wmv", "audio/x-ms-wma"),
    "flv": ("video/x-flv", "audio/x-flv"),
    "ogg": ("video/ogg", "audio/ogg"),
    "wav": ("", "audio/wav"),
    "flac": ("", "audio/flac"),
    "mp3": ("", "audio/mpeg"),
    "aac": ("", "audio/aac"),
    "aiff": ("", "audio/aiff"),
    "caf": ("", "audio/x-caf"),
    "amr": ("", "audio/amr"),
}
"""Formats that are opened (FFmpeg's first name for each), and how browsers call them with and without pictures."""
MAX_PIXELS = 8192 * 4320
"""Larger pictures are refused: one decoded 8K picture is 100 MB."""


@dataclass(frozen=True)
class Recording:
    """A file that was found to be a recording."""

    media_type: str
    duration_s: float
    has_video: bool


class TooLong(MediaError):
    """A recording longer than the server takes."""


def check(path: Path, max_duration_s: float | int, *, progress: Progress = silent) -> Recording:
    """Look at a file: its format, the times of its packets, whatever its header claims, its first picture or sound.

    Raises:
        MediaError: it is no recording.
        TooLong: it is longer than `max_duration_s`.
    """
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(MEDIA_TYPES)}
    try:
        with av.open(str(path.absolute()), metadata_errors="ignore", options=options) as container:
            name = container.format.name.split(",")[0]
            duration_s = _duration_s(container, path, max_duration_s)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"`{path}` is not a video or sound file ({getattr(error, 'strerror', error)})\n\n"
            "hint: give a recording such as mp4, mov, mkv, webm, avi, wav, mp3, flac or ogg"
        ) from None
    info = probe(path)
    if not info.has_video:
        next(stream_sound(path, block_s=1.0))
    return Recording(MEDIA_TYPES[name][0 if info.has_video else 1], duration_s, info.has_video)


def _duration_s(container: av.container.InputContainer, path: Path, max_duration_s: float | int) -> float:
    """From the first packet to the end of the last; stops as soon as it is too long."""
    picture, sound = picture_stream(container), sound_stream(container)
    streams = [stream for stream in (picture, sound) if stream is not None]
    if not streams:
        raise MediaError(f"`{path}` holds neither picture nor sound\n\nhint: give a video or sound file")
    if picture is not None and picture.width * picture.height > MAX_PIXELS:
        raise MediaError(
            f"`{path}` has pictures of {picture.width} x {picture.height}\n\nhint: scale it to 8192 x 4320 or less"
        )
    first_s = last_s = None
    for packet in container.demux(streams):
        if packet.pts is None or packet.time_base is None:
            continue
        start_s, end_s = (float(pts * packet.time_base) for pts in (packet.pts, packet.pts + (packet.duration or 0)))
        first_s = start_s if first_s is None else min(first_s, start_s)
        last_s = end_s if last_s is None else max(last_s, end_s)
        if last_s - first_s > max_duration_s:
            raise TooLong(
                f"`{path}` is longer than {max_duration_s:g} s\n\n"
                "hint: cut it, or start the server with a larger --max-duration-s"
            )
    if first_s is None or last_s is None:
        raise MediaError(f"`{path}` holds nothing that has a time\n\nhint: save it again as mp4 or wav")
    return round(last_s - first_s, 3)


def checking() -> Functions:
    """The functions of the child that checks files."""
    return {"check": check}


def recognising(run_folder: Path) -> Functions:
    """The functions of the child that holds the model, read from a run folder or a bundle.

    Raises:
        CheckpointError, FingerprintMismatch, WeightsMissing: the model cannot be used here.
    """
    from cimeu.inference.explain import explain
    from cimeu.inference.recogniser import Recogniser

    recogniser = Recogniser.from_pretrained(run_folder)
    return {
        "recognise": recogniser.__call__,
        "explain": partial(explain, recogniser),
        "describe": partial(_describe, recogniser.model_id, recogniser.emotions, recogniser.specifications.synthetic),
    }


@dataclass(frozen=True)
class Model:
    """What a server says about its model."""

    model: str
    emotions: tuple[str, ...]
    demonstration: bool


def _describe(model: str, emotions: tuple[str, ...], demonstration: bool, *, progress: Progress = silent) -> Model:
    return Model(model, emotions, demonstration)
