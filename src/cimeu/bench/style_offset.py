"""The linear rule of a support set in front of any model: a person's style is subtracted before a clip is read.

The mean x over the steps of a clip is taken, in each stream by itself, as u + delta_e + noise: u is the person, the
room and the culture, delta_e what an emotion adds. From a support set of unlabelled clips of the same person, u is the
mean of x less the mix of emotions in it, shrunk towards 0 (`cimeu.model.style_set.offsets`); the mix comes from what
the model itself answers about each support clip alone. Every step of the scored clip is then moved by -u. The model
stays as it was trained, so one training serves every protocol, and every row of a table gets the same help:

    alone          clips as they are
    person-10      with ten other clips of the same person in the same part of the fold, fewer where there are fewer
    culture-10     with ten clips of other people of the same culture

These look at unlabelled test clips: they are transductive. Supports are drawn once per clip, by its name, so that all
rows and seeds have the same ones. Mixes: `cimeu.evaluation.supports`.

Axes: N clips, T steps of a clip, D features, K emotions.
"""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int

from cimeu.batching.dataset import DEVIATION_FLOOR, ClipDataset
from cimeu.errors import RecipeError, guess
from cimeu.evaluation.predictions import part_table
from cimeu.evaluation.supports import Condition, Mix, People, Strangers, draw
from cimeu.evaluation.uncertainty import speaker_names
from cimeu.model.config import StreamConfig
from cimeu.model.pooling import pool_steps
from cimeu.model.style_set import FURTHEST, StyleSetConfig, offsets
from cimeu.pyramid import Direction

Scope = Literal["person", "culture"]
SHRINK: Mapping[Scope, float] = {"person": 1.0, "culture": 10.0}
"""Support clips that weigh as much as having no style: people of one culture share less of it than one person."""
PASSES = 0
"""Refinements of the mix and the posteriors in turn: a model that was not trained with supports answers too surely
about people whose style it does not know, and what it is sure of would be confirmed by itself."""
COUNT = "support."
"""Start of the names of the columns that count the emotions in the support of a clip."""
BLOCK = 64
"""Clips whose supports are computed at a time."""

Supports = Sequence[Int[np.ndarray, " _"] | None]
"""Rows of the clips in the support of each clip; None where the mix cannot be filled."""
Clips = Mapping[Direction, ClipDataset]
"""The same clips, as each network of an ensemble reads them."""


@dataclass(frozen=True)
class SupportProtocol:
    """Whose clips are in a support set, how many, and in what mix of emotions."""

    scope: Scope
    condition: Condition

    def __str__(self) -> str:
        """Name in tables and on the command line.

        >>> str(SupportProtocol("person", Condition(10, "even"))), str(SupportProtocol("culture", Condition(10)))
        ('person-10:even', 'culture-10')
        """
        mix = "" if self.condition.mix == "natural" else f":{self.condition.mix}"
        return f"{self.scope}-{self.condition.size}{mix}"


def support_protocols(text: str) -> tuple[SupportProtocol, ...]:
    """Protocols of a list such as `person-10,person-10:single,culture-10`.

    `single` is both `own` and `other`: supports of the scored clip's emotion alone, and of another one alone.

    Raises:
        RecipeError: an unknown scope or mix, or no number of clips.
    """
    mixes: dict[str, tuple[Mix, ...]] = {mix: (mix,) for mix in get_args(Mix)} | {"single": ("own", "other")}
    protocols = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        source, _, mix = name.partition(":")
        scope, _, size = source.rpartition("-")
        if scope not in get_args(Scope) or not size.isdigit() or not int(size):
            raise RecipeError(f"`{name}` names no support set\n\nhint: write person-10, person-10:even or culture-10")
        if (mix or "natural") not in mixes:
            raise RecipeError(f"unknown mix `{mix}` of a support set\n\nhint: {guess(mix, tuple(mixes))}")
        protocols += [
            SupportProtocol(scope, Condition(int(size), share))  # type: ignore[arg-type]
            for share in mixes[mix or "natural"]
        ]
    return tuple(dict.fromkeys(protocols))


def draw_supports(clips: ClipDataset, protocol: SupportProtocol, group: str) -> Supports:
    """The support of every clip among the others; None where its person is unknown or cannot fill the mix."""
    table, n_emotions = clips.manifest.table, len(clips.labels)
    people = People.of(speaker_names(table["corpus"], table["speaker"]), clips.emotions, n_emotions)
    if protocol.scope == "culture":
        culture = np.unique(clips.groups(group), return_inverse=True)[1]
        people = Strangers(people.person, people.emotion, n_emotions, culture)
    unknown = (people.person < 0) & (protocol.scope == "person")
    return [
        None if unknown[row] else draw(people, row, protocol.condition, _generator(f"{protocol} {clip_id}"))
        for row, clip_id in enumerate(clips.clip_ids)
    ]


@dataclass(frozen=True)
class StreamStyle:
    """What one stream looks like in the training clips."""

    mean: Float[np.ndarray, " D"]
    deviation: Float[np.ndarray, " D"]
    """Mean and deviation of each training group's clips, averaged over groups."""
    deltas: Float[np.ndarray, "K D"]
    """What an emotion adds, within each group, averaged over groups; 0 for an emotion that no clip shows."""

    @classmethod
    def of(
        cls,
        vectors: Float[np.ndarray, "N D"],
        emotions: Int[np.ndarray, " N"],
        groups: Sequence[str],
        n_emotions: int,
    ) -> "StreamStyle":
        """From vectors of training clips, NaN where there is nothing to measure."""
        group_of = np.asarray(groups)
        inside = [vectors[group_of == name] for name in np.unique(group_of)]
        mean = _mean([_mean(rows) for rows in inside])
        deviation = np.sqrt(_mean([_mean((rows - _mean(rows)) ** 2) for rows in inside]))
        mean, deviation = np.nan_to_num(mean), np.maximum(np.nan_to_num(deviation), DEVIATION_FLOOR)
        z = (vectors - mean) / deviation
        deltas = []
        for name in np.unique(group_of):
            centres = np.stack([_mean(z[(group_of == name) & (emotions == e)]) for e in range(n_emotions)])
            deltas.append(centres - _mean(centres))
        return cls(mean, deviation, np.nan_to_num(_mean(deltas)))

    def standardised(self, vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        """Cut where single dimensions of foreign clips would decide alone; what is not measurable is the mean."""
        return np.clip(np.nan_to_num((vectors - self.mean) / self.deviation), -FURTHEST, FURTHEST)


@dataclass(frozen=True)
class StyleOffset:
    """The rule, fitted to the training clips of a fold as one network reads them."""

    streams: tuple[StreamStyle | None, ...]

    @classmethod
    def of(cls, train: ClipDataset, group: str) -> "StyleOffset":
        """Statistics of both streams; `group` is the column that names the training groups."""
        groups, n_emotions = train.groups(group), len(train.labels)
        return cls(
            tuple(
                None if vectors is None else StreamStyle.of(vectors, train.emotions, groups, n_emotions)
                for vectors in map(_pooled, _streams(train))
            )
        )


@dataclass(frozen=True)
class Adapter:
    """Test clips with what a model answers about each of them alone."""

    rule: StyleOffset
    clips: ClipDataset
    posteriors: Float[np.ndarray, "N K"]

    def less_style(self, supports: Supports, shrink: float) -> ClipDataset:
        """The clips, each less the style in its support; a clip without support stays as it is."""
        changed = copy.copy(self.clips)
        streams = zip(
            ("first_features", "second_features"), _streams(self.clips), self._moves(supports, shrink), strict=True
        )
        for name, clips, moves in streams:
            if moves is not None:
                moved = [None if steps is None else steps - move for steps, move in zip(clips, moves, strict=True)]
                setattr(changed, name, moved)
        return changed

    def _moves(self, supports: Supports, shrink: float) -> Iterator[Float32[np.ndarray, "N D"] | None]:
        """Style of each clip in each stream, in the units of its steps."""
        emotions = tuple(self.clips.labels.emotions)
        posteriors = np.nan_to_num(self.posteriors, nan=1 / len(emotions))
        for style, z, present in zip(self.rule.streams, self._z, self.clips.present.T, strict=True):
            if style is None or z is None:
                yield None
                continue
            stream = StreamConfig(width=z.shape[1])
            config = StyleSetConfig(emotions=emotions, first=stream, shrink=shrink, passes=PASSES)
            usable = [np.zeros(0, int) if rows is None else rows[present[rows]] for rows in supports]
            blocks = (usable[start : start + BLOCK] for start in range(0, len(usable), BLOCK))
            offsets = np.concatenate([_offsets_of(block, z, posteriors, style.deltas, config) for block in blocks])
            yield (offsets * style.deviation).astype(np.float32)

    @cached_property
    def _z(self) -> tuple[Float[np.ndarray, "N D"] | None, ...]:
        pooled = map(_pooled, _streams(self.clips))
        return tuple(
            None if vectors is None or style is None else style.standardised(vectors)
            for vectors, style in zip(pooled, self.rule.streams, strict=True)
        )


def answers_with_supports(
    rules: Mapping[Direction, StyleOffset],
    clips: Clips,
    answer: Callable[[Clips], Float[np.ndarray, "N K"]],
    protocols: Sequence[SupportProtocol],
    group: str,
) -> list[pd.DataFrame]:
    """Answers about test clips under each protocol, with the emotions in the support of each clip counted.

    Args:
        rules: fitted to the training clips as each network reads them.
        clips: test clips as each network reads them.
        answer: probabilities of clips by the model.
        protocols: the supports.
        group: column of the cultures.

    Returns:
        For each protocol a table like those of a cell; clips whose person cannot fill the mix are left out.
    """
    posteriors = answer(clips)
    adapters = {
        direction: Adapter(rules[direction], direction_clips, posteriors)
        for direction, direction_clips in clips.items()
    }
    first = next(iter(clips.values()))
    tables = []
    for protocol in protocols:
        supports, shrink = draw_supports(first, protocol, group), SHRINK[protocol.scope]
        drawn = np.array([support is not None for support in supports])
        adapted = {direction: adapter.less_style(supports, shrink) for direction, adapter in adapters.items()}
        table = part_table(first, "test", answer(adapted), group=group).assign(condition=str(protocol))
        counts = np.array(
            [
                np.bincount(first.emotions[[] if rows is None else rows], minlength=len(first.labels))
                for rows in supports
            ]
        )
        table[[COUNT + name for name in first.labels.emotions]] = counts
        tables.append(table[drawn].reset_index(drop=True))
    return tables


def _offsets_of(
    supports: Sequence[Int[np.ndarray, " _"]],
    z: Float[np.ndarray, "N D"],
    posteriors: Float[np.ndarray, "N K"],
    deltas: Float[np.ndarray, "K D"],
    config: StyleSetConfig,
) -> Float[np.ndarray, "B D"]:
    """The rule for some clips: only what their supports hold is read, however many clips there are."""
    pool = np.unique(np.concatenate(supports)).astype(int)
    marked = np.stack([np.isin(pool, rows) for rows in supports])
    known, answered, support, of_emotions = map(torch.from_numpy, (z[pool], posteriors[pool], marked, deltas))
    return offsets(known, answered, support, of_emotions, config).numpy()


def _streams(clips: ClipDataset) -> tuple[Sequence[np.ndarray | None], Sequence[np.ndarray | None]]:
    return clips.first_features, clips.second_features


def _pooled(steps: Sequence[np.ndarray | None]) -> Float[np.ndarray, "N D"] | None:
    """Mean over the steps of each clip; None for a stream that no clip has."""
    widths = [array.shape[1] for array in steps if array is not None]
    return pool_steps(steps, widths[0], 1) if widths else None


def _mean(rows: Sequence[np.ndarray] | np.ndarray) -> Float[np.ndarray, "*rest D"]:
    """Mean over the first axis of what is measurable; NaN where nothing is."""
    values = np.asarray(rows, float)
    measured = np.isfinite(values)
    count = measured.sum(axis=0)
    return np.where(count > 0, np.where(measured, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
