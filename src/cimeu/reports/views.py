"""Which answers of a bench belong to one figure: some of its folds, one condition, perhaps one tested group.

Test clips of the folds of a view are pooled. Where several folds of a view test the same clips (`matrix`: teachers of
one group), each is an answer of its own and a clip enters with the mean of its hits, like seeds.

Axes: A answers (seeds, or seeds and folds), N test clips, K emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from cimeu.bench.cells import CellResult
from cimeu.bench.comparison import Bench
from cimeu.bench.protocols import FEW_SHOT, MATRIX, SIDES, WITHIN, shots_of, side_of, teacher_of
from cimeu.evaluation.metrics import Metric, called
from cimeu.evaluation.predictions import STREAMS
from cimeu.evaluation.uncertainty import N_RESAMPLES, Estimates, averaged, bootstrap, estimates_over, speaker_names
from cimeu.pyramid import Direction

Kind = Direction | Literal["fused"]
"""Whose answers: those of one direction, or of the ensemble."""
Cells = Mapping[tuple[str, int], CellResult]
"""Finished cells of a row by fold and seed."""


@dataclass(frozen=True)
class View:
    """One figure's share of the cells of a row."""

    folds: tuple[str, ...]
    condition: str = ""
    tested: str = ""
    """Group whose clips are tested; empty: all."""


@dataclass(frozen=True)
class Calls:
    """What a row said of the test clips of a view, clips in one order for all rows."""

    clip_ids: tuple[str, ...]
    truth: Int[np.ndarray, " N"]
    predicted: Int[np.ndarray, "A N"]
    probabilities: Float[np.ndarray, "A N K"]
    speakers: tuple[str, ...]
    groups: tuple[str, ...]
    complete: Bool[np.ndarray, " N"] | None
    """Which clips have every stream that some clip has; None where cells do not say."""
    acted: tuple[str, ...]
    """Whether a clip was acted; empty where unknown."""

    def estimates(
        self, *, resamples: int = N_RESAMPLES, seed: int = 0, kept: Bool[np.ndarray, " N"] | None = None
    ) -> dict[Metric, Estimates]:
        """Every metric with its interval, for the mean over groups and for each group."""
        return bootstrap(
            self.truth,
            self.predicted,
            self.speakers,
            self.groups,
            n_classes=self.probabilities.shape[-1],
            n_resamples=resamples,
            seed=seed,
            kept=kept,
        )


def calls_of(bench: Bench, there: Cells, view: View, kind: Kind = "fused") -> Calls | None:
    """Answers of the seeds whose folds of the view are all there; None without such a seed, or without such answers."""
    complete = [seed for seed in bench.seeds if all((fold, seed) in there for fold in view.folds)]
    if not complete or not view.folds:
        return None
    answers = [
        table
        for seed in complete
        for table in _answers([_tested(bench, there[fold, seed], view) for fold in view.folds])
    ]
    first = answers[0]
    assert all(list(table["clip_id"]) == list(first["clip_id"]) for table in answers), "answers are on other clips"
    index = {emotion: number for number, emotion in enumerate(bench.emotions)}
    columns = [f"{kind}.{emotion}" for emotion in bench.emotions]
    if not all(set(columns) <= set(table.columns) for table in answers):
        return None
    probabilities = np.stack([table[columns].to_numpy(float) for table in answers])
    return Calls(
        clip_ids=tuple(first["clip_id"]),
        truth=np.array([index[emotion] for emotion in first["emotion"]], np.int64),
        predicted=called(probabilities),
        probabilities=probabilities,
        speakers=tuple(speaker_names(first["corpus"], first["speaker"])),
        groups=tuple(str(name) or "unknown" for name in first[bench.group]),
        complete=_complete(first),
        acted=tuple(first["acted"]) if "acted" in first else ("",) * len(first),
    )


def main_view(bench: Bench) -> View:
    """What the comparison of a bench is about; a matrix is compared by `across_teachers` instead."""
    folds = bench.folds
    if bench.protocol == WITHIN:
        folds = tuple(fold for fold in folds if side_of(fold) == SIDES[1])
    if bench.protocol == FEW_SHOT:
        fewest = min(map(shots_of, folds))
        folds = tuple(fold for fold in folds if shots_of(fold) == fewest)
    return View(folds)


def pairs(bench: Bench) -> dict[tuple[str, str], View]:
    """Views of a matrix by teaching and tested group."""
    teachers = list(dict.fromkeys(map(teacher_of, bench.folds)))
    return {
        (teacher, tested): View(tuple(fold for fold in bench.folds if teacher_of(fold) == teacher), tested=tested)
        for teacher in teachers
        for tested in teachers
    }


def across_teachers(found: Mapping[tuple[str, str], dict[Metric, Estimates]]) -> dict[Metric, Estimates] | None:
    """Each tested group as the mean over the other groups that teach it, and the mean over tested groups."""
    tested = sorted({pair[1] for pair in found})
    others = {name: [each for pair, each in found.items() if pair[1] == name != pair[0]] for name in tested}
    if len(tested) < 2 or len({len(each) for each in others.values()}) > 1 or not all(others.values()):
        return None
    metrics: list[Metric] = list(next(iter(found.values())))
    return {
        metric: estimates_over({name: averaged([each[metric].mean for each in others[name]]) for name in tested})
        for metric in metrics
    }


@dataclass(frozen=True)
class Figures:
    """The figures of a bench's rows, each drawn once however often it is asked for."""

    bench: Bench
    cells: Mapping[str, Cells]
    """Finished cells of every row by fold and seed."""
    resamples: int = N_RESAMPLES
    seed: int = 0
    _drawn: dict[Any, dict[Metric, Estimates] | None] = field(default_factory=dict, repr=False)

    def of(self, row: str, kind: Kind = "fused") -> dict[Metric, Estimates] | None:
        """What rows are compared by; None where no seed is complete."""
        if self.bench.protocol == MATRIX:
            return across_teachers(self.pairs(row, kind))
        return self.view(row, main_view(self.bench), kind)

    def view(
        self, row: str, view: View, kind: Kind = "fused", seed: int | None = None
    ) -> dict[Metric, Estimates] | None:
        """Figures of one view; None where no seed is complete or its cells keep no such answers."""
        key = (row, view, kind, self.seed if seed is None else seed)
        if key not in self._drawn:
            calls = calls_of(self.bench, self.cells[row], view, kind)
            self._drawn[key] = None if calls is None else calls.estimates(resamples=self.resamples, seed=key[-1])
        return self._drawn[key]

    def pairs(self, row: str, kind: Kind = "fused") -> dict[tuple[str, str], dict[Metric, Estimates]]:
        """Every teaching and tested group that is there; a tested group has the same draws with every teacher."""
        views = pairs(self.bench)
        names = list(dict.fromkeys(tested for _, tested in views))
        found = {
            pair: self.view(row, view, kind, 1000 * self.seed + names.index(pair[1])) for pair, view in views.items()
        }
        return {pair: each for pair, each in found.items() if each is not None}


def _tested(bench: Bench, cell: CellResult, view: View) -> pd.DataFrame:
    table = cell.predictions[cell.predictions["part"] == "test"]
    if "condition" in table:
        table = table[table["condition"] == view.condition]
    return table[table[bench.group] == view.tested] if view.tested else table


def _answers(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """One table where folds test different clips, one for each fold where they test the same."""
    sets = [set(table["clip_id"]) for table in tables]
    same = len(tables) > 1 and all(each == sets[0] for each in sets)
    together = list(tables) if same else [pd.concat(tables, ignore_index=True)]
    together = [table.sort_values("clip_id", kind="stable", ignore_index=True) for table in together]
    assert not any(table["clip_id"].duplicated().any() for table in together), "folds of a view overlap"
    return together


def _complete(table: pd.DataFrame) -> Bool[np.ndarray, " N"] | None:
    if not set(STREAMS) <= set(table.columns) or table[list(STREAMS)].isna().any(axis=None):
        return None
    present = table[list(STREAMS)].to_numpy(bool)
    return (present | ~present.any(axis=0)).all(axis=1)
