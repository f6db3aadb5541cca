"""One clip in memory to its vectors, forward and backward.

`cimeu.features.windows` cuts the same windows, backward ones too, from frames as they arrive.

Axes: F frames of a clip, N windows or samples, L frames of a window, D width of the vectors, T steps of a clip.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32

from cimeu.encoders.base import FRAME_SAMPLES, SHIFT_SAMPLES, Encoder, Window
from cimeu.errors import FeatureError
from cimeu.pyramid import Direction

BATCH_WINDOWS = 64
"""Windows computed at once: a whole clip of them, copied out of its frames, could be gigabytes."""


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
    # A frame of video played backward is the same frame, so preparing once is enough. A stretch of sound played
    # backward is another sound, with other spectra: it is prepared anew.
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
