"""The objective is the weighted sum of its named terms, and each weight reaches what it should."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from cimeu.batching.collate import Batch, collator_of
from cimeu.batching.dataset import ClipDataset
from cimeu.errors import RecipeError
from cimeu.model.config import ModelConfig
from cimeu.model.network import CiMEU, Output
from cimeu.training.objective import LossWeights, objective

WEIGHTS = {
    "class": 1.0, "streams": 0.5, "reconstruction": 1.0, "alignment": 0.1, "mining": 1.0, "style": 0.1,
    "style_adversary": 0.1, "emotion_adversary": 0.1, "covariance": 1.0,
}  # fmt: skip
Parts = tuple[CiMEU, Batch, Output]


@pytest.fixture
def parts(corpus: Callable[..., ClipDataset], network: Callable[..., ModelConfig]) -> Parts:
    clips = corpus(n_clips=12, holes=True)
    batch = collator_of(clips)([clips[int(index)] for index in clips.usable])
    batch = replace(batch, style=torch.arange(len(batch.index)) % 2)
    model = CiMEU(network())
    model.train()
    return model, batch, model(batch.first, batch.second, emotion=batch.emotion, reversal=0.5)


def test_the_total_is_the_weighted_sum_of_the_named_terms(parts: Parts) -> None:
    _, batch, output = parts
    asked = objective(output, batch, LossWeights())
    parts_of = {"class.H", "class.M", "class.L", "reconstruction.first", "reconstruction.second"}
    assert set(WEIGHTS) | parts_of == set(asked.named)
    total = torch.zeros(())
    for name, weight in WEIGHTS.items():
        value = asked.named[name]
        assert value is not None
        total = total + weight * value
    torch.testing.assert_close(asked.total, total)


def test_the_class_error_is_the_mean_of_the_levels(parts: Parts) -> None:
    _, batch, output = parts
    named = objective(output, batch, LossWeights()).named
    levels = [named[f"class.{level}"] for level in "HML"]
    torch.testing.assert_close(named["class"], torch.stack([level for level in levels if level is not None]).mean())
    only = objective(output, batch, LossWeights(heads_trained="H")).named
    torch.testing.assert_close(only["class"], named["class.H"])
    assert "class.M" not in only


@pytest.mark.parametrize(
    "name", ["reconstruction", "alignment", "style", "style_adversary", "emotion_adversary", "covariance"]
)
def test_a_weight_of_nothing_leaves_its_term_out(parts: Parts, name: str) -> None:
    _, batch, output = parts
    assert name not in objective(output, batch, LossWeights(**{name: 0.0})).named


def test_terms_without_a_style_label_are_absent_and_not_zero(parts: Parts) -> None:
    _, batch, output = parts
    named = objective(output, replace(batch, style=torch.full_like(batch.style, -1)), LossWeights()).named
    assert named["style"] is None
    assert named["style_adversary"] is None
    assert named["emotion_adversary"] is not None


def test_class_error_alone_leaves_style_and_decoder_in_peace(parts: Parts) -> None:
    model, batch, output = parts
    nothing = {name: 0.0 for name in WEIGHTS if name not in ("class", "mining")}
    objective(output, batch, LossWeights(mining="off", **nothing)).total.backward()
    for unused in (model.style, model.decoder, model.second_style, model.second_decoder):
        assert all(parameter.grad is None for parameter in unused.parameters())
    for encoder in (model.emotion, model.second_emotion):
        assert any(parameter.grad is not None for parameter in encoder.parameters())


def test_alignment_alone_leaves_the_first_stream_in_peace(parts: Parts) -> None:
    model, batch, output = parts
    named = objective(output, batch, LossWeights()).named
    assert named["alignment"] is not None
    named["alignment"].backward()
    assert all(parameter.grad is None for parameter in [*model.emotion.parameters(), *model.first_map.parameters()])
    assert any(parameter.grad is not None for parameter in model.second_emotion.parameters())


def test_mining_skips_clips_whose_first_stream_was_dropped(parts: Parts) -> None:
    _, batch, output = parts
    assert batch.first is not None
    dropped = batch.first.present.nonzero()[0, 0]
    gate = tuple(level.detach().clone().clamp(max=0.9) for level in output.gate)
    for level in gate:
        level[dropped] = 1.0
    output = replace(output, gate=gate)
    shifted = tuple(level.detach().clone() for level in output.pooled)
    for level in shifted:
        level[dropped] = 100.0
    one, other = (objective(o, batch, LossWeights()).named["mining"] for o in (output, replace(output, pooled=shifted)))
    torch.testing.assert_close(one, other)


def test_half_precision_outputs_are_judged_in_single(parts: Parts) -> None:
    _, batch, output = parts
    half = replace(output, pooled=tuple(level.bfloat16() for level in output.pooled))
    assert objective(half, batch, LossWeights()).total.dtype == torch.float32


def test_negative_weights_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"`training.weights.style` is -1.0\n\nhint: a number of 0 or more"):
        LossWeights(style=-1.0)
