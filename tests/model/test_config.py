"""A configuration that cannot be built is refused with a way out."""

from dataclasses import asdict
from typing import Any

import pytest

from cimeu.errors import RecipeError
from cimeu.model.config import SIZES, ModelConfig, StreamConfig, model_config, to_dict

VALUES: dict[str, Any] = {"emotions": ("anger", "fear"), "first": StreamConfig(width=4)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": "bas"}, r"unknown model size `bas`\n\nhint: did you mean `base`\?"),
        ({"audio_size": "huge"}, "unknown model size `huge`"),
        ({"fusion": "figur"}, r"unknown value `figur` for model setting `fusion`\n\nhint: did you mean `figure`\?"),
        ({"late_fusion": "x"}, "hint: one of bounded, equal, gated, published, validation"),
        ({"emotions": ("anger",)}, "two emotions or more"),
        ({"emotions": ("anger", "anger")}, "emotions repeat"),
        ({"styles": 1}, "`model.styles` is 1\n\nhint: a number of 2 or more"),
        ({"first": StreamConfig(width=4, kind="tokens")}, "first stream is of kind `tokens`"),
        ({"stream_dropout": 1.0}, "`model.stream_dropout` is 1.0\n\nhint: a number from 0 to below 1"),
        ({"audio": "frozen"}, "`audio: frozen` without a filterbank"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        model_config(VALUES | change)


def test_an_unknown_key_is_refused_with_a_guess() -> None:
    with pytest.raises(RecipeError, match=r"unknown model setting `fuison`\n\nhint: did you mean `fusion`\?"):
        model_config({"emotions": ["a", "b"], "first": {"width": 4}, "fuison": "off"})


def test_plain_values_give_the_same_configuration_back() -> None:
    config = ModelConfig(**VALUES, second=StreamConfig(width=128, kind="filterbank"), size="small", styles=4)
    assert model_config(to_dict(config)) == config


def test_base_has_the_published_sizes() -> None:
    sizes = asdict(SIZES["base"])
    assert sizes == {
        "width": 512,
        "temporal_mlp": 768,
        "layers": 6,
        "feed_forward": 1024,
        "ast_width": 768,
        "ast_layers": 12,
        "ast_heads": 12,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 0}, "`model stream.width` is 0\n\nhint: a number of 1 or more"),
        ({"width": 4, "frames": -1}, "`model stream.frames` is -1\n\nhint: a number of 1 or more"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        StreamConfig(**values)
    assert str(refused.value) == message
