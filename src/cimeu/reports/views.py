"""Which answers of a bench belong to one figure: some of its folds, one condition, perhaps one tested group.

Test clips of the folds of a view are pooled. Where several folds of a view test the same clips (`matrix`: sources of
one group), each is an answer of its own and a clip enters with the mean of its hits, like seeds.

Axes: A answers (seeds, or seeds and folds), N test clips, K emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from cimeu.bench.cells import CellResult
from cimeu.bench.comparison import Bench
from cimeu.bench.protocols import (
    FEW_SHOT,
    MATRIX,
    NESTED,
    SIDES,
    WITHIN,
    held_out_pair,
    shots_of,
    side_of,
    source_group,
)
from cimeu.evaluation.metrics import Metric
from cimeu.evaluation.predictions import Predictions
from cimeu.evaluation.uncertainty import N_RESAMPLES, Estimates, averaged, estimates_over
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


def predictions_of(bench: Bench, cells: Cells, view: View, kind: Kind = "fused") -> Predictions | None:
    """Answers of the seeds whose folds of the view are all there; None without such a seed, or without such answers."""
    # A seed with some of its folds would be a mean over other groups than the rest.
    complete = [seed for seed in bench.seeds if all((fold, seed) in cells for fold in view.folds)]
    if not complete or not view.folds:
        return None
    answers: list[pd.DataFrame] = []
    for seed in complete:
        tables = [_tested(bench, cells[fold, seed], view) for fold in view.folds]
        # Folds that test other groups, or nobody who could fill a support, have no draws to put beside those of others.
        tested = [table for table in tables if len(table)] or tables[:1]
        answers += [answer for drawn in zip(*map(_draws, tested), strict=True) for answer in _answers(drawn)]
    columns = {f"{kind}.{emotion}" for emotion in bench.emotions}
    if not all(columns <= set(table.columns) for table in answers):
        return None
    return Predictions.of(answers, bench.emotions, bench.group, kind)


def main_view(bench: Bench) -> View:
    """What the comparison of a bench is about; matrix and nested pairs are compared by `across_sources` instead."""
    folds = bench.folds
    if bench.protocol == WITHIN:
        folds = tuple(fold for fold in folds if side_of(fold) == SIDES[1])
    if bench.protocol == FEW_SHOT:
        fewest = min(map(shots_of, folds))
        folds = tuple(fold for fold in folds if shots_of(fold) == fewest)
    return View(folds)


def pairs(bench: Bench) -> dict[tuple[str, str], View]:
    """Views of a matrix by source group and tested group; of a nested bench by outer and inner held-out group."""
    if bench.protocol == NESTED:
        held_out = {fold: held_out_pair(fold) for fold in bench.folds}
        both = [(fold, *order) for fold, pair in held_out.items() for order in (pair, pair[::-1])]
        return {
            (outer, inner): View((fold,), tested=inner) for fold, outer, inner in sorted(both, key=lambda one: one[1:])
        }
    sources = list(dict.fromkeys(map(source_group, bench.folds)))
    views: dict[tuple[str, str], View] = {}
    for source in sources:
        folds = tuple(fold for fold in bench.folds if source_group(fold) == source)
        views |= {(source, tested): View(folds, tested=tested) for tested in sources}
    return views


def across_sources(estimates: Mapping[tuple[str, str], dict[Metric, Estimates]]) -> dict[Metric, Estimates] | None:
    """Each tested group as the mean over its partners in the pairs, and the mean over tested groups."""
    tested_groups = sorted({tested for _, tested in estimates})
    from_others: dict[str, list[dict[Metric, Estimates]]] = {name: [] for name in tested_groups}
    for (source, tested), by_metric in estimates.items():
        if source != tested:
            from_others[tested].append(by_metric)
    counts = {len(estimates) for estimates in from_others.values()}
    if len(tested_groups) < 2 or len(counts) > 1 or counts == {0}:
        return None  # pairs are missing: groups would be averages over different sources
    averages: dict[Metric, Estimates] = {}
    for metric in next(iter(estimates.values())):
        groups = {name: averaged([estimates[metric].mean for estimates in from_others[name]]) for name in tested_groups}
        averages[metric] = estimates_over(groups)
    return averages


@dataclass(frozen=True)
class Figures:
    """The figures of a bench's rows, each computed once however often it is requested."""

    bench: Bench
    cells: Mapping[str, Cells]
    """Finished cells of every row by fold and seed."""
    resamples: int = N_RESAMPLES
    seed: int = 0
    _drawn: dict[Any, dict[Metric, Estimates] | None] = field(default_factory=dict, repr=False)

    def of(self, row: str, kind: Kind = "fused") -> dict[Metric, Estimates] | None:
        """What rows are compared by; None where no seed is complete."""
        if self.bench.protocol in (MATRIX, NESTED):
            return across_sources(self.pairs(row, kind))
        return self.view(row, main_view(self.bench), kind)

    def view(
        self, row: str, view: View, kind: Kind = "fused", seed: int | None = None
    ) -> dict[Metric, Estimates] | None:
        """Figures of one view; None where no seed is complete or its cells keep no such answers."""
        key = (row, view, kind, self.seed if seed is None else seed)
        if key not in self._drawn:
            answers = predictions_of(self.bench, self.cells[row], view, kind)
            self._drawn[key] = None if answers is None else answers.estimates(resamples=self.resamples, seed=key[-1])
        return self._drawn[key]

    def pairs(self, row: str, kind: Kind = "fused") -> dict[tuple[str, str], dict[Metric, Estimates]]:
        """Every pair of groups with figures; a tested group has the same draws in every pair."""
        views = pairs(self.bench)
        names = list(dict.fromkeys(tested for _, tested in views))
        figures = {}
        for (source, tested), view in views.items():
            # Seeded by the tested group: the same speakers are drawn in all of its pairs, which makes their differences
            # paired.
            estimates = self.view(row, view, kind, 1000 * self.seed + names.index(tested))
            if estimates is not None:
                figures[source, tested] = estimates
        return figures


def _tested(bench: Bench, cell: CellResult, view: View) -> pd.DataFrame:
    table = cell.predictions[cell.predictions["part"] == "test"]
    if "condition" in table:
        table = table[table["condition"] == view.condition]
    return table[table[bench.group] == view.tested] if view.tested else table


def _draws(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Answers given each draw of the supports; one table where nothing was drawn."""
    if "draw" not in table or table["draw"].isna().all():
        return [table]
    return [drawn for _, drawn in table.groupby("draw")]


def _answers(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """One table where folds test different clips, one for each fold where they test the same."""
    sets = [set(table["clip_id"]) for table in tables]
    same = len(tables) > 1 and all(clip_ids == sets[0] for clip_ids in sets)
    together = list(tables) if same else [pd.concat(tables, ignore_index=True)]
    # Rows of two systems are compared by place.
    together = [table.sort_values("clip_id", kind="stable", ignore_index=True) for table in together]
    assert not any(table["clip_id"].duplicated().any() for table in together), "folds of a view overlap"
    return together
