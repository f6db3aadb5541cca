"""Run a comparison: every row of a table on the same clips, folds, seeds and budget, a cell each.

CiMEU rows are the recipe with some settings changed and leave a run folder; baselines and domain methods are run by
`cimeu.generalisation`. Cells are independent: worker processes take one after the other, each with one thread, and a
cell that is there is not run again.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from cimeu.corpora.folds import Fold
from cimeu.experiments.recipe import EncoderConfig, Recipe, override, recipe_from, to_tree
from cimeu.experiments.run import Prepared, chosen_folds, cores, extract_streams, prepare, run_fold
from cimeu.features.store import FeatureStore
from cimeu.generalisation.cells import CellResult, Parts, baseline_cell, mean_of, method_cell, parts_of
from cimeu.generalisation.comparison import Bench, Cell, fingerprint_of
from cimeu.generalisation.fit import budget_of
from cimeu.generalisation.rows import HANDMADE, REFERENCE, Row, row_named, setting_of, why_absent
from cimeu.generalisation.sharing import BenchReport, run_bench
from cimeu.model.checkpoint import read_checkpoint
from cimeu.progress import Progress, silent
from cimeu.training.journal import read_journal


def bench_recipe(
    recipe: Recipe,
    rows: Sequence[str],
    folder: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    workers: int = 1,
    shard: tuple[int, int] = (1, 1),
    progress: Progress = silent,
) -> BenchReport:
    """Run the cells of a comparison that are not there yet.

    Args:
        recipe: the row `full`; its seeds are replaced by `seeds`.
        rows: names from `cimeu.generalisation.rows`.
        folder: of the bench.
        seeds: seeds of each row and fold.
        workers: processes that run cells.
        shard: (i, n) runs every n-th cell from the i-th on.
        progress: told after every cell.

    Raises:
        RecipeError: an unknown row, or the folder holds another bench.
    """
    run_cell = CellRunner(recipe, folder)
    prepared, folds = run_cell.prepare(rows, progress)
    setting = setting_of(
        to_tree(recipe), prepared.manifest, folds, two_streams=prepared.second is not None, group=recipe.folds.group
    )
    reasons = {row: why_absent(row_named(row), setting) for row in rows}
    bench = Bench(
        name=recipe.name,
        emotions=prepared.labels.emotions,
        rows=tuple(rows),
        folds=tuple(fold.name for fold in folds),
        seeds=tuple(seeds),
        group=recipe.folds.group,
        reference=REFERENCE if REFERENCE in rows else rows[0],
        absent={row: reason for row, reason in reasons.items() if reason},
        fingerprint=_identity(prepared),
        synthetic=prepared.synthetic,
    )
    return run_bench(bench, run_cell, folder, shard=shard, workers=workers, progress=progress)


@dataclass(frozen=True)
class CellRunner:
    """Runs one cell; a worker process gets a copy and opens the stores itself."""

    recipe: Recipe
    folder: Path

    def prepare(self, rows: Sequence[str], progress: Progress) -> tuple[Prepared, list[Fold]]:
        """Fill the stores that the rows read."""
        prepared = prepare(self.recipe, progress=progress)
        if any(row_named(row).inputs == HANDMADE for row in rows):
            wanted = [(EncoderConfig(encoder=HANDMADE), False)]
            workers = self.recipe.data.workers or cores()
            extract_streams(prepared.manifest, wanted, self.recipe.data.features, workers=workers, progress=progress)
        return prepared, chosen_folds(prepared)

    @cached_property
    def _prepared(self) -> tuple[Prepared, dict[str, Fold]]:
        prepared = prepare(self.recipe)
        return prepared, {fold.name: fold for fold in chosen_folds(prepared)}

    def __call__(self, cell: Cell) -> CellResult:
        row = row_named(cell.row)
        prepared, folds = self._prepared
        fold = folds[cell.fold]
        if row.kind == "cimeu":
            return mean_of([self._cimeu(row, fold, seed) for seed in row.seeds(cell.seed)])
        group = self.recipe.folds.group
        if row.kind == "baseline":
            return baseline_cell(row.algorithm, self._parts(row, prepared, fold), seed=cell.seed, group=group)
        budget = budget_of(self.recipe.training, group)
        return method_cell(row.algorithm, self._parts(row, prepared, fold), budget, seed=cell.seed)

    def _parts(self, row: Row, prepared: Prepared, fold: Fold) -> Parts:
        first, second = prepared.first, prepared.second
        if row.inputs == HANDMADE:
            first, second = FeatureStore.open(self.recipe.data.features / HANDMADE), None
        return parts_of(fold, prepared.manifest, prepared.labels, first=first, second=second)

    def _cimeu(self, row: Row, fold: Fold, seed: int) -> CellResult:
        started = time.monotonic()
        assignments = list(row.assignments)
        if row.after:
            assignments.append(f"training.style_sizes={self._style_sizes(row.after, fold, seed)}")
        recipe = recipe_from(override(to_tree(self.recipe), assignments))
        prepared = replace(self._prepared[0], recipe=recipe)
        run = run_fold(prepared, fold, seed, self._run_folder(row.name, fold, seed))
        predictions = pd.read_csv(run / "predictions.csv", keep_default_na=False, na_values={"fused.": [""]})
        shares = [column for column in predictions if column.partition(".")[0] in ("forward", "backward", "fused")]
        predictions[shares] = predictions[shares].apply(pd.to_numeric)
        folders = [run / direction for direction in prepared.directions]
        counted = [sum(t.numel() for t in read_checkpoint(folder)[2].tensors.values()) for folder in folders]
        figures = [json.loads((folder / "finished.json").read_text(encoding="utf-8")) for folder in folders]
        return CellResult(
            predictions,
            parameters=sum(counted),
            updates=sum(int(read_journal(folder)[-1]["step"] or 0) for folder in folders),
            wall_s=time.monotonic() - started,
            selection=recipe.training.selection,
            figures={"validation_uar": sum(each["validation_uar"] for each in figures) / len(figures)},
        )

    def _run_folder(self, row: str, fold: Fold, seed: int) -> Path:
        return self.folder / "runs" / row / f"{self.recipe.name}-{fold.name}-s{seed}"

    def _style_sizes(self, row: str, fold: Fold, seed: int) -> list[int]:
        """Cluster sizes in the last epoch of the run that random labels are a control of."""
        journal = pd.read_csv(self._run_folder(row, fold, seed) / self._prepared[0].directions[0] / "journal.csv")
        sizes = journal.filter(regex=r"^style\.size\.").iloc[-1]
        return [] if sizes.isna().any() else [math.ceil(size) for size in sizes]


def _identity(prepared: Prepared) -> str:
    tree = to_tree(prepared.recipe)
    clips = list(prepared.manifest.table["clip_id"])
    stores = [store.description for store in (prepared.first, prepared.second) if store is not None]
    ignored = ("output", "fold", "seeds", "data")
    return fingerprint_of({key: value for key, value in tree.items() if key not in ignored}, clips, stores)
