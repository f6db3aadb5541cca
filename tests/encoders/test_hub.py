"""Any encoder of the hub through one door. The models here are tiny and untrained, made by the tests."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hub
from torch import nn

from cimeu import devices
from cimeu.encoders import hub as hub_encoders
from cimeu.encoders import hub_models
from cimeu.encoders.base import Encoder
from cimeu.encoders.description import describe, fingerprint
from cimeu.encoders.encoding import encode
from cimeu.encoders.hub import HubPicture, HubSound, HubVideo
from cimeu.encoders.presets import NORMALISATIONS, PRESETS
from cimeu.encoders.registry import ENCODERS, build_encoder, encoder_from
from cimeu.errors import CheckpointError, FingerprintMismatch, RecipeError, WeightsMissing
from cimeu.features.store import FeatureStore
from cimeu.pyramid import DIRECTIONS

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
CONVOLUTIONS = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
SAMPLES = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
CROPS = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def _without_native_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """What encoders are compared with is computed in fp32, and `auto` would be bf16 on some processors."""
    monkeypatch.setattr(devices, "_processor_flags", frozenset)


def wav2vec2(folder: Path) -> None:
    hub.Wav2Vec2Model(hub.Wav2Vec2Config(**SMALL, **CONVOLUTIONS)).save_pretrained(folder)
    hub.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def hubert(folder: Path) -> None:
    hub.HubertModel(hub.HubertConfig(**SMALL, **CONVOLUTIONS)).save_pretrained(folder)
    hub.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)


def wavlm(folder: Path) -> None:
    hub.WavLMModel(hub.WavLMConfig(**SMALL, **CONVOLUTIONS)).save_pretrained(folder)
    hub.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def whisper(folder: Path) -> None:
    sizes = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "d_model": 16}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8, "vocab_size": 8}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = hub.WhisperConfig(**sizes, **decoder, **tokens, num_mel_bins=8, max_target_positions=4)
    hub.WhisperModel(config).save_pretrained(folder)
    hub.WhisperFeatureExtractor(feature_size=8).save_pretrained(folder)


def vit(folder: Path) -> None:
    hub.ViTModel(hub.ViTConfig(**SMALL, image_size=32, patch_size=8)).save_pretrained(folder)
    normalisation(folder)


def clip(folder: Path) -> None:
    vision = SMALL | {"image_size": 32, "patch_size": 8}
    text = SMALL | {"vocab_size": 8, "max_position_embeddings": 4}
    hub.CLIPModel(hub.CLIPConfig(vision_config=vision, text_config=text)).save_pretrained(folder)
    normalisation(folder)


def siglip(folder: Path) -> None:
    hub.SiglipVisionModel(hub.SiglipVisionConfig(**SMALL, image_size=32, patch_size=8)).save_pretrained(folder)
    normalisation(folder)


def siglip_pair(folder: Path) -> None:
    vision = SMALL | {"image_size": 32, "patch_size": 8}
    text = SMALL | {"vocab_size": 8, "max_position_embeddings": 4}
    hub.SiglipModel(hub.SiglipConfig(vision_config=vision, text_config=text)).save_pretrained(folder)
    normalisation(folder)


def w2v_bert(folder: Path) -> None:
    sizes = {"feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 3}
    hub.Wav2Vec2BertModel(hub.Wav2Vec2BertConfig(**SMALL, **sizes)).save_pretrained(folder)
    hub.SeamlessM4TFeatureExtractor().save_pretrained(folder)


def spectrogram_transformer(folder: Path) -> None:
    hub.ASTModel(hub.ASTConfig(**SMALL, max_length=64, num_mel_bins=32)).save_pretrained(folder)
    hub.ASTFeatureExtractor(max_length=64, num_mel_bins=32).save_pretrained(folder)


def dinov2(folder: Path) -> None:
    sizes = {name: SMALL[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    hub.Dinov2Model(hub.Dinov2Config(**sizes, mlp_ratio=2, image_size=56, patch_size=14)).save_pretrained(folder)
    normalisation(folder, do_center_crop=True, crop_size={"height": 28, "width": 28}, size={"shortest_edge": 32})


def dinov3(folder: Path) -> None:
    hub.DINOv3ViTModel(hub.DINOv3ViTConfig(**SMALL, image_size=32, patch_size=8)).save_pretrained(folder)
    normalisation(folder, size={"height": 16, "width": 16})


def siglip2(folder: Path) -> None:
    hub.Siglip2VisionModel(hub.Siglip2VisionConfig(**SMALL, num_patches=16, patch_size=8)).save_pretrained(folder)
    normalisation(folder)


def metaclip_2(folder: Path) -> None:
    vision = SMALL | {"image_size": 32, "patch_size": 8}
    text = SMALL | {"vocab_size": 8, "max_position_embeddings": 4, "eos_token_id": 7}
    hub.MetaClip2Model(hub.MetaClip2Config(vision_config=vision, text_config=text)).save_pretrained(folder)
    normalisation(folder)


def videomae(folder: Path) -> None:
    hub.VideoMAEModel(hub.VideoMAEConfig(**SMALL, image_size=16, patch_size=8, num_frames=4)).save_pretrained(folder)
    normalisation(folder)


def vjepa2(folder: Path) -> None:
    sizes = {"patch_size": 8, "crop_size": 16, "hidden_size": 24, "num_attention_heads": 2}
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 2}
    layers = {"num_hidden_layers": SMALL["num_hidden_layers"]}
    hub.VJEPA2Model(hub.VJEPA2Config(**sizes, **layers, **predictor, mlp_ratio=2)).save_pretrained(folder)
    normalisation(folder, name="video_preprocessor_config.json", crop_size={"height": 16, "width": 16})


def vivit(folder: Path) -> None:
    sizes = {"image_size": 16, "tubelet_size": [2, 8, 8], "num_frames": 4}
    hub.VivitModel(hub.VivitConfig(**SMALL, **sizes)).save_pretrained(folder)
    normalisation(folder)


def timesformer(folder: Path) -> None:
    sizes = {"image_size": 16, "patch_size": 8, "num_frames": 4}
    hub.TimesformerModel(hub.TimesformerConfig(**SMALL, **sizes)).save_pretrained(folder)
    normalisation(folder)


def videoprism(folder: Path) -> None:
    sizes = {name: SMALL[name] for name in ("hidden_size", "num_attention_heads", "intermediate_size")}
    layers = {"num_spatial_layers": 2, "num_temporal_layers": 2}
    config = hub.VideoPrismVisionConfig(**sizes, **layers, image_size=36, num_frames=4)
    hub.VideoPrismVisionModel(config).save_pretrained(folder)
    normalisation(folder, name="video_preprocessor_config.json", do_normalize=False)


def normalisation(folder: Path, name: str = "preprocessor_config.json", **settings: object) -> None:
    half = [0.5, 0.5, 0.5]
    (folder / name).write_text(json.dumps({"image_mean": half, "image_std": half} | settings))


@pytest.mark.parametrize("make", [wav2vec2, hubert, wavlm, whisper], ids=lambda make: make.__name__)
def test_sound_becomes_hidden_states(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path)
    encoder = build_encoder("hub-sound", weights=tmp_path)
    assert isinstance(encoder, Encoder)
    states = encode(encoder, SAMPLES, "forward")
    assert states.shape == ({"whisper": 50}.get(make.__name__, 49), 16)
    assert np.isfinite(states).all()
    assert not np.allclose(states, encode(encoder, SAMPLES, "backward"))


@pytest.mark.parametrize("make", [vit, clip, dinov2, dinov3, metaclip_2], ids=lambda make: make.__name__)
def test_pictures_become_one_vector_each(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path)
    encoder = build_encoder("hub-picture", weights=tmp_path, stride=4)
    assert isinstance(encoder, Encoder)
    vectors = encode(encoder, CROPS, "forward")
    assert vectors.shape == (3, 16)
    assert np.allclose(vectors, encode(encoder, CROPS, "backward")[::-1], atol=1e-5)


def test_sound_gives_the_states_that_the_model_gives(tmp_path: Path) -> None:
    wav2vec2(tmp_path)
    model, extractor = hub.AutoModel.from_pretrained(tmp_path), hub.AutoFeatureExtractor.from_pretrained(tmp_path)
    with torch.inference_mode():
        made = extractor(SAMPLES, sampling_rate=16_000, return_tensors="pt")
        wanted = model.eval()(**made, output_hidden_states=True).hidden_states
    for layer in (0, 1, -1):
        states = encode(HubSound(weights=tmp_path, layer=layer), SAMPLES, "forward")
        torch.testing.assert_close(torch.from_numpy(states), wanted[layer][0])


def test_pictures_give_the_tokens_that_the_model_gives(tmp_path: Path) -> None:
    vit(tmp_path)
    pixels = torch.from_numpy(CROPS[::4]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        wanted = hub.AutoModel.from_pretrained(tmp_path).eval()(pixels, output_hidden_states=True).hidden_states
    for layer, pool in ((-1, "first"), (1, "mean")):
        vectors = encode(HubPicture(weights=tmp_path, layer=layer, pool=pool), CROPS, "forward")
        expected = wanted[layer][:, 0] if pool == "first" else wanted[layer].mean(1)
        torch.testing.assert_close(torch.from_numpy(vectors), expected, atol=1e-5, rtol=1e-5)


def test_states_are_averaged_where_that_is_asked_for(tmp_path: Path) -> None:
    wav2vec2(tmp_path)
    all_states = encode(HubSound(weights=tmp_path), SAMPLES, "forward")
    pooled = encode(HubSound(weights=tmp_path, pool=8), SAMPLES, "forward")
    assert len(pooled) == 7
    np.testing.assert_allclose(pooled[0], all_states[:8].mean(0), atol=1e-5)
    np.testing.assert_allclose(pooled[-1], all_states[48:].mean(0), atol=1e-5)


def test_a_short_sound_still_gives_a_state(tmp_path: Path) -> None:
    wav2vec2(tmp_path)
    assert len(encode(HubSound(weights=tmp_path), SAMPLES[:100], "forward")) >= 1


def test_long_sound_is_encoded_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wav2vec2(tmp_path)
    encoder = HubSound(weights=tmp_path)
    first, second = (encode(encoder, SAMPLES[part], "forward") for part in (slice(0, 8000), slice(8000, None)))
    monkeypatch.setattr("cimeu.encoders.hub.LONGEST_S", 0.5)
    np.testing.assert_allclose(encode(encoder, SAMPLES, "forward"), np.concatenate([first, second]), atol=1e-6)


def test_an_encoder_is_rebuilt_from_its_description_and_the_same_content(tmp_path: Path) -> None:
    vit(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    encoder = HubPicture(weights=tmp_path / "two", source="frame", layer=1)
    again = encoder_from(describe(encoder), weights=tmp_path / "two")
    assert fingerprint(again) == fingerprint(encoder)


def test_other_weights_change_the_fingerprint(tmp_path: Path) -> None:
    vit(tmp_path / "one")
    torch.manual_seed(1)
    vit(tmp_path / "two")
    assert len({fingerprint(HubPicture(weights=tmp_path / name)) for name in ("one", "two")}) == 2


def test_a_model_that_is_not_here_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"no folder `some/model`, and no model (.|\n)*`hf download some/model`"):
        build_encoder("hub-sound", weights="some/model")
    with pytest.raises(WeightsMissing, match=r"no model is named\n\nhint: weights=FOLDER"):
        build_encoder("hub-picture")


def test_a_folder_without_a_model_names_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"holds no `config\.json`\n\nhint: copy the whole folder"):
        HubSound(weights=tmp_path)


def test_tensors_in_the_older_format_are_read_too(tmp_path: Path) -> None:
    wav2vec2(tmp_path)
    wanted = encode(HubSound(weights=tmp_path), SAMPLES, "forward")
    torch.save(hub.AutoModel.from_pretrained(tmp_path).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    np.testing.assert_allclose(encode(HubSound(weights=tmp_path), SAMPLES, "forward"), wanted, atol=1e-6)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"cannot be read as a model: "):
        HubSound(weights=tmp_path)


def test_settings_a_model_cannot_have_are_refused(tmp_path: Path) -> None:
    vit(tmp_path)
    with pytest.raises(RecipeError, match=r"layer 3 of `.*`\n\nhint: 0 \(before the first\) to 2"):
        HubPicture(weights=tmp_path, layer=3)
    with pytest.raises(RecipeError, match=r"pool `last` of hub-picture is unknown\n\nhint: one of first, mean"):
        build_encoder("hub-picture", weights=tmp_path, pool="last")
    wav2vec2(tmp_path / "sound")
    with pytest.raises(RecipeError, match=r"pool is 0\n\nhint: 1 keeps every hidden state"):
        HubSound(weights=tmp_path / "sound", pool=0)


def test_a_class_token_is_asked_only_of_a_model_that_has_one(tmp_path: Path) -> None:
    siglip(tmp_path)
    with pytest.raises(RecipeError, match=r"pool `first` of SigLIP .*\n\nhint: it has no class token; use `mean`"):
        HubPicture(weights=tmp_path)
    assert HubPicture(weights=tmp_path, pool="mean").width == SMALL["hidden_size"]


def test_pictures_without_their_normalisation_are_refused(tmp_path: Path) -> None:
    vit(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"does not say how frames are normalised(.|\n)*image_mean, image_std"):
        HubPicture(weights=tmp_path)


def test_sound_without_its_preparation_is_refused(tmp_path: Path) -> None:
    wav2vec2(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"does not say how sound is prepared"):
        encode(HubSound(weights=tmp_path), SAMPLES, "forward")


def test_a_spectrogram_keeps_every_state_that_is_not_padding(tmp_path: Path) -> None:
    w2v_bert(tmp_path)
    model, extractor = hub.AutoModel.from_pretrained(tmp_path), hub.AutoFeatureExtractor.from_pretrained(tmp_path)
    for n_samples in (16_000, 7_900):  # 98 frames of 10 ms, and 47: an odd one, padded to a pair
        extracted = extractor(SAMPLES[:n_samples], sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            expected = model.eval()(**extracted, output_hidden_states=True).hidden_states[1][0]
        states = encode(HubSound(weights=tmp_path, layer=1), SAMPLES[:n_samples], "forward")
        torch.testing.assert_close(torch.from_numpy(states), expected[: int(extracted["attention_mask"].sum())])
        assert len(states) == pytest.approx(n_samples / 320, abs=2)


def test_a_store_of_a_spectrogram_that_was_taken_as_padded_is_not_continued(tmp_path: Path) -> None:
    w2v_bert(tmp_path / "masked")
    wav2vec2(tmp_path / "waveform")
    assert "padding" in HubSound(weights=tmp_path / "masked").preprocessing
    assert "padding" not in HubSound(weights=tmp_path / "waveform").preprocessing


def test_the_states_of_whisper_are_those_of_the_clip_and_not_of_the_silence_behind_it(tmp_path: Path) -> None:
    whisper(tmp_path)
    model, extractor = hub.AutoModel.from_pretrained(tmp_path), hub.AutoFeatureExtractor.from_pretrained(tmp_path)
    features = extractor(SAMPLES, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode():
        expected = model.eval().encoder(features, output_hidden_states=True).hidden_states[1][0]
    states = encode(HubSound(weights=tmp_path, layer=1), SAMPLES, "forward")
    torch.testing.assert_close(torch.from_numpy(states), expected[:50])


def test_a_spectrogram_without_a_mask_is_refused(tmp_path: Path) -> None:
    spectrogram_transformer(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"does not say which frames of a spectrogram are padding\n\nhint: .* `ast`"
    ):
        encode(HubSound(weights=tmp_path), SAMPLES, "forward")


def test_frames_are_as_large_as_the_processor_makes_them(tmp_path: Path) -> None:
    dinov2(tmp_path)
    encoder = HubPicture(weights=tmp_path)
    assert encoder.preprocessing["side"] == 28
    crops = CROPS[:, :28, :28]
    pixels = torch.from_numpy(crops[::4].copy()).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        expected = hub.AutoModel.from_pretrained(tmp_path).eval()(pixels, output_hidden_states=True).hidden_states
    assert expected[-1].shape[1] == 1 + 2 * 2
    vectors = torch.from_numpy(encode(encoder, crops, "forward"))
    torch.testing.assert_close(vectors, expected[-1][:, 0], atol=1e-5, rtol=1e-5)


def test_positions_are_fitted_where_the_processor_makes_smaller_frames(tmp_path: Path) -> None:
    vit(tmp_path)
    normalisation(tmp_path, size={"height": 16, "width": 16})
    assert HubPicture(weights=tmp_path).preprocessing["side"] == 16
    assert encode(HubPicture(weights=tmp_path), CROPS[:, :16, :16], "forward").shape == (3, 16)


def test_a_siglip_2_of_any_resolution_sees_the_patches_of_a_frame(tmp_path: Path) -> None:
    siglip2(tmp_path)
    encoder = HubPicture(weights=tmp_path, pool="mean", layer=1)
    rows = [[CROPS[::4, y : y + 8, x : x + 8].reshape(3, -1) for x in range(0, 32, 8)] for y in range(0, 32, 8)]
    patches = torch.from_numpy(np.stack([patch for row in rows for patch in row], axis=1)) / 127.5 - 1
    inputs = {"pixel_attention_mask": torch.ones(3, 16, dtype=torch.long), "spatial_shapes": torch.full((3, 2), 4)}
    with torch.inference_mode():
        model = hub.AutoModel.from_pretrained(tmp_path).eval()
        expected = model(pixel_values=patches, **inputs, output_hidden_states=True).hidden_states[1]
    vectors = torch.from_numpy(encode(encoder, CROPS, "forward"))
    torch.testing.assert_close(vectors, expected.mean(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "side", "length"),
    [(videomae, 16, 4), (vjepa2, 16, 6), (videoprism, 36, 4), (vivit, 16, 4), (timesformer, 16, 4)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_video_becomes_one_vector_per_window(
    make: Callable[[Path], None], side: int, length: int, tmp_path: Path
) -> None:
    make(tmp_path)
    encoder = build_encoder("hub-video", weights=tmp_path, layer=1, length=length, stride=3, batch_size=2)
    assert isinstance(encoder, Encoder)
    frames = np.random.default_rng(0).integers(0, 256, (12, side, side, 3), np.uint8)
    vectors = encode(encoder, frames, "forward")
    windows = torch.from_numpy(np.stack([frames[start : start + length] for start in range(0, 13 - length, 3)]))
    scale, offset = (255.0, 0.0) if make is videoprism else (127.5, 1.0)
    pixels = windows.permute(0, 1, 4, 2, 3) / scale - offset
    model = hub.AutoModel.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        output = model(pixels, output_hidden_states=True, **({"skip_predictor": True} if make is vjepa2 else {}))
    expected = output.hidden_states[1].reshape(len(windows), -1, encoder.width).mean(1)
    torch.testing.assert_close(torch.from_numpy(vectors), expected, atol=1e-5, rtol=1e-5)


def test_only_the_last_layers_of_videoprism_see_the_order_of_frames(tmp_path: Path) -> None:
    videoprism(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (4, 36, 36, 3), np.uint8)
    for layer in range(5):
        encoder = HubVideo(weights=tmp_path, layer=layer)
        forward, backward = (encode(encoder, frames, direction) for direction in DIRECTIONS)
        assert forward.shape == (1, 16)
        assert np.allclose(forward, backward, atol=1e-6) == (layer < 3), layer


@pytest.mark.parametrize(
    ("make", "encoder"),
    [
        *((make, "hub-sound") for make in (wav2vec2, wavlm, w2v_bert)),
        *((make, "hub-picture") for make in (vit, dinov2, dinov3, metaclip_2)),
        *((make, "hub-video") for make in (videomae, vjepa2)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_leaving_out_later_layers_changes_nothing(
    make: Callable[[Path], None], encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SMALL, "num_hidden_layers", 4)
    make(tmp_path)
    side = int(build_encoder(encoder, weights=tmp_path).preprocessing.get("side", 0))  # type: ignore[call-overload]
    source = np.random.default_rng(1).integers(0, 256, (16, side, side, 3), np.uint8) if side else SAMPLES
    kept: list[int] = []
    cut = hub_models._cut

    def counted(network: nn.Module, depth: int, layer: int) -> nn.Module:
        before = sum(parameter.numel() for parameter in network.parameters())
        kept.append(before - sum(parameter.numel() for parameter in cut(network, depth, layer).parameters()))
        return network

    monkeypatch.setattr(hub_models, "_cut", counted)
    shorter = encode(build_encoder(encoder, weights=tmp_path, layer=1), source, "forward")
    hub_models.frozen_network.cache_clear()
    monkeypatch.setattr(hub_models, "_cut", lambda network, depth, layer: network)
    whole = encode(build_encoder(encoder, weights=tmp_path, layer=1), source, "forward")
    assert kept[0] > 0
    np.testing.assert_array_equal(shorter, whole)


@pytest.mark.parametrize(
    ("make", "encoder", "message"),
    [
        (
            videomae,
            "hub-picture",
            r"is a model of video \(`videomae`\), and hub-picture computes models of single frames",
        ),
        (vjepa2, "hub-picture", r"is a model of video \(`vjepa2`\).*\n\nhint: use the encoder `hub-video`"),
        (vit, "hub-video", r"is a model of single frames \(`vit`\).*\n\nhint: use the encoder `hub-picture`"),
        (vit, "hub-sound", r"is a model of single frames \(`vit`\)"),
        (wavlm, "hub-video", r"is a model of sound \(`wavlm`\).*\n\nhint: use the encoder `hub-sound`"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_model_of_another_kind_names_its_encoder(
    make: Callable[[Path], None], encoder: str, message: str, tmp_path: Path
) -> None:
    make(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        build_encoder(encoder, weights=tmp_path)


def test_a_model_that_takes_other_input_is_refused_before_any_clip(tmp_path: Path) -> None:
    vit(tmp_path)
    normalisation(tmp_path, size={"height": 3, "width": 3})  # smaller than one patch
    with pytest.raises(CheckpointError, match=r"cannot be computed by hub-picture: "):
        encode(HubPicture(weights=tmp_path), CROPS[:, :3, :3], "forward")


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (videomae, {"length": 8}, r"length 8 of hub-video\n\nhint: the model sees windows of 4 frames"),
        (vjepa2, {"length": 5}, r"length 5 of hub-video\n\nhint: a multiple of 2 frames"),
        (vjepa2, {"length": 0}, r"length 0 of hub-video\n\nhint: a multiple of 2 frames"),
        (vjepa2, {"layer": 3}, r"layer 3 of `.*`\n\nhint: 0 \(before the first\) to 2"),
    ],
)
def test_settings_a_video_model_cannot_have_are_refused(
    make: Callable[[Path], None], settings: dict[str, int], message: str, tmp_path: Path
) -> None:
    make(tmp_path)
    with pytest.raises(RecipeError, match=message):
        HubVideo(weights=tmp_path, **settings)


def test_sound_at_another_rate_is_refused(tmp_path: Path) -> None:
    wav2vec2(tmp_path)
    hub.Wav2Vec2FeatureExtractor(sampling_rate=24_000).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"reads sound at 24000 Hz\n\nhint: give a model that reads 16000 Hz"):
        encode(HubSound(weights=tmp_path), SAMPLES, "forward")


@pytest.mark.parametrize(
    ("make", "encoder"),
    [(wav2vec2, "hub-sound"), (vit, "hub-picture"), (videomae, "hub-video")],
    ids=["sound", "frames", "video"],
)
def test_precision_is_part_of_the_fingerprint_and_stays_near_fp32(
    make: Callable[[Path], None], encoder: str, tmp_path: Path
) -> None:
    make(tmp_path)
    exact, rough = (build_encoder(encoder, weights=tmp_path, precision=p, device="cpu") for p in ("fp32", "bf16"))
    assert "precision" not in exact.preprocessing
    assert rough.preprocessing["precision"] == "bf16"
    assert fingerprint(encoder_from(describe(rough), weights=tmp_path)) == fingerprint(rough) != fingerprint(exact)
    side = int(exact.preprocessing.get("side", 0))  # type: ignore[call-overload]
    source = CROPS[:, :side, :side] if side else SAMPLES
    first, second = (torch.from_numpy(encode(each, source, "forward")) for each in (exact, rough))
    assert not torch.equal(first, second)
    assert torch.nn.functional.cosine_similarity(first, second).min() > 0.99


TINY_MODELS: dict[str, Callable[[Path], None]] = {
    "wavlm-large": wavlm,
    "whisper-large-v3": whisper,
    "w2v-bert-2.0": w2v_bert,
    "dinov2-base": dinov2,
    "dinov3": dinov3,
    "siglip2": siglip_pair,
    "vjepa2": vjepa2,
    "videoprism": videoprism,
    "videomae-base": videomae,
}
"""What makes a random model of the class of each preset."""


def tiny(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A random model in place of the one that a preset names; the preset has its sizes, and layer 1."""
    TINY_MODELS[name](folder)
    preset = PRESETS[name]
    small = replace(
        preset,
        depth=4 if name == "videoprism" else 2,
        width=24 if name == "vjepa2" else 16,
        settings={**preset.settings, "layer": 1} | ({"length": 4} if preset.kind == "hub-video" else {}),
        normalisation="half" if preset.normalisation == "imagenet" else preset.normalisation,
    )
    for module in (hub_models, hub_encoders):
        monkeypatch.setattr(module, "PRESETS", {**PRESETS, name: small})
    return folder


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_computed_with_its_settings_under_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = build_encoder(name, weights=tiny(name, tmp_path, monkeypatch))
    assert encoder.name == name
    assert encoder.preprocessing["layer"] == 1
    side = int(encoder.preprocessing.get("side", 0))  # type: ignore[call-overload]
    source = np.random.default_rng(0).integers(0, 256, (9, side, side, 3), np.uint8) if side else SAMPLES
    vectors = encode(encoder, source, "forward")
    assert vectors.shape == ({"hub-sound": 7, "hub-picture": 3, "hub-video": 2}[PRESETS[name].kind], encoder.width)
    assert np.isfinite(vectors).all()
    again = encoder_from(json.loads(json.dumps(describe(encoder))), weights=tmp_path)
    assert fingerprint(again) == fingerprint(encoder)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_that_is_not_here_names_the_command_that_fetches_its_revision(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsMissing, match=re.escape(f"`{PRESETS[name].fetch_command}`")):
        build_encoder(name)


def test_another_model_is_not_taken_for_that_of_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wavlm(tmp_path / "small")
    with pytest.raises(
        CheckpointError, match=r"is not microsoft/wavlm-large: depth 2, expected 24\n\nhint: .*`hub-sound`"
    ):
        build_encoder("wavlm-large", weights=tmp_path / "small")
    hubert(tmp_path / "hubert")
    with pytest.raises(CheckpointError, match=r"architecture hubert, expected wavlm"):
        build_encoder("wavlm-large", weights=tmp_path / "hubert")
    folder = tiny("dinov3", tmp_path / "dinov3", monkeypatch)
    normalisation(folder, image_mean=[0.1, 0.1, 0.1])
    with pytest.raises(CheckpointError, match=r"normalises frames by \(\(0\.1, .*\), facebook/dinov3"):
        build_encoder("dinov3", weights=folder)


def test_a_preset_knows_its_normalisation_where_no_file_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny("dinov3", tmp_path, monkeypatch)
    crops = CROPS[:, :16, :16]
    written = encode(build_encoder("dinov3", weights=folder), crops, "forward")
    (folder / "preprocessor_config.json").write_text('{"size": {"height": 16, "width": 16}}')
    np.testing.assert_array_equal(encode(build_encoder("dinov3", weights=folder), crops, "forward"), written)


def test_every_preset_is_an_encoder_and_takes_a_layer_inside_its_model() -> None:
    assert set(PRESETS) <= set(ENCODERS)
    for name, preset in PRESETS.items():
        layer = preset.settings["layer"]
        assert isinstance(layer, int)
        assert 0 < layer < preset.depth, name
        assert preset.revision is None or re.fullmatch(r"[0-9a-f]{40}", preset.revision)
        assert preset.kind == "hub-sound" or preset.normalisation in NORMALISATIONS


def test_a_store_of_another_layer_names_both_and_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny("wavlm-large", tmp_path / "model", monkeypatch)
    settings = {"weights": folder, "precision": "fp32"}
    FeatureStore.open(tmp_path / "store", describe(build_encoder("wavlm-large", **settings)), writable=True).close()
    other = describe(build_encoder("wavlm-large", **settings, layer=2))
    command = "cimeu extract MANIFEST --encoder wavlm-large --setting layer=2 -o ANOTHER_FOLDER"
    with pytest.raises(FingerprintMismatch, match=rf"preprocessing\.layer: 1 -> 2\n\nhint: `{command}`"):
        FeatureStore.open(tmp_path / "store", other, writable=True)
