"""Choose the settings of an ensemble on validation clips, and say so.

A rule's name travels with every number: `validation` chooses on unseen speakers of the training groups,
`leave-one-group-out validation` on a whole training group; `average` keeps the mean weights over late epochs and
chooses everything else as `validation` does; `last` keeps the published defaults and chooses nothing; `oracle` chooses
on the test clips themselves. It exists to compare with published numbers that were made that way; it is not an
estimate of anything, and every table that uses it is marked.

Chosen by UAR: mu, levels and, where the network leaves it open (`mixing: validation`), the weight `a` of the second
stream. Small validation parts tie often; the candidate nearest the published defaults wins a tie. Then the temperature,
by likelihood, and the confidence under which no emotion is named, by the coverage asked for.

Axes: N clips, K emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from cimeu.corpora.folds import Fold, check_fold
from cimeu.corpora.manifest import Manifest
from cimeu.errors import RecipeError, guess
from cimeu.evaluation.calibration import at_temperature, fit_temperature
from cimeu.evaluation.metrics import predicted_labels, uar
from cimeu.evaluation.predict import (
    EnsembleSettings,
    Levels,
    Scores,
    Selection,
    direction_probabilities,
    mixture,
)
from cimeu.pyramid import DIRECTIONS, Direction

TrainingSelection = Literal["validation", "last", "average", "oracle"]
"""Values of `training.selection`."""


@dataclass(frozen=True)
class SelectionRule:
    """Which clips choose epochs and settings; its name stands beside every figure."""

    name: str
    meaning: str
    chooses: bool = True
    """Whether anything is chosen; baselines choose their settings in any case."""
    on_test: bool = False
    """Whether test clips choose; a run takes them by itself."""
    averages: bool = False
    """Whether the mean weights over late epochs are kept instead of those of the best epoch."""
    by_seed: bool = False
    """Whether every seed has validation clips of its own."""

    @property
    def training(self) -> TrainingSelection:
        """The selection that a run is configured with."""
        if not self.chooses:
            return "last"
        if self.averages:
            return "average"
        return "oracle" if self.on_test else "validation"

    def fold(self, fold: Fold, manifest: Manifest, group: str, seed: int) -> Fold:
        """The fold with the validation clips of this rule. Raises RecipeError where it cannot be used."""
        return fold


class GroupValidation(SelectionRule):
    """A whole training group validates and is not trained on; every seed takes the next one."""

    def fold(self, fold: Fold, manifest: Manifest, group: str, seed: int) -> Fold:
        clips = manifest.select([*fold.train, *fold.validation]).table
        groups = sorted(set(clips[group]) - {""})
        if len(groups) < 2:
            raise RecipeError(
                f"fold {fold.name} has {len(groups)} training group(s) in column `{group}`; one to train on and one "
                "to validate on are needed\n\nhint: selection `validation` takes speakers of the training groups"
            )
        # Another group for every seed: the mean over seeds is then a mean over validation groups too.
        chosen = clips[group] == groups[seed % len(groups)]
        train, validation = (tuple(clips["clip_id"][rows]) for rows in (~chosen, chosen))
        divided = replace(fold, train=train, validation=validation)
        check_fold(divided, manifest)
        return divided


class OnTestClips(SelectionRule):
    """The usable test clips validate; exists to stand beside published numbers that were made so."""

    def fold(self, fold: Fold, manifest: Manifest, group: str, seed: int) -> Fold:
        clips = manifest.select(fold.test).table
        return replace(fold, validation=tuple(clips["clip_id"][clips["problem"] == ""]))


RULES: dict[str, SelectionRule] = {
    rule.name: rule
    for rule in (
        SelectionRule("validation", "unseen speakers of the training groups"),
        GroupValidation("leave-one-group-out validation", "one whole training group", by_seed=True),
        SelectionRule(
            "average", "the mean weights of the second half of the epochs; all else as `validation`", averages=True
        ),
        SelectionRule("last", "nothing is chosen: last epoch, published defaults", chooses=False),
        OnTestClips("oracle", "the test clips: an upper bound, no estimate", on_test=True),
    )
}


def rule_named(name: str) -> SelectionRule:
    """A rule of selection. Raises RecipeError with a guess."""
    if name not in RULES:
        raise RecipeError(f"unknown selection `{name}`\n\nhint: {guess(name, tuple(RULES))}")
    return RULES[name]


MU_GRID = tuple(round(0.05 * step, 2) for step in range(21))
A_GRID = tuple(round(0.05 * step, 2) for step in range(21))
PUBLISHED_MU, PUBLISHED_A = 0.6, 0.2


def choose(
    forward: Scores | None,
    backward: Scores | None,
    truth: Int[np.ndarray, " N"],
    *,
    selection: Selection = "validation",
    mu: float | None = None,
    levels: Levels | None = None,
    choose_a: bool = False,
    coverage: float = 1.0,
) -> EnsembleSettings:
    """Settings of an ensemble from the scores of its validation clips; those without an emotion (-1) choose nothing.

    A `mu` or `levels` that is given is kept. `selection` is the name of the clips the scores belong to; with `last`
    nothing is chosen. `coverage` is the share of usable clips that must still get an emotion.

    Raises:
        RecipeError: no clip can be used, or the coverage is not in (0, 1].
    """
    if not 0 < coverage <= 1:
        raise RecipeError(f"coverage is {coverage}\n\nhint: the share of clips to answer, above 0 and up to 1")
    directions: tuple[Direction, ...] = tuple(
        direction for direction, scores in zip(DIRECTIONS, (forward, backward), strict=True) if scores is not None
    )
    assert directions, "an ensemble has at least one direction"
    # With one direction there is nothing to weigh.
    fixed_mu = mu if len(directions) == 2 else float(directions[0] == "forward")
    if selection == "last":
        return EnsembleSettings(
            mu=PUBLISHED_MU if fixed_mu is None else fixed_mu,
            levels=levels or "H",
            a=PUBLISHED_A if choose_a else None,
            selection="last",
            directions=directions,
        )

    mu_grid = (fixed_mu,) if fixed_mu is not None else _nearest_first(MU_GRID, PUBLISHED_MU)
    a_grid: Sequence[float | None] = _nearest_first(A_GRID, PUBLISHED_A) if choose_a else (None,)
    best = _best((forward, backward), truth, (levels,) if levels else ("H", "mean"), a_grid, mu_grid)
    # A UAR of 0 is a best value too; what counts is whether any clip had an answer.
    if best is None or not np.isfinite(best[3]).all(axis=-1).any():
        raise RecipeError(
            "no validation clip can be used\n\nhint: the column `problem` says what is wrong with the clips"
        )
    chosen_mu, chosen_level, chosen_a, fused = best
    fused, truth = fused[truth >= 0], truth[truth >= 0]
    # After mu, levels and a: the temperature of another mixture would not fit, and it does not change which emotion
    # wins.
    temperature = fit_temperature(fused, truth)
    return EnsembleSettings(
        mu=chosen_mu,
        levels=chosen_level,
        a=chosen_a,
        temperature=temperature,
        abstain_below=abstention_threshold(at_temperature(fused, temperature), coverage),
        coverage=coverage,
        selection=selection,
        directions=directions,
    )


def _best(
    scores: Sequence[Scores | None],
    truth: Int[np.ndarray, " N"],
    levels: Sequence[Levels],
    a_grid: Sequence[float | None],
    mu_grid: Sequence[float],
) -> tuple[float, Levels, float | None, Float[np.ndarray, "N K"]] | None:
    """The first mu, levels and a of the highest UAR, with their fused probabilities; None where nothing is a number."""
    labelled = truth >= 0
    best_uar, best = -1.0, None
    for level, a in product(levels, a_grid):
        answers = [
            None if direction_scores is None else direction_probabilities(direction_scores, levels=level, a=a)
            for direction_scores in scores
        ]
        for mu in mu_grid:
            fused = mixture(answers, mu)
            score = uar(truth[labelled], predicted_labels(fused[labelled]))
            # Strictly, so that of equals the first stays: the grids begin at the published values.
            if score > best_uar:
                best_uar, best = score, (mu, level, a, fused)
    return best


def abstention_threshold(probabilities: Float[np.ndarray, "N K"], coverage: float) -> float:
    """Largest confidence that still lets the share `coverage` of usable clips through; 0 where all must pass."""
    confidence = probabilities.max(axis=-1)
    confidence = np.sort(confidence[np.isfinite(confidence)])
    # Rounded down, so that coverage is never below what was set; 1e-9 for shares such as 1 - 0.8.
    refused = int(np.floor((1 - coverage) * len(confidence) + 1e-9))
    return float(confidence[refused]) if refused else 0.0


def _nearest_first(grid: Sequence[float], published: float) -> tuple[float, ...]:
    return tuple(sorted(grid, key=lambda value: (abs(value - published), value)))
