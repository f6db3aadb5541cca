"""Fit the linear rule of a support set (`cimeu.model.style_set`) to embeddings of clips.

The one place where it is fitted: for the model that ships, and in front of the streams of any model that is trained and
tested with support sets (`cimeu.training.episodes`).

    statistics    mean and variance of each training group, averaged over groups: none weighs more for having more clips
    deltas        what an emotion adds, within each group, averaged over groups
    alone         logistic regression of the standardised clip
    adapted       logistic regression of the clip less the style of its person, from supports drawn as they will be met;
                  the posteriors that take out the mix come from a classifier fitted without the clip's own group, for
                  a person who is met later is of no training group

Every emotion of every group weighs the same. Both classifiers are calibrated afterwards, on groups they have not seen.

Axes: N clips, D width, K emotions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from cimeu.errors import EmptyClass
from cimeu.evaluation.supports import Condition, People, draw, draw_all_for_training
from cimeu.model.checkpoint import Specifications
from cimeu.model.config import StreamConfig
from cimeu.model.rivals.pooled import NEVER
from cimeu.model.style_set import FURTHEST, StyleSet, StyleSetConfig, offsets, trust

DEVIATION_FLOOR = 1e-3
STRENGTH = 0.01
"""Inverse strength of the regularisation of the classifiers that estimate the mix of a support."""
DRAWS = 2
"""Supports drawn for each training clip."""
BLOCK = 64
"""Clips whose styles are computed at a time."""


@dataclass(frozen=True)
class Embedded:
    """One vector per clip, and what is known of it."""

    x: Float32[np.ndarray, "N D"]
    emotion: Int[np.ndarray, " N"]
    group: tuple[str, ...]
    """Culture, or whatever is held out."""
    person: tuple[str, ...]
    """Empty where unknown; unique over all groups."""
    emotions: tuple[str, ...]

    def take(self, rows: Int[np.ndarray, " M"] | Bool[np.ndarray, " N"]) -> "Embedded":
        """Some of the clips."""
        places = np.arange(len(self.x))[rows].tolist()
        group, person = (tuple(values[place] for place in places) for values in (self.group, self.person))
        return Embedded(self.x[rows], self.emotion[rows], group, person, self.emotions)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(sorted(set(self.group)))

    def of(self, group: str) -> Bool[np.ndarray, " N"]:
        """Clips of one group."""
        return np.array([name == group for name in self.group])

    @property
    def people(self) -> People:
        """Who is heard with which emotion."""
        return People.of(self.person, self.emotion, len(self.emotions))


@dataclass(frozen=True, kw_only=True)
class StyleRule:
    """What is chosen inside the training groups."""

    strength: float = STRENGTH
    """Inverse strength of the regularisation of both classifiers."""
    shrink: float = 1.0
    """Support clips that weigh as much as having no style (`StyleSetConfig`)."""
    mix_prior: float = 1.0
    """Clips of each emotion assumed in every support (`StyleSetConfig`)."""
    passes: int = 3
    """Refinements of the mix (`StyleSetConfig`)."""
    caution: float = 0.0
    """How soon a support of few emotions loses its weight (`StyleSetConfig`)."""

    def __str__(self) -> str:
        mix = f"mix prior {self.mix_prior:g}, {self.passes} passes" if self.passes else "mix as the posteriors say"
        return f"C {self.strength:g}, shrinkage {self.shrink:g}, {mix}, caution {self.caution:g}"


class StyleFit:
    """Fits of one set of training clips; what rules share is computed once."""

    def __init__(self, clips: Embedded, seed: int = 0) -> None:
        """Take the statistics of the training groups; a group may lack an emotion, a clip some dimensions (NaN)."""
        self.clips, self.seed = clips, seed
        self._rows = rows = {group: clips.of(group) for group in clips.groups}
        x = clips.x.astype(np.float64)
        # Groups weigh the same whatever their size: a large corpus must not define what is normal.
        self.mean = np.nan_to_num(_mean([_mean(x[inside]) for inside in rows.values()]))
        variance = _mean([_mean((x[inside] - _mean(x[inside])) ** 2) for inside in rows.values()])
        self.deviation = np.maximum(np.sqrt(np.nan_to_num(variance)), DEVIATION_FLOOR)
        self.z = self.standardised(x)
        # What an emotion adds to a clip, the same for everybody: subtracted from supports in proportion to their mix.
        self.deltas = np.nan_to_num(_mean([self._deltas(inside) for inside in rows.values()]))
        self._weights = _balanced(clips)
        self._alone: dict[float, tuple[Linear, dict[str, Linear]]] = {}
        self._adapted: dict[StyleRule, Linear] = {}

    @cached_property
    def _supports(self) -> list[list[Int[np.ndarray, " _"]]]:
        """Drawn once and shared by all rules, so that rules differ in nothing else."""
        generator = np.random.default_rng(self.seed)
        return [draw_all_for_training(self.clips.people, generator) for _ in range(DRAWS)]

    def standardised(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        """Cut where single dimensions of foreign clips would decide alone; what is not measurable is the mean."""
        return np.clip(np.nan_to_num((x - self.mean) / self.deviation), -FURTHEST, FURTHEST)

    def model(self, rule: StyleRule, specifications: Specifications | None = None, encoder: str = "") -> StyleSet:
        """The model of one rule, not calibrated.

        Raises:
            EmptyClass: an emotion without a clip in one of the groups.
        """
        clips = self.clips
        for group, inside in self._rows.items():
            missing = set(range(len(clips.emotions))) - set(clips.emotion[inside].tolist())
            if missing:
                raise EmptyClass(
                    f"group `{group}` has no clip of `{clips.emotions[min(missing)]}`\n\n"
                    "hint: leave the group out, or the emotion (`data.labels`)"
                )
        config = StyleSetConfig(
            emotions=clips.emotions,
            first=StreamConfig(width=clips.x.shape[1], encoder=encoder),
            shrink=rule.shrink,
            mix_prior=rule.mix_prior,
            passes=rule.passes,
            caution=rule.caution,
        )
        model = StyleSet(config, specifications)
        alone, adapted = self.alone(rule.strength), self._less_style(rule, config)
        values = {"mean": self.mean, "deviation": self.deviation, "deltas": self.deltas, "sharpness": np.ones(2)}
        values |= {"alone.weight": alone.weight, "alone.bias": alone.bias}
        values |= {"adapted.weight": adapted.weight, "adapted.bias": adapted.bias}
        model.load_state_dict({name: torch.from_numpy(np.array(value)).float() for name, value in values.items()})
        return model.eval()

    def _less_style(self, rule: StyleRule, config: StyleSetConfig) -> "Linear":
        """The classifier of clips less the style of their person."""
        fitted = replace(rule, caution=0.0)  # caution weighs answers, it changes no fit
        if fitted not in self._adapted:
            posteriors = torch.from_numpy(self.posteriors(self.z, self.clips.group, rule.strength))
            z, deltas = torch.from_numpy(self.z), torch.from_numpy(self.deltas)
            styles = [styles_of(z, posteriors, supports, deltas, config)[0].numpy() for supports in self._supports]
            self._adapted[fitted] = Linear.fit(
                np.clip(np.concatenate([self.z - style for style in styles]), -FURTHEST, FURTHEST),
                np.tile(self.clips.emotion, DRAWS),
                np.tile(self._weights, DRAWS) / DRAWS,
                rule.strength,
                len(self.clips.emotions),
            )
        return self._adapted[fitted]

    def alone(self, strength: float) -> "Linear":
        """The classifier of a clip alone."""
        return self._classifiers(strength)[0]

    def posteriors(
        self, z: Float[np.ndarray, "N D"], groups: Sequence[str], strength: float
    ) -> Float[np.ndarray, "N K"]:
        """Of standardised clips, each by a classifier that has not seen its group: in use, people are unknown too."""
        everyone, without = self._classifiers(strength)
        answered = everyone.posteriors(z)
        for group in self._rows:
            inside = np.array([name == group for name in groups], bool)
            other = without.get(group)
            # A single training group leaves nobody who could judge it.
            answered[inside] = 1 / len(self.clips.emotions) if other is None else other.posteriors(z[inside])
        return answered

    def _classifiers(self, strength: float) -> "tuple[Linear, dict[str, Linear]]":
        """Of all training clips, and without each group."""
        if strength not in self._alone:
            outside = {group: ~inside for group, inside in self._rows.items() if len(self._rows) > 1}
            without = {group: self._fitted(others, strength) for group, others in outside.items()}
            self._alone[strength] = self._fitted(np.ones(len(self.z), bool), strength), without
        return self._alone[strength]

    def _fitted(self, rows: Bool[np.ndarray, " N"], strength: float) -> "Linear":
        clips = self.clips.take(rows)
        return Linear.fit(self.z[rows], clips.emotion, _balanced(clips), strength, len(clips.emotions))

    def _deltas(self, inside: Bool[np.ndarray, " N"]) -> Float[np.ndarray, "K D"]:
        emotions = range(len(self.clips.emotions))
        centres = np.stack([_mean(self.z[inside & (self.clips.emotion == emotion)]) for emotion in emotions])
        # Centred: the mean of all emotions is the group's own offset, which is style.
        return centres - _mean(centres)


@dataclass(frozen=True)
class Linear:
    """A logistic regression."""

    weight: Float[np.ndarray, "K D"]
    bias: Float[np.ndarray, " K"]

    @classmethod
    def fit(
        cls,
        z: Float[np.ndarray, "N D"],
        labels: Int[np.ndarray, " N"],
        weights: Float[np.ndarray, " N"],
        strength: float,
        n_emotions: int,
    ) -> "Linear":
        from sklearn.linear_model import LogisticRegression  # half a second, which models that are read do not need

        weight, bias = np.zeros((n_emotions, z.shape[1])), np.full(n_emotions, NEVER)
        shown = np.unique(labels)
        if len(shown) == 1:
            bias[shown] = 0.0
            return cls(weight, bias)
        model = LogisticRegression(C=strength, max_iter=400, tol=1e-3).fit(z, labels, sample_weight=weights)
        coefficients, intercepts = model.coef_, model.intercept_
        if len(shown) == 2:  # one row of log odds: half of it for each emotion
            coefficients, intercepts = (np.concatenate([-odds, odds]) / 2 for odds in (coefficients, intercepts))
        weight[shown], bias[shown] = coefficients, intercepts
        return cls(weight, bias)

    def posteriors(self, z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        logits = z @ self.weight.T + self.bias
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))  # overflow
        return raised / raised.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Scored:
    """Answers about held-out clips under one condition; clips whose person cannot fill it are left out."""

    rows: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n K"]
    sizes: Int[np.ndarray, " n"]
    """Clips in each support."""


def score(model: StyleSet, clips: Embedded, condition: Condition, seed: int = 0) -> Scored:
    """What a model says about clips of people it does not know, given supports drawn among those clips."""
    with torch.inference_mode():
        x = torch.from_numpy(clips.x)
        if not condition.size:
            answered = model(x).softmax(-1).double().numpy()
            return Scored(np.arange(len(x)), answered, np.zeros(len(x), int))
        people, generator = clips.people, np.random.default_rng(seed)
        drawn = [draw(people, clip, condition, generator) for clip in range(len(x))]
        rows = np.array([clip for clip, support in enumerate(drawn) if support is not None], int)
        supports = [np.zeros(0, int) if support is None else support for support in drawn]
        z = model.standardised(x)
        styles, trusted = styles_of(z, model.posteriors(z), supports, model.deltas, model.config)
        answered = model(x[rows], styles[rows], trusted[rows]).softmax(-1).double().numpy()
        return Scored(rows, answered, np.array([len(supports[row]) for row in rows], int))


def styles_of(
    z: Float[Tensor, "N D"],
    posteriors: Float[Tensor, "N K"],
    supports: Sequence[Int[np.ndarray, " _"]],
    deltas: Float[Tensor, "K D"],
    config: StyleSetConfig,
) -> tuple[Float[Tensor, "N D"], Float[Tensor, " N"]]:
    """Style for each clip from its support among the clips, and its weight; both 0 without one."""
    styles, trusted = [z[:0]], [z[:0, 0]]
    for start in range(0, len(supports), BLOCK):
        block = supports[start : start + BLOCK]
        # Only what these supports hold: the matrix of marks stays small however many clips there are.
        pool = np.unique(np.concatenate(block)).astype(int)
        marked = torch.from_numpy(np.stack([np.isin(pool, rows) for rows in block]))
        styles.append(offsets(z[pool], posteriors[pool], marked, deltas, config))
        trusted.append(trust(posteriors[pool], marked, config.caution))
    return torch.cat(styles), torch.cat(trusted)


def calibrated(model: StyleSet, alone: float, adapted: float) -> StyleSet:
    """The model with temperatures for its two classifiers."""
    model.sharpness.copy_(torch.tensor([1 / alone, 1 / adapted]))
    return model


def candidates(
    strengths: Sequence[float],
    shrinks: Sequence[float],
    mix_priors: Sequence[float],
    cautions: Sequence[float] = (0.0,),
) -> tuple[StyleRule, ...]:
    """Every combination; an infinite prior stands for posteriors as they are."""
    return tuple(
        replace(
            StyleRule(strength=strength, shrink=shrink, caution=caution),
            **({"passes": 0} if math.isinf(prior) else {"mix_prior": prior}),
        )
        for strength in strengths
        for shrink in shrinks
        for prior in mix_priors
        for caution in cautions
    )


def _balanced(clips: Embedded) -> Float[np.ndarray, " N"]:
    """Weights under which every emotion of every group weighs the same; 1 on average."""
    cells = [f"{group} {emotion}" for group, emotion in zip(clips.group, clips.emotion.tolist(), strict=True)]
    names, inverse, counts = np.unique(cells, return_inverse=True, return_counts=True)
    return len(cells) / (len(names) * counts[inverse])


def _mean(rows: Sequence[np.ndarray] | np.ndarray) -> Float[np.ndarray, "*rest D"]:
    """Mean over the first axis of what is measurable; NaN where nothing is."""
    values = np.asarray(rows, float)
    measured = np.isfinite(values)
    count = measured.sum(axis=0)
    return np.where(count > 0, np.where(measured, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
