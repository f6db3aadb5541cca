"""Test clips of the folds and seeds of one recipe, brought together.

A clip is tested in one fold, by every seed. Only seeds that all folds have enter, so that each clip weighs the same;
what is left out is named.

Axes: S seeds, N clips, K emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from cimeu.errors import RecipeError
from cimeu.evaluation.metrics import called
from cimeu.evaluation.uncertainty import speaker_names
from cimeu.experiments.run_folder import Run

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Pooled:
    """Test clips of all folds, pooled: one row per clip, one answer per seed."""

    clips: pd.DataFrame
    truth: Int[np.ndarray, " N"]
    groups: list[str]
    folds: list[str]
    speakers: list[str]
    probabilities: dict[str, Float[np.ndarray, "S N K"]]
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    left_out: tuple[str, ...]

    @property
    def calls(self) -> dict[str, Int[np.ndarray, "S N"]]:
        """Index of the emotion called, by forward, backward and fused."""
        return {kind: called(values) for kind, values in self.probabilities.items()}


def pool(runs: Sequence[Run]) -> Pooled:
    """Bring the test clips of all folds and seeds together.

    Raises:
        RecipeError: runs of several recipes or emotions, no seed that all folds have, or a clip tested in two folds.
    """
    for name, values in (
        ("recipes", [run.recipe_name for run in runs]),
        ("lists of emotions", [", ".join(run.emotions) for run in runs]),
        ("sets of directions", [", ".join(run.kinds) for run in runs]),
    ):
        different = list(dict.fromkeys(values))
        if len(different) > 1:
            pair = f"`{different[0]}` and `{different[1]}`"
            raise RecipeError(f"runs of two {name} in one report: {pair}\n\nhint: report them one by one")
    seeds_of: dict[str, set[int]] = {}
    for run in runs:
        if run.seed in seeds_of.setdefault(run.fold, set()):
            raise RecipeError(f"two runs are `{run.name}`\n\nhint: name each run folder once")
        seeds_of[run.fold].add(run.seed)
    shared = set.intersection(*seeds_of.values())
    if not shared:
        raise RecipeError(
            f"no seed was run on all folds: {', '.join(f'{fold} {sorted(seeds)}' for fold, seeds in seeds_of.items())}"
            "\n\nhint: finish one seed on every fold first"
        )
    seeds = tuple(sorted(shared))
    kept = tuple(run for run in runs if run.seed in shared)
    tests = {(run.fold, run.seed): test_clips(run) for run in kept}
    clips = pd.concat([tests[fold, seeds[0]] for fold in seeds_of])
    twice = clips.index[clips.index.duplicated()]
    if len(twice):
        raise RecipeError(f"clip `{twice[0]}` is tested in two folds\n\nhint: report runs of one set of folds only")
    if clips.empty:
        raise RecipeError(f"`{kept[0].folder / 'predictions.csv'}` holds no test clip\n\nhint: evaluate the run again")
    emotions = kept[0].emotions
    fold_of = {clip_id: fold for fold in seeds_of for clip_id in tests[fold, seeds[0]].index}
    probabilities: dict[str, list[np.ndarray]] = {kind: [] for kind in kept[0].kinds}
    for seed in seeds:
        answers = pd.concat([tests[fold, seed] for fold in seeds_of])
        if set(answers.index) != set(clips.index):
            raise RecipeError(
                f"seeds {seeds[0]} and {seed} were tested on different clips\n\n"
                "hint: report runs of one set of folds only"
            )
        answers = answers.loc[clips.index]
        for kind, shares in probabilities.items():
            shares.append(answers[[f"{kind}.{emotion}" for emotion in emotions]].to_numpy(dtype=float))
    group = group_column(kept, clips)
    return Pooled(
        clips=clips,
        truth=clips["emotion"].map({emotion: index for index, emotion in enumerate(emotions)}).to_numpy(dtype=int),
        groups=[name or UNKNOWN for name in clips[group]] if group else ["all clips"] * len(clips),
        folds=[fold_of[clip_id] for clip_id in clips.index],
        speakers=speaker_names(clips["corpus"], clips["speaker"]),
        probabilities={kind: np.stack(values) for kind, values in probabilities.items()},
        seeds=seeds,
        runs=kept,
        left_out=tuple(run.name for run in runs if run.seed not in shared),
    )


def test_clips(run: Run) -> pd.DataFrame:
    """Rows of the test clips by clip_id."""
    return run.predictions[run.predictions["part"] == "test"].set_index("clip_id")


def group_column(runs: Sequence[Run], clips: pd.DataFrame) -> str:
    """The column that was held out, else culture, else corpus, whichever tells clips apart; empty when none does."""
    held_out = str(runs[0].fold_facts.get("group", "culture"))
    for column in (held_out, "culture", "corpus"):
        if column in clips and (clips[column] != "").any():
            return column
    return ""
