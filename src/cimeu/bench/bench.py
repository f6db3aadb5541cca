"""Run a comparison: every row of a table on the same clips, folds, seeds and budget, a cell each.

CiMEU rows are the recipe with some settings changed and leave a run folder; baselines and domain methods are run by
`cimeu.baselines`. Cells are independent: worker processes take one after the other, each with one thread, and a
cell that is there is not run again. A process opens manifest, folds and features once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cimeu.atomic import write_whole
from cimeu.bench.cell_runner import CellRunner
from cimeu.bench.comparison import FOLDS, Bench, fingerprint_of, open_bench
from cimeu.bench.nested import TuningWork, trials_of
from cimeu.bench.protocols import SHOTS, folds_table, protocol_named
from cimeu.bench.rows import REFERENCE, dotted, row_named, setting_of, why_absent
from cimeu.bench.runner import BenchReport, do_all, run_bench
from cimeu.evaluation.selection import rule_named
from cimeu.experiments.prepare import Prepared
from cimeu.experiments.recipe import Recipe, recipe_from, to_tree
from cimeu.progress import Progress, silent

ANYTHING = {
    "name": "anything",
    "data": {"manifest": "anything.csv"},
    "streams": {"first": {"encoder": "anything"}},
    "folds": {},
    "training": {},
}
"""The shortest recipe: what it says of every other setting is the default."""


def bench_recipe(
    recipe: Recipe,
    rows: Sequence[str],
    folder: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    protocol: str = "",
    selection: str = "",
    shots: Sequence[int] = SHOTS,
    tune: int = 0,
    workers: int = 1,
    shard: tuple[int, int] = (1, 1),
    keep: bool = False,
    progress: Progress = silent,
) -> BenchReport:
    """Run the cells of a comparison that are not there yet.

    Args:
        recipe: the row `full`; its seeds are replaced by `seeds`.
        rows: names from `cimeu.bench.rows`.
        folder: of the bench.
        seeds: seeds of each row and fold.
        protocol: name in `cimeu.bench.protocols.PROTOCOLS`; empty: the folds of the recipe.
        selection: name in `cimeu.evaluation.selection.RULES`; empty: the recipe's.
        shots: labels of each emotion, for the protocol `few-shot`.
        tune: configurations tried for each row and fold inside its training groups; 0: the recipe's settings.
        workers: processes that run cells.
        shard: (i, n) runs every n-th pair of fold and seed from the i-th on.
        keep: whether baselines and methods leave run folders too, so that any row can be used as a model.
        progress: told after every cell.

    Raises:
        RecipeError: an unknown row, protocol or rule, or the folder holds another bench.
    """
    if selection:
        training = replace(recipe.training, selection=rule_named(selection).training)
        recipe = replace(recipe, training=training)
    runner = CellRunner(recipe, folder, protocol_named(protocol), selection, tuple(shots), tune, keep)
    clips, folds = runner.prepare(rows, progress)
    setting = setting_of(
        to_tree(recipe), clips.manifest, folds, two_streams=clips.second is not None, group=recipe.folds.group
    )
    reasons = {row: why_absent(row_named(row), setting) for row in rows}
    bench = Bench(
        name=recipe.name,
        emotions=clips.labels.emotions,
        rows=tuple(rows),
        folds=tuple(fold.name for fold in folds),
        seeds=tuple(seeds),
        group=recipe.folds.group,
        reference=REFERENCE if REFERENCE in rows else rows[0],
        absent={row: reason for row, reason in reasons.items() if reason},
        fingerprint=_identity(clips),
        synthetic=clips.synthetic,
        protocol=protocol,
        selection=selection,
        tune=tune,
        settings=_settings(clips),
    )
    bench = open_bench(bench, folder, _defaults())
    table = folds_table(folds, clips.manifest, recipe.folds.group)
    write_whole(folder / FOLDS, table.to_csv(index=False, lineterminator="\n"), "bench")
    untuned: dict[tuple[str, str], str] = {}
    if tune:
        chosen = [cell.fold for cell in bench.cells(shard)]
        tuned = [row_named(row) for row in bench.rows if row not in bench.absent]
        trials = trials_of(tuned, [fold for fold in folds if fold.name in chosen], clips.manifest, recipe.folds, tune)
        work = TuningWork(runner.trial, folder, bench.fingerprint)
        tuning = do_all(work, trials, workers=workers, step="tuning", progress=progress)
        untuned = {(trial.row, trial.fold): f"{trial} failed: {reason}" for trial, reason in tuning.failures.items()}
    report = run_bench(bench, runner, folder, shard=shard, workers=workers, progress=progress)
    # A cell whose trials failed says why they did, rather than that they are not there.
    failures = {cell: untuned.get((cell.row, cell.fold), reason) for cell, reason in report.failures.items()}
    return replace(report, failures=failures)


def _identity(prepared: Prepared) -> str:
    tree = to_tree(prepared.recipe)
    clips = list(prepared.manifest.table["clip_id"])
    stores = [store.description for store in (prepared.first, prepared.second) if store is not None]
    ignored = ("output", "fold", "seeds", "data")
    return fingerprint_of({key: value for key, value in tree.items() if key not in ignored}, clips, stores)


def _settings(prepared: Prepared) -> dict[str, Any]:
    """What a bench depends on, by name: settings of the recipe, and digests of clips and encoders."""
    stores = [store.description for store in (prepared.first, prepared.second) if store is not None]
    known = {"clips": fingerprint_of(list(prepared.manifest.table["clip_id"])), "encoders": fingerprint_of(stores)}
    return {**_of_recipe(to_tree(prepared.recipe)), **known}


def _defaults() -> dict[str, Any]:
    return _of_recipe(to_tree(recipe_from(ANYTHING)))


def _of_recipe(tree: Mapping[str, Any]) -> dict[str, Any]:
    ignored = ("output", "fold", "seeds", "data")
    return dotted({key: value for key, value in tree.items() if key not in ignored})
