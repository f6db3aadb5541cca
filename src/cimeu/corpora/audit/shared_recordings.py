"""Which recordings two corpora share, whatever the files are called, and even where one was cut out of the other.

Sound goes by sub-fingerprints: 32 bits for each hop of 1/64 s, each saying whether the step from one band to the next
grew since the frame before. Frames are long (0.37 s) and overlap, so that recoding and a cut at any sample change few
bits. Equal sub-fingerprints propose a clip and an offset; the bits of the whole aligned stretch decide. Pictures go by
the hash of five moments of `cimeu.corpora.audit.fingerprints`, which a cut hides.

`benchmarks/overlap.py` prints precision and recall on recoded, louder, cut and renamed copies.

Source: Haitsma and Kalker, A highly robust audio fingerprinting system, ISMIR 2002.
Axes: F frames of a clip, N samples.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt32, UInt64

from cimeu.corpora.audit.fingerprints import PICTURE_LIMIT, near_pairs, picture_hash
from cimeu.corpora.audit.inspection import moments_of
from cimeu.corpora.manifest import Clip, Manifest
from cimeu.errors import CimeuError, first_line
from cimeu.media.audio import RATE_HZ, is_silent, read_sound
from cimeu.media.video import probe
from cimeu.progress import Progress, silent

logger = logging.getLogger(__name__)

HOP, FRAME = RATE_HZ // 64, 5920
"""Samples: 15.6 ms and 0.37 s, the lengths of the source at this rate."""
BANDS_HZ = np.geomspace(300, 2000, 34)
"""Edges of 33 bands, where speech has its energy and telephones still pass it."""
SHORTEST = 32
"""Frames that two clips must share: half a second and the length of one frame. Shorter stretches agree by chance."""
ERROR_LIMIT = 0.32
"""Share of differing bits up to which two stretches are one recording; those of others differ in about half."""
PROPOSALS = 2
"""Equal sub-fingerprints at one offset that are worth a comparison of all bits."""
COMMON = 64
"""A sub-fingerprint that more frames have (silence, hum) proposes nothing."""


@dataclass(frozen=True)
class Contents:
    """What is compared of a clip; None where a stream is missing, silent or too short."""

    duration_s: float = 0.0
    sound: UInt32[np.ndarray, " F"] | None = None
    picture: UInt64[np.ndarray, " words"] | None = None
    is_read: bool = True


@dataclass(frozen=True)
class Copy:
    """Two clips that hold one recording. `offset_s`: where the second begins within the first, if known."""

    one: str
    other: str
    by: str
    offset_s: float | None = None


@dataclass(frozen=True)
class Overlap:
    """Pairs of clips that hold the same recording, in the order of the first manifest's clips."""

    copies: list[Copy]
    unread: tuple[int, int]
    """Clips of each manifest that cannot be read: nothing is known of them."""


def shared_recordings(one: Manifest, other: Manifest, *, workers: int = 1, progress: Progress = silent) -> Overlap:
    """Which clips of two manifests hold the same recording."""
    n_clips = len(one) + len(other)
    done = 0

    def counted(clip: Clip) -> Contents:
        nonlocal done
        contents = contents_of(clip)
        done += 1
        progress("overlap", done, n_clips)
        return contents

    with ThreadPoolExecutor(max(1, workers)) as pool:
        first, second = (list(pool.map(counted, manifest.clips())) for manifest in (one, other))
    offsets = same_sounds(
        [clip_contents.sound for clip_contents in first], [clip_contents.sound for clip_contents in second]
    )
    copies = copies_of(one, other, offsets, dict.fromkeys(_same_pictures(first, second)))
    n_first, n_second = (sum(not contents.is_read for contents in clips) for clips in (first, second))
    return Overlap(copies, (n_first, n_second))


def copies_of(
    one: Manifest,
    other: Manifest,
    sounds: Mapping[tuple[int, int], float | None],
    pictures: Mapping[tuple[int, int], float | None],
) -> list[Copy]:
    """Places of clips whose sounds or pictures agree, each with its offset in seconds where that is known, by name."""
    names = [list(map(str, manifest.table["clip_id"])) for manifest in (one, other)]
    return [
        Copy(
            names[0][pair[0]],
            names[1][pair[1]],
            "sound and picture" if pair in sounds and pair in pictures else "sound" if pair in sounds else "picture",
            sounds.get(pair, pictures.get(pair)),
        )
        for pair in sorted({*sounds, *pictures})
    ]


def contents_of(clip: Clip) -> Contents:
    """Fingerprints of one clip; a clip that cannot be read has none."""
    if clip.problem:
        return Contents(is_read=False)
    try:
        info = probe(clip.path)
        end_s = info.duration_s if clip.end_s is None else min(clip.end_s, info.duration_s or clip.end_s)
        picture = picture_hash(moments_of(clip, info)) if info.has_video else None
        sound = None
        if clip.audio_path or info.has_sound:
            sound = sub_fingerprints(read_sound(clip.audio_path or clip.path, start_s=clip.start_s, end_s=clip.end_s))
        return Contents(max(end_s - clip.start_s, 0.0), sound, picture)
    except CimeuError as error:
        logger.warning("`%s` is not compared: %s", clip.clip_id, first_line(error))
        return Contents(is_read=False)


def sub_fingerprints(samples: Float32[np.ndarray, " N"]) -> UInt32[np.ndarray, " F"] | None:
    """32 bits for each hop of a clip at 16 kHz; None if it is silent or shorter than SHORTEST of them."""
    if is_silent(samples) or len(samples) < FRAME + SHORTEST * HOP:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME).astype(np.float32), axis=1)) ** 2
    edges = np.round(BANDS_HZ * FRAME / RATE_HZ).astype(int)
    bands = np.add.reduceat(power, edges, axis=1)[:, :-1]
    grew = np.diff(np.diff(np.log(bands + 1e-6 * bands.max()), axis=1), axis=0) > 0
    return np.packbits(grew, axis=1).view(np.uint32).ravel()


def same_sounds(
    one: Sequence[UInt32[np.ndarray, " _"] | None], other: Sequence[UInt32[np.ndarray, " _"] | None]
) -> dict[tuple[int, int], float]:
    """Places of clips with one recording, with the second one's start within the first one in seconds."""
    owners, frames, hashes = _indexed(one)
    order = np.argsort(hashes, kind="stable")
    owners, frames, hashes = owners[order], frames[order], hashes[order]
    matches: dict[tuple[int, int], float] = {}
    for place, queried in enumerate(other):
        if queried is None or not len(hashes):
            continue
        starts = np.searchsorted(hashes, queried, side="left")
        counts = np.searchsorted(hashes, queried, side="right") - starts
        counts[counts > COMMON] = 0
        rows = np.repeat(starts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
        offsets = frames[rows] - np.repeat(np.arange(len(queried)), counts)
        proposals, n_equal = np.unique(np.stack([owners[rows], offsets], axis=1), axis=0, return_counts=True)
        best: dict[int, tuple[float, int]] = {}
        for owner, offset in proposals[n_equal >= PROPOSALS].tolist():
            candidate = one[owner]
            assert candidate is not None
            error = _bit_errors(candidate, queried, offset)
            if error <= ERROR_LIMIT and error < best.get(owner, (1.0, 0))[0]:
                best[owner] = error, offset
        matches |= {(owner, place): offset * HOP / RATE_HZ for owner, (_, offset) in best.items()}
    return matches


def _indexed(clips: Sequence[UInt32[np.ndarray, " _"] | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clip, frame and sub-fingerprint of every frame."""
    present = [(place, clip) for place, clip in enumerate(clips) if clip is not None]
    if not present:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.uint32)
    owners = np.concatenate([np.full(len(clip), place) for place, clip in present])
    frames = np.concatenate([np.arange(len(clip)) for _, clip in present])
    return owners, frames, np.concatenate([clip for _, clip in present])


def _bit_errors(one: UInt32[np.ndarray, " _"], other: UInt32[np.ndarray, " _"], offset: int) -> float:
    """Share of differing bits where the clips overlap; 1 where they share too little."""
    first, last = max(offset, 0), min(len(one), offset + len(other))
    if last - first < SHORTEST:
        return 1.0
    differing = np.bitwise_count(one[first:last] ^ other[first - offset : last - offset])
    return float(differing.mean() / 32)


def _same_pictures(one: Sequence[Contents], other: Sequence[Contents]) -> set[tuple[int, int]]:
    hashed = [
        (side, place, contents) for side, clips in enumerate((one, other)) for place, contents in enumerate(clips)
    ]
    hashed = [(side, place, contents) for side, place, contents in hashed if contents.picture is not None]
    if len({side for side, _, _ in hashed}) < 2:
        return set()
    stacked = np.stack([contents.picture for _, _, contents in hashed if contents.picture is not None])
    lengths_s = np.array([contents.duration_s for _, _, contents in hashed], np.float32)
    pairs = ((hashed[low], hashed[high]) for low, high in near_pairs(stacked, lengths_s, PICTURE_LIMIT))
    ordered = (sorted(pair, key=lambda contents: contents[0]) for pair in pairs)
    return {(low[1], high[1]) for low, high in ordered if low[0] != high[0]}
