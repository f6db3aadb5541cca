import numpy as np

from cimeu.encoders.encoding import encode
from cimeu.encoders.filterbank import Filterbank
from cimeu.encoders.handmade import Handmade
from cimeu.encoders.spectral import log_mel

NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)


def voice(frequency_hz: float) -> np.ndarray:
    time_s = np.arange(16_000) / 16_000
    return (0.1 * sum(np.sin(2 * np.pi * frequency_hz * k * time_s) / k for k in (1, 2, 3))).astype(np.float32)


def test_a_clip_of_any_length_is_one_step() -> None:
    assert [encode(Handmade(), NOISE[:n], "forward").shape for n in (10, 400, 16_000)] == [(1, 67)] * 3


def test_pitch_stands_at_its_place() -> None:
    features = encode(Handmade(), voice(180.0), "forward")[0]

    assert np.isclose(np.exp(features[60]), 180, rtol=0.01)
    assert features[61] < 0.05
    assert features[64] > 0.95


def test_without_voice_only_pitch_is_missing() -> None:
    features = encode(Handmade(), np.zeros(16_000, np.float32), "forward")[0]

    assert np.flatnonzero(np.isnan(features)).tolist() == [60, 61, 62]


def test_level_moves_only_means_of_cepstra_and_of_energy() -> None:
    quiet, loud = (encode(Handmade(), sound, "forward")[0] for sound in (NOISE, 4 * NOISE))

    moved = set(np.flatnonzero(np.abs(loud - quiet) > 0.02).tolist())
    assert {0, 65} <= moved <= {*range(20), 65}


def test_the_filterbank_passes_unchanged() -> None:
    assert np.array_equal(encode(Filterbank(), NOISE, "forward"), log_mel(NOISE))
