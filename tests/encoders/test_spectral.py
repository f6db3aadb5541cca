import numpy as np
import pytest

from cimeu.encoders.encoding import encode
from cimeu.encoders.spectral import Prosody, Spectral, line_through, log_mel


def speech_like(duration_s: float = 1.0, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(0, 0.1, round(duration_s * 16_000)).astype(np.float32)


def test_spectral_statistics_are_those_of_each_window() -> None:
    sound = speech_like()
    frames = log_mel(sound)

    vectors = encode(Spectral(), sound, "forward")

    window = frames[8:24].astype(np.float64)
    slopes = np.polyfit(0.01 * np.arange(16), window, 1)[0]
    expected = [window.mean(0), window.std(0), slopes, window[:8].mean(0), window[8:].mean(0)]
    assert vectors.shape == (1 + (len(frames) - 16) // 4, 640)
    assert np.allclose(vectors[2], np.concatenate(expected), atol=2e-3)


def test_both_encoders_see_the_same_windows() -> None:
    for duration_s in (0.05, 0.175, 0.5, 1.234):
        sound = speech_like(duration_s)
        assert len(encode(Spectral(), sound, "forward")) == len(encode(Prosody(), sound, "forward"))


def test_a_clip_shorter_than_a_window_is_one_step() -> None:
    assert encode(Spectral(), speech_like(0.01), "forward").shape == (1, 640)


def test_backward_is_the_reversed_waveform_encoded_anew() -> None:
    sound = speech_like()

    backward = encode(Spectral(), sound, "backward")

    assert np.array_equal(backward, encode(Spectral(), np.ascontiguousarray(sound[::-1]), "forward"))


def test_a_rising_voice_has_a_positive_slope_of_pitch() -> None:
    phase = 2 * np.pi * np.cumsum(np.geomspace(100, 200, 16_000)) / 16_000
    voice = (0.1 * (np.sin(phase) + np.sin(2 * phase))).astype(np.float32)

    forward, backward = (encode(Prosody(), voice, direction) for direction in ("forward", "backward"))

    assert np.allclose(forward[2:-2, 3], np.log(2), atol=0.1)  # an octave a second
    assert np.allclose(backward[2:-2, 3], -np.log(2), atol=0.1)


def test_a_window_without_voice_has_no_pitch_and_no_slope_of_it() -> None:
    vectors = encode(Prosody(), np.full(8000, 0.0, np.float32), "forward")

    assert np.isnan(vectors[:, 0]).all()
    assert np.isfinite(vectors[:, 1:]).all()
    assert (vectors[:, 3] == 0).all()


def test_a_slope_needs_three_measured_frames() -> None:
    windows = np.full((2, 16, 1), np.nan, np.float32)
    windows[0, [3, 9], 0] = 1, 2
    windows[1, [3, 9, 15], 0] = 1, 2, 3

    means, slopes = line_through(windows)

    assert means[:, 0].tolist() == [1.5, 2.0]
    assert slopes[:, 0].tolist() == [0.0, pytest.approx(1 / 0.06)]


def test_trimming_and_level_are_part_of_the_preprocessing() -> None:
    assert Spectral().preprocessing["trim"] is True
    assert Spectral(level=False).preprocessing["level_dbfs"] is None
