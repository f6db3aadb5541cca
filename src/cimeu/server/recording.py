"""What runs in the children: is this file a recording, and what does the model predict for it.

A file counts by what can be decoded from it, never by its name, and opened as `cimeu predict` opens it: no playlist,
no frame of any size it claims. What is damaged in part is read as far as it goes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from av.container import InputContainer

from cimeu.errors import MediaError
from cimeu.media.audio import stream_sound
from cimeu.media.container import STILLS, open_media, packet_times, sound_stream, video_stream
from cimeu.media.video import probe
from cimeu.progress import Progress, silent
from cimeu.server.isolated import Functions, bound_memory
from cimeu.server.settings import ServerSettings
from cimeu.timeline.settings import TimelineSettings

if TYPE_CHECKING:
    from cimeu.inference.recogniser import Recogniser
    from cimeu.timeline.explanation import Explanation
    from cimeu.timeline.result import Timeline
    from cimeu.timeline.segments import Segment

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
"""Media type of a format (FFmpeg's first name for it) with and without video."""
DEFAULT_MEMORY_BYTES = ServerSettings().max_memory_bytes
UNKNOWN = "application/octet-stream"
"""Of any other format: it is read like the rest, but no browser plays it."""


@dataclass(frozen=True)
class Recording:
    """A file that is a recording."""

    media_type: str
    duration_s: float
    has_video: bool


class TooLong(MediaError):
    """A recording longer than the server takes."""


def check(path: Path, max_duration_s: float | int, *, progress: Progress = silent) -> Recording:
    """Check a file: its format, the times of its packets, whatever its header claims, its first frame or sound.

    Raises:
        MediaError: it is not a recording.
        TooLong: it is longer than `max_duration_s`.
    """
    with open_media(path) as container:
        name = container.format.name.split(",")[0]
        # FFmpeg opens images as videos of one frame.
        if name in STILLS.split(","):
            raise MediaError(
                f"`{path}` is an image, not a recording\n\nhint: give a recording such as mp4, webm, wav or mp3"
            )
        duration_s = _duration_s(container, path, max_duration_s)
    info = probe(path)
    if not info.has_video:
        next(stream_sound(path, block_s=1.0))
    seen, heard = MEDIA_TYPES.get(name, (UNKNOWN, UNKNOWN))
    return Recording(seen if info.has_video else heard, duration_s, info.has_video)


def _duration_s(container: InputContainer, path: Path, max_duration_s: float | int) -> float:
    """From the first packet to the end of the last; stops as soon as it is too long."""
    streams = [stream for stream in (video_stream(container), sound_stream(container)) if stream is not None]
    if not streams:
        raise MediaError(f"`{path}` holds neither video nor sound\n\nhint: give a video or sound file")
    first_s = last_s = None
    for start_s, end_s in packet_times(container, streams):
        first_s = start_s if first_s is None else min(first_s, start_s)
        last_s = end_s if last_s is None else max(last_s, end_s)
        # By packets, not by the header: a header may claim a second and hold a day.
        if last_s - first_s > max_duration_s:
            raise TooLong(
                f"`{path}` is longer than {max_duration_s:g} s\n\n"
                "hint: cut it, or start the server with a larger --max-duration-s"
            )
    if first_s is None or last_s is None:
        raise MediaError(f"`{path}` holds no packet with a time\n\nhint: save it again as mp4 or wav")
    return round(last_s - first_s, 3)


def checking(memory_bytes: int = DEFAULT_MEMORY_BYTES) -> Functions:
    """The functions of the child that checks files."""
    bound_memory(memory_bytes)
    return {"check": check}


def recognising(
    run_folder: Path,
    weights: Mapping[str, str] = MappingProxyType({}),
    device: str = "auto",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> Functions:
    """The functions of the child that holds the model, read from a run folder or a bundle.

    Raises:
        CheckpointError, FingerprintMismatch, WeightsMissing: the model cannot be used here.
    """
    from cimeu.inference.recogniser import Recogniser

    # Before memory is bounded: the model is ours, what is decoded later is not.
    recogniser = Recogniser.from_pretrained(run_folder, weights=weights, device=device)
    bound_memory(memory_bytes)
    return {
        "recognise": partial(_recognise, recogniser),
        "explain": partial(_explain, recogniser),
        "describe": partial(_describe, recogniser.model_id, recogniser.emotions, recogniser.specifications.synthetic),
    }


def _recognise(
    recogniser: "Recogniser", path: Path, settings: TimelineSettings | None = None, *, progress: Progress = silent
) -> "Timeline":
    return recogniser.with_settings(settings or recogniser.settings)(path, progress=progress)


def _explain(
    recogniser: "Recogniser",
    path: Path,
    timeline: "Timeline",
    segment: "Segment",
    settings: TimelineSettings | None = None,
    *,
    progress: Progress = silent,
) -> "Explanation":
    from cimeu.inference.explain import explain

    recogniser = recogniser.with_settings(settings or recogniser.settings)
    return explain(recogniser, replace(timeline, media_path=path), segment, progress=progress)


@dataclass(frozen=True)
class Model:
    """What a server reports about its model."""

    model: str
    emotions: tuple[str, ...]
    demonstration: bool


def _describe(model: str, emotions: tuple[str, ...], demonstration: bool, *, progress: Progress = silent) -> Model:
    return Model(model, emotions, demonstration)
