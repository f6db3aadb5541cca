import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimeu.encoders.base import (
    ENCODERS,
    Encoder,
    Window,
    build_encoder,
    cut_windows,
    describe,
    encode,
    encode_each,
    encoder_from,
    fingerprint,
)
from cimeu.errors import FeatureError, FingerprintMismatch, RecipeError

EMBEDDED = ("filterbank", "functionals", "functionals-windowed", "handmade", "hog", "prosody", "spectral")


@st.composite
def encoders(draw: st.DrawFn) -> Encoder:
    name = draw(st.sampled_from(EMBEDDED))
    if name == "hog":
        rate_hz, source = draw(st.sampled_from([5.0, 12.5, 25.0])), draw(st.sampled_from(["face", "frame"]))
        return build_encoder(name, rate_hz=rate_hz, source=source)
    return build_encoder(name, trim=draw(st.booleans()), level=draw(st.booleans()))


@given(encoders())
def test_an_encoder_is_rebuilt_from_its_description(encoder: Encoder) -> None:
    description = json.loads(json.dumps(describe(encoder)))

    again = encoder_from(description)

    assert again == encoder
    assert fingerprint(again) == fingerprint(encoder)


@given(encoders(), encoders())
def test_fingerprints_are_equal_only_for_equal_encoders(first: Encoder, second: Encoder) -> None:
    assert (fingerprint(first) == fingerprint(second)) == (first == second)


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


def test_an_unknown_encoder_is_refused_with_a_guess() -> None:
    with pytest.raises(RecipeError, match=r"unknown encoder `spectrl`\n\nhint: did you mean `spectral`\?"):
        build_encoder("spectrl")


def test_an_unknown_setting_is_refused_with_a_guess() -> None:
    with pytest.raises(RecipeError, match=r"`spectral` has no setting `trimm`\n\nhint: did you mean `trim`\?"):
        build_encoder("spectral", trimm=False)


def test_a_whole_rate_may_be_written_without_a_point() -> None:
    assert fingerprint(build_encoder("hog", rate_hz=25)) == fingerprint(build_encoder("hog", rate_hz=25.0))


def test_a_description_of_another_version_is_refused_with_what_differs() -> None:
    description = describe(build_encoder("spectral")) | {"version": "0"}

    with pytest.raises(FingerprintMismatch, match=r"has fingerprint `\w{16}`, wanted is `\w{16}`\n  version: 0 -> 1\n"):
        encoder_from(description)


def test_an_unknown_description_is_refused() -> None:
    with pytest.raises(RecipeError, match="unknown encoder `hubert`"):
        encoder_from({"name": "hubert", "version": "1"})


def test_imported_features_cannot_be_made_here() -> None:
    with pytest.raises(RecipeError, match="`videomae-v2-giant` is not part of cimeu: its vectors were imported"):
        encoder_from({"name": "videomae-v2-giant", "version": "imported"})


def test_an_encoder_with_weights_is_rebuilt_from_the_same_file(fixtures: Path) -> None:
    weights = fixtures / "ast_tiny_256.pth"
    description = json.loads(json.dumps(describe(build_encoder("ast", weights=weights, heads=4, trim=True))))

    assert describe(encoder_from(description, weights=weights)) == description


def test_other_weights_than_described_are_refused(fixtures: Path) -> None:
    weights = fixtures / "ast_tiny_256.pth"
    description = describe(build_encoder("ast", weights=weights, heads=4))
    description["preprocessing"] |= {"weights_sha256": "0" * 64}  # type: ignore[operator]

    with pytest.raises(FingerprintMismatch, match=r"preprocessing\.weights_sha256: 0{64} -> [0-9a-f]{64}\n"):
        encoder_from(description, weights=weights)


def test_the_frozen_audio_encoder_gives_its_tokens_through_the_same_door(fixtures: Path) -> None:
    encoder = build_encoder("ast", weights=fixtures / "ast_tiny_256.pth", heads=4)
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)

    assert encode(encoder, sound, "forward").shape == (300, encoder.width)


def test_every_name_is_a_known_encoder_with_named_settings() -> None:
    assert set(EMBEDDED) <= set(ENCODERS)
    assert all(isinstance(build_encoder(name), Encoder) for name in EMBEDDED)
    assert all(dataclasses.is_dataclass(build_encoder(name)) for name in EMBEDDED)
