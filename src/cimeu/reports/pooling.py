"""Test clips of the folds and seeds of one recipe, brought together.

A clip is tested in one fold, by every seed. Only seeds that all folds have enter, so that each clip weighs the same;
what is left out is named.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cimeu.errors import RecipeError
from cimeu.evaluation.predictions import Predictions
from cimeu.experiments.run_folder import Run


@dataclass(frozen=True)
class Tested:
    """Test clips of all folds, pooled: one row per clip, one answer per seed."""

    predictions: dict[str, Predictions]
    """By `forward`, `backward`, `fused`, as far as there are any, on the same clips: those that have an emotion."""
    folds: list[str]
    """The fold that tests each of these clips."""
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    left_out: tuple[str, ...]
    """Runs whose seed some fold lacks."""
    answers: tuple[pd.DataFrame, ...]
    """Rows of `predictions.csv` of each seed, on the same clips in one order; all test clips, also without emotion."""

    @property
    def fused(self) -> Predictions:
        """Answers of the whole model."""
        return self.predictions["fused"]

    @property
    def clips(self) -> pd.DataFrame:
        """What is known of the clips."""
        return self.fused.clips


def pool(runs: Sequence[Run]) -> Tested:
    """Bring the test clips of all folds and seeds together.

    Raises:
        RecipeError: runs of several recipes or emotions, no seed that all folds have, or a clip tested in two folds.
    """
    _check_alike(runs)
    seeds_of = _seeds_of(runs)
    shared = set.intersection(*seeds_of.values())
    if not shared:
        missing = ", ".join(f"{fold} {sorted(seeds)}" for fold, seeds in seeds_of.items())
        raise RecipeError(f"no seed was run on all folds: {missing}\n\nhint: finish one seed on every fold first")
    seeds = tuple(sorted(shared))
    kept = tuple(run for run in runs if run.seed in shared)
    tests = {(run.fold, run.seed): test_clips(run) for run in kept}
    answers = [_of_one_seed(tests, list(seeds_of), seed) for seed in seeds]
    first = answers[0]
    if first.empty:
        raise RecipeError(f"`{kept[0].folder / 'predictions.csv'}` holds no test clip\n\nhint: evaluate the run again")
    for seed, table in zip(seeds[1:], answers[1:], strict=True):
        if set(table["clip_id"]) != set(first["clip_id"]):
            raise RecipeError(
                f"seeds {seeds[0]} and {seed} were tested on different clips\n\n"
                "hint: report runs of one set of folds only"
            )
    order = list(first["clip_id"])
    answers = [table.set_index("clip_id", drop=False).loc[order].reset_index(drop=True) for table in answers]
    group = group_column(kept, first)
    # A clip with continuous labels alone is scored by them alone: it has no emotion that could be missed.
    of_emotions = [table[table["emotion"] != ""] for table in answers]
    if of_emotions[0].empty:
        raise RecipeError("no test clip has an emotion\n\nhint: label some, or hold out a group that has emotions")
    return Tested(
        {kind: Predictions.of(of_emotions, kept[0].emotions, group, kind) for kind in kept[0].kinds},
        folds=list(of_emotions[0]["fold"]),
        seeds=seeds,
        runs=kept,
        left_out=tuple(run.name for run in runs if run.seed not in shared),
        answers=tuple(answers),
    )


def test_clips(run: Run) -> pd.DataFrame:
    """Rows of the test clips, with their fold."""
    return run.predictions[run.predictions["part"] == "test"].assign(fold=run.fold)


def group_column(runs: Sequence[Run], clips: pd.DataFrame) -> str:
    """The column that was held out, else culture, else corpus, whichever tells clips apart; empty when none does."""
    held_out = str(runs[0].fold_facts.get("group", "culture"))
    for column in (held_out, "culture", "corpus"):
        if column in clips and (clips[column] != "").any():
            return column
    return ""


def _check_alike(runs: Sequence[Run]) -> None:
    for name, values in (
        ("recipes", [run.recipe_name for run in runs]),
        ("lists of emotions", [", ".join(run.emotions) for run in runs]),
        ("sets of directions", [", ".join(run.kinds) for run in runs]),
    ):
        different = list(dict.fromkeys(values))
        if len(different) > 1:
            pair = f"`{different[0]}` and `{different[1]}`"
            raise RecipeError(f"runs of two {name} in one report: {pair}\n\nhint: report them one by one")


def _seeds_of(runs: Sequence[Run]) -> dict[str, set[int]]:
    """Seeds by fold."""
    seeds_of: dict[str, set[int]] = {}
    for run in runs:
        if run.seed in seeds_of.setdefault(run.fold, set()):
            raise RecipeError(f"two runs are `{run.name}`\n\nhint: name each run folder once")
        seeds_of[run.fold].add(run.seed)
    return seeds_of


def _of_one_seed(tests: dict[tuple[str, int], pd.DataFrame], folds: Sequence[str], seed: int) -> pd.DataFrame:
    """Test clips of all folds, each once."""
    table = pd.concat([tests[fold, seed] for fold in folds], ignore_index=True)
    twice = table["clip_id"][table["clip_id"].duplicated()]
    if len(twice):
        raise RecipeError(
            f"clip `{twice.iloc[0]}` is tested in two folds\n\nhint: report runs of one set of folds only"
        )
    return table
