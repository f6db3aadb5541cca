"""A style-set model evaluated on held-out groups, everything chosen inside the other groups.

    choice     of a rule: leave one group out *inside* the training groups; the mean over clips alone and natural, even
               and skewed supports of ten clips, so that no rule wins by what only one of them allows, among the rules
               that lose at most a point by a support of the clip's own emotion alone
    outer      every group in turn is tested by a model of the others with the rule that they chose, its temperatures
               and its threshold of abstention fitted on their inner held-out groups
    within     unseen speakers of groups that are trained on

Every fit is kept, so that an inner training set of one outer fold is not fitted again for another.

Axes: N clips, S seeds, K emotions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from cimeu.evaluation.calibration import at_temperature, fit_temperature
from cimeu.evaluation.metrics import uar
from cimeu.evaluation.supports import Condition
from cimeu.progress import Progress, silent
from cimeu.training.style_set import Embedded, Scored, StyleFit, StyleRule, candidates, score

ALONE, NATURAL = Condition(0), Condition(10)
EVEN, SKEWED, OWN, OTHER = (Condition(10, mix) for mix in ("even", "skewed", "own", "other"))
SINGLE = Condition(3, "own")
"""The hardest support that people of most corpora can fill: nobody of four corpora in five has ten clips of each
emotion."""
CHOOSING = (ALONE, NATURAL, EVEN, SKEWED)
"""Conditions whose mean UAR chooses a rule."""
LARGEST_LOSS = 0.01
"""UAR that `SINGLE` may cost against clips alone: an interview that is neutral throughout is such a support."""
REPORTED = (ALONE, Condition(3), NATURAL, Condition(20), EVEN, SKEWED, SINGLE, OWN, OTHER)
STRENGTHS = (0.003, 0.01, 0.03)
SHRINKS = (1.0, 3.0)
MIX_PRIORS = (3.0, float("inf"))
CAUTIONS = (0.0, 2.0, 4.0)
SHARES = (0.5, 0.8)
"""Of held-out clips that are answered, for which a threshold is fitted."""
FEWEST_CLIPS = 20
"""A condition that fewer clips of a group can meet gives no figure there."""


@dataclass(frozen=True)
class Choice:
    """What the training groups preferred, and what follows from their inner held-out groups."""

    rule: StyleRule
    scores: dict[str, float]
    """Mean UAR of each candidate that was tried, by its words."""
    losses: dict[str, float]
    """UAR that a support of the clip's own emotion costs it."""
    temperatures: tuple[float, float]
    """Of the classifier of the clip alone, and of the adapted one."""
    thresholds: dict[float, float]
    """Confidence of the adapted classifier that lets this share of held-out clips through."""


@dataclass(frozen=True)
class OuterFold:
    """One held-out group, with answers of several seeds under each condition."""

    group: str
    choice: Choice
    truth: Int[np.ndarray, " N"]
    rows: Int[np.ndarray, " N"]
    """Places of its clips among all."""
    answers: dict[Condition, list[Scored]]
    """Calibrated, one for each seed."""


@dataclass
class HeldOut:
    """Fits and answers of one set of clips, kept by what they were trained on."""

    clips: Embedded
    progress: Progress = silent
    fits: dict[tuple[tuple[str, ...], int], StyleFit] = field(default_factory=dict)
    scored: dict[tuple[object, ...], Scored] = field(default_factory=dict)
    done: int = 0

    def fit(self, groups: Sequence[str], seed: int = 0) -> StyleFit:
        """Statistics and supports of some training groups."""
        key = (tuple(groups), seed)
        if key not in self.fits:
            inside = np.any([self.clips.of(group) for group in groups], axis=0)
            self.fits[key] = StyleFit(self.clips.take(inside), seed)
        return self.fits[key]

    def answers(
        self, groups: Sequence[str], tested: str, rule: StyleRule, conditions: Sequence[Condition], seed: int = 0
    ) -> list[Scored]:
        """What a model of some groups says about another one, not calibrated."""
        keys = [(tuple(groups), tested, rule, condition, seed) for condition in conditions]
        if any(key not in self.scored for key in keys):
            model = self.fit(groups, seed).model(rule)
            for other in (*sorted(set(self.clips.groups) - set(groups)),):  # an inner model serves two outer folds
                clips = self.clips.take(self.clips.of(other))
                for condition in conditions:
                    self.scored[tuple(groups), other, rule, condition, seed] = score(model, clips, condition, seed)
            self.done += 1
            self.progress("models", self.done, self.done)
        return [self.scored[key] for key in keys]

    def choose(self, groups: Sequence[str], shares: Sequence[float] = SHARES) -> Choice:
        """Leave one group out inside `groups`; the first of the best candidates that `SINGLE` costs little enough."""
        rules = candidates(STRENGTHS, SHRINKS, MIX_PRIORS, CAUTIONS)
        scores = {str(rule): self._mean_uar(groups, rule) for rule in rules}
        losses = {str(rule): self._loss(groups, rule) for rule in rules}
        # Where no rule is safe enough, or nobody has such supports, the safest ones are left to choose from.
        most = max(LARGEST_LOSS, min(losses.values()))
        rule = max((rule for rule in rules if losses[str(rule)] <= most), key=lambda safe: scores[str(safe)])
        # Temperatures and thresholds come from answers about inner held-out groups, never about the outer one.
        inner = {condition: self._pooled(groups, rule, condition) for condition in (ALONE, NATURAL)}
        temperatures = [fit_temperature(probabilities, truth) for probabilities, truth, _ in inner.values()]
        confidence = at_temperature(inner[NATURAL][0], temperatures[1]).max(axis=1)
        thresholds = {
            share: _threshold(confidence, inner[NATURAL][2], share) for share in dict.fromkeys((*shares, *SHARES))
        }
        return Choice(rule, scores, losses, (temperatures[0], temperatures[1]), thresholds)

    def outer(self, group: str, seeds: Sequence[int]) -> OuterFold:
        """Test one group by a model of the others."""
        others = [name for name in self.clips.groups if name != group]
        choice = self.choose(others)
        rows = np.flatnonzero(self.clips.of(group))
        answers: dict[Condition, list[Scored]] = {}
        for seed in seeds:
            predictions = self.answers(others, group, choice.rule, REPORTED, seed)
            for condition, scored in zip(REPORTED, predictions, strict=True):
                # The classifier of the clip alone and the adapted one have a temperature each.
                temperature = choice.temperatures[bool(condition.size)]
                calibrated = at_temperature(scored.probabilities, temperature)
                answers.setdefault(condition, []).append(Scored(scored.rows, calibrated, scored.sizes))
        return OuterFold(group, choice, self.clips.emotion[rows], rows, answers)

    def _mean_uar(self, groups: Sequence[str], rule: StyleRule) -> float:
        """Mean over `CHOOSING` of the mean over inner held-out groups that can meet a condition."""
        values: dict[Condition, list[float]] = {condition: [] for condition in CHOOSING}
        for truth, (*answered, _) in self._inner(groups, rule):
            for condition, scored in zip(CHOOSING, answered, strict=True):
                values[condition].append(uar_where_met(truth, scored, len(self.clips.emotions)))
        means = [np.nanmean(uars) for uars in values.values() if np.isfinite(uars).any()]
        return float(np.mean(means))

    def _loss(self, groups: Sequence[str], rule: StyleRule) -> float:
        """UAR of the same clips alone less that given `SINGLE`, the mean over inner held-out groups; 0 for nobody."""
        losses = []
        for truth, (alone, *_, single) in self._inner(groups, rule):
            same = Scored(single.rows, alone.probabilities[single.rows], single.sizes)
            before, after = (uar_where_met(truth, scored, len(self.clips.emotions)) for scored in (same, single))
            losses.append(before - after)
        return float(np.nanmean(losses)) if np.isfinite(losses).any() else 0.0

    def _inner(self, groups: Sequence[str], rule: StyleRule) -> Iterator[tuple[Int[np.ndarray, " N"], list[Scored]]]:
        """Truth and answers of each inner held-out group under `CHOOSING` and `SINGLE`."""
        for tested in groups:
            training = [name for name in groups if name != tested]
            truth = self.clips.emotion[self.clips.of(tested)]
            yield truth, self.answers(training, tested, rule, (*CHOOSING, SINGLE))

    def _pooled(
        self, groups: Sequence[str], rule: StyleRule, condition: Condition
    ) -> tuple[Float[np.ndarray, "N K"], Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
        """Answers about all inner held-out groups, the truth, and weights by which each group counts the same."""
        probabilities, truths, weights = [], [], []
        for tested in groups:
            training = [name for name in groups if name != tested]
            (scored,) = self.answers(training, tested, rule, (condition,))
            probabilities.append(scored.probabilities)
            truths.append(self.clips.emotion[self.clips.of(tested)][scored.rows])
            weights.append(np.full(len(scored.rows), 1 / len(scored.rows)))
        return np.concatenate(probabilities), np.concatenate(truths), np.concatenate(weights)


def within(
    clips: Embedded, rule: StyleRule, seed: int = 0, *, n_folds: int = 5, only: str | None = None
) -> dict[Condition, Float[np.ndarray, "N K"]]:
    """Answers about each clip by a model that knows its group and not its speaker; NaN where nothing was asked.

    Args:
        clips: of all groups.
        rule: how models are fitted.
        seed: deals the speakers out, and draws supports.
        n_folds: parts of the speakers of each group.
        only: train on this group alone, without supports of others.
    """
    part = _parts(clips, n_folds, seed)
    conditions = (ALONE, NATURAL) if only is None else (ALONE,)
    tested = np.ones(len(clips.x), bool) if only is None else clips.of(only)
    answered = {condition: np.full((len(clips.x), len(clips.emotions)), np.nan) for condition in conditions}
    for number in range(n_folds):
        test = np.flatnonzero((part == number) & tested)
        model = StyleFit(clips.take((part != number) & tested), seed).model(rule)
        for condition in conditions:
            scored = score(model, clips.take(test), condition, seed)
            answered[condition][test[scored.rows]] = scored.probabilities
    return answered


def uar_where_met(truth: Int[np.ndarray, " N"], scored: Scored, n_emotions: int) -> float:
    """UAR over the clips that meet a condition; not a number where they are few or lack an emotion."""
    truth_where_met = truth[scored.rows]
    if len(truth_where_met) < FEWEST_CLIPS or len(np.unique(truth_where_met)) < n_emotions:
        return float("nan")
    return uar(truth_where_met, scored.probabilities.argmax(axis=1))


def _threshold(confidence: Float[np.ndarray, " N"], weights: Float[np.ndarray, " N"], share: float) -> float:
    """Largest confidence that still lets this share through, each group counting the same."""
    order = np.argsort(-confidence, kind="stable")
    passed = np.cumsum(weights[order]) / weights.sum()
    return float(confidence[order][np.searchsorted(passed, share - 1e-9)])


def _parts(clips: Embedded, n_folds: int, seed: int) -> Int[np.ndarray, " N"]:
    """Part of each clip: speakers of each group are dealt out one by one, the one with most clips first."""
    part = np.zeros(len(clips.x), int)
    generator = np.random.default_rng(seed)
    for group in clips.groups:
        rows = np.flatnonzero(clips.of(group))
        people = np.array([clips.person[row] or f"clip {row}" for row in rows.tolist()])
        counts = np.zeros((n_folds, len(clips.emotions)))
        # The names are sorted first: a set has another order in every process.
        names = sorted(
            sorted(set(people.tolist())), key=lambda name: (-int((people == name).sum()), generator.random())
        )
        for name in names:
            own = rows[people == name]
            emotions = np.bincount(clips.emotion[own], minlength=len(clips.emotions))
            # Where most of its emotions are rarest so far; then where there are fewest clips.
            chosen = min(range(n_folds), key=lambda n: (float(counts[n] @ emotions), counts[n].sum()))
            part[own] = chosen
            counts[chosen] += emotions
    return part
