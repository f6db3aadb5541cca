"""What the recordings themselves are like: read once, a look kept of each.

A recording that cannot be read is a look with its reason, never a stop.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Lock

import numpy as np
from jaxtyping import UInt8, UInt64

from cimeu.corpora.audit.cache import Look, LookCache, Sound
from cimeu.corpora.audit.fingerprints import (
    MOMENTS,
    PICTURE_LIMIT,
    SOUND_LIMIT,
    components,
    near_pairs,
    picture_hash,
    sound_hash,
)
from cimeu.corpora.manifest import Clip, Manifest
from cimeu.errors import CimeuError, MediaError, first_line
from cimeu.media.audio import is_silent, read_sound
from cimeu.media.faces import DEFAULT_DETECTOR, DETECTORS, FaceDetector
from cimeu.media.video import MediaInfo, frames, probe
from cimeu.progress import Progress, silent

logger = logging.getLogger(__name__)

MAX_SIDE = 320
"""Pictures are looked at no larger than this: enough for the detector and the hash."""

_one_at_a_time = Lock()  # no detector promises to serve two threads, and it is the smaller part of the work


def inspect(
    manifest: Manifest,
    *,
    detector: FaceDetector | None = None,
    cache: LookCache | None = None,
    workers: int = 1,
    progress: Progress = silent,
) -> list[Look]:
    """A look at each clip, in the manifest's order. `workers` threads decode at a time."""
    detector = detector or DETECTORS[DEFAULT_DETECTOR]()
    problems = manifest.table["problem"]
    usable = np.flatnonzero(problems == "")
    clips = Manifest(manifest.table.iloc[usable], manifest.root).clips()
    looks = [
        Look(clip_id, problem=problem) for clip_id, problem in zip(manifest.table["clip_id"], problems, strict=True)
    ]

    def known_or_new(clip: Clip) -> tuple[Look, bool]:
        cached = cache.get(clip, detector) if cache else None
        return (cached, False) if cached else (look_at(clip, detector), True)

    n_ruled_out = len(looks) - len(clips)
    progress("audit", n_ruled_out, len(looks))
    with ThreadPoolExecutor(max(1, workers)) as pool:
        outcomes = zip(usable, clips, pool.map(known_or_new, clips), strict=True)
        for number, (place, clip, (look, new)) in enumerate(outcomes, start=n_ruled_out + 1):
            if cache and new:
                cache.add(clip, detector, look)
            elif cache:
                cache.reused += 1
            looks[place] = look
            progress("audit", number, len(looks))
    return looks


def look_at(clip: Clip, detector: FaceDetector) -> Look:
    """Length, size, faces, sound and hashes of one clip."""
    if clip.problem:
        return Look(clip.clip_id, problem=clip.problem)
    try:
        return _look(clip, probe(clip.path), detector)
    except Exception as error:  # whatever is in the file, the others are to be looked at too
        if isinstance(error, CimeuError):
            return Look(clip.clip_id, problem=first_line(error))
        logger.warning("`%s`: an error nobody foresaw", clip.path, exc_info=error)
        return Look(clip.clip_id, problem=f"{type(error).__name__}: {first_line(error)}")


def duplicate_groups(
    manifest: Manifest, looks: Sequence[Look] | None = None, *, workers: int = 1, progress: Progress = silent
) -> list[list[str]]:
    """Clip ids of near-duplicates: sets that agreeing pairs connect, each of at least two.

    Pass the looks of `inspect` where they are there already.
    """
    looks = inspect(manifest, workers=workers, progress=progress) if looks is None else looks
    pictures = _agreeing([look.picture for look in looks], looks, PICTURE_LIMIT)
    voices = _agreeing([look.voice for look in looks], looks, SOUND_LIMIT)

    def agree(one: Look, other: Look, pair: tuple[int, int]) -> bool:
        seen = one.picture is not None and other.picture is not None
        heard = one.voice is not None and other.voice is not None
        return (pair in pictures or not seen) and (pair in voices or not heard)

    pairs = [pair for pair in sorted(pictures | voices) if agree(looks[pair[0]], looks[pair[1]], pair)]
    return [[looks[index].clip_id for index in members] for members in components(len(looks), pairs)]


def _agreeing(
    hashes: Sequence[UInt64[np.ndarray, " words"] | None], looks: Sequence[Look], limit: float
) -> set[tuple[int, int]]:
    """Pairs of places, the lower first, whose hashes agree."""
    places = [place for place, one in enumerate(hashes) if one is not None]
    if len(places) < 2:
        return set()
    lengths_s = np.array([looks[place].duration_s for place in places], np.float32)
    stacked = np.stack([one for one in hashes if one is not None])
    pairs = ((places[one], places[other]) for one, other in near_pairs(stacked, lengths_s, limit))
    return {(min(pair), max(pair)) for pair in pairs}


def moments_of(clip: Clip, info: MediaInfo) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Frames at MOMENTS times, spread evenly over a clip; none where it has no video."""
    end_s = info.video_s if clip.end_s is None else min(clip.end_s, info.video_s)  # sound may go on longer
    if end_s <= clip.start_s:
        return []
    spacing_s = (end_s - clip.start_s) / MOMENTS
    spread = frames(
        clip.path, rate_hz=1 / spacing_s, start_s=clip.start_s + spacing_s / 2, end_s=end_s, max_side=MAX_SIDE
    )
    return [frame.pixels for frame in islice(spread, MOMENTS)]


def _look(clip: Clip, info: MediaInfo, detector: FaceDetector) -> Look:
    end_s = info.duration_s if clip.end_s is None else min(clip.end_s, info.duration_s or clip.end_s)
    duration_s = max(end_s - clip.start_s, 0.0)
    face_share = picture = None
    moments = moments_of(clip, info) if info.has_video else []
    if moments:
        with _one_at_a_time:
            face_share = float(np.mean([bool(detector(pixels)) for pixels in moments]))
        picture = picture_hash(moments)
    sound, voice = _listen(clip, info)
    return Look(
        clip.clip_id,
        duration_s=round(duration_s, 3),
        width=info.width,
        height=info.height,
        rate_hz=round(info.rate_hz, 3),
        sound=sound,
        face_share=face_share,
        picture=picture,
        voice=voice,
    )


def _listen(clip: Clip, info: MediaInfo) -> tuple[Sound, UInt64[np.ndarray, " words"] | None]:
    if clip.audio_path is None and not info.has_sound:
        return "none", None
    try:
        samples = read_sound(clip.audio_path or clip.path, start_s=clip.start_s, end_s=clip.end_s)
    except MediaError:
        return "broken", None
    return ("silent", None) if is_silent(samples) else ("heard", sound_hash(samples))
