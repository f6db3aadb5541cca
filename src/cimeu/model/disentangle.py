"""Separate emotion from the style of its expression (ER).

Two encoders of one shape read the same features of a stream: one keeps emotion primitives shared by everyone, the other
the style primitives of a person or culture. A decoder must reconstruct the input from both, and adversaries keep either
free of what belongs to the other. Every stream has encoders and a decoder of its own, since a stream that reaches the
classifiers undisentangled soon decides alone.

Sources: CiMEU (overview figure), PTH-Net (IEEE TIP 2024) for the encoder, H-NTL (ICLR 2024) for content and style,
Ganin et al. (JMLR 2016) for gradient reversal.

Axes: B clips, T time steps, D input width, C channels, P channels of all streams' primitives, K emotions, S styles.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cimeu.model.blocks import Layout, Levels, MaskedConvolution, TemporalBlock, max_pool, upsampled
from cimeu.model.config import ModelConfig


class PrimitiveEncoder(nn.Module):
    """From 16, 8 and 4 steps of features to 4, 2 and 1 steps of primitives; the levels share all weights."""

    def __init__(self, inputs: int, config: ModelConfig) -> None:
        super().__init__()
        width, hidden = config.sizes.width, config.sizes.temporal_mlp
        options = {"drop_path": config.drop_path, "layer_scale": config.layer_scale}
        self.convolution1 = MaskedConvolution(inputs, width)
        self.norm1 = nn.LayerNorm(width)
        self.convolution2 = MaskedConvolution(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.single_steps = nn.Sequential(*(TemporalBlock(width, hidden, 1, drop_path=None) for _ in range(2)))
        self.halves = TemporalBlock(width, hidden, 3, **options)
        self.quarters = TemporalBlock(width, hidden, 3, **options)

    def forward(self, features: Float[Tensor, "B T D"], layout: Layout) -> Levels:
        """`features`: every step of the clip; `layout`: of its three levels."""
        taps = self.convolution1.project(features)  # [B, 16, 3 C]: once, M and L are steps of H
        taps = torch.cat((taps, taps[:, ::2], taps[:, ::4]), dim=1)  # [B, 28, 3 C]
        x = F.relu(self.norm1(self.convolution1.gather(taps, layout)))  # [B, 28, C]
        x = self.convolution2(Levels(x, layout)).map(lambda y: F.relu(self.norm2(y)))
        x = self.single_steps(x)  # [B, 28, C]
        x = self.halves(max_pool(x))  # [B, 8 + 4 + 2, C]
        x = self.quarters(max_pool(x))  # [B, 4 + 2 + 1, C]
        # Scales and biases of the blocks leave padding non-zero; everything that follows expects zeros.
        return x.map(x.layout.masked)


class Decoder(nn.Module):
    """Reconstruct the input from emotion and style together; shared by the levels."""

    def __init__(self, outputs: int, config: ModelConfig) -> None:
        super().__init__()
        width = config.sizes.width
        self.join = nn.Linear(2 * width, width)
        self.convolution1 = MaskedConvolution(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.convolution2 = MaskedConvolution(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.output = nn.Linear(width, outputs)

    def forward(self, emotion: Levels, style: Levels, half: Layout, full: Layout) -> Levels:
        """`half`, `full`: layouts on the way back to the input's steps."""
        x = self.join(torch.cat((emotion.features, style.features), dim=-1))  # [B, 4 + 2 + 1, C]
        x = self._double(x, emotion.layout, half, self.convolution1, self.norm1)  # [B, 8 + 4 + 2, C]
        x = self._double(x, half, full, self.convolution2, self.norm2)  # [B, 16 + 8 + 4, C]
        return Levels(full.masked(self.output(x)), full)  # [B, 16 + 8 + 4, D]

    @staticmethod
    def _double(
        x: Tensor, source: Layout, target: Layout, convolution: MaskedConvolution, norm: nn.LayerNorm
    ) -> Tensor:
        taps = upsampled(convolution.project(x), source, target)  # products of both copies of a step are the same
        return F.leaky_relu(norm(convolution.gather(taps, target)))


class ReverseGradient(torch.autograd.Function):
    """Pass values on; send their gradient back with its sign turned and scaled."""

    @staticmethod
    def forward(context: Any, x: Tensor, scale: float) -> Tensor:
        context.scale = scale
        # A view: autograd needs an output that is another tensor than the input.
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -context.scale * gradients[0], None  # no gradient with respect to the scale


def standardised(vectors: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
    """Mean 0 and deviation 1 of every channel over the batch: nothing hides from a head by being small."""
    if len(vectors) < 2:  # one clip has no deviation
        return vectors
    return (vectors - vectors.mean(0)) / vectors.std(0).clamp(min=1e-3)


class IndependenceHeads(nn.Module):
    """A style classifier and two adversaries, reading the pooled primitives of all disentangled streams at a level.

    The adversary that predicts style from E is given the emotion: otherwise it would delete emotion wherever style and
    emotion go together. Heads learn at full size; reversal scales only what flows back to E and S.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, emotions, styles = config.sizes.width, len(config.emotions), config.styles
        # Streams side by side: one head sees what both streams together give away.
        pooled = width * len(config.disentangled)
        self.emotions = emotions
        self.style = nn.Linear(pooled, styles)
        self.style_of_emotion = nn.Sequential(nn.Linear(pooled + emotions, width), nn.ReLU(), nn.Linear(width, styles))
        self.emotion_of_style = nn.Sequential(nn.Linear(pooled, width), nn.ReLU(), nn.Linear(width, emotions))

    def forward(
        self,
        emotion: Float[Tensor, "B P"],
        style: Float[Tensor, "B P"],
        labels: Int[Tensor, " B"] | None,
        reversal: float,
    ) -> tuple[Float[Tensor, "B S"], Float[Tensor, "B S"], Float[Tensor, "B K"]]:
        """Logits: style from S, style from E (given the emotion), emotion from S. Label -1 stands for unlabelled."""
        if labels is None:
            labels = torch.full((len(emotion),), -1, device=emotion.device)
        one_hot = self.one_hot(labels).to(emotion.dtype)
        # Standardised, or the encoder could fool the adversary by shrinking what it says.
        reversed_emotion = ReverseGradient.apply(standardised(emotion), reversal)  # type: ignore[no-untyped-call]
        reversed_style = ReverseGradient.apply(standardised(style), reversal)  # type: ignore[no-untyped-call]
        return (
            self.style(style).float(),  # learned with the gradient, not against it
            self.style_of_emotion(torch.cat((reversed_emotion, one_hot), dim=-1)).float(),
            self.emotion_of_style(reversed_style).float(),
        )

    def one_hot(self, labels: Int[Tensor, " B"]) -> Int[Tensor, "B K"]:
        """One-hot emotions; zeros where a clip is unlabelled."""
        # The column of label -1 is cut off, which leaves zeros.
        return F.one_hot(labels + 1, self.emotions + 1)[:, 1:]
