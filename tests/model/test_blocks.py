"""Blocks compute what they say, forward and backward."""

import torch
import torch.nn.functional as F
from torch import nn

from cimeu.model.blocks import (
    Depthwise,
    Layout,
    Levels,
    MaskedConvolution,
    MaskedGroupNorm,
    PrivateDepthwise,
    TemporalBlock,
    WeighNeighbours,
    masked_mean,
)


def one_level(steps: int, clips: int = 2) -> Layout:
    return Layout(torch.ones(clips, steps, dtype=torch.bool), (steps, 0, 0))


def test_weighing_neighbours_has_the_right_gradients() -> None:
    x, kernel = torch.randn(2, 6, 3, dtype=torch.float64), torch.randn(5, 6, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(WeighNeighbours.apply, (x.requires_grad_(), kernel.requires_grad_()))


def test_a_depthwise_kernel_is_a_grouped_convolution() -> None:
    layer = Depthwise(6, 3)
    x = torch.randn(2, 9, 6)
    expected = F.conv1d(x.transpose(1, 2), layer.weight.T.unsqueeze(1), layer.bias, padding=1, groups=6).transpose(1, 2)
    torch.testing.assert_close(layer(x, one_level(9)), expected)


def test_private_kernels_of_the_levels_differ() -> None:
    layer = PrivateDepthwise(32, 3)
    assert [len(weight) for weight in layer.weights] == [5, 3, 3]
    assert [len(weight) for weight in PrivateDepthwise(32, 1).weights] == [5, 3, 1]


def test_a_masked_convolution_is_a_convolution_where_all_steps_are_real() -> None:
    layer = MaskedConvolution(5, 7)
    x = torch.randn(2, 8, 5)
    weight = layer.taps.weight.unflatten(0, (3, 7)).permute(1, 2, 0)  # [7, 5, 3]
    expected = F.conv1d(x.transpose(1, 2), weight, padding=1).transpose(1, 2)
    torch.testing.assert_close(layer(Levels(x, one_level(8))).features, expected)


def test_masked_group_norm_is_group_norm_where_all_steps_are_real() -> None:
    x = torch.randn(2, 8, 32)
    expected = nn.GroupNorm(16, 32)(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(MaskedGroupNorm(32)(x, one_level(8)), expected, atol=1e-5, rtol=1e-5)


def test_the_mean_of_an_empty_clip_is_zero() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    mean = masked_mean(torch.tensor([[[1.0], [3.0], [99.0]], [[5.0], [5.0], [5.0]]]), mask)
    assert mean.tolist() == [[2.0], [0.0]]


def test_branches_of_a_deep_block_start_small() -> None:
    x = torch.randn(2, 8, 32)
    block = TemporalBlock(32, 48, 3, drop_path=0.1).eval()
    assert (block(Levels(x, one_level(8))).features - x).abs().max() < 0.01
    assert (TemporalBlock(32, 48, 1, drop_path=None)(Levels(x, one_level(8))).features - x).abs().max() > 0.1
