"""Which clips two manifests share, by the features that stores hold of them: no recording is decoded.

The steps of a clip, each dimension without the clip's mean, are a curve that loudness and a microphone hardly change.
Steps are turned to their principal components of equal variance, so that what all speech has in common does not count.
How the components of a clip vary together proposes the clips nearest to it, wherever a cut begins; the correlation of
both curves at the best offset decides. What has too few steps for that is found where its features are identical,
unless they stand still (silence, black frames) or many clips of a manifest hold them.

`benchmarks/overlap.py --features spectral` prints precision and recall on recoded, louder, cut and renamed copies.

Axes: T steps of a clip, D width of an encoder, K components, N clips, P proposals of a clip.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float16, Float32
from scipy.fft import irfft, next_fast_len, rfft

from cimeu.corpora.audit.shared_recordings import Overlap, copies_of
from cimeu.corpora.manifest import Manifest
from cimeu.corpora.paths import FROM_DISK
from cimeu.encoders.base import SHIFT_SAMPLES, SOUND_RATE_HZ
from cimeu.encoders.description import fingerprint_of
from cimeu.errors import FeatureError
from cimeu.features.store import FeatureStore, key_of
from cimeu.progress import Progress, silent

COMPONENTS = 128
"""Principal components of a step at most: the fine ones tell takes of one sentence by one actor apart. Half of an
encoder's width, because the finest are changed by recoding; all of one that is narrower than NARROW."""
NARROW = 16
STEPS_OF_EACH = 8
"""Steps for each component at least: components of fewer steps are their noise."""
VARYING_TOGETHER = 32
"""Components whose covariances propose a clip."""
PROPOSALS = 8
"""Clips that are compared step by step with each clip, of either manifest."""
SHORTEST = 8
"""Steps that two clips must share; fewer agree by chance."""
LIMIT = 0.6
"""Correlation from which two curves are one recording, if they share enough numbers. On 301 clips of real speech that
the benchmark does not draw with up to 500 clips, many of them takes of few sentences by the same actors: `spectral` at
most 0.60 between takes, at least 0.60 with cut and encoded copies (then 0.64); `filterbank` 0.42 and 0.57."""
CHANCE = 12.0
"""Fewer shared numbers (steps times components) must agree better, by this over their square root."""
SAMPLE = 10_000
"""Steps that the components are taken from."""
BLOCK = 256
"""Clips compared with all others at once, so that memory grows with the number of clips, not with its square."""
_EPSILON = 1e-6

FILTERBANK_HZ = SOUND_RATE_HZ / SHIFT_SAMPLES
"""Frames of sound a second, from which windows are cut."""

Curve: TypeAlias = Float16[np.ndarray, "_ K"]


@dataclass(frozen=True)
class Compared:
    """What two manifests share, and the stores that said so."""

    overlap: Overlap
    """Its `unread` counts the clips without features in any of the stores."""
    encoders: tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """The clips of one manifest in the store of one encoder: the key of each, None where it has no features."""

    store: FeatureStore
    keys: list[str | None]

    @classmethod
    def of(cls, store: FeatureStore, manifest: Manifest, ambiguous: Collection[str] = ()) -> "Held":
        """By what the recordings hold; where one is not there, by the clip_id if that is clear."""
        by_clip_id = store.keys_of_clips("forward")
        keys: list[str | None] = []
        for clip in manifest.clips():
            key: str | None = None
            if not clip.problem:
                key = key_of(clip, store.description, "forward")
            elif clip.problem in FROM_DISK and clip.clip_id not in ambiguous:
                candidates = by_clip_id.get(clip.clip_id, ())
                key = candidates[0] if len(candidates) == 1 else None
            keys.append(key if key is not None and key in store and not store.problem(key) else None)
        return cls(store, keys)

    def features(self, place: int) -> Float32[np.ndarray, "T D"] | None:
        """Features of a clip by its place in the manifest."""
        key = self.keys[place]
        return None if key is None else self.store.get(key).features

    def curves(self, projection: "Projection") -> list[Curve | None]:
        """The curve of every clip that has one."""
        return [projection.curve(self.features(place)) for place in range(len(self.keys))]


def shared_clips(one: Manifest, other: Manifest, folders: Sequence[Path], *, progress: Progress = silent) -> Compared:
    """Which clips of two manifests hold the same recording.

    Args:
        one: first manifest; its recordings need not be there.
        other: second manifest.
        folders: what `cimeu extract` wrote for both, or for the first and for the second.
        progress: called after each clip that was compared step by step, for each encoder.

    Raises:
        FeatureError: no store in a folder, or no encoder that both have with the same settings.
    """
    first, second = (stores_in(folder) for folder in (folders[0], folders[-1]))
    names = _common(first, second, folders)
    in_both = set(one.table["clip_id"]) & set(other.table["clip_id"])
    offsets_s: dict[str, dict[tuple[int, int], float | None]] = {"sound": {}, "picture": {}}
    has_features = np.zeros(len(one), bool), np.zeros(len(other), bool)
    for name in names:
        description = first[name].description
        # One store cannot say which of two clips of one name it holds, unless their recordings are there.
        ambiguous = in_both if first[name].folder.resolve() == second[name].folder.resolve() else ()
        sides = Held.of(first[name], one, ambiguous), Held.of(second[name], other, ambiguous)
        for has_own, held in zip(has_features, sides, strict=True):
            has_own |= [key is not None for key in held.keys]
        stride_s = _stride_s(description)
        for pair, steps in _same_curves(*sides, progress).items():
            of_stream = offsets_s["sound" if description["source"] == "sound" else "picture"]
            if of_stream.get(pair) is None:
                of_stream[pair] = None if stride_s is None else steps * stride_s
    unread = int((~has_features[0]).sum()), int((~has_features[1]).sum())
    return Compared(Overlap(copies_of(one, other, offsets_s["sound"], offsets_s["picture"]), unread), names)


def stores_in(folder: Path) -> dict[str, FeatureStore]:
    """The stores of a folder by name; the folder of one encoder is one of them.

    Raises:
        FeatureError: there is none, or one that cannot be read.
    """
    places = [
        path.parent for path in (folder / "encoder.json", *sorted(folder.glob("*/encoder.json"))) if path.is_file()
    ]
    if not places:
        raise FeatureError(f"no features in `{folder}`\n\nhint: name the folder that `cimeu extract` wrote")
    return {place.absolute().name: FeatureStore.open(place) for place in places}


def _common(
    first: Mapping[str, FeatureStore], second: Mapping[str, FeatureStore], folders: Sequence[Path]
) -> tuple[str, ...]:
    """Names of the encoders that both have with the same settings."""
    names = tuple(
        name
        for name in first
        if name in second and fingerprint_of(first[name].description) == fingerprint_of(second[name].description)
    )
    if not names:
        raise FeatureError(
            f"`{folders[0]}` and `{folders[-1]}` have no encoder in common that was set alike: "
            f"{', '.join(first)} and {', '.join(second)}\n\nhint: extract both with the same --encoder and settings"
        )
    return names


def _stride_s(description: Mapping[str, object]) -> float | None:
    """Seconds between two steps; None where they are not those of the recording.

    Sound whose outer silences were left out begins somewhere in its recording; imported features have no frame rate.
    """
    window, preprocessing = description["window"], description["preprocessing"]
    assert isinstance(preprocessing, Mapping)
    rate_hz = FILTERBANK_HZ if description["source"] == "sound" else preprocessing.get("rate_hz")
    if not isinstance(window, Mapping) or not rate_hz or preprocessing.get("trim"):
        return None
    return float(window["stride"]) / float(rate_hz)


# One encoder


def _same_curves(one: Held, other: Held, progress: Progress) -> dict[tuple[int, int], int]:
    """Places of clips with one recording, with the second one's start within the first one in steps."""
    matches = dict.fromkeys(_identical(one, other), 0)
    projection = Projection.of((one, other))
    if projection is None:
        return matches
    curves = one.curves(projection), other.curves(projection)
    pairs = sorted(_proposed(*curves), key=lambda pair: pair[1])
    for number, (low, high) in enumerate(pairs, start=1):
        first, second = curves[0][low], curves[1][high]
        assert first is not None and second is not None  # noqa: PT018
        agreement, offset = correlation(first, second)
        shared = min(len(first), len(second) + offset) - max(offset, 0)
        if agreement >= max(LIMIT, CHANCE / np.sqrt(shared * first.shape[1])):
            matches.setdefault((low, high), offset)
        progress("overlap", number, len(pairs))
    return matches


def _identical(one: Held, other: Held) -> Iterator[tuple[int, int]]:
    """Pairs of clips with the same numbers: copies of any length, whole and not recoded."""
    first, second = _by_digest(one), _by_digest(other)
    for digest, places in first.items():
        others = second.get(digest, [])
        # What many clips hold says nothing of where they come from.
        if max(len(places), len(others)) <= PROPOSALS:
            yield from product(places, others)


def _by_digest(held: Held) -> dict[bytes, list[int]]:
    """Places of the clips with the same numbers, but for those that stand still: silence is no copy of silence."""
    places: dict[bytes, list[int]] = {}
    for place in range(len(held.keys)):
        features = held.features(place)
        if features is not None and not _stands_still(features):
            places.setdefault(_digest(features), []).append(place)
    return places


def _stands_still(features: Float32[np.ndarray, "T D"]) -> bool:
    """Whether all of several steps are equal; a clip of one step may be anything."""
    steps = np.nan_to_num(features)
    return len(steps) > 1 and bool((steps == steps[0]).all())


def _digest(features: Float32[np.ndarray, "T D"]) -> bytes:
    return blake2b(repr(features.shape).encode() + features.tobytes(), digest_size=16).digest()


@dataclass(frozen=True)
class Projection:
    """Steps to their principal components of equal variance, taken from both manifests."""

    mean: Float32[np.ndarray, " D"]
    axes: Float32[np.ndarray, "D K"]

    @classmethod
    def of(cls, sides: Sequence[Held]) -> "Projection | None":
        """Of at most SAMPLE steps spread over all clips; None where no clip has SHORTEST steps."""
        clips = [(held, place) for held in sides for place, key in enumerate(held.keys) if key is not None]
        # Every clip gives a few steps, a large corpus every n-th clip.
        chosen = clips[:: max(1, len(clips) * SHORTEST // SAMPLE)]
        at_most, steps = max(SHORTEST, SAMPLE // max(1, len(chosen))), []
        for held, place in chosen:
            features = held.features(place)
            if features is not None and len(features) >= SHORTEST:
                steps.append(features[:: max(1, len(features) // at_most)][:at_most])
        if not steps:
            return None
        sample = np.concatenate(steps).astype(np.float64)
        mean = np.nan_to_num(np.nanmean(np.where(np.isnan(sample).all(axis=0), 0, sample), axis=0))
        centred = np.nan_to_num(sample - mean)
        scale = centred.std(axis=0) + _EPSILON
        variances, axes = np.linalg.eigh(np.cov(centred / scale, rowvar=False).reshape(len(scale), -1))
        wide = max(len(scale) // 2, min(len(scale), NARROW))
        most = min(COMPONENTS, wide, max(1, len(sample) // STEPS_OF_EACH))
        variances, axes = variances[::-1][:most], axes[:, ::-1][:, :most]
        varied = variances > _EPSILON * variances[0]
        variances, axes = variances[varied], axes[:, varied]
        return cls(mean.astype(np.float32), (axes / np.sqrt(variances) / scale[:, None]).astype(np.float32))

    def curve(self, features: Float32[np.ndarray, "T D"] | None) -> Curve | None:
        """Components of a clip without their means; None where it has fewer than SHORTEST steps, or does not move."""
        if features is None or len(features) < SHORTEST:
            return None
        steps = np.nan_to_num(features - self.mean) @ self.axes
        steps -= steps.mean(axis=0)
        return steps.astype(np.float16) if np.abs(steps).max() > _EPSILON else None


def _proposed(one: Sequence[Curve | None], other: Sequence[Curve | None]) -> set[tuple[int, int]]:
    """Pairs of places worth a comparison: each clip of either manifest with the nearest PROPOSALS of the other."""
    places = [[place for place, curve in enumerate(curves) if curve is not None] for curves in (one, other)]
    if not all(places):
        return set()
    first, second = (np.stack([_summary(curve) for curve in curves if curve is not None]) for curves in (one, other))
    forward = {(places[0][row], places[1][near]) for row, near in _nearest(first, second)}
    return forward | {(places[0][near], places[1][row]) for row, near in _nearest(second, first)}


def _summary(curve: Curve) -> Float32[np.ndarray, " V"]:
    """How the components of a clip vary together, at length one."""
    steps = curve[:, :VARYING_TOGETHER].astype(np.float32)
    together = (steps.T @ steps)[np.triu_indices(steps.shape[1])]
    return together / (np.linalg.norm(together) + np.float32(_EPSILON))


def _nearest(queries: Float32[np.ndarray, "N V"], others: Float32[np.ndarray, "M V"]) -> Iterator[tuple[int, int]]:
    """Each row with the rows of the others nearest to it; a block of rows at a time."""
    n_nearest = min(PROPOSALS, len(others))
    for start in range(0, len(queries), BLOCK):
        likeness = queries[start : start + BLOCK] @ others.T
        nearest = np.argpartition(-likeness, n_nearest - 1, axis=1)[:, :n_nearest]
        for row, columns in enumerate(nearest.tolist(), start=start):
            yield from ((row, column) for column in columns)


def correlation(one: Curve, other: Curve) -> tuple[float, int]:
    """Largest correlation of two curves over all offsets that share enough steps, and the second one's start."""
    n_one, n_other = len(one), len(other)
    width = n_one + n_other - 1
    # By spectra: the products themselves would take the memory of both lengths multiplied. In double precision, because
    # a short quiet stretch must not drown in the rounding of a long loud one.
    padded = next_fast_len(width, real=True)
    spectra = [rfft(curve.astype(np.float64), padded, axis=0) for curve in (one[::-1], other)]
    sums = irfft((spectra[0] * spectra[1]).sum(axis=1), padded)[:width]
    offsets = n_one - 1 - np.arange(width)  # of the second within the first
    first, last = np.maximum(offsets, 0), np.minimum(n_one, n_other + offsets)
    energies = [
        np.concatenate([[0.0], np.cumsum((curve.astype(np.float64) ** 2).sum(axis=1))]) for curve in (one, other)
    ]
    energy = energies[0][last] - energies[0][first], energies[1][last - offsets] - energies[1][first - offsets]
    least = np.maximum(SHORTEST, min(n_one, n_other) / 2)
    agreement = np.where(last - first >= least, sums / np.sqrt(np.maximum(energy[0] * energy[1], _EPSILON)), -1.0)
    best = int(agreement.argmax())
    return float(agreement[best]), int(offsets[best])
