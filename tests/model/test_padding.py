"""Padding and neighbours in the batch never influence a real step."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cimeu.model.alignment import Exchange, SelfLayer, StepMap, flipped, means_of_four
from cimeu.model.blocks import Layout, Levels, MaskedConvolution, MaskedGroupNorm, TemporalBlock, max_pool
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.disentangle import Decoder, PrimitiveEncoder
from cimeu.model.network import CiMEU, Output, one_per_level
from cimeu.pyramid import Stream

C = 32
CONFIG = ModelConfig(
    emotions=("anger", "calm", "fear"), first=StreamConfig(width=12), second=StreamConfig(width=5), size="tiny"
)


def shaken(module: nn.Module) -> nn.Module:
    """No weight at a value that hides a mistake (biases of zero, scales of 1e-4)."""
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def alone_and_padded(n: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same n steps twice: alone, and followed by garbage beside a longer clip; doubles."""
    steps, garbage, other = (torch.randn(1, length, width, dtype=torch.float64) for length in (n, 16 - n, 16))
    padded = torch.cat((torch.cat((steps, 50 * garbage), dim=1), other))
    mask = torch.arange(16)[None] < torch.tensor([[n], [16]])
    return steps, torch.ones(1, n, dtype=torch.bool), padded, mask


def side_by_side(x: Tensor, mask: Tensor) -> Levels:
    return Levels(torch.cat((x, x[:, ::2], x[:, ::4]), dim=1), Layout.of(mask))


def real_steps(levels: Levels) -> Tensor:
    return levels.features[0, levels.layout.mask[0]]


def block_cases() -> dict[str, Callable[[], Callable[[Levels], Levels]]]:
    def module(build: Callable[[], nn.Module]) -> Callable[[], Callable[[Levels], Levels]]:
        return lambda: shaken(build()).double()

    def normed() -> Callable[[Levels], Levels]:
        norm = shaken(MaskedGroupNorm(C)).double()
        return lambda x: Levels(norm(x.features, x.layout), x.layout)

    def encoded() -> Callable[[Levels], Levels]:
        encoder = shaken(PrimitiveEncoder(C, CONFIG)).double()
        return lambda x: encoder(
            x.features[:, : x.layout.lengths[0]] * x.layout.valid[:, : x.layout.lengths[0]], x.layout
        )

    def decoded() -> Callable[[Levels], Levels]:
        decoder = shaken(Decoder(C, CONFIG)).double()

        def decode(x: Levels) -> Levels:
            primitives = max_pool(max_pool(x))
            return decoder(primitives, primitives, x.layout.halved(), x.layout)

        return decode

    def thinking() -> Callable[[Levels], Levels]:
        layer = shaken(SelfLayer(C, 64)).double()
        return lambda x: Levels(layer.think(x.features, x.layout), x.layout)

    def exchanged(memory: str) -> Callable[[], Callable[[Levels], Levels]]:
        def build() -> Callable[[Levels], Levels]:
            pair = shaken(Exchange(C, 64, memory=memory)).double()
            return lambda x: pair([x, x.map(torch.tanh)])[0]

        return build

    def mapped(flip: bool) -> Callable[[], Callable[[Levels], Levels]]:
        def build() -> Callable[[Levels], Levels]:
            step_map = shaken(StepMap(C, C, flip=flip)).double()

            def apply(x: Levels) -> Levels:
                length = x.layout.lengths[0]
                mask = x.layout.mask[:, :length]
                return step_map(Stream(x.features[:, :length], mask, mask.any(dim=1)))

            return apply

        return build

    return {
        "masked convolution": module(lambda: MaskedConvolution(C, C)),
        "group norm": normed,
        "temporal block k=1": module(lambda: TemporalBlock(C, 48, 1, drop_path=None)),
        "temporal block k=3": module(lambda: TemporalBlock(C, 48, 3, drop_path=0.1)),
        "max pool": lambda: max_pool,
        "encoder": encoded,
        "decoder": decoded,
        "one style per clip": lambda: one_per_level,
        "self layer": thinking,
        "cross layers, published": exchanged("before"),
        "cross layers, figure": exchanged("after"),
        "step map": mapped(False),
        "step map, flipped": mapped(True),
    }


@pytest.mark.parametrize("n", [1, 3, 6, 16])
@pytest.mark.parametrize("name", block_cases())
def test_padding_never_influences_a_real_step(name: str, n: int) -> None:
    block = block_cases()[name]()
    steps, mask, padded, padded_mask = alone_and_padded(n, C)
    with torch.inference_mode():
        alone = real_steps(block(side_by_side(steps, mask)))
        beside = real_steps(block(side_by_side(padded, padded_mask)))
    torch.testing.assert_close(alone, beside, atol=1e-7, rtol=1e-7)


def streams(n: list[int], m: list[int]) -> tuple[Stream, Stream]:
    made = []
    for lengths, width in ((n, 12), (m, 5)):
        mask = torch.arange(16)[None] < torch.tensor(lengths)[:, None]
        made.append(Stream(torch.randn(len(lengths), 16, width) * mask.unsqueeze(-1), mask, mask.any(dim=1)))
    return made[0], made[1]


def rows(stream: Stream, chosen: slice) -> Stream:
    return Stream(stream.features[chosen], stream.mask[chosen], stream.present[chosen])


def everything(output: Output) -> list[Tensor]:
    tensors = [*output.logits, *output.gate, *output.pooled, *output.emotion_pooled]
    return tensors + [level.features for rebuilt in output.rebuilt for level in rebuilt]


@pytest.mark.parametrize("fusion", ["published", "figure", "off"])
def test_an_answer_does_not_depend_on_the_other_clips_of_a_batch(fusion: str) -> None:
    model = shaken(CiMEU(replace(CONFIG, fusion=fusion)))
    first, second = streams([16, 5, 0, 1], [16, 3, 9, 0])
    with torch.inference_mode():
        together = everything(model(first, second))
        apart = [everything(model(rows(first, slice(i, i + 1)), rows(second, slice(i, i + 1)))) for i in range(4)]
    for i, whole in enumerate(together):
        torch.testing.assert_close(whole, torch.cat([one[i] for one in apart]), atol=1e-4, rtol=1e-4)


def test_steps_that_no_clip_has_are_not_computed() -> None:
    model = shaken(CiMEU(CONFIG))
    computed: list[tuple[int, ...]] = []
    for part in (model.emotion, model.second_emotion, model.second_style):
        part.quarters.register_forward_hook(lambda _, inputs, output: computed.append(output.layout.lengths))
    first, second = streams([7, 2, 0], [1, 0, 1])
    with torch.inference_mode():
        output = model(first, second)
    assert computed == [(2, 1, 1), (1, 1, 1), (1, 1, 1)]
    assert [level.features.shape[1] for level in output.emotion[1]] == [4, 2, 1]
    assert [level.features.shape[1] for level in output.rebuilt[1]] == [16, 8, 4]


def test_what_stands_behind_the_mask_never_reaches_an_answer() -> None:
    model = shaken(CiMEU(CONFIG))
    first, second = streams([7, 2, 0], [4, 0, 11])
    dirty = [
        replace(s, features=torch.where(s.mask.unsqueeze(-1), s.features, torch.full_like(s.features, 1e4)))
        for s in (first, second)
    ]
    with torch.inference_mode():
        for clean, soiled in zip(everything(model(first, second)), everything(model(*dirty)), strict=True):
            torch.testing.assert_close(clean, soiled)


def test_steps_of_a_level_never_reach_another() -> None:
    block = shaken(TemporalBlock(C, 48, 3, drop_path=0.1))
    layout = Layout.of(torch.ones(1, 16, dtype=torch.bool))
    x = torch.randn(1, 28, C)
    changed = x.clone()
    changed[:, 16:24] += 1
    before, after = block(Levels(x, layout)).features, block(Levels(changed, layout)).features
    torch.testing.assert_close(before[:, :16], after[:, :16])
    torch.testing.assert_close(before[:, 24:], after[:, 24:])
    assert not torch.allclose(before[:, 16:24], after[:, 16:24])


def test_flipping_turns_real_steps_only() -> None:
    features = torch.arange(5.0)[None, :, None].repeat(2, 1, 1)
    mask = torch.tensor([[True, True, True, False, False], [True, False, True, False, True]])
    turned, kept = flipped(features, mask)
    assert turned[..., 0].tolist() == [[2, 1, 0, 3, 4], [4, 1, 2, 3, 0]]
    assert kept is mask


def test_means_of_four_count_real_steps_only() -> None:
    features = torch.tensor([1.0, 3.0, 9.0, 9.0, 5.0, 9.0])[None, :, None]
    mask = torch.tensor([[True, True, False, False, True, False]])
    means, kept = means_of_four(features, mask)
    assert means[0, :, 0].tolist() == [2, 5]
    assert kept.tolist() == [[True, True]]
