"""The frozen speech encoder gives the states of the published network, whatever the length of a clip."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cimeu.encoders import moonshine as module
from cimeu.encoders.description import describe
from cimeu.encoders.encoding import encode
from cimeu.encoders.moonshine import LAYERS, SAMPLES_PER_STATE, WIDTH, Moonshine
from cimeu.errors import CheckpointError, RecipeError, WeightsMissing


@pytest.fixture(scope="module")
def published() -> dict[str, np.ndarray]:
    """Samples, and what ONNX Runtime makes of them (tests/parity/make_moonshine.py)."""
    with np.load(Path(__file__).parents[1] / "fixtures" / "moonshine_states.npz") as file:
        return {name: file[name].astype(np.float32) for name in file.files}


def test_states_are_those_of_the_published_network(published: dict[str, np.ndarray]) -> None:
    network = module._frozen(Moonshine()._path, 0, LAYERS, torch.device("cpu"))
    norm = torch.nn.LayerNorm(WIDTH, bias=False)
    tensors = module.load_file(Moonshine()._path)
    norm.load_state_dict({"weight": tensors["layer_norm.weight"]})
    with torch.inference_mode():
        states = norm(network(torch.from_numpy(published["samples"])[None]))[0]
    cosines = F.cosine_similarity(states, torch.from_numpy(published["states"]), dim=1)
    assert states.shape == published["states"].shape
    assert cosines.mean() > 0.998  # its activations are int8
    assert cosines.min() > 0.99


@pytest.mark.parametrize("layer", [0, 3])
def test_a_layer_is_that_of_the_hubs_network_and_does_not_depend_on_those_above_it(
    published: dict[str, np.ndarray], layer: int
) -> None:
    # Here alone: a sixth of the time of collecting all tests went into this import.
    from transformers import MoonshineConfig
    from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder

    sizes = MoonshineConfig(hidden_size=WIDTH, intermediate_size=4 * WIDTH)  # the others: moonshine tiny
    theirs = MoonshineEncoder(sizes)
    theirs.load_state_dict(module.load_file(Moonshine()._path))
    with torch.inference_mode():
        inputs = torch.from_numpy(published["samples"])[None]
        # the states before the first layer, then after each
        expected = theirs.eval()(inputs, output_hidden_states=True).hidden_states[layer][0]
    torch.testing.assert_close(Moonshine(layer=layer).states(published["samples"]), expected, atol=1e-4, rtol=1e-4)


def test_a_step_is_the_mean_of_its_states(published: dict[str, np.ndarray]) -> None:
    states = encode(Moonshine(pool=1), published["samples"], "forward")
    steps = encode(Moonshine(pool=4), published["samples"], "forward")
    assert steps.shape == (-(-len(states) // 4), WIDTH)
    np.testing.assert_allclose(steps[3], states[12:16].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(steps[-1], states[4 * (len(steps) - 1) :].mean(axis=0), atol=1e-5)


def test_stretches_with_context_are_close_to_the_whole(
    published: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.tile(published["samples"], 4)  # 8 s
    whole = Moonshine(pool=1).states(samples)
    monkeypatch.setattr(module, "LONGEST_S", 4.0)
    monkeypatch.setattr(module, "CONTEXT_S", 1.0)
    pieces = Moonshine(pool=1).states(samples)
    assert abs(len(pieces) - len(whole)) <= 1
    shared = min(len(pieces), len(whole))
    assert F.cosine_similarity(pieces[:shared], whole[:shared], dim=1).mean() > 0.97


@pytest.mark.parametrize("n_samples", [1, 500, SAMPLES_PER_STATE, 16_000])
def test_sound_of_any_length_has_finite_steps(n_samples: int) -> None:
    steps = encode(Moonshine(), np.full(n_samples, 0.01, np.float32), "forward")
    assert len(steps) >= 1
    assert np.isfinite(steps).all()


def test_layer_and_pooling_are_part_of_what_identifies_it() -> None:
    described = [describe(Moonshine(**settings)) for settings in ({}, {"layer": 4}, {"pool": 7}, {"trim": False})]
    assert len({str(description) for description in described}) == 4
    assert described[0]["preprocessing"]["layer"] == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 7}, r"layer 7 of moonshine(.|\n)*hint: 0 .* to 6"),
        ({"pool": 0}, "pool is 0"),
        ({"precision": "bf16"}, "precision `bf16` of moonshine"),
    ],
)
def test_settings_it_cannot_have_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Moonshine(**settings)


def test_without_weights_package_file_and_checksum_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing) as raised:
        Moonshine()
    for part in ("cimeu weights fetch moonshine", "moonshine-voice 0.0.73", "encoder_model.ort", "94e90a4654fc45cd"):
        assert part in str(raised.value)


def test_weights_that_were_cut_are_refused(tmp_path: Path) -> None:
    whole = Moonshine()._path.read_bytes()
    cut = tmp_path / "encoder.safetensors"
    cut.write_bytes(whole[:100_000])
    with pytest.raises(CheckpointError, match=r"cannot be read(.|\n)*hint: delete it, then cimeu weights fetch"):
        Moonshine(weights=cut).states(np.zeros(16_000, np.float32))
