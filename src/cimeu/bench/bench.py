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
from cimeu.bench.cell_runner import CellRunner, Comparison
from cimeu.bench.comparison import FOLDS, Bench, fingerprint_of, open_bench
from cimeu.bench.nested import TuningWork, trials_of
from cimeu.bench.protocols import folds_table
from cimeu.bench.rows import REFERENCE, dotted, row_named, setting_of, why_absent
from cimeu.bench.runner import BenchReport, do_all, run_bench
from cimeu.cluster import HERE, Machines, part_of
from cimeu.corpora.folds import Fold
from cimeu.csv_files import frame_text
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


DEFAULT = Comparison()


def bench_recipe(
    recipe: Recipe,
    rows: Sequence[str],
    folder: Path,
    how: Comparison = DEFAULT,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    workers: int = 1,
    machines: Machines = HERE,
    progress: Progress = silent,
) -> BenchReport:
    """Run the cells of a comparison that are not there yet.

    Args:
        recipe: the row `full`; its seeds are replaced by `seeds`.
        rows: names from `cimeu.bench.rows`.
        folder: of the bench.
        how: protocol, selection and tuning of every row.
        seeds: seeds of each row and fold.
        workers: processes that run cells; on a cluster, 0 takes one for each core.
        machines: the part of the pairs of fold and seed that is meant, or whose workers run the cells. Features are
            extracted here first.
        progress: called after every cell.

    Raises:
        RecipeError: an unknown row, or the folder holds another bench.
    """
    if how.selection:
        training = replace(recipe.training, selection=rule_named(how.selection).training)
        recipe = replace(recipe, training=training)
    part_of((), machines.shard)  # refused before the extraction
    runner = CellRunner(recipe, folder, how)
    clips, folds = runner.prepare(rows, progress)
    bench = open_bench(_bench(clips, folds, rows, seeds, how), folder, _defaults())
    table = folds_table(folds, clips.manifest, recipe.folds.group)
    write_whole(folder / FOLDS, frame_text(table), "bench")
    untuned: dict[tuple[str, str], str] = {}
    if how.tune:
        chosen = {cell.fold for cell in bench.cells(machines.shard)}
        tuned = [row_named(row) for row in bench.rows if row not in bench.absent]
        within = [fold for fold in folds if fold.name in chosen]
        trials = trials_of(tuned, within, clips.manifest, recipe.folds, how.tune)
        work = TuningWork(runner.trial, folder, bench.fingerprint)
        tuning = do_all(work, trials, workers=workers, ray=machines.ray, step="tuning", progress=progress)
        untuned = {(trial.row, trial.fold): f"{trial} failed: {reason}" for trial, reason in tuning.failures.items()}
    report = run_bench(bench, runner, folder, machines=machines, workers=workers, progress=progress)
    # A cell whose trials failed says why they did, rather than that they are not there.
    failures = {cell: untuned.get((cell.row, cell.fold), reason) for cell, reason in report.failures.items()}
    return replace(report, failures=failures)


def _bench(clips: Prepared, folds: Sequence[Fold], rows: Sequence[str], seeds: Sequence[int], how: Comparison) -> Bench:
    """What is compared, and why rows are absent that do not apply."""
    recipe, two_streams = clips.recipe, clips.second is not None
    setting = setting_of(to_tree(recipe), clips.manifest, folds, two_streams=two_streams, group=recipe.folds.group)
    reasons = {row: why_absent(row_named(row), setting) for row in rows}
    return Bench(
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
        protocol=how.protocol,
        selection=how.selection,
        tune=how.tune,
        supports=tuple(map(str, how.supports)),
        settings=_settings(clips),
    )


def _identity(prepared: Prepared) -> str:
    tree = to_tree(prepared.recipe)
    clips = list(prepared.manifest.table["clip_id"])
    stores = [store.description for store in (prepared.first, prepared.second) if store is not None]
    ignored = ("output", "fold", "seeds", "data")
    return fingerprint_of({key: value for key, value in tree.items() if key not in ignored}, clips, stores)


def _settings(prepared: Prepared) -> dict[str, Any]:
    """What a bench depends on, by name: settings of the recipe, and digests of clips and encoders."""
    stores = [store.description for store in (prepared.first, prepared.second) if store is not None]
    identity = {"clips": fingerprint_of(list(prepared.manifest.table["clip_id"])), "encoders": fingerprint_of(stores)}
    return {**_of_recipe(to_tree(prepared.recipe)), **identity}


def _defaults() -> dict[str, Any]:
    # Folders begun before that setting drew every clip once an epoch.
    return {**_of_recipe(to_tree(recipe_from(ANYTHING))), "training.equal_groups": False}


def _of_recipe(tree: Mapping[str, Any]) -> dict[str, Any]:
    ignored = ("output", "fold", "seeds", "data")
    return dotted({key: value for key, value in tree.items() if key not in ignored})
