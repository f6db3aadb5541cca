"""How a cell is run: every row leaves a run folder, the network of this project and its rivals alike.

The runs of CiMEU rows stay below `runs/`, since reports and controls read them; those of rivals stay with `keep`.
"""

import json
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from cimeu.baselines.registry import METHODS
from cimeu.batching.dataset import ClipDataset
from cimeu.bench.cells import CellResult, Parts, foreign_cell, mean_of
from cimeu.bench.comparison import Cell, read_bench, read_folds
from cimeu.bench.corruption import Condition, conditions, damaged
from cimeu.bench.nested import Trial, inner_folds, inner_groups, settings_chosen
from cimeu.bench.protocols import LEAVE_ONE_OUT, NESTED, ROBUSTNESS, SHOTS, TRANSDUCTIVE, divide, protocol_named
from cimeu.bench.rows import HANDMADE, Row, row_named
from cimeu.bench.style_offset import Clips, SupportProtocol, answers_with_supports
from cimeu.bench.transductive import by_group, group_statistics
from cimeu.corpora.folds import Fold
from cimeu.corpora.manifest import Manifest
from cimeu.errors import RecipeError
from cimeu.evaluation.ensemble import answers_of, load_classifier
from cimeu.evaluation.predict import EnsembleSettings, evaluation_collator, fused_probabilities, score_clips
from cimeu.evaluation.predictions import STREAMS, part_table
from cimeu.evaluation.rivals import read_rival
from cimeu.evaluation.selection import RULES, SelectionRule, rule_named
from cimeu.experiments.prepare import Prepared, clips_of, cores, extract_streams, folds_named, prepare
from cimeu.experiments.recipe import EncoderConfig, Recipe, override, recipe_from, to_tree
from cimeu.experiments.run import run_fold
from cimeu.experiments.run_folder import read_run
from cimeu.features.store import FeatureStore
from cimeu.model.checkpoint import read_weights
from cimeu.model.network import CiMEU
from cimeu.model.rivals.rival import Rival
from cimeu.progress import Progress
from cimeu.pyramid import Direction
from cimeu.training.config import TrainingConfig
from cimeu.training.journal import read_journal


@dataclass(frozen=True)
class BenchClips(Prepared):
    """A recipe's clips as a bench reads them."""

    standardised_by: str = ""
    """Column whose groups are standardised by their own clips; empty: clips as stored."""
    style_sizes: Mapping[Direction, tuple[int, ...]] = field(default_factory=dict)
    """Sizes of random styles in each direction."""
    statistics: dict[tuple[str, Direction], Any] = field(default_factory=dict)
    """Statistics of groups that were computed already."""

    def dataset(self, clip_ids: Sequence[str], direction: Direction) -> ClipDataset:
        plain = super().dataset(clip_ids, direction)
        if not self.standardised_by:
            return plain
        key = (str(self.first.folder), direction)
        if key not in self.statistics:
            # Test clips too, without their labels: that is what makes this protocol transductive.
            everyone = super().dataset(list(self.manifest.table["clip_id"]), direction)
            self.statistics[key] = group_statistics(everyone, self.standardised_by)
        return by_group(plain, self.standardised_by, self.statistics[key])

    def training(self, direction: Direction) -> TrainingConfig:
        sizes = self.style_sizes.get(direction)
        return self.recipe.training if sizes is None else replace(self.recipe.training, style_sizes=sizes)


Member = tuple[Path, BenchClips, CellResult]
"""One run of a row: its folder, the clips it read, and what it says."""
WITH_SUPPORTS = ("", LEAVE_ONE_OUT, NESTED)
"""Protocols under which each person and culture is tested as a whole, so that supports can be drawn."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How every row of a bench is trained, chosen and tested."""

    protocol: str = ""
    """Name in `cimeu.bench.protocols.PROTOCOLS`; empty: the folds of the recipe."""
    selection: str = ""
    """Name in `cimeu.evaluation.selection.RULES`; empty: the recipe's."""
    shots: tuple[int, ...] = SHOTS
    """Labels of each emotion, for the protocol `few-shot`."""
    tune: int = 0
    """Configurations tried for each row and fold inside its training groups; 0: the recipe's settings."""
    keep: bool = False
    """Whether baselines and methods leave run folders too, so that any row can be used as a model."""
    supports: tuple[SupportProtocol, ...] = ()
    """Support sets under which test clips are answered too, by models that were trained with supports."""

    def __post_init__(self) -> None:
        protocol_named(self.protocol)
        if self.supports and self.protocol not in WITH_SUPPORTS:
            raise RecipeError(
                f"the protocol `{self.protocol}` has no support sets\n\n"
                f"hint: they go with the folds of the recipe, {' or '.join(filter(None, WITH_SUPPORTS))}"
            )
        if self.selection:
            rule_named(self.selection)


@dataclass(frozen=True)
class CellRunner:
    """Runs one cell; a worker process gets a copy once and opens the stores itself."""

    recipe: Recipe
    folder: Path
    how: Comparison = Comparison()

    def prepare(self, rows: Sequence[str], progress: Progress) -> tuple[Prepared, list[Fold]]:
        """Fill the stores that the rows read."""
        # Refused before the extraction.
        folds = list(self._folds_of(clips_of(self.recipe, emotions_only=True)[0]).values())
        prepared = prepare(self.recipe, emotions_only=True, progress=progress)
        if any(row_named(row).inputs == HANDMADE for row in rows):
            handmade = [(EncoderConfig(encoder=HANDMADE), False)]
            workers = self.recipe.data.workers or cores()
            extract_streams(prepared.manifest, handmade, self.recipe.data.features, workers=workers, progress=progress)
        return prepared, folds

    def __call__(self, cell: Cell) -> CellResult:
        row, fold = row_named(cell.row), self._folds[cell.fold]
        settings: Mapping[str, Any] = {}
        if self.how.tune:
            groups = inner_groups(read_folds(self.folder))[fold.name]
            settings = settings_chosen(read_bench(self.folder), self.folder, row, fold.name, groups)
        if row.kind == "cimeu" or self.how.keep:
            return self.run(row, fold, cell.seed, settings=settings, runs=self.folder / "runs" / row.name)
        # Rows that draw nothing are run for one seed and copied to the others, at no time of their own.
        same = (row.name, fold.name) if self._is_deterministic(row) else None
        if same in self._cells:
            return replace(self._cells[same], wall_s=0.0)
        with tempfile.TemporaryDirectory(prefix="cimeu-bench-") as runs:
            result = self.run(row, fold, cell.seed, settings=settings, runs=Path(runs))
        if same is not None:
            self._cells[same] = result
        return result

    def trial(self, trial: Trial) -> CellResult:
        """One configuration on one group that is held out inside the training groups of a fold."""
        folds = inner_folds(self._clips.manifest, self._folds[trial.fold], self.recipe.folds)
        fold = next(fold for fold in folds if fold.name == trial.inner)
        runs = self.folder / trial.stem
        try:
            return self.run(row_named(trial.row), fold, 0, settings=trial.settings, runs=runs, is_trial=True)
        finally:
            # A trial leaves its figure alone: checkpoints of hundreds of trials would fill a disk.
            shutil.rmtree(runs, ignore_errors=True)

    def run(
        self,
        row: Row,
        fold: Fold,
        seed: int,
        *,
        settings: Mapping[str, Any],
        runs: Path,
        is_trial: bool = False,
    ) -> CellResult:
        """A row on a fold with a seed; run folders lie in `runs`.

        `settings` replace the recipe's, where their name has a dot, or the rival's own.
        """
        rule = self._rule
        if not rule.on_test:  # a run takes the test clips by itself
            fold = rule.fold(fold, self._clips.manifest, self.recipe.folds.group, seed)
        if row.kind == "method" and row.algorithm not in METHODS:
            return self._foreign(row, fold, seed, settings, is_trial=is_trial)
        if self._is_deterministic(row):
            seed = 0
        describe = not is_trial and (row.kind == "cimeu" or self.how.keep)
        members = [
            self._member(row, fold, member_seed, settings, runs, describe=describe) for member_seed in row.seeds(seed)
        ]
        if not is_trial and self._conditions:
            members = [self._corrupted(*member, fold) for member in members]
        if not is_trial and self.how.supports:
            behind = {**settings, "training.supports": True}
            given = [
                self._member(row, fold, member_seed, behind, runs / "supports", describe=False)
                for member_seed in row.seeds(seed)
            ]
            members = [self._supported(member, other, fold) for member, other in zip(members, given, strict=True)]
        chosen = rule.chooses or row.kind != "baseline"  # simple models choose their settings in any case
        return replace(mean_of([result for _, _, result in members]), selection=rule.name if chosen else "validation")

    def _member(
        self, row: Row, fold: Fold, seed: int, settings: Mapping[str, Any], runs: Path, *, describe: bool
    ) -> Member:
        """One run of a row: its folder, the clips it read, and what it says."""
        started = time.monotonic()
        recipe = self._with({**row.settings(settings), **self._streams(row)})
        clips = replace(self._clips, recipe=recipe)
        if row.inputs == HANDMADE:
            clips = replace(clips, first=FeatureStore.open(recipe.data.features / HANDMADE), second=None)
        elif row.inputs != "streams":
            store = getattr(clips, row.inputs)
            assert store is not None, "the row needs two streams"
            clips = replace(clips, first=store, second=None)
        name = self.recipe.run_name(fold.name, seed)
        # The control draws styles in the proportions that the run it controls for had found.
        if row.after:
            sizes = style_sizes(self.folder / "runs" / row.after / name, clips.directions)
            training = replace(recipe.training, style_sizes=sizes[clips.directions[0]])
            clips = replace(clips, recipe=replace(recipe, training=training), style_sizes=sizes)
        run = run_fold(clips, fold, seed, runs / name, describe=describe)
        folders = [run / direction for direction in clips.directions]
        notes = [json.loads((folder / "finished.json").read_text(encoding="utf-8")) for folder in folders]
        uars = [note["validation_uar"] for note in notes]
        result = CellResult(
            _with_known(read_run(run).predictions, clips, fold),
            parameters=sum(t.numel() for folder in folders for t in read_weights(folder).tensors.values()),
            updates=sum(int(read_journal(folder)[-1]["step"] or 0) for folder in folders),
            wall_s=time.monotonic() - started,
            # Mean over directions; not a number where one had no validation clip.
            figures={"validation_uar": math.nan if None in uars else sum(uars) / len(uars)},
        )
        return run, clips, result

    def _corrupted(self, run: Path, clips: BenchClips, result: CellResult, fold: Fold) -> Member:
        """A member with its answers to corrupted test clips among its predictions."""
        tables = corrupted_clips(Answerer.of(run, clips), clips, fold, self._conditions)
        return run, clips, result.with_tables(tables)

    def _supported(self, member: Member, behind: Member, fold: Fold) -> Member:
        """A member with its answers given supports, by one that was trained with them and in nothing else otherwise."""
        run, clips, result = member
        alone, given = Answerer.of(run, clips), Answerer.of(*behind[:2])
        tables = supported_clips(alone, given, behind[1], fold, self.how.supports)
        return run, clips, replace(result.with_tables(tables), wall_s=result.wall_s + behind[2].wall_s)

    def _foreign(self, row: Row, fold: Fold, seed: int, settings: Mapping[str, Any], *, is_trial: bool) -> CellResult:
        """A method of another package, which may be anything that answers clips."""
        shared = {name: value for name, value in settings.items() if "." in name}
        training = replace(self._with(shared).training, seed=seed)
        checked = fold.test if self._rule.on_test else fold.validation
        parts = Parts(*(self._clips.dataset(part, "forward") for part in (fold.train, checked, fold.test)))
        own = {name: float(value) for name, value in settings.items() if name not in shared}
        group = self.recipe.folds.group
        result = foreign_cell(
            row.algorithm,
            parts,
            training,
            group=group,
            settings=own,
            conditions=() if is_trial else self._conditions,
            supports=() if is_trial else self.how.supports,
        )
        return replace(result, selection=self._rule.name)

    def _streams(self, row: Row) -> dict[str, Any]:
        """Streams of the recipe where the row reads others."""
        if row.inputs == "streams":
            return {}
        alone = {"encoder": HANDMADE} if row.inputs == HANDMADE else to_tree(self.recipe)["streams"][row.inputs]
        return {"streams": {"first": alone}}

    def _is_deterministic(self, row: Row) -> bool:
        """Whether every seed gives the same: solvers of simple models draw nothing."""
        return row.kind == "baseline" and not self._rule.by_seed

    @property
    def _rule(self) -> SelectionRule:
        return RULES[self.how.selection or self.recipe.training.selection]

    @property
    def _conditions(self) -> list[Condition]:
        if self.how.protocol != ROBUSTNESS:
            return []
        return conditions(two_streams=self._clips.second is not None)

    @cached_property
    def _clips(self) -> BenchClips:
        prepared = prepare(self.recipe, emotions_only=True)
        column = self.recipe.folds.group if self.how.protocol == TRANSDUCTIVE else ""
        return BenchClips(**vars(prepared), standardised_by=column)

    @cached_property
    def _folds(self) -> dict[str, Fold]:
        return self._folds_of(self._clips.manifest)

    @cached_property
    def _cells(self) -> dict[Any, CellResult]:
        return {}

    def _folds_of(self, manifest: Manifest) -> dict[str, Fold]:
        """Folds of the protocol by name: all of them, or those that the recipe names."""
        folds = divide(manifest, self.recipe.folds, self.how.protocol, shots=self.how.shots)
        return {fold.name: fold for fold in folds_named(self.recipe.fold, folds)}

    def _with(self, settings: Mapping[str, Any]) -> Recipe:
        if not settings:
            return self.recipe
        # The way of the command line, so that a row can set what a user could, and is checked alike.
        assignments = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        return recipe_from(override(to_tree(self.recipe), assignments))


@dataclass(frozen=True)
class Answerer:
    """A finished run that answers clips again, as they are or changed."""

    models: Mapping[Direction, CiMEU | Rival]
    run: Path
    settings: EnsembleSettings

    @classmethod
    def of(cls, run: Path, clips: Prepared) -> "Answerer":
        """Read the models of a run."""
        models = {direction: _read(run / direction, clips.recipe) for direction in clips.directions}
        return cls(models, run, EnsembleSettings.load(run))

    def __call__(self, clips: Clips) -> Float[np.ndarray, "N K"]:
        """Fused probabilities of the same clips as each model reads them."""
        scores = {
            direction: score_clips(model, clips[direction])
            for direction, model in self.models.items()
            if isinstance(model, CiMEU)
        }
        if scores:
            return fused_probabilities(scores.get("forward"), scores.get("backward"), self.settings)["fused"]
        return answers_of(load_classifier(self.run, self.settings), clips["forward"]).probabilities


def corrupted_clips(
    answerer: Answerer, clips: Prepared, fold: Fold, conditions: Sequence[Condition]
) -> list[pd.DataFrame]:
    """What a finished run says of its test clips under each condition but the untouched one."""
    tables = []
    for condition in filter(str, conditions):
        changed: dict[Direction, ClipDataset] = {}
        for direction, model in answerer.models.items():
            collator = evaluation_collator(model)
            statistics = (collator.first, collator.second)
            changed[direction] = damaged(clips.dataset(fold.test, direction), condition, statistics)
        dataset = next(iter(changed.values()))
        table = part_table(dataset, "test", answerer(changed), group=clips.recipe.folds.group)
        tables.append(table.assign(condition=str(condition)))
    return tables


def supported_clips(
    alone: Answerer, given: Answerer, clips: BenchClips, fold: Fold, protocols: Sequence[SupportProtocol]
) -> list[pd.DataFrame]:
    """What two finished runs, trained without supports and with them, say of test clips given each support set."""
    datasets = {direction: clips.dataset(fold.test, direction) for direction in given.models}
    rules = {direction: clips.style_rule(fold.train, direction) for direction in given.models}
    return answers_with_supports(rules, datasets, alone, given, protocols)


def _read(folder: Path, recipe: Recipe) -> CiMEU | Rival:
    return CiMEU.from_pretrained(folder) if recipe.is_network else read_rival(folder).network


def style_sizes(run: Path, directions: Sequence[Direction]) -> dict[Direction, tuple[int, ...]]:
    """Cluster sizes in the last epoch of each direction of the run that random labels are a control of."""
    sizes_of: dict[Direction, tuple[int, ...]] = {}
    for direction in directions:
        sizes = pd.read_csv(run / direction / "journal.csv").filter(regex=r"^style\.size\.").iloc[-1]
        # A style that no clip had is drawn for one clip: random labels need all of them.
        sizes_of[direction] = () if sizes.isna().any() else tuple(max(1, math.ceil(size)) for size in sizes)
    return sizes_of


def _with_known(predictions: pd.DataFrame, clips: BenchClips, fold: Fold) -> pd.DataFrame:
    """Which streams each clip has, and whether it was acted."""
    dataset = clips.dataset([*dict.fromkeys([*fold.validation, *fold.test])], clips.directions[0])
    present = dict(zip(dataset.clip_ids, dataset.present.tolist(), strict=True))
    predictions[list(STREAMS)] = [present[clip_id] for clip_id in predictions["clip_id"]]
    if "acted" in clips.manifest.table:
        acted = clips.manifest.table.set_index("clip_id")["acted"]
        predictions["acted"] = [acted[clip_id] for clip_id in predictions["clip_id"]]
    return predictions
