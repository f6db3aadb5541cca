"""A checkpoint gives the same network back, or says what is wrong with it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cimeu.errors import CheckpointError, RecipeError
from cimeu.model.checkpoint import Specifications, save_checkpoint
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.network import CiMEU
from cimeu.pyramid import Stream

CONFIG = ModelConfig(
    emotions=("anger", "calm"), first=StreamConfig(width=6, encoder="hog"), second=StreamConfig(width=3), size="tiny"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    specifications = Specifications(
        emotions=CONFIG.emotions,
        labels="two",
        first_encoder={"name": "hog", "window": {"length": 16, "stride": 4}},
        first_statistics={"mean": [0.1] * 6, "deviation": [1.5] * 6},
        corpora=["toy"],
        synthetic=True,
        selection="validation",
    )
    folder = tmp_path_factory.mktemp("checkpoint") / "forward"
    save_checkpoint(CiMEU(CONFIG, specifications), folder)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy for each test."""
    return shutil.copytree(written, tmp_path / "forward")


def answer(model: CiMEU) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    mask, present = torch.ones(2, 16, dtype=torch.bool), torch.ones(2, dtype=torch.bool)
    first, second = (Stream(torch.randn(2, 16, w, generator=generator), mask, present) for w in (6, 3))
    with torch.inference_mode():
        return torch.stack(model(first, second).logits)


def test_a_network_comes_back_bit_by_bit_with_its_specifications(folder: Path) -> None:
    model = CiMEU.from_pretrained(folder)
    assert not model.training
    again = folder.parent / "again"
    model.save_pretrained(again)
    twin = CiMEU.from_pretrained(str(again))
    assert torch.equal(answer(model), answer(twin))
    assert twin.config == CONFIG
    assert twin.specifications == model.specifications
    assert twin.specifications.first_encoder["window"]["stride"] == 4
    assert twin.specifications.synthetic


def test_a_network_with_a_trained_ast_needs_no_other_file(tmp_path: Path) -> None:
    config = replace(CONFIG, second=StreamConfig(width=128, kind="filterbank", frames=64), audio="finetune")
    model = CiMEU(config)
    save_checkpoint(model, tmp_path)
    again = CiMEU.from_pretrained(tmp_path).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again[name]), name


def test_no_unfinished_file_stays(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"no `{name}` in `.*forward`(.|\n)*hint"):
        CiMEU.from_pretrained(folder)


def test_a_cut_file_is_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors` is not a readable safetensors file(.|\n)*hint"):
        CiMEU.from_pretrained(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (b"{", "is damaged"),
        (b"[]", "holds no named values"),
        (bytes(100), "is damaged"),
        (b"\xff\xfe{", "is not text in UTF-8 but UTF-16"),
        (b'{"model": NaN}', "NaN is not a number of JSON"),
        (b"[" * 100_000, "is damaged .RecursionError"),
    ],
)
def test_a_damaged_configuration_is_named(folder: Path, content: bytes, message: str) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"config\.json` .*{message}(.|\n)*hint: "):
        CiMEU.from_pretrained(folder)


@pytest.mark.parametrize("text", ['{"model": {}}', '{"model": {"emotions": ["a", "b"]}, "specifications": {}}'])
def test_a_foreign_configuration_is_named(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json` is not the configuration of a CiMEU network(.|\n)*hint"):
        CiMEU.from_pretrained(folder)


def test_a_configuration_that_cannot_be_built_is_named(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    values["model"]["fusion"] = "nothing"
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"config\.json` describes a model that cannot be built: unknown value"):
        CiMEU.from_pretrained(folder)


def changed(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(name, None)
    if tensor is not None:
        tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (None, r"tensor `first_map\.weight` \[32, 32\] is missing"),
        (torch.zeros(32, 31), r"tensor `first_map\.weight` is \[32, 31\], the model expects \[32, 32\]"),
        (torch.full((32, 32), torch.nan), r"tensor `first_map\.weight` holds values that are not finite"),
        (torch.full((32, 32), 1e38), r"tensor `first_map\.weight` holds 1e\+38, trained ones stay within 1e\+06"),
        (torch.ones(32, 32, dtype=torch.int8), r"tensor `first_map\.weight` is of torch\.int8, the model expects"),
    ],
)
def test_the_first_differing_tensor_is_named(folder: Path, tensor: torch.Tensor | None, message: str) -> None:
    changed(folder, "first_map.weight", tensor)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors` does not fit: {message}(.|\n)*hint"):
        CiMEU.from_pretrained(folder)


def test_a_tensor_too_many_is_named(folder: Path) -> None:
    changed(folder, "third_map.weight", torch.zeros(2))
    with pytest.raises(CheckpointError, match=r"tensor `third_map\.weight` \[2\] is not part of the model"):
        CiMEU.from_pretrained(folder)


def rewritten(folder: Path, part: str, name: str, value: object) -> None:
    values = json.loads((folder / "config.json").read_text())
    values[part][name] = value
    (folder / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("specifications", "emotions", ["calm", "anger"], "the emotions are .*'anger', 'calm'. and .'calm', 'anger'."),
        ("model", "emotions", ["calm", "anger"], "the emotions are .*'calm', 'anger'. and .'anger', 'calm'."),
        ("specifications", "direction", "backward", "the direction is `forward` and `backward`"),
        ("specifications", "direction", "sideways", "`direction` is 'sideways' .Input should be"),
        ("specifications", "first_statistics", {}, "has no statistics of the first stream"),
        ("specifications", "first_statistics", {"mean": [0.1], "deviation": [1.0]}, "is 6 wide and has 1 means"),
        ("specifications", "first_statistics", {"mean": [0.1] * 6}, "has 6 means and 0 deviations"),
        ("specifications", "first_statistics", {"mean": [0.1] * 6, "deviation": [0.0] * 6}, "has the deviation 0.0"),
        ("specifications", "first_statistics", {"mean": ["a"] * 6, "deviation": [1.0] * 6}, "is 'a' .Input should"),
        ("specifications", "first_encoder", {"name": "hog", "width": 7}, "the first stream is 6 wide and 7"),
        ("specifications", "synthetic", "no", "`synthetic` is 'no' .Input should be a valid boolean"),
    ],
)
def test_what_contradicts_itself_is_named(folder: Path, part: str, name: str, value: object, message: str) -> None:
    rewritten(folder, part, name, value)
    with pytest.raises(CheckpointError, match=rf"config\.json` .*{message}(.|\n)*hint: "):
        CiMEU.from_pretrained(folder)


def test_statistics_that_are_not_finite_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"`first_statistics\.mean\.1` is nan\n\nhint: a finite number"):
        Specifications(
            emotions=CONFIG.emotions, first_statistics={"mean": [0.0, float("nan")], "deviation": [1.0, 1.0]}
        )


def test_what_is_neither_folder_nor_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere` is neither a folder nor a model(.|\n)*hint: check the path"):
        CiMEU.from_pretrained(tmp_path / "nowhere")
