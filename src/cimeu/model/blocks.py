"""Building blocks that never let padding touch a real step.

The temporal block is the public one of PTH-Net (IEEE TIP 2024), which follows TriDet: local convolutions gated by the
clip's mean, then attention, then an MLP. The levels H, M and L of a clip lie *side by side* along time, so that every
linear layer is one matrix product for all of them; convolutions, pooling and attention know where a level ends.

Axes: B clips, T time steps of all levels together, C channels, P the three levels. Masks are true on real steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cimeu.model.attention import attention
from cimeu.pyramid import Level, Pyramid

HEADS = 8
GROUPS = 16
KERNELS = (5, 3, 1)
"""Kernel of the second private convolution at H, M and L."""


@dataclass(frozen=True)
class Layout:
    """Which steps are real, and where each level ends. Shared by all features of one resolution."""

    mask: Bool[Tensor, "B T"]
    lengths: tuple[int, int, int]

    @classmethod
    def of(cls, mask: Bool[Tensor, "B T"]) -> "Layout":
        """Levels of a clip: every step, every second, every fourth."""
        # A step of M or L stands at the same moment as every second or fourth of H, so it is real where that one is.
        masks = (mask, mask[:, ::2], mask[:, ::4])
        return cls(torch.cat(masks, dim=1), cast(tuple[int, int, int], tuple(m.shape[1] for m in masks)))

    def halved(self) -> "Layout":
        """Every second step of each level."""
        masks = [mask[:, ::2] for mask in self.mask.split(self.lengths, dim=1)]
        return Layout(torch.cat(masks, dim=1), cast(tuple[int, int, int], tuple(m.shape[1] for m in masks)))

    @cached_property
    def valid(self) -> Float[Tensor, "B T 1"]:
        """The mask as a factor."""
        return self.mask.unsqueeze(-1).float()

    @cached_property
    def full(self) -> bool:
        """Whether there is no padding at all, as in a batch of clips of 16 steps or more."""
        return bool(self.mask.all())

    def masked(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Zero on padding; nothing to do without any."""
        # A full batch is the common case in training; a product with ones would still cost a pass over memory.
        return x if self.full else x * self.valid.to(x.dtype)

    @property
    def level(self) -> Int[Tensor, " T"]:
        """Level (0 H, 1 M, 2 L) of each step."""
        return level_of(self.lengths, self.mask.device)

    @cached_property
    def counts(self) -> Float[Tensor, "B P 1"]:
        """Real steps per level, at least one."""
        return self.sums(self.valid).clamp(min=1)

    @cached_property
    def attends(self) -> Bool[Tensor, "B 1 T T"]:
        """Steps that each step (row) may attend to: real ones of its level, and itself: softmax over nothing is NaN."""
        itself = torch.eye(sum(self.lengths), dtype=torch.bool, device=self.mask.device)
        return self.seen_from(self) | itself

    def seen_from(self, other: "Layout") -> Bool[Tensor, "B 1 Q T"]:
        """Which of these steps (columns) each step of another layout (rows) may attend to: real ones of its level."""
        # Levels lie side by side in one tensor, so the mask is what keeps them apart.
        same = other.level[:, None] == self.level[None, :]
        return (same & self.mask[:, None, :])[:, None]

    def inside(self, reach: int) -> Float[Tensor, "K T 1"]:
        """One where the step -reach to +reach later belongs to the same level, else zero."""
        return inside_level(self.lengths, reach, self.mask.device)

    def sums(self, x: Float[Tensor, "B T *rest"]) -> Float[Tensor, "B P *rest"]:
        """Sum over the steps of each level."""
        return torch.stack([part.sum(dim=1) for part in x.split(self.lengths, dim=1)], dim=1)

    def spread(self, x: Float[Tensor, "B P *rest"]) -> Float[Tensor, "B T *rest"]:
        """Give every step the value of its level."""
        parts = [x[:, i : i + 1].expand(-1, n, *x.shape[2:]) for i, n in enumerate(self.lengths)]
        return torch.cat(parts, dim=1)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def level_of(lengths: tuple[int, int, int], device: torch.device) -> Int[Tensor, " T"]:
    """Level (0 H, 1 M, 2 L) of each step."""
    return torch.cat([torch.full((n,), i, device=device) for i, n in enumerate(lengths)])


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def inside_level(lengths: tuple[int, int, int], reach: int, device: torch.device) -> Float[Tensor, "K T 1"]:
    """One where the step -reach to +reach later belongs to the same level, else zero."""
    place = torch.cat([torch.arange(n, device=device) for n in lengths])
    length = torch.cat([torch.full((n,), n, device=device) for n in lengths])
    neighbours = place + torch.arange(-reach, reach + 1, device=device)[:, None]
    return ((neighbours >= 0) & (neighbours < length)).float()[..., None]


@dataclass(frozen=True)
class Levels:
    """The levels of a batch side by side along time."""

    features: Float[Tensor, "B T D"]
    layout: Layout

    def map(self, function: Callable[[Tensor], Tensor]) -> "Levels":
        """Apply one function to the steps of all levels."""
        return Levels(function(self.features), self.layout)

    def padded(self, layout: Layout) -> "Levels":
        """With zeros behind every level, up to the lengths of a longer layout."""
        parts = self.features.split(self.layout.lengths, dim=1)
        padded = [F.pad(x, (0, 0, 0, n - x.shape[1])) for x, n in zip(parts, layout.lengths, strict=True)]
        return Levels(torch.cat(padded, dim=1), layout)

    def means(self) -> tuple[Float[Tensor, "B D"], ...]:
        """Mean over the real steps of each level; zero where there is none."""
        sums = self.layout.sums(self.layout.masked(self.features))
        return (sums / self.layout.counts).unbind(dim=1)

    def pyramid(self) -> Pyramid:
        """The levels apart, as losses and readers want them."""
        lengths = self.layout.lengths
        pairs = zip(self.features.split(lengths, dim=1), self.layout.mask.split(lengths, dim=1), strict=True)
        return Pyramid(*(Level(features, mask) for features, mask in pairs))


def masked_mean(x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """Mean over real steps; zero where a clip has none."""
    valid = mask.unsqueeze(-1).float()
    return (x * valid).sum(dim=1) / valid.sum(dim=1).clamp(min=1)


def max_pool(x: Levels) -> Levels:
    """Halve every level: the largest of each real step and its real neighbours, around every second step."""
    # Padding is -inf so that it never wins against a real step, however negative that is.
    padded = x.features.masked_fill(~x.layout.mask.unsqueeze(-1), -torch.inf)
    parts = [
        F.max_pool1d(part.transpose(1, 2), kernel_size=3, stride=2, padding=1).transpose(1, 2)
        for part in padded.split(x.layout.lengths, dim=1)
    ]
    layout = x.layout.halved()
    return Levels(torch.cat(parts, dim=1).masked_fill(~layout.mask.unsqueeze(-1), 0.0), layout)


def upsampled(x: Float[Tensor, "B S D"], source: Layout, target: Layout) -> Float[Tensor, "B T D"]:
    """Every step twice (nearest neighbour), cut to the target's lengths."""
    parts = [
        part.unsqueeze(2).expand(-1, -1, 2, -1).flatten(1, 2)[:, :length]  # [B, S, 2, D] -> [B, 2 S, D]
        for part, length in zip(x.split(source.lengths, dim=1), target.lengths, strict=True)
    ]
    return torch.cat(parts, dim=1)


def neighbours_summed(x: Float[Tensor, "B T E"], layout: Layout) -> Float[Tensor, "B T C"]:
    """Second half of a convolution of three taps: previous step's first third + own second + next step's last."""
    before, here, after = x.chunk(3, dim=-1)  # [B, T, C] each
    inside = layout.inside(1).to(x.dtype)
    # The factor removes what would be carried over the border from one level to the next.
    before = F.pad(before[:, :-1], (0, 0, 1, 0)) * inside[0]
    after = F.pad(after[:, 1:], (0, 0, 0, 1)) * inside[2]
    return before + here + after


class MaskedConvolution(nn.Module):
    """Convolution of three taps without bias that reads real steps only.

    A convolution is a product per tap, then a sum over neighbours. Products come first (`project`), because copies of a
    step (other levels of the input, doubled steps of the decoder) need them once.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.taps = nn.Linear(inputs, 3 * outputs, bias=False)
        # torch's own initial range for a convolution of this fan-in, whose weights lie in a linear layer here.
        nn.init.uniform_(self.taps.weight, -((3 * inputs) ** -0.5), (3 * inputs) ** -0.5)

    def project(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T E"]:
        """Each step's products with the three taps."""
        return self.taps(x)

    def gather(self, projected: Float[Tensor, "B T E"], layout: Layout) -> Float[Tensor, "B T C"]:
        """Sum over real neighbours of the same level; zero on padding."""
        return layout.masked(neighbours_summed(layout.masked(projected), layout))

    def forward(self, x: Levels) -> Levels:
        return Levels(self.gather(self.project(x.features), x.layout), x.layout)


class WeighNeighbours(torch.autograd.Function):
    """Each channel's neighbouring steps, weighed with a kernel for every step: y[t] = sum over k of x[t + k] w[k, t].

    Written as shifts and products in place: on a CPU that is several times faster than a grouped convolution of so few
    steps, and this backward needs half the passes over memory that automatic differentiation takes.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, kernel: Tensor) -> Tensor:
        context.save_for_backward(x, kernel)
        reach = len(kernel) // 2
        total = x * kernel[reach]
        for k in range(1, reach + 1):
            total[:, k:].addcmul_(x[:, :-k], kernel[reach - k, k:])
            total[:, :-k].addcmul_(x[:, k:], kernel[reach + k, :-k])
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, kernel = context.saved_tensors
        (gradient,) = gradients
        reach = len(kernel) // 2
        of_x, of_kernel = gradient * kernel[reach], torch.zeros_like(kernel)
        of_kernel[reach] = (gradient * x).sum(dim=0)
        for k in range(1, reach + 1):
            of_x[:, :-k].addcmul_(gradient[:, k:], kernel[reach - k, k:])
            of_x[:, k:].addcmul_(gradient[:, :-k], kernel[reach + k, :-k])
            of_kernel[reach - k, k:] = (gradient[:, k:] * x[:, :-k]).sum(dim=0)
            of_kernel[reach + k, :-k] = (gradient[:, :-k] * x[:, k:]).sum(dim=0)
        return of_x, of_kernel


def depthwise(x: Float[Tensor, "B T C"], kernel: Float[Tensor, "K #T C"]) -> Float[Tensor, "B T C"]:
    """Weigh each channel's neighbouring steps with a kernel of its own, which may differ from step to step."""
    return x * kernel[0] if len(kernel) == 1 else WeighNeighbours.apply(x, kernel)  # type: ignore[no-untyped-call]


class Depthwise(nn.Module):
    """One kernel per channel, shared by the levels."""

    def __init__(self, width: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kernel, width).uniform_(-(kernel**-0.5), kernel**-0.5))
        self.bias = nn.Parameter(torch.empty(width).uniform_(-(kernel**-0.5), kernel**-0.5)) if bias else None

    def forward(self, x: Float[Tensor, "B T C"], layout: Layout) -> Float[Tensor, "B T C"]:
        y = depthwise(x, within_level(self.weight[:, None, :], layout))
        return y if self.bias is None else y + self.bias


class PrivateDepthwise(nn.Module):
    """Sum of two depthwise convolutions (kernel k, and 5, 3, 1) of each level's own: one kernel per level."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for second in KERNELS:
            weight, bias = torch.zeros(max(kernel, second), width), torch.zeros(width)
            for size in (kernel, second):
                # Two convolutions whose outputs are added are one with the sum of their kernels, the smaller one
                # centred.
                start = (len(weight) - size) // 2
                weight[start : start + size] += torch.empty(size, width).uniform_(-(size**-0.5), size**-0.5)
                bias += torch.empty(width).uniform_(-(size**-0.5), size**-0.5)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(bias))

    def forward(self, x: Float[Tensor, "B T C"], layout: Layout) -> Float[Tensor, "B T C"]:
        # Kernels of different lengths are padded and stacked in one tensor, so that all levels take one pass.
        widest = max(len(weight) for weight in self.weights)
        padded = [F.pad(w, (0, 0, (widest - len(w)) // 2, (widest - len(w)) // 2)) for w in self.weights]
        kernels = torch.stack(padded, dim=1)[:, layout.level]  # [K, T, C]
        return depthwise(x, within_level(kernels, layout)) + torch.stack(list(self.biases))[layout.level]


def within_level(kernel: Float[Tensor, "K #T C"], layout: Layout) -> Float[Tensor, "K #S C"]:
    """A kernel for each step, zero where it would reach into another level."""
    if len(kernel) == 1:
        return kernel
    return kernel * layout.inside(len(kernel) // 2)


class MaskedGroupNorm(nn.Module):
    """GroupNorm whose mean and deviation come from a level's real steps and the channels of a group."""

    def __init__(self, width: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "B T C"], layout: Layout) -> Float[Tensor, "B T C"]:
        # Half precision is too coarse for sums of squares over a level.
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        grouped = x.unflatten(-1, (GROUPS, -1))  # [B, T, 16, C / 16]
        size = layout.counts * grouped.shape[-1]
        # Statistics over real steps alone: a clip must not be normalised by how long its batch happens to be.
        mean = layout.sums(layout.masked(grouped.mean(dim=-1))) / layout.counts  # [B, P, 16]
        centred = grouped - layout.spread(mean).unsqueeze(-1)
        # Centring has moved padding away from zero.
        centred = centred if layout.full else centred * layout.valid.unsqueeze(-1)
        scale = (layout.sums(centred.square().sum(dim=-1)) / size + self.eps).rsqrt()
        return (centred * layout.spread(scale).unsqueeze(-1)).flatten(2) * self.weight + self.bias


class DropPath(nn.Module):
    """Stochastic depth: a training clip skips the branch by chance; a learned scale per channel starts small."""

    def __init__(self, width: int, chance: float, scale: float) -> None:
        super().__init__()
        self.chance = chance
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        if not self.training or self.chance == 0:
            return x * self.scale
        # Kept branches are scaled up, so that their mean is that of evaluation, where none is skipped.
        keep = (torch.rand(len(x), 1, 1, device=x.device) >= self.chance) / (1 - self.chance)
        return x * (self.scale * keep)


class Projection(nn.Module):
    """Query, key or value of the temporal attention: depthwise k = 3, LayerNorm, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Depthwise(width, 3, bias=False)
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "B T C"], layout: Layout) -> Float[Tensor, "B T C"]:
        return self.linear(self.norm(self.conv(x, layout)))


class TemporalAttention(nn.Module):
    """Masked attention of 8 heads among the steps of a level."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = Projection(width), Projection(width), Projection(width)
        self.output = nn.Linear(width, width)

    def forward(
        self, query: Float[Tensor, "B T C"], context: Float[Tensor, "B T C"], layout: Layout
    ) -> Float[Tensor, "B T C"]:
        query, context = layout.masked(query), layout.masked(context)
        q, k, v = self.query(query, layout), self.key(context, layout), self.value(context, layout)
        # Query and memory are the same stream here.
        both = (layout.lengths, layout.lengths)
        mixed = attention(q, k, v, HEADS, seen=layout.attends, full=layout.full, lengths=both)
        return layout.masked(self.output(mixed))


class TemporalBlock(nn.Module):
    """The THR layer: local convolutions, gated by the clip's mean, ask; the clip answers by attention."""

    def __init__(
        self, width: int, hidden: int, kernel: int, *, drop_path: float | None, layer_scale: float = 1e-4
    ) -> None:
        """`drop_path` None leaves out stochastic depth and per-channel scales (the k = 1 layers of an encoder)."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.psi = Depthwise(width, kernel)
        self.fc = Depthwise(width, 1)
        self.local = PrivateDepthwise(width, kernel)
        self.phi = Depthwise(width, 1)
        self.attention = TemporalAttention(width)
        self.group_norm = MaskedGroupNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.drop_attention = nn.Identity() if drop_path is None else DropPath(width, drop_path, layer_scale)
        self.drop_mlp = nn.Identity() if drop_path is None else DropPath(width, drop_path, layer_scale)

    def forward(self, levels: Levels) -> Levels:
        x, layout = levels.features, levels.layout  # [B, T, C]
        # LayerNorm's bias makes padding non-zero, and the convolutions below read neighbours.
        n = layout.masked(self.norm(x))
        mean = layout.sums(n) / layout.counts  # [B, P, C]
        phi = F.relu(self.phi(mean, layout))  # [B, P, C]
        # The query is what a step holds locally, the context is gated by what the whole level holds.
        query = self.local(n, layout) * self.psi(n, layout)
        context = self.fc(n, layout) * layout.spread(phi)
        x = x + self.drop_attention(self.attention(query, context, layout) + n)
        x = x + self.drop_mlp(self.mlp(self.group_norm(x, layout)))
        return Levels(x, layout)
