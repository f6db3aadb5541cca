"""The linear rule of a support set in front of a network, as a run folder keeps it.

    RUN/forward/style/config.json          sizes and constants
    RUN/forward/style/model.safetensors    statistics of the training groups, deltas, a classifier of all of them

`cimeu.training.episodes` fits it, `cimeu.model.style_set` says what it computes. Each stream is less a style of its
own; the emotions of a support are told from all streams together. People who are met later are of no training group, so
the one classifier of all training groups speaks of their supports.

Axes: N scored clips, M clips that supports are taken from, D features of a step, streams side by side, K emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float32

from cimeu.errors import RecipeError
from cimeu.model.checkpoint import Specifications
from cimeu.model.config import StreamConfig
from cimeu.model.pooling import pool_steps
from cimeu.model.style_set import StyleSetConfig, SupportReading, offsets, trust
from cimeu.pyramid import Direction
from cimeu.ranges import Within, check_values

FOLDER = "style"
"""Name below the folder of a direction."""


@dataclass(frozen=True, kw_only=True)
class SupportRuleConfig:
    """Sizes and constants of the rule of one direction."""

    emotions: tuple[str, ...]
    """Classes in the order of the logits."""
    widths: tuple[Annotated[int, Within(0, 2**20)], Annotated[int, Within(0, 2**20)]]
    """Features of each stream; 0 for one that no training clip has."""
    direction: Direction = "forward"
    """How the network plays the first stream."""
    shrink: Annotated[float, Within(0)] = 1.0
    """Support clips that weigh as much as the assumption that a person has no style."""
    caution: Annotated[float, Within(0)] = 0.0
    """How soon a support of few emotions loses its weight; 0: every support has the whole weight."""

    def __post_init__(self) -> None:
        check_values(self)
        if len(self.widths) != 2 or not any(self.widths):
            raise RecipeError(f"`widths` is {list(self.widths)}\n\nhint: the widths of two streams, one above 0")

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "SupportRuleConfig":
        """Read from plain values."""
        return cls(**{**values, "emotions": tuple(values["emotions"]), "widths": tuple(values["widths"])})


class SupportRule(SupportReading):
    """The rule as one network of a run was trained behind it."""

    kind: ClassVar[str] = "support-rule"
    config_class: ClassVar[type] = SupportRuleConfig

    def __init__(self, config: SupportRuleConfig, specifications: Specifications | None = None) -> None:
        super().__init__(sum(config.widths), len(config.emotions))
        self.config = config
        self.specifications = specifications or Specifications(emotions=config.emotions, direction=config.direction)

    @property
    def streams(self) -> list[slice]:
        """Where each stream lies among the features."""
        ends = list(accumulate(self.config.widths, initial=0))
        return [slice(ends[0], ends[1]), slice(ends[1], ends[2])]

    def embed(
        self, first: Sequence[np.ndarray | None], second: Sequence[np.ndarray | None]
    ) -> Float32[np.ndarray, "N D"]:
        """Means over the steps of each clip; NaN for a stream that it lacks."""
        streams = zip((first, second), self.config.widths, strict=True)
        return np.concatenate([pool_steps(steps, width, 1) for steps, width in streams], axis=1).astype(np.float32)

    @torch.inference_mode()
    def styles(
        self, pool: Float32[np.ndarray, "M D"], support: Bool[np.ndarray, "N M"], shrink: float | None = None
    ) -> Float32[np.ndarray, "N D"]:
        """What is subtracted from every step given each support among `pool`; 0 without one. `shrink` replaces the
        rule's own."""
        z = self.standardised(torch.from_numpy(pool))
        posteriors, styles = self.posteriors(z), torch.zeros(len(support), z.shape[1])
        shrink = self.config.shrink if shrink is None else shrink
        for inside, width in zip(self.streams, self.config.widths, strict=True):
            if width:
                config = stream_config(self.config.emotions, width, shrink)
                marked = torch.from_numpy(support & np.isfinite(pool[:, inside]).any(axis=1))
                styles[:, inside] = offsets(z[:, inside], posteriors, marked, self.deltas[:, inside], config)
        return (styles * self.deviation).numpy()

    @torch.inference_mode()
    def trust(self, pool: Float32[np.ndarray, "M D"], support: Bool[np.ndarray, "N M"]) -> Float32[np.ndarray, " N"]:
        """Weight of what each support says against the clip alone, 0 to 1; 0 without support."""
        posteriors = self.posteriors(self.standardised(torch.from_numpy(pool)))
        return trust(posteriors, torch.from_numpy(support), self.config.caution).numpy()

    def subtract(self, style: Float32[np.ndarray, " D"], steps: np.ndarray | None, stream: int) -> np.ndarray | None:
        """Steps of a clip in one stream (0 or 1), without the style."""
        if steps is None or not self.config.widths[stream]:
            return steps
        return steps - style[self.streams[stream]]


def stream_config(emotions: tuple[str, ...], width: int, shrink: float) -> StyleSetConfig:
    """The rule of one stream: the mix of emotions in a support is told once, from all streams together."""
    # Refined with what it is sure of, the mix of a support would confirm itself: no passes.
    return StyleSetConfig(emotions=emotions, first=StreamConfig(width=width), shrink=shrink, passes=0)
