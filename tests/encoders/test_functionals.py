import numpy as np

from cimeu.encoders.encoding import encode
from cimeu.encoders.functionals import Functionals, WindowedFunctionals

NOISE = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
TIME_S = np.arange(32_000) / 16_000
CONTOUR = [*range(168, 190), 199]


def of(sound: np.ndarray) -> np.ndarray:
    return encode(Functionals(trim=False, level=False), sound.astype(np.float32), "forward")[0]


def voice(frequency_hz: float | np.ndarray) -> np.ndarray:
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency_hz, TIME_S.shape)) / 16_000
    return 0.1 * sum(np.sin(k * phase) / k for k in (1, 2, 3))


def test_a_clip_of_any_length_is_one_step() -> None:
    assert [encode(Functionals(), NOISE[:n], "forward").shape for n in (10, 400, 32_000)] == [(1, 200)] * 3


def test_a_single_frame_has_finite_numbers_but_no_contour() -> None:
    assert np.flatnonzero(np.isnan(of(NOISE[:400]))).tolist() == CONTOUR


def test_pitch_stands_at_its_place() -> None:
    steady = of(voice(180.0))

    assert np.isclose(np.exp(steady[168]), 180, rtol=0.01)
    assert steady[171] < 0.02
    assert steady[192] > 0.95


def test_a_rising_voice_has_a_slope_and_a_higher_end() -> None:
    rising = of(voice(np.linspace(120, 240, len(TIME_S))))

    assert np.isclose(rising[172], np.log(2) / 2, atol=0.05)
    assert rising[180] < 0 < rising[181]
    assert rising[179] > 0.9


def test_a_voice_that_comes_and_goes_four_times_a_second_peaks_at_that_rate() -> None:
    beating = of(voice(180.0) * (1 + 0.9 * np.sin(2 * np.pi * 4 * TIME_S)) / 2)

    by_rate = beating[112:168].reshape(7, 8).mean(axis=1)
    assert by_rate.argmax() == 3  # 3.2 to 6.3 Hz


def test_without_voice_only_the_contour_is_missing() -> None:
    assert np.flatnonzero(np.isnan(of(np.zeros(16_000)))).tolist() == CONTOUR


def test_level_moves_only_means_of_cepstra() -> None:
    moved = np.flatnonzero(np.abs(of(4 * NOISE) - of(NOISE)) > 0.02)

    assert {0} <= set(moved.tolist()) <= set(range(20))


def test_a_window_is_an_utterance_of_its_own() -> None:
    sound = voice(np.linspace(120, 240, len(TIME_S))).astype(np.float32)
    windows = encode(WindowedFunctionals(trim=False, level=False), sound, "forward")

    assert windows.shape == (9, 200)
    assert np.all(np.diff(windows[:, 168]) > 0)
    assert np.allclose(windows[0, :168], of(sound[: 400 + 63 * 160])[:168], atol=1e-3)
