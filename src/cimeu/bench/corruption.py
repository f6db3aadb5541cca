"""Corruption of test clips: noise in a stream, gaps in it, or no stream at all. Training never sees any of it.

Each stream is left alone, laid under noise as strong as the training clips differ, cut (half of its steps are not
measured), or taken away. Where one stream is corrupted, the model is compared with the better single one: itself, given
one stream alone.

Axes: T steps of a clip, D features.
"""

import copy
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32

from cimeu.batching.dataset import ClipDataset, Statistics

Damage = Literal["", "noise", "cut", "absent"]
NOISE = 1.0
"""Deviation of the noise, in deviations of the training clips."""
CUT = 0.5
"""Share of the steps that are not measured."""


@dataclass(frozen=True, order=True)
class Condition:
    """Corruption of the first and of the second stream."""

    first: Damage = ""
    second: Damage = ""

    def __str__(self) -> str:
        """Name in tables and cells; nothing for untouched clips.

        >>> str(Condition("noise", "absent")), str(Condition())
        ('first noise, second absent', '')
        """
        return ", ".join(f"{name} {damage}" for name, damage in vars(self).items() if damage)

    @classmethod
    def named(cls, name: str) -> "Condition":
        """The condition of a name.

        >>> Condition.named("second cut")
        Condition(first='', second='cut')
        """
        return cls(**dict(part.split(" ") for part in name.split(", ") if part))  # type: ignore[arg-type]

    def alone(self) -> tuple["Condition", "Condition"]:
        """The same with the first stream alone, and with the second alone."""
        return Condition(self.first, "absent"), Condition("absent", self.second)


def conditions(*, two_streams: bool) -> list[Condition]:
    """Every condition that is tested; the first is untouched. One stream is never taken away altogether."""
    if not two_streams:
        return [Condition(), Condition("noise"), Condition("cut")]
    corrupted = [Condition(damage) for damage in get_args(Damage)]
    corrupted += [Condition("", damage) for damage in get_args(Damage) if damage]
    alone = [single for condition in corrupted for single in condition.alone()]
    return [
        candidate for candidate in dict.fromkeys([*corrupted, *alone]) if candidate != Condition("absent", "absent")
    ]


def compared(two_streams: bool) -> list[Condition]:
    """Conditions in which the model is compared with the better single stream: both are there."""
    return [
        condition
        for condition in conditions(two_streams=two_streams)
        if "absent" not in (condition.first, condition.second)
    ]


def damaged(
    dataset: ClipDataset,
    condition: Condition,
    statistics: tuple[Statistics | None, Statistics | None],
    *,
    seed: int = 0,
) -> ClipDataset:
    """The dataset under a condition; the same seed gives the same noise and the same gaps.

    Args:
        dataset: test clips.
        condition: corruption of each stream.
        statistics: of the training clips, for the strength of the noise.
        seed: of noise and gaps.
    """
    changed = copy.copy(dataset)
    rows = (dataset.first_features, dataset.second_features)
    for stream, damage in enumerate((condition.first, condition.second)):
        stream_statistics = statistics[stream]
        if damage and stream_statistics is not None:
            corrupted = [
                # A generator per clip: the same noise for every row and direction, whatever else is in the batch.
                None
                if steps is None
                else _corrupt(steps, damage, stream_statistics, np.random.default_rng((seed, stream, row)))
                for row, steps in enumerate(rows[stream])
            ]
            setattr(changed, ("first_features", "second_features")[stream], corrupted)
    streams = (changed.first_features, changed.second_features)
    changed.present = np.array([[steps is not None for steps in stream] for stream in streams]).T
    changed.usable = np.flatnonzero(changed.present.any(1))
    return changed


def _corrupt(
    steps: Float32[np.ndarray, "T D"], damage: Damage, statistics: Statistics, generator: np.random.Generator
) -> Float32[np.ndarray, "T D"] | None:
    if damage == "noise":
        return steps + NOISE * statistics.deviation * generator.standard_normal(steps.shape, dtype=np.float32)
    if damage == "absent":
        return None
    # Exactly this share of every clip, instead of a chance for each step.
    gaps = generator.permutation(len(steps)) < round(CUT * len(steps))
    return np.where(gaps[:, None], np.float32(np.nan), steps)
