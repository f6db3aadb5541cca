"""Any encoder of the hub through one door. The models here are tiny and untrained, made by the tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hub

from cimeu.encoders.base import Encoder
from cimeu.encoders.description import describe, fingerprint
from cimeu.encoders.encoding import encode
from cimeu.encoders.hub import HubPicture, HubSound
from cimeu.encoders.registry import build_encoder, encoder_from
from cimeu.errors import CheckpointError, RecipeError, WeightsMissing

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
CONVOLUTIONS = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
SAMPLES = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
CROPS = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)


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


def normalisation(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')


@pytest.mark.parametrize("make", [wav2vec2, hubert, wavlm, whisper], ids=lambda make: make.__name__)
def test_sound_becomes_hidden_states(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path)
    encoder = build_encoder("hub-sound", weights=tmp_path)
    assert isinstance(encoder, Encoder)
    states = encode(encoder, SAMPLES, "forward")
    assert states.shape == ({"whisper": 50}.get(make.__name__, 49), 16)
    assert np.isfinite(states).all()
    assert not np.allclose(states, encode(encoder, SAMPLES, "backward"))


@pytest.mark.parametrize("make", [vit, clip], ids=lambda make: make.__name__)
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
    with pytest.raises(RecipeError, match=r"pool is 0\n\nhint: 1 keeps every hidden state"):
        HubSound(weights=tmp_path, pool=0)


def test_a_class_token_is_asked_only_of_a_model_that_has_one(tmp_path: Path) -> None:
    siglip(tmp_path)
    with pytest.raises(RecipeError, match=r"pool `first` of SigLIP .*\n\nhint: it has no class token; use `mean`"):
        HubPicture(weights=tmp_path)
    assert HubPicture(weights=tmp_path, pool="mean").width == SMALL["hidden_size"]


def test_pictures_without_their_normalisation_are_refused(tmp_path: Path) -> None:
    vit(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"does not say how pictures are normalised(.|\n)*image_mean, image_std"):
        HubPicture(weights=tmp_path)


def test_sound_without_its_preparation_is_refused(tmp_path: Path) -> None:
    wav2vec2(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"does not say how sound is made ready"):
        encode(HubSound(weights=tmp_path), SAMPLES, "forward")
