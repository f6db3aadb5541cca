"""Run a comparison: every row of a table on the same clips, folds, seeds and budget, a cell each.

CiMEU rows are the recipe with some settings changed and leave a run folder; baselines and domain methods are run by
`cimeu.baselines`. Cells are independent: worker processes take one after the other, each with one thread, and a
cell that is there is not run again. A process opens manifest, folds and features once.
"""

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cimeu.atomic import write_whole
from cimeu.baselines.fit import budget_of
from cimeu.batching.dataset import ClipDataset, Statistics
from cimeu.bench.cells import CellResult, Parts, baseline_cell, mean_of, method_cell
from cimeu.bench.comparison import Bench, Cell, fingerprint_of, open_bench, read_bench
from cimeu.bench.corruption import Condition, conditions, damaged
from cimeu.bench.nested import Trial, TuningWork, inner_folds, inner_groups, settings_chosen, trials_of
from cimeu.bench.protocols import (
    ROBUSTNESS,
    SHOTS,
    TRANSDUCTIVE,
    divide,
    folds_table,
    protocol_named,
)
from cimeu.bench.rows import HANDMADE, REFERENCE, Row, dotted, row_named, setting_of, why_absent
from cimeu.bench.runner import BenchReport, do_all, run_bench
from cimeu.bench.transductive import by_group, group_statistics
from cimeu.corpora.folds import Fold
from cimeu.errors import RecipeError
from cimeu.evaluation.predict import EnsembleSettings, evaluation_collator, fused_probabilities, score_clips
from cimeu.evaluation.predictions import STREAMS, part_table, with_condition
from cimeu.evaluation.selection import RULES, SelectionRule, rule_named
from cimeu.experiments.recipe import EncoderConfig, Recipe, override, recipe_from, to_tree
from cimeu.experiments.run import Prepared, cores, extract_streams, folds_named, prepare, run_fold
from cimeu.experiments.run_folder import read_run
from cimeu.features.store import FeatureStore
from cimeu.model.checkpoint import read_checkpoint
from cimeu.model.network import CiMEU
from cimeu.progress import Progress, silent
from cimeu.pyramid import Direction
from cimeu.training.config import TrainingConfig
from cimeu.training.journal import read_journal

ANYTHING = {
    "name": "anything",
    "data": {"manifest": "anything.csv"},
    "streams": {"first": {"encoder": "anything"}},
    "folds": {},
    "training": {},
}
"""The shortest recipe: what it says of every other setting is the default."""
FOLDS = "folds.csv"
"""Clips and speakers of every part of every fold."""


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
        progress: told after every cell.

    Raises:
        RecipeError: an unknown row, protocol or rule, or the folder holds another bench.
    """
    if selection:
        training = replace(recipe.training, selection=rule_named(selection).training)
        recipe = replace(recipe, training=training)
    runner = CellRunner(recipe, folder, protocol_named(protocol), selection, tuple(shots), tune)
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
    if tune:
        chosen = [cell.fold for cell in bench.cells(shard)]
        tuned = [row_named(row) for row in bench.rows if row not in bench.absent]
        trials = trials_of(tuned, [fold for fold in folds if fold.name in chosen], clips.manifest, recipe.folds, tune)
        work = TuningWork(runner.trial, folder, bench.fingerprint)
        tuning = do_all(work, trials, workers=workers, step="tuning", progress=progress)
        for trial, reason in tuning.failures.items():
            raise RecipeError(f"{trial} failed: {reason}")
    return run_bench(bench, runner, folder, shard=shard, workers=workers, progress=progress)


def read_folds(folder: Path) -> pd.DataFrame:
    """Table of the folds of a bench, as it wrote it."""
    table = pd.read_csv(folder / FOLDS, dtype=str, keep_default_na=False)
    return table.astype({"clips": int, "speakers": int})


@dataclass(frozen=True)
class BenchClips(Prepared):
    """A recipe's clips as a bench reads them."""

    standardised_by: str = ""
    """Column whose groups are standardised by their own clips; empty: clips as stored."""
    style_sizes: Mapping[Direction, tuple[int, ...]] = field(default_factory=dict)
    """Sizes of random styles in each direction."""
    known: dict[tuple[str, Direction], Any] = field(default_factory=dict)
    """Statistics of groups that were computed already."""

    def dataset(self, clip_ids: Sequence[str], direction: Direction) -> ClipDataset:
        plain = super().dataset(clip_ids, direction)
        if not self.standardised_by:
            return plain
        key = (str(self.first.folder), direction)
        if key not in self.known:
            everyone = super().dataset(list(self.manifest.table["clip_id"]), direction)
            self.known[key] = group_statistics(everyone, self.standardised_by)
        return by_group(plain, self.standardised_by, self.known[key])

    def training(self, direction: Direction) -> TrainingConfig:
        sizes = self.style_sizes.get(direction)
        return self.recipe.training if sizes is None else replace(self.recipe.training, style_sizes=sizes)


@dataclass(frozen=True)
class CellRunner:
    """Runs one cell; a worker process gets a copy once and opens the stores itself."""

    recipe: Recipe
    folder: Path
    protocol: str = ""
    selection: str = ""
    shots: tuple[int, ...] = SHOTS
    tune: int = 0

    def prepare(self, rows: Sequence[str], progress: Progress) -> tuple[Prepared, list[Fold]]:
        """Fill the stores that the rows read."""
        prepared = prepare(self.recipe, progress=progress)
        if any(row_named(row).inputs == HANDMADE for row in rows):
            wanted = [(EncoderConfig(encoder=HANDMADE), False)]
            workers = self.recipe.data.workers or cores()
            extract_streams(prepared.manifest, wanted, self.recipe.data.features, workers=workers, progress=progress)
        return prepared, list(self._folds_of(prepared).values())

    def __call__(self, cell: Cell) -> CellResult:
        row, fold = row_named(cell.row), self._folds[cell.fold]
        settings: Mapping[str, Any] = {}
        if self.tune:
            groups = inner_groups(read_folds(self.folder))[fold.name]
            settings = settings_chosen(read_bench(self.folder), self.folder, row, fold.name, groups)
        return self.run(row, fold, cell.seed, settings=settings, conditions=self._conditions)

    def trial(self, trial: Trial) -> CellResult:
        """One configuration on one group that is held out inside the training groups of a fold."""
        folds = inner_folds(self._clips.manifest, self._folds[trial.fold], self.recipe.folds)
        fold = next(fold for fold in folds if fold.name == trial.inner)
        runs = self.folder / trial.stem
        try:
            return self.run(row_named(trial.row), fold, 0, settings=trial.settings, runs=runs)
        finally:
            shutil.rmtree(runs, ignore_errors=True)

    def run(
        self,
        row: Row,
        fold: Fold,
        seed: int,
        *,
        settings: Mapping[str, Any],
        conditions: Sequence[Condition] = (),
        runs: Path | None = None,
    ) -> CellResult:
        """A row on a fold with a seed; `settings` replace the recipe's or the method's, run folders lie in `runs`."""
        rule, group = self._rule, self.recipe.folds.group
        if row.kind == "cimeu":
            if not rule.on_test:
                fold = rule.fold(fold, self._clips.manifest, group, seed)
            folder = runs or self.folder / "runs" / row.name
            members = [self._cimeu(row, fold, each, settings, conditions, folder) for each in row.seeds(seed)]
            return replace(mean_of(members), selection=rule.name)
        parts = self._parts(row, fold, seed)
        if row.kind == "baseline":
            key = (row.name, fold, tuple(sorted(settings.items())), rule.by_seed and seed)
            if key not in self._answered:  # its solvers draw nothing: every seed is the same
                given = dict(settings) or None
                self._answered[key] = baseline_cell(
                    row.algorithm, parts, seed=seed, group=group, settings=given, conditions=conditions
                )
                found = self._answered[key]
            else:
                found = replace(self._answered[key], wall_s=0.0)
            return replace(found, selection=rule.name if rule.chooses else "validation")
        of_training = {name: value for name, value in settings.items() if name.startswith("training.")}
        training = self._with(of_training).training
        if rule.on_test:
            training = replace(training, selection="validation")  # its validation clips are the test clips
        own = {name: float(value) for name, value in settings.items() if name not in of_training}
        budget = budget_of(training, group, own)
        found = method_cell(row.algorithm, parts, budget, seed=seed, conditions=conditions)
        return replace(found, selection=rule.name)

    @property
    def _rule(self) -> SelectionRule:
        return RULES[self.selection or self.recipe.training.selection]

    @property
    def _conditions(self) -> list[Condition]:
        if self.protocol != ROBUSTNESS:
            return []
        return conditions(two_streams=self._clips.second is not None)

    @cached_property
    def _clips(self) -> BenchClips:
        prepared = prepare(self.recipe)
        column = self.recipe.folds.group if self.protocol == TRANSDUCTIVE else ""
        return BenchClips(**vars(prepared), standardised_by=column)

    @cached_property
    def _folds(self) -> dict[str, Fold]:
        return self._folds_of(self._clips)

    @cached_property
    def _answered(self) -> dict[Any, CellResult]:
        return {}

    @cached_property
    def _looked_up(self) -> dict[Any, Parts]:
        return {}

    def _folds_of(self, prepared: Prepared) -> dict[str, Fold]:
        """Folds of the protocol by name: all of them, or those that the recipe names."""
        folds = divide(prepared.manifest, self.recipe.folds, self.protocol, shots=self.shots)
        return {fold.name: fold for fold in folds_named(self.recipe.fold, folds)}

    def _parts(self, row: Row, fold: Fold, seed: int) -> Parts:
        divided = self._rule.fold(fold, self._clips.manifest, self.recipe.folds.group, seed)
        key = (row.inputs, divided)
        if key not in self._looked_up:
            clips = self._clips
            if row.inputs == HANDMADE:
                clips = replace(clips, first=FeatureStore.open(self.recipe.data.features / HANDMADE), second=None)
            elif row.inputs == "first":
                clips = replace(clips, second=None)
            elif row.inputs == "second":
                assert clips.second is not None, "the row needs two streams"
                clips = replace(clips, first=clips.second, second=None)
            ids = (divided.train, divided.validation, divided.test)
            self._looked_up[key] = Parts(*(clips.dataset(part, "forward") for part in ids))
        return self._looked_up[key]

    def _with(self, settings: Mapping[str, Any]) -> Recipe:
        if not settings:
            return self.recipe
        return recipe_from(
            override(to_tree(self.recipe), [f"{key}={json.dumps(each)}" for key, each in settings.items()])
        )

    def _cimeu(
        self,
        row: Row,
        fold: Fold,
        seed: int,
        settings: Mapping[str, Any],
        conditions: Sequence[Condition],
        folder: Path,
    ) -> CellResult:
        started = time.monotonic()
        recipe = self._with({**settings, **row.overrides})
        clips = replace(self._clips, recipe=recipe)
        name = f"{self.recipe.name}-{fold.name}-s{seed}"
        if row.after:
            sizes = style_sizes(self.folder / "runs" / row.after / name, clips.directions)
            training = replace(recipe.training, style_sizes=sizes[clips.directions[0]])
            recipe = replace(recipe, training=training)
            clips = replace(clips, recipe=recipe, style_sizes=sizes)
        run = run_fold(clips, fold, seed, folder / name)
        predictions = self._with_known(read_run(run).predictions, clips, fold)
        if conditions:
            suffering = suffering_clips(run, clips, fold, conditions, self.recipe.folds.group)
            predictions = with_condition(pd.concat([predictions, *suffering], ignore_index=True))
        folders = [run / direction for direction in clips.directions]
        counted = [sum(t.numel() for t in read_checkpoint(folder)[2].tensors.values()) for folder in folders]
        figures = [json.loads((folder / "finished.json").read_text(encoding="utf-8")) for folder in folders]
        validation_uars = [each["validation_uar"] for each in figures]
        return CellResult(
            predictions,
            parameters=sum(counted),
            updates=sum(int(read_journal(folder)[-1]["step"] or 0) for folder in folders),
            wall_s=time.monotonic() - started,
            figures={"validation_uar": math.nan if None in validation_uars else sum(validation_uars) / len(figures)},
        )

    @staticmethod
    def _with_known(predictions: pd.DataFrame, clips: BenchClips, fold: Fold) -> pd.DataFrame:
        """Which streams each clip has, and whether it was acted."""
        dataset = clips.dataset([*dict.fromkeys([*fold.validation, *fold.test])], clips.directions[0])
        known = dict(zip(dataset.clip_ids, dataset.present.tolist(), strict=True))
        predictions[list(STREAMS)] = [known[clip_id] for clip_id in predictions["clip_id"]]
        if "acted" in clips.manifest.table:
            acted = clips.manifest.table.set_index("clip_id")["acted"]
            predictions["acted"] = [acted[clip_id] for clip_id in predictions["clip_id"]]
        return predictions


def suffering_clips(
    run: Path, clips: Prepared, fold: Fold, conditions: Sequence[Condition], group: str
) -> list[pd.DataFrame]:
    """What a finished run says of its test clips under each condition but the untouched one."""
    settings = EnsembleSettings.load(run)
    models = {direction: CiMEU.from_pretrained(run / direction) for direction in clips.directions}
    tables = []
    for condition in (each for each in conditions if str(each)):
        scores = {}
        for direction, model in models.items():
            collator = evaluation_collator(model)
            statistics: tuple[Statistics | None, Statistics | None] = (collator.first, collator.second)
            dataset = damaged(clips.dataset(fold.test, direction), condition, statistics)
            scores[direction] = score_clips(model, dataset)
        fused = fused_probabilities(scores.get("forward"), scores.get("backward"), settings)["fused"]
        tables.append(part_table(dataset, "test", fused, group=group).assign(condition=str(condition)))
    return tables


def style_sizes(run: Path, directions: Sequence[Direction]) -> dict[Direction, tuple[int, ...]]:
    """Cluster sizes in the last epoch of each direction of the run that random labels are a control of."""
    found: dict[Direction, tuple[int, ...]] = {}
    for direction in directions:
        sizes = pd.read_csv(run / direction / "journal.csv").filter(regex=r"^style\.size\.").iloc[-1]
        found[direction] = () if sizes.isna().any() else tuple(math.ceil(size) for size in sizes)
    return found


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
