"""A print of a voice is that of the published network, whatever the level of the clip."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cimeu.encoders.description import describe
from cimeu.encoders.encoding import encode
from cimeu.encoders.voiceprint import WIDTH, Voiceprint, voiceprint_tensors
from cimeu.encoders.weights import WEIGHTS
from cimeu.errors import CheckpointError, RecipeError, WeightsMissing


@pytest.fixture(scope="module")
def published(fixtures: Path) -> dict[str, np.ndarray]:
    """Samples, and what Resemblyzer makes of them (tests/parity/make_voiceprint.py)."""
    with np.load(fixtures / "moonshine_states.npz") as sound, np.load(fixtures / "voiceprint.npz") as prints:
        return {"samples": sound["samples"].astype(np.float32), **{name: prints[name] for name in prints.files}}


def test_the_embedding_is_that_of_resemblyzer(published: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(Voiceprint()(published["samples"][None])[0], published["embedding"], atol=1e-5)


def test_the_level_of_a_clip_does_not_count(published: dict[str, np.ndarray]) -> None:
    loud, quiet = (encode(Voiceprint(), published["samples"] * np.float32(gain), "forward") for gain in (1, 0.01))
    np.testing.assert_allclose(loud, quiet, atol=1e-4)


@pytest.mark.parametrize("n_samples", [1, 3_000, 16_000, 40_000])
def test_sound_of_any_length_has_one_embedding_of_length_one(n_samples: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, n_samples).astype(np.float32)
    embedding = encode(Voiceprint(), noise, "forward")
    assert embedding.shape == (1, WIDTH)
    if n_samples > 1:
        np.testing.assert_allclose(np.linalg.norm(embedding), 1, atol=1e-5)
    assert np.isfinite(embedding).all()


def test_a_last_stretch_counts_once_three_quarters_of_it_are_sound(published: dict[str, np.ndarray]) -> None:
    samples = np.tile(published["samples"], 2)
    one_stretch, too_short, long_enough = (Voiceprint()(samples[None, : 160 * n]) for n in (161, 77 + 119, 77 + 121))
    np.testing.assert_allclose(too_short, one_stretch, atol=1e-6)
    assert np.abs(long_enough - one_stretch).max() > 0.01


def test_its_level_and_weights_identify_it() -> None:
    preprocessing = describe(Voiceprint())["preprocessing"]
    assert preprocessing["level_dbfs"] == -30.0
    assert preprocessing["weights_sha256"] == WEIGHTS["voiceprint"].sha256


def test_another_precision_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"precision `bf16` of voiceprint(.|\n)*hint: .* fp32 is all it has"):
        Voiceprint(precision="bf16")


def test_without_weights_package_file_and_checksum_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing) as raised:
        Voiceprint()
    for part in ("cimeu weights fetch voiceprint", "resemblyzer 0.1.4 of PyPI", "pretrained.pt", "39373b86598fa3da"):
        assert part in str(raised.value)


@pytest.mark.parametrize("content", ["not a model", {"model_state": {"linear.bias": torch.zeros(WIDTH)}}])
def test_a_file_without_the_network_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "pretrained.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"holds no speaker encoder(.|\n)*hint: fetch it again"):
        voiceprint_tensors(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "voiceprint.safetensors"
    save_file({"linear.bias": torch.zeros(WIDTH)}, path)
    with pytest.raises(CheckpointError, match=r"holds no speaker encoder(.|\n)*hint: delete it"):
        Voiceprint(weights=path)(np.zeros((1, 16_000), np.float32))
