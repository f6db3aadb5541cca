"""Speech is what the published network calls speech."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cimeu.encoders.silero import SPEECH_FRAME_SAMPLES, silero_tensors, speech_probabilities
from cimeu.errors import CheckpointError, WeightsMissing
from cimeu.media.audio import read_sound


def test_probabilities_are_those_of_silero_vad(fixtures: Path) -> None:
    """tests/parity/make_silero.py says what they were made with."""
    with np.load(fixtures / "moonshine_states.npz") as sound, np.load(fixtures / "speech_probabilities.npz") as silero:
        samples, expected = sound["samples"].astype(np.float32), silero["probabilities"]
    np.testing.assert_allclose(speech_probabilities(samples), expected, atol=1e-6)


@pytest.mark.parametrize(("n_samples", "n_frames"), [(0, 0), (511, 0), (512, 1), (1_100, 2)])
def test_whole_frames_alone_are_judged(n_samples: int, n_frames: int) -> None:
    assert speech_probabilities(np.zeros(n_samples, np.float32)).shape == (n_frames,)


def test_real_speech_is_told_from_tones_and_noise(trial_data: Path) -> None:
    speech = read_sound(trial_data / "video" / "01-01-08-02-02-02-01.mp4")
    times_s = np.arange(32_000) / 16_000
    tremolo = 0.1 * np.sin(2 * np.pi * 220 * times_s) * (1 + np.sin(2 * np.pi * 4 * times_s))
    bursts = np.random.default_rng(0).normal(0, 0.1, 32_000) * (np.sin(2 * np.pi * 3 * times_s) > 0)
    assert (speech_probabilities(speech) > 0.5).sum() * SPEECH_FRAME_SAMPLES / 16_000 > 0.8  # seconds
    for noise in (tremolo, bursts):
        assert (speech_probabilities(noise.astype(np.float32)) > 0.5).mean() < 0.1


def test_absent_weights_are_named_with_their_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"silero-vad/speech.safetensors(.|\n)*cimeu weights fetch silero-vad"):
        speech_probabilities(np.zeros(512, np.float32))


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    (tmp_path / "silero-vad").mkdir()
    file = tmp_path / "silero-vad" / "speech.safetensors"
    save_file({"x": torch.zeros(3)}, file)
    with pytest.raises(CheckpointError, match="holds no speech detector"):
        speech_probabilities(np.zeros(512, np.float32))
    with pytest.raises(CheckpointError, match=r"holds no speech detector(.|\n)*hint: fetch it again"):
        silero_tensors(file)
