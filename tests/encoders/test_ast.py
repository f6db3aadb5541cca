"""AST weights are read from three layouts, strictly, and positions follow the number of frames."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from cimeu.encoders.ast import AST, AstTokens, load_ast, resized
from cimeu.encoders.base import Encoder
from cimeu.encoders.encoding import encode
from cimeu.errors import CheckpointError, WeightsMissing
from cimeu.media.audio import read_sound


@pytest.fixture
def official(fixtures: Path) -> dict[str, Tensor]:
    return torch.load(fixtures / "ast_tiny_256.pth", weights_only=True)


def saved(tensors: dict[str, Tensor], folder: Path, name: str = "ast.pth") -> Path:
    torch.save(tensors, folder / name)
    return folder / name


def hub_names(module: AST) -> dict[str, Tensor]:
    """Names as the hub's files have them."""
    names = {}
    for name, tensor in module.transformer.state_dict().items():
        for ours, theirs in (
            ("layers.", "encoder.layer."),
            ("attention.q_proj", "attention.attention.query"),
            ("attention.k_proj", "attention.attention.key"),
            ("attention.v_proj", "attention.attention.value"),
            ("attention.o_proj", "attention.output.dense"),
            ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
        ):
            name = name.replace(ours, theirs)
        names[f"audio_spectrogram_transformer.{name}"] = tensor.clone()
    return names | {"classifier.dense.weight": torch.zeros(5, 48)}


def test_the_hub_layout_gives_the_same_weights(fixtures: Path, tmp_path: Path) -> None:
    module = load_ast(fixtures / "ast_tiny_256.pth", heads=4)
    save_file(hub_names(module), tmp_path / "model.safetensors")
    again = load_ast(tmp_path, heads=4)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


@pytest.mark.parametrize("prefix", ["", "module.v.", "_orig_mod.module.v.", "module._orig_mod.v.", "net.audio.v."])
def test_wrappers_and_prefixes_of_training_programs_change_nothing(
    prefix: str, official: dict[str, Tensor], fixtures: Path, tmp_path: Path
) -> None:
    tensors = {name.replace("module.v.", prefix): tensor for name, tensor in official.items() if ".v." in name}
    module = load_ast(saved({"state_dict": tensors, "epoch": 3}, tmp_path), heads=4)
    for name, tensor in load_ast(fixtures / "ast_tiny_256.pth", heads=4).state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name


def test_an_image_transformer_gives_its_kernel_summed_and_its_positions_fitted(
    official: dict[str, Tensor], tmp_path: Path
) -> None:
    image = {name.removeprefix("module.v."): tensor for name, tensor in official.items() if ".v." in name}
    kernel, positions = torch.randn(48, 3, 16, 16), torch.randn(1, 2 + 24 * 24, 48)
    image |= {"patch_embed.proj.weight": kernel, "pos_embed": positions}
    module = load_ast(saved({"model": image}, tmp_path), heads=4)
    embeddings = module.transformer.embeddings
    torch.testing.assert_close(embeddings.patch_embeddings.projection.weight, kernel.sum(dim=1, keepdim=True))
    square = positions[:, 2:].transpose(1, 2).reshape(1, 48, 24, 24)
    expected = F.interpolate(square, size=(24, 25), mode="bilinear")[:, :, 6:18]  # time is longer, frequency is cut
    torch.testing.assert_close(embeddings.position_embeddings[:, 2:], expected.flatten(2).transpose(1, 2))


def test_fewer_frames_keep_the_middle_positions() -> None:
    positions = torch.arange(2 + 12 * 101.0).view(1, -1, 1)
    kept = resized(positions, 256, Path("x.pth"), square=False)[0, :, 0]
    assert kept[:2].tolist() == [0, 1]
    assert kept[2:27].tolist() == [2 + 38 + i for i in range(25)]
    assert kept[27].item() == 2 + 101 + 38


def test_more_frames_stretch_the_positions(fixtures: Path) -> None:
    module = load_ast(fixtures / "ast_tiny_256.pth", heads=4, n_frames=512)
    assert module.tokens == 12 * 50
    assert module(torch.randn(1, 512, 128)).shape == (1, 602, 48)


def test_the_frozen_encoder_gives_the_tokens_of_the_published_input(fixtures: Path) -> None:
    arrays = np.load(fixtures / "fbank_a_16k.npz")
    encoder = AstTokens(weights=fixtures / "ast_tiny_256.pth", heads=4, precision="fp32")
    assert isinstance(encoder, Encoder)
    tokens = encode(encoder, read_sound(fixtures / "fbank_a_16k.wav"), "forward")
    expected = encoder.module(torch.from_numpy(arrays["test256"])[None])[0, 2:]
    torch.testing.assert_close(torch.from_numpy(tokens), expected, atol=2e-3, rtol=0)
    assert tokens.shape == (300, encoder.width)


def test_the_frozen_encoder_demands_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"weights of `ast` are not at(.|\n)*hint: fetch model\.safetensors"):
        AstTokens()


def test_a_tensor_left_out_is_named(official: dict[str, Tensor], tmp_path: Path) -> None:
    del official["module.v.blocks.1.attn.qkv.bias"]
    with pytest.raises(
        CheckpointError, match=r"ast\.pth` does not fit: tensor `layers\.1\.attention\.q_proj\.bias` is missing"
    ):
        load_ast(saved(official, tmp_path), heads=4)


def test_a_tensor_of_another_size_is_named(official: dict[str, Tensor], tmp_path: Path) -> None:
    official["module.v.blocks.0.mlp.fc1.weight"] = torch.zeros(96, 48)
    with pytest.raises(
        CheckpointError, match=r"tensor `layers\.0\.mlp\.fc1\.weight` is \[96, 48\], expected \[192, 48\]"
    ):
        load_ast(saved(official, tmp_path), heads=4)


def test_a_tensor_too_many_is_named(official: dict[str, Tensor], tmp_path: Path) -> None:
    official["module.v.extra"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"tensor `extra` is not part of an AST"):
        load_ast(saved(official, tmp_path), heads=4)


def test_positions_without_a_grid_are_refused(official: dict[str, Tensor], tmp_path: Path) -> None:
    official["module.v.pos_embed"] = torch.zeros(1, 303, 48)
    with pytest.raises(CheckpointError, match=r"303 `position_embeddings`, which form no grid of 12 rows"):
        load_ast(saved(official, tmp_path), heads=4)


def test_heads_that_cannot_be_told_are_asked_for(fixtures: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"48 wide, which does not say how many attention heads(.|\n)*hint: pass `heads`"
    ):
        load_ast(fixtures / "ast_tiny_256.pth")


def test_a_file_that_is_not_there_says_where_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no AST weights at `.*none\.pth`(.|\n)*hint: fetch audioset_10_10"):
        load_ast(tmp_path / "none.pth")


def test_a_file_with_code_is_refused_unread(tmp_path: Path) -> None:
    torch.save({"module.v.cls_token": Path("x")}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match=r"code\.pth` cannot be read as a plain set of tensors(.|\n)*never run"):
        load_ast(tmp_path / "code.pth", heads=4)


def test_a_damaged_file_is_refused(fixtures: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.pth").write_bytes((fixtures / "ast_tiny_256.pth").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"cut\.pth` cannot be read"):
        load_ast(tmp_path / "cut.pth", heads=4)


def test_other_content_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="is not a set of named tensors"):
        load_ast(tmp_path / "other.pth", heads=4)
