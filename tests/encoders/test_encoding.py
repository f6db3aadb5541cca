from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimeu.encoders.base import Window
from cimeu.encoders.encoding import cut_windows, encode, encode_each
from cimeu.encoders.registry import build_encoder
from cimeu.errors import FeatureError


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 6))
def test_every_window_is_a_stretch_of_the_clip(n_frames: int, length: int, stride: int) -> None:
    windows = cut_windows(np.arange(n_frames), Window(length, stride))

    starts = range(0, max(1, n_frames - length + 1), stride)
    expected = [[min(start + i, n_frames - 1) for i in range(length)] for start in starts]
    assert windows.tolist() == expected


def test_windows_of_a_long_clip_are_views() -> None:
    frames = np.zeros((100, 3, 3), np.float32)

    assert np.shares_memory(cut_windows(frames, Window(16, 4)), frames)


def test_sound_under_one_window_is_padded_with_silence() -> None:
    short = np.random.default_rng(0).normal(0, 0.1, 500).astype(np.float32)
    padded = np.pad(short, (0, 2800 - 500))
    spectral = build_encoder("spectral")

    assert np.array_equal(encode(spectral, short, "forward"), encode(spectral, padded, "forward"))


def test_long_clips_are_encoded_in_batches_that_do_not_show() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000 * 8).astype(np.float32)
    prosody = build_encoder("prosody")

    vectors = encode(prosody, sound, "forward")

    whole = prosody(cut_windows(prosody.prepare(sound), prosody.window))
    assert np.allclose(vectors, whole, equal_nan=True)


def test_both_directions_at_once_are_those_one_by_one() -> None:
    crops = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), np.uint8)
    hog = build_encoder("hog")

    both = encode_each(hog, crops, ("forward", "backward"))

    assert np.array_equal(both["forward"], encode(hog, crops, "forward"))
    assert np.array_equal(both["backward"], encode(hog, np.ascontiguousarray(crops[::-1]), "forward"))


def test_a_clip_of_no_length_is_refused() -> None:
    with pytest.raises(FeatureError, match=r"nothing to encode for `spectral`: the clip is 0 samples long\n\nhint: "):
        encode(build_encoder("spectral"), np.zeros(0, np.float32), "forward")
    with pytest.raises(FeatureError, match=r"nothing to encode for `hog`: the clip is 0 frames long\n\nhint: "):
        encode(build_encoder("hog"), np.zeros((0, 64, 64, 3), np.uint8), "forward")


def test_the_frozen_audio_encoder_gives_its_tokens_through_the_same_door(fixtures: Path) -> None:
    encoder = build_encoder("ast", weights=fixtures / "ast_tiny_256.pth", heads=4)
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)

    assert encode(encoder, sound, "forward").shape == (300, encoder.width)
