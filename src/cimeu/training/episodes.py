"""The linear rule of a support set as a layer in front of the streams: what any model is trained and tested behind.

The mean x over the steps of a clip is taken as u + delta_e + noise: u is the person, the room and the culture, delta_e
what an emotion adds. From unlabelled clips of the same person, u is read by the rule of `cimeu.model.style_set`, in
each stream by itself, and every step of the clip is moved by -u before a model reads it. Classifiers of the rule that
have not seen a clip's culture say which emotions its support holds, so that the rule is the same for every model.

A model learns behind the layer in *episodes*: each epoch draws another support for each clip, of 0 to 20 clips and any
mix, so that one training serves clips alone and clips with few or many others of their person or culture.

Axes: N clips, D features of a step, K emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int

from cimeu.batching.dataset import ClipDataset, Moves
from cimeu.evaluation.supports import People, Strangers, draw_all_for_training
from cimeu.evaluation.uncertainty import speaker_names
from cimeu.model.pooling import pool_steps
from cimeu.model.style_set import trust
from cimeu.model.support_rule import SupportRule, SupportRuleConfig, stream_config
from cimeu.pyramid import Direction
from cimeu.training.style_set import STRENGTH, Embedded, StyleFit, styles_of

Scope = Literal["person", "culture"]
SHRINK: Mapping[Scope, float] = {"person": 1.0, "culture": 10.0}
"""Support clips that weigh as much as having no style: people of one culture share less of it than one person."""
CAUTION = 2.0
"""How soon a support of few emotions loses its weight against the clip alone (`StyleSetConfig`)."""
EPISODES = 5
"""Supports drawn for each training clip; the last is of other people of its culture."""

Supports = Sequence[Int[np.ndarray, " _"] | None]
"""Rows of the clips in the support of each clip; None where the mix cannot be filled."""


@dataclass(frozen=True)
class StreamRule:
    """The rule, fitted to the training clips of a fold as one network reads them."""

    fit: StyleFit
    group: str
    """Column that names the training groups."""
    widths: tuple[int, int]
    """Features of each stream; 0 for one that no training clip has."""

    @classmethod
    def of(cls, train: ClipDataset, group: str) -> "StreamRule":
        """Fit to the clips whose emotion is known; `group` is the column that names the training groups."""
        widths = tuple(
            max((steps.shape[1] for steps in stream if steps is not None), default=0) for stream in train.streams
        )
        rows = np.flatnonzero((train.emotions >= 0) & train.present.any(1))
        groups, people = train.groups(group), people_names(train)
        clips = Embedded(
            _pooled(train, widths)[rows].astype(np.float32),
            train.emotions[rows],
            tuple(groups[row] for row in rows),
            tuple(people[row] for row in rows),
            tuple(train.labels.emotions),
        )
        return cls(StyleFit(clips), group, widths)  # type: ignore[arg-type]

    def in_episodes(self, clips: ClipDataset) -> ClipDataset:
        """Clips that are less the style in another support in each epoch; the same ones for every model."""
        return clips.in_episodes(partial(_episode, SupportReader(self, clips)))

    def kept(self, direction: Direction) -> SupportRule:
        """What a run folder keeps of the rule: people who are met later are of none of the training groups."""
        fit, everyone = self.fit, self.fit.alone(STRENGTH)
        config = SupportRuleConfig(
            emotions=fit.clips.emotions,
            widths=self.widths,
            direction=direction,
            shrink=SHRINK["person"],
            caution=CAUTION,
        )
        rule = SupportRule(config)
        values = {"mean": fit.mean, "deviation": fit.deviation, "deltas": fit.deltas}
        values |= {"alone.weight": everyone.weight, "alone.bias": everyone.bias}
        rule.load_state_dict({name: torch.from_numpy(value).float() for name, value in values.items()})
        return rule.eval()


@dataclass(frozen=True)
class SupportReader:
    """Some clips as the rule reads them, each alone."""

    rule: StreamRule
    clips: ClipDataset

    def less_style(self, supports: Supports, scope: Scope) -> ClipDataset:
        """The clips, each less the style in its support; a clip without support stays as it is."""
        return self.clips.less(self.moves(supports, scope))

    def moves(self, supports: Supports, scope: Scope) -> Moves:
        """Style of each clip in each stream, in the units of its steps."""
        fit, ends = self.rule.fit, np.cumsum((0, *self.rule.widths))
        moves: list[Float32[np.ndarray, "N D"] | None] = []
        for stream, present in enumerate(self.clips.present.T):
            inside = slice(ends[stream], ends[stream + 1])
            if inside.start == inside.stop:
                moves.append(None)
                continue
            config = stream_config(fit.clips.emotions, self.rule.widths[stream], SHRINK[scope])
            usable = [np.zeros(0, int) if rows is None else rows[present[rows]] for rows in supports]
            z, posteriors, deltas = map(torch.from_numpy, (self._z[:, inside], self._posteriors, fit.deltas[:, inside]))
            styles, _ = styles_of(z, posteriors, usable, deltas, config)
            moves.append((styles.numpy() * fit.deviation[inside]).astype(np.float32))
        return moves[0], moves[1]

    def trust(self, supports: Supports) -> Float[np.ndarray, " N"]:
        """Weight of what each support says against the clip alone, 0 to 1; 0 without support."""
        marked = np.zeros((len(supports), len(self._posteriors)), bool)
        for row, support in enumerate(supports):
            marked[row, [] if support is None else support] = True
        return trust(torch.from_numpy(self._posteriors), torch.from_numpy(marked), CAUTION).numpy()

    @cached_property
    def people(self) -> People:
        """Who is heard in each clip."""
        return People.of(people_names(self.clips), self.clips.emotions, len(self.clips.labels))

    @cached_property
    def strangers(self) -> Strangers:
        """The same clips, where a support holds other people of the culture."""
        culture = np.unique(self.clips.groups(self.rule.group), return_inverse=True)[1]
        return Strangers(self.people.person, self.people.emotion, self.people.n_emotions, culture)

    @cached_property
    def _z(self) -> Float[np.ndarray, "N D"]:
        return self.rule.fit.standardised(_pooled(self.clips, self.rule.widths))

    @cached_property
    def _posteriors(self) -> Float[np.ndarray, "N K"]:
        return self.rule.fit.posteriors(self._z, self.clips.groups(self.rule.group), STRENGTH)


def people_names(clips: ClipDataset) -> list[str]:
    """Names that tell speakers of several corpora apart; empty where unknown."""
    return speaker_names(clips.manifest.table["corpus"], clips.manifest.table["speaker"])


def _episode(reader: SupportReader, number: int) -> Moves:
    """Styles in the supports of one epoch."""
    number %= EPISODES
    scope: Scope = "culture" if number == EPISODES - 1 else "person"
    people = reader.strangers if scope == "culture" else reader.people
    return reader.moves(draw_all_for_training(people, np.random.default_rng(number)), scope)


def _pooled(clips: ClipDataset, widths: Sequence[int]) -> Float[np.ndarray, "N D"]:
    """Means over the steps of each clip, streams side by side; NaN for a stream that a clip lacks."""
    parts = [pool_steps(stream, width, 1) for stream, width in zip(clips.streams, widths, strict=True) if width]
    return np.concatenate(parts, axis=1)
