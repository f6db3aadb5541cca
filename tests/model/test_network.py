"""The network holds what the method promises, with every switch."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cimeu.encoders.ast import AST
from cimeu.errors import CheckpointError, RecipeError, WeightsMissing
from cimeu.model.alignment import token_steps
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.disentangle import ReverseGradient
from cimeu.model.network import CiMEU, Output
from cimeu.pyramid import Level, Stream
from cimeu.training.health import absent

CONFIG = ModelConfig(
    emotions=("anger", "calm", "fear"), first=StreamConfig(width=12), second=StreamConfig(width=5), size="tiny"
)
VARIANTS = {
    "default": {},
    "without ER": {"disentangle": "off"},
    "first stream alone disentangled": {"disentangle": "first"},
    "first stream alone disentangled, tokens": {
        "disentangle": "first",
        "second": StreamConfig(width=5, kind="tokens", tokens=60),
    },
    "without RFA": {"alignment": "off", "fusion": "off"},
    "figure": {"fusion": "figure"},
    "published mixing": {"late_fusion": "published"},
    "validated mixing": {"late_fusion": "validation"},
    "one style per clip": {"style": "clip"},
    "backward": {"direction": "backward"},
    "tokens": {"second": StreamConfig(width=5, kind="tokens", tokens=60)},
    "filterbank": {"second": StreamConfig(width=128, kind="filterbank", frames=64)},
    "one stream": {"second": None},
    "one stream, figure": {"second": None, "fusion": "figure"},
}


def stream(lengths: list[int], width: int, steps: int = 16) -> Stream:
    mask = torch.arange(steps)[None] < torch.tensor(lengths)[:, None]
    return Stream(torch.randn(len(lengths), steps, width) * mask.unsqueeze(-1), mask, mask.any(dim=1))


def clips(config: ModelConfig, first: list[int], second: list[int]) -> tuple[Stream, Stream | None]:
    if config.second is None:
        return stream(first, 12), None
    steps = {"steps": 16, "tokens": config.second.tokens, "filterbank": config.second.frames}[config.second.kind]
    lengths = second if config.second.kind == "steps" else [steps if n else 0 for n in second]
    return stream(first, 12), stream(lengths, config.second.width, steps)


def tensors(output: Output) -> list[Tensor]:
    """Every tensor of an output."""

    def inside(value: object) -> list[Tensor]:
        if value is None or isinstance(value, Tensor):
            return [] if value is None else [value]
        return [value.features] if isinstance(value, Level) else [t for part in value for t in inside(part)]

    return inside(tuple(vars(output).values()))


@pytest.mark.parametrize("name", VARIANTS)
def test_no_combination_of_missing_and_short_streams_gives_nan(name: str) -> None:
    model = CiMEU(replace(CONFIG, **VARIANTS[name])).train()
    lengths = list(product([0, 1, 16], [0, 1, 16]))  # first missing, one step, whole; the same of the second
    first, second = clips(model.config, [n for n, _ in lengths], [m for _, m in lengths])
    output = model(first, second, emotion=torch.arange(9) % 3 - 1, reversal=0.5)
    assert all(torch.isfinite(tensor).all() for tensor in tensors(output))
    sum(tensor.square().sum() for tensor in tensors(output)).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), parameter_name


def test_shapes_are_those_of_the_contract() -> None:
    model = CiMEU(CONFIG)
    output = model(*clips(CONFIG, [16, 9], [16, 16]))
    for primitives in (*output.emotion, *output.style):
        assert [level.features.shape for level in primitives] == [(2, 4, 32), (2, 2, 32), (2, 1, 32)]
    for rebuilt, width in zip(output.rebuilt, (12, 5), strict=True):
        assert [level.features.shape for level in rebuilt] == [(2, 16, width), (2, 8, width), (2, 4, width)]
    assert [x.shape for x in output.style_pooled] == [(2, 64)] * 3
    assert [[level.features.shape for level in p] for p in output.aligned] == [[(2, 4, 32), (2, 2, 32), (2, 1, 32)]] * 2
    assert [x.shape for x in output.logits] == [(2, 3)] * 3
    assert [x.shape for x in output.style_adversary] == [(2, 3)] * 3
    assert [x.shape for x in output.gate] == [(2,)] * 3


def test_without_er_only_the_emotion_encoder_is_left() -> None:
    full, bare = CiMEU(CONFIG), CiMEU(replace(CONFIG, disentangle="off"))
    removed = set(full.state_dict()) - set(bare.state_dict())
    expected = {"style", "decoder", "second_style", "second_decoder", "independence"}
    assert {name.split(".")[0] for name in removed} == expected
    output = bare(*clips(CONFIG, [16], [16]))
    assert output.style == output.rebuilt == ()
    assert output.style_logits is None


def test_without_rfa_hybrid_attention_heads_and_gate_are_kept() -> None:
    full, bare = CiMEU(CONFIG), CiMEU(replace(CONFIG, alignment="off", fusion="off"))
    kinds = [type(stage).__name__ for stage in bare.fusion.stages]
    assert kinds == ["Hybrid", "Hybrid"]
    assert [type(stage).__name__ for stage in full.fusion.stages] == ["Exchange", "Hybrid", "Hybrid"]
    assert sum(p.numel() for p in bare.gate.parameters()) == sum(p.numel() for p in full.gate.parameters())
    assert bare(*clips(CONFIG, [16], [16])).aligned is None


def test_one_stream_has_no_second_head_and_no_share() -> None:
    model = CiMEU(replace(CONFIG, second=None))
    output = model(stream([16, 3], 12))
    assert output.second_logits is None
    assert [a.tolist() for a in output.gate] == [[0, 0]] * 3
    assert not any(name.startswith(("second", "gate")) for name in model.state_dict())


@pytest.mark.parametrize(
    ("form", "share"), [("bounded", 0.5), ("equal", 0.5), ("gated", 0.2), ("published", 0.2), ("validation", 0.2)]
)
def test_a_clip_with_one_stream_gives_it_the_whole_share(form: str, share: float) -> None:
    model = CiMEU(replace(CONFIG, late_fusion=form)).eval()
    output = model(*clips(CONFIG, [16, 16, 0], [16, 0, 16]))
    torch.testing.assert_close(output.gate[0], torch.tensor([share, 0.0, 1.0]))
    torch.testing.assert_close(output.logits[0][1], output.first_logits[0][1])
    torch.testing.assert_close(output.logits[0][2], output.second_logits[0][2])


@pytest.mark.parametrize("push", [-100.0, 100.0])
def test_a_bounded_gate_never_gives_up_a_stream(push: float) -> None:
    model = CiMEU(CONFIG).eval()
    model.gate.share[2].bias.data.fill_(push)
    gate = model(*clips(CONFIG, [16] * 3, [16] * 3)).gate[0]
    torch.testing.assert_close(gate, torch.full((3,), 0.8 if push > 0 else 0.2))


@pytest.mark.parametrize("name", ["default", "tokens", "filterbank", "without ER", "figure"])
def test_no_input_reaches_the_logits_around_the_emotion_encoders(name: str) -> None:
    model = CiMEU(replace(CONFIG, **VARIANTS[name])).eval()
    one, other = (clips(model.config, [16] * 2, [16] * 2) for _ in range(2))
    assert not torch.allclose(model(*one).logits[0], model(*other).logits[0])
    for changed in (0, 1):  # each stream's encoder matters on its own
        mixed = [one[0], one[1]]
        mixed[changed] = other[changed]
        assert not torch.allclose(model(*one).logits[0], model(*mixed).logits[0])
    for encoder in (model.emotion, model.second_emotion):
        encoder.register_forward_hook(lambda module, inputs, output: output.map(torch.zeros_like))
    torch.testing.assert_close(model(*one).logits[0], model(*other).logits[0])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_decision_from_primitives_is_that_of_a_whole_pass(name: str) -> None:
    model = CiMEU(replace(CONFIG, **VARIANTS[name])).eval()
    first, second = clips(model.config, [16, 9, 0], [16, 0, 16])
    emotion = model.emotion_primitives(first, second)
    for without in ((absent(first), second), (first, second and absent(second)), (first, second)):
        assert torch.equal(model.decide(emotion, *without).logits[0], model(*without).logits[0])


def test_as_published_the_second_stream_passes_undisentangled() -> None:
    model = CiMEU(replace(CONFIG, disentangle="first")).eval()
    assert not hasattr(model, "second_emotion")
    assert [len(x) for x in (model(*clips(CONFIG, [16], [16])).emotion,)] == [1]


def test_tokens_are_read_as_the_means_of_their_bands() -> None:
    tokens = torch.arange(12.0).repeat_interleave(16)[None, :, None].clone()  # 12 bands by 16 times
    tokens[0, 3::16] += 10  # the fourth time, in every band
    steps = token_steps(tokens, torch.tensor([True]))
    expected = torch.full((16,), 5.5)
    expected[3] += 10
    torch.testing.assert_close(steps.features[0, :, 0], expected)


def test_stream_dropout_takes_one_stream_of_some_training_clips_and_never_both() -> None:
    model = CiMEU(replace(CONFIG, stream_dropout=0.5)).train()
    gate = model(*clips(CONFIG, [16] * 400, [16] * 400)).gate[0]
    alone = ((gate == 0) | (gate == 1)).float().mean().item()
    assert 0.4 < alone < 0.6
    assert 0.15 < (gate == 0).float().mean().item() < 0.35


def test_published_late_fusion_never_drops_a_stream() -> None:
    model = CiMEU(replace(CONFIG, late_fusion="published", stream_dropout=0.5)).train()
    torch.testing.assert_close(model(*clips(CONFIG, [16] * 50, [16] * 50)).gate[0], torch.full((50,), 0.2))


def test_dropped_streams_train_the_learned_token() -> None:
    model = CiMEU(CONFIG).eval()
    output = model(*clips(CONFIG, [16, 0], [0, 16]))
    sum(x.square().sum() for x in output.logits).backward()
    assert model.first_token.grad.abs().sum() > 0
    assert model.second_token.grad.abs().sum() > 0


def test_reversal_scales_only_the_gradient_to_the_primitives() -> None:
    x = torch.ones(3, requires_grad=True)
    ReverseGradient.apply(x, 0.25).sum().backward()
    assert x.grad.tolist() == [-0.25] * 3

    def head_and_encoder(reversal: float) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        model = CiMEU(CONFIG).eval()
        output = model(*clips(CONFIG, [16] * 4, [16] * 4), emotion=torch.tensor([0, 1, 2, -1]), reversal=reversal)
        sum(x.square().sum() for x in output.style_adversary).backward()
        return model.independence.style_of_emotion[2].weight.grad, model.emotion.convolution2.taps.weight.grad

    (head, nothing), (same_head, something) = head_and_encoder(0.0), head_and_encoder(1.0)
    torch.testing.assert_close(head, same_head)
    assert nothing.abs().max() == 0
    assert something.abs().max() > 0


def test_the_style_adversary_is_given_the_emotion() -> None:
    model = CiMEU(CONFIG).eval()
    batch = clips(CONFIG, [16] * 2, [16] * 2)
    given, other = (model(*batch, emotion=torch.tensor(labels)).style_adversary[0] for labels in ([0, 1], [0, 2]))
    torch.testing.assert_close(given[0], other[0])
    assert not torch.allclose(given[1], other[1])


def test_half_precision_gives_finite_answers_near_the_full_ones() -> None:
    model = CiMEU(CONFIG).eval()
    batch = clips(CONFIG, [16, 4, 0], [16, 0, 7])
    exact = model(*batch).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(*batch).logits
    for one, two in zip(exact, half, strict=True):
        assert two.dtype == torch.float32
        torch.testing.assert_close(one, two, atol=0.1, rtol=0.1)


def test_an_answer_does_not_depend_on_labels() -> None:
    model = CiMEU(CONFIG).eval()
    batch = clips(CONFIG, [16] * 3, [16] * 3)
    torch.testing.assert_close(model(*batch).logits, model(*batch, emotion=torch.tensor([2, 0, 1])).logits)


def test_backward_clips_meet_the_second_stream_in_its_own_order() -> None:
    torch.manual_seed(1)
    backward = CiMEU(replace(CONFIG, direction="backward")).eval()
    forward = CiMEU(CONFIG).eval()
    forward.load_state_dict(backward.state_dict())
    first, second = clips(CONFIG, [16], [16])
    there = forward(first, second).aligned[1].high.features
    back = backward(first, second).aligned[1].high.features
    torch.testing.assert_close(there.flip(1), back)


@pytest.mark.parametrize(
    ("which", "message"), [("first", "first stream is 7 wide"), ("second", "second stream is 7 wide")]
)
def test_a_stream_of_another_width_is_refused(which: str, message: str) -> None:
    batch = dict(zip(("first", "second"), clips(CONFIG, [16], [16]), strict=True)) | {which: stream([16], 7)}
    with pytest.raises(RecipeError, match=message):
        CiMEU(CONFIG)(**batch)


def test_a_stream_too_few_or_too_many_is_refused() -> None:
    first, second = clips(CONFIG, [16], [16])
    with pytest.raises(RecipeError, match="second stream is missing"):
        CiMEU(CONFIG)(first)
    with pytest.raises(RecipeError, match="second stream is not part"):
        CiMEU(replace(CONFIG, second=None))(first, second)


@pytest.mark.parametrize("setting", [{"audio": "frozen"}, {"size": "base"}, {"audio_size": "base"}])
def test_random_weights_never_pass_for_an_audio_encoder(
    setting: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    config = replace(CONFIG, second=StreamConfig(width=128, kind="filterbank"), **setting)
    with pytest.raises(WeightsMissing, match=r"cannot start at random(.|\n)*hint: fetch audioset_10_10_0\.4593\.pth"):
        CiMEU(config)


def test_the_weights_folder_is_where_an_audio_encoder_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = AST(width=48, layers=2, heads=4, n_frames=64)
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    path = tmp_path / "ast-finetuned-audioset-10-10-0.4593" / "model.safetensors"
    path.parent.mkdir()
    save_file(given.transformer.state_dict(), path)
    second = StreamConfig(width=128, kind="filterbank", frames=64)
    audio = CiMEU(replace(CONFIG, second=second, audio="frozen")).audio
    assert audio is not None
    for name, tensor in given.transformer.state_dict().items():
        assert torch.equal(audio.transformer.state_dict()[name], tensor), name


def test_a_frozen_ast_keeps_its_given_weights(tmp_path: Path) -> None:
    given = AST(width=48, layers=2, heads=4, n_frames=64)
    save_file(given.transformer.state_dict(), tmp_path / "model.safetensors")
    second = StreamConfig(width=128, kind="filterbank", frames=64)
    config = replace(CONFIG, second=second, audio="frozen", audio_weights=str(tmp_path))
    model = CiMEU(config).train()
    assert not model.audio.training
    for name, tensor in given.state_dict().items():
        assert torch.equal(tensor, model.audio.state_dict()[name]), name
    sum(x.square().sum() for x in model(*clips(config, [16], [64])).logits).backward()
    assert all(parameter.grad is None for parameter in model.audio.parameters())
    assert model.second_map.linear.weight.grad is not None


def test_ast_weights_of_another_size_are_refused_by_tensor(fixtures: Path) -> None:
    second = StreamConfig(width=128, kind="filterbank")
    config = replace(CONFIG, second=second, audio_weights=str(fixtures / "ast_tiny_256.pth"))
    with pytest.raises(CheckpointError, match=r"ast_tiny_256\.pth` does not fit: tensor `transformer\.layers\.2\."):
        CiMEU(config)
