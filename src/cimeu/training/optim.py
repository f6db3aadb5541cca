"""How weights move: the optimiser, and a learning rate that is a pure function of the step.

`cosine` (default): AdamW, linear warm-up, cosine down to nothing. `published` (CiMEU release): SGD with momentum 0.9 at
0.01, a tenth of it after each of 10, 15, 20 and 25 of 30 epochs, here as shares of the planned steps.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from cimeu.ranges import Within, check_values

PUBLISHED_DROPS = (10 / 30, 15 / 30, 20 / 30, 25 / 30)


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Optimiser and schedule."""

    schedule: Literal["cosine", "published"] = "cosine"
    """`cosine`: AdamW; `published`: SGD, usually with learning_rate 0.01."""
    learning_rate: Annotated[float, Within(0, 100, above=True)] = 1e-3
    """Highest learning rate."""
    weight_decay: Annotated[float, Within(0)] = 1e-4
    """Decay of matrices and kernels; biases, norms and scales are left alone by AdamW."""
    adversary_rate: Annotated[float, Within(0)] = 10.0
    """Learning rate of the style and adversary heads, as a multiple: heads that lag behind what they read push E and S
    about without ever removing anything."""
    warm_up: Annotated[float, Within(0, 1, below=True)] = 0.05
    """Share of the planned steps in which the rate rises (cosine)."""
    clip_norm: Annotated[float, Within(0)] = 1.0
    """Longest gradient; longer ones are shortened to it. 0 is off."""

    def __post_init__(self) -> None:
        check_values(self, "training.optimiser")


def learning_rate(config: OptimiserConfig, step: int, planned_steps: int) -> float:
    """Learning rate of a step, counted from 0.

    >>> [round(learning_rate(OptimiserConfig(warm_up=0.5), step, 4), 6) for step in range(4)]
    [0.0005, 0.001, 0.001, 0.0005]
    >>> learning_rate(OptimiserConfig(schedule="published", learning_rate=0.01), 29, 30) <= 1.1e-6
    True
    """
    if config.schedule == "published":
        drops = sum(step >= round(share * planned_steps) for share in PUBLISHED_DROPS)
        return config.learning_rate * 0.1**drops
    rising = round(config.warm_up * planned_steps)
    if step < rising:
        return config.learning_rate * (step + 1) / rising
    # Cosine decay to zero after the warm-up (SGDR, ICLR 2017).
    done = (step - rising) / max(planned_steps - rising, 1)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2


def build_optimiser(
    config: OptimiserConfig, parameters: Iterable[nn.Parameter], heads: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """AdamW or, for the published schedule, SGD, over the parameters that are trained; `heads` learn faster."""
    fast = {id(parameter) for parameter in heads}
    groups = []
    for parameter in parameters:
        if parameter.requires_grad:
            # Biases, norms and scales are not shrunk: decay there changes what a layer can say, not how smooth it is.
            decay = config.weight_decay if parameter.ndim > 1 or config.schedule == "published" else 0.0
            groups.append((decay, config.adversary_rate if id(parameter) in fast else 1.0, parameter))
    # A group per kind, in the order of first appearance: the saved state of the optimiser is matched by position.
    kinds = dict.fromkeys((decay, multiple) for decay, multiple, _ in groups)
    options: list[dict[str, Any]] = [
        {"params": [p for *of, p in groups if tuple(of) == kind], "weight_decay": kind[0], "multiple": kind[1]}
        for kind in kinds
    ]
    if config.schedule == "published":
        return torch.optim.SGD(options, config.learning_rate, momentum=0.9)
    return torch.optim.AdamW(options, config.learning_rate, fused=True)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters this rate times its own multiple."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["multiple"]


def add_to_mean(mean: dict[str, Tensor], weights: Mapping[str, Tensor], count: int) -> None:
    """Make `mean`, over `count - 1` epochs so far, the mean over `count`; whole numbers are those of the last epoch."""
    for name, tensor in weights.items():
        value = tensor.detach().cpu()
        if count == 1 or not value.is_floating_point():
            mean[name] = value.clone()
        else:
            # A running mean needs one copy of the weights, however many epochs.
            mean[name] += (value - mean[name]) / count


def reversal_factor(step: int, planned_steps: int) -> float:
    """How strongly adversaries push back: 0 at first, near 1 from the middle of training on (DANN, JMLR 2016).

    >>> reversal_factor(0, 100), round(reversal_factor(50, 100), 3)
    (0.0, 0.987)
    """
    return 2 / (1 + math.exp(-10 * step / planned_steps)) - 1
