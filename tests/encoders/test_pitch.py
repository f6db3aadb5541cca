import numpy as np
import pytest

from cimeu.encoders.pitch import track_pitch

RATE_HZ = 16_000


def tone(frequency_hz: np.ndarray | float, duration_s: float = 1.0, harmonics: int = 5) -> np.ndarray:
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency_hz, time_s.shape)) / RATE_HZ
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, harmonics + 1))).astype(np.float32)


@pytest.mark.parametrize("frequency_hz", [65.0, 110.0, 220.0, 317.0, 480.0])
@pytest.mark.parametrize("harmonics", [1, 6])
def test_a_steady_tone_has_its_frequency_as_pitch(frequency_hz: float, harmonics: int) -> None:
    log_pitch = track_pitch(tone(frequency_hz, harmonics=harmonics))[5:-5, 0]

    assert np.allclose(np.exp(log_pitch), frequency_hz, rtol=0.01)


def test_a_missing_fundamental_is_still_the_pitch() -> None:
    time_s = np.arange(RATE_HZ) / RATE_HZ
    overtones = 0.1 * sum(np.sin(2 * np.pi * 150 * k * time_s) for k in (2, 3, 4))

    assert np.allclose(np.exp(track_pitch(overtones.astype(np.float32))[5:-5, 0]), 150, rtol=0.01)


def test_a_glide_is_followed_frame_by_frame() -> None:
    glide_hz = np.geomspace(100, 300, RATE_HZ)
    centres = 200 + 160 * np.arange(98)

    log_pitch = track_pitch(tone(glide_hz))[:, 0]

    assert np.allclose(log_pitch[5:-5], np.log(glide_hz[centres])[5:-5], atol=0.02)


def test_noise_has_no_pitch() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE_HZ).astype(np.float32)

    track = track_pitch(noise)

    assert np.isnan(track[:, 0]).mean() > 0.95
    assert track[:, 1].mean() < 0.4


def test_silence_has_no_pitch_no_voicing_and_finite_energy() -> None:
    track = track_pitch(np.zeros(8000, np.float32))

    assert np.isnan(track[:, 0]).all()
    assert (track[:, 1] == 0).all()
    assert np.isfinite(track[:, 2]).all()


def test_a_tone_in_light_noise_is_strongly_voiced() -> None:
    noise = np.random.default_rng(0).normal(0, 0.005, RATE_HZ).astype(np.float32)

    assert track_pitch(tone(200.0) + noise)[5:-5, 1].min() > 0.9


def test_there_is_one_row_per_filterbank_frame() -> None:
    assert [len(track_pitch(tone(200.0)[:n])) for n in (400, 559, 560, 16_000)] == [1, 1, 2, 98]


def test_played_backward_the_track_is_reversed() -> None:
    glide = tone(np.geomspace(100, 300, 16_080), duration_s=1.005)

    forward, backward = track_pitch(glide), track_pitch(np.ascontiguousarray(glide[::-1]))

    assert np.allclose(forward[5:-5, 0], backward[::-1][5:-5, 0], atol=2e-3)


def test_energy_follows_the_level() -> None:
    quiet, loud = track_pitch(tone(200.0)), track_pitch(10 * tone(200.0))

    assert np.allclose(loud[:, 2] - quiet[:, 2], np.log(100), atol=1e-3)
