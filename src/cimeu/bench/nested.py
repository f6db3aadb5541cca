"""Choose settings inside the training groups: nested leave-one-group-out, the outer test group takes no part.

For each row and outer fold, N configurations are tried: the recipe's own and N - 1 drawn at random (`spaces`). Each is
trained once for every training group, with that group held out, and scored by UAR on it. The mean over all of these
groups decides, the earlier configuration at a tie. Trials are counted and timed apart from the cells they serve:

    tuning/<row>/<fold>/<number>/<inner group>.json     settings, UAR, seconds

A row that controls another takes the settings chosen for that one.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from cimeu.atomic import STATE, write_whole
from cimeu.bench.cells import CellResult
from cimeu.bench.comparison import Bench
from cimeu.bench.rows import Row, row_named
from cimeu.bench.search_space import configuration, space_of
from cimeu.corpora.folds import Fold, FoldsConfig, make_folds
from cimeu.corpora.manifest import Manifest
from cimeu.errors import RecipeError
from cimeu.evaluation.predictions import uar_of


@dataclass(frozen=True, order=True)
class Trial:
    """One configuration of a row, with one training group of a fold held out."""

    row: str
    fold: str
    number: int
    inner: str

    @property
    def stem(self) -> Path:
        """Its files below the bench's folder, without suffix."""
        row, fold, inner = (quote(name, safe="") for name in (self.row, self.fold, self.inner))
        return Path("tuning") / row / fold / str(self.number) / inner

    @property
    def lock(self) -> str:
        """What a process that works on the trial holds."""
        return self.stem.as_posix()

    @property
    def after(self) -> None:
        """No trial waits for another."""
        return None

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from the recipe."""
        return configuration(row_named(self.row), self.number)

    def __str__(self) -> str:
        return f"{self.row}, fold {self.fold}, configuration {self.number} on {self.inner}"


@dataclass(frozen=True)
class TuningWork:
    """The trials of a bench."""

    run_trial: Callable[[Trial], CellResult]
    folder: Path
    fingerprint: str

    def is_done(self, task: Trial) -> bool:
        return _read(self.folder, task.stem, self.fingerprint) is not None

    def do(self, task: Trial) -> None:
        wall_s, cpu_s = time.monotonic(), time.process_time()
        result = self.run_trial(task)
        record = {
            "fingerprint": self.fingerprint,
            "settings": task.settings,
            "uar": uar_of(result.predictions, "test"),
            "wall_s": round(time.monotonic() - wall_s, 3),
            "cpu_s": round(time.process_time() - cpu_s, 3),
        }
        write_whole(_json(self.folder, task.stem), json.dumps(record, indent=1), STATE)


def trials_of(
    rows: Sequence[Row], folds: Sequence[Fold], manifest: Manifest, config: FoldsConfig, count: int
) -> list[Trial]:
    """Every trial of every row that has settings to tune, configuration after configuration.

    Raises:
        RecipeError: a fold has one training group only.
        ManifestError, EmptyClass: the training groups cannot be divided further.
    """
    inner = {fold.name: [inner_fold.name for inner_fold in inner_folds(manifest, fold, config)] for fold in folds}
    # A control takes the settings of the row it controls for.
    tuned = [row.name for row in rows if space_of(row) and not row.after]
    return [
        Trial(row, fold, number, group)
        for number in range(count)
        for row in tuned
        for fold, groups in inner.items()
        for group in groups
    ]


def inner_folds(manifest: Manifest, fold: Fold, config: FoldsConfig) -> list[Fold]:
    """Leave-one-group-out among the training groups of a fold; clips of a tested group take no part.

    Raises:
        RecipeError: the fold has one training group only.
    """
    tested = set(manifest.select(fold.test).table[config.group])
    clips = manifest.select([*fold.train, *fold.validation])
    # With few-shot some clips of the tested group are trained on; a choice made on them would be one made on that
    # group.
    clips = clips.select(list(clips.table["clip_id"][~clips.table[config.group].isin(tested)]))
    groups = sorted(set(clips.table[config.group]) - {""})
    if len(groups) < 2:
        raise RecipeError(
            f"fold {fold.name} cannot be tuned: {len(groups)} training group(s) apart from the tested one\n\n"
            "hint: tuning holds out one training group after the other; leave --tune out, or take leave-one-out"
        )
    return make_folds(clips, replace(config, protocol="leave-one-group-out"))


def inner_groups(folds: pd.DataFrame) -> dict[str, list[str]]:
    """Groups that are held out inside the training groups, by fold, from the table of folds (`folds_table`)."""
    groups = {}
    for fold, rows in folds.groupby("fold", sort=False):
        tests = rows["part"] == "test"
        groups[str(fold)] = sorted(set(rows["group"][~tests]) - set(rows["group"][tests]) - {""})
    return groups


def settings_chosen(bench: Bench, folder: Path, row: Row, fold: str, groups: Sequence[str]) -> dict[str, Any]:
    """Settings of the configuration with the best mean UAR over the inner groups.

    Raises:
        RecipeError: a trial is not there, or belongs to another bench.
    """
    row = row_named(row.after) if row.after else row
    if not space_of(row):
        return {}
    means: list[float] = []
    for number in range(bench.tune):
        trials = tried(bench, folder, row.name, fold, number, groups)
        for group in groups:
            if group not in trials:
                raise RecipeError(
                    f"row `{row.name}`, fold {fold}: configuration {number} was not tried on `{group}`\n\n"
                    "hint: run the bench again"
                )
        means.append(mean_uar(trials))
    return configuration(row, int(np.argmax(means)))  # the first of equals


def _json(folder: Path, stem: Path) -> Path:
    return folder / stem.with_name(f"{stem.name}.json")


def _read(folder: Path, stem: Path, fingerprint: str) -> Mapping[str, Any] | None:
    try:
        record = json.loads(_json(folder, stem).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return record if record.get("fingerprint") == fingerprint else None


def tried(
    bench: Bench, folder: Path, row: str, fold: str, number: int, groups: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """Trials of a configuration that are there and of this bench, by inner group."""
    trials = {group: _read(folder, Trial(row, fold, number, group).stem, bench.fingerprint) for group in groups}
    return {group: record for group, record in trials.items() if record is not None}


def mean_uar(trials: Mapping[str, Mapping[str, Any]]) -> float:
    return float(np.mean([trial["uar"] for trial in trials.values()]))
