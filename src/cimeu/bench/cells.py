"""One cell of a table: a row, trained on one fold with one seed, and what it says of each clip.

Baselines and domain methods are run here; a CiMEU row is run by the experiments, which return the same `CellResult`.

Axes: N clips, D features, K emotions.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float

from cimeu.baselines.fit import FitConfig, fit
from cimeu.baselines.linear import Linear
from cimeu.baselines.majority import Majority
from cimeu.baselines.rbf import RadialSupportVectors
from cimeu.baselines.registry import method_named
from cimeu.baselines.simple import Baseline, Settings
from cimeu.batching.dataset import ClipDataset
from cimeu.batching.pooling import pooled
from cimeu.bench.corruption import Condition, damaged
from cimeu.evaluation.predictions import PROBABILITY, part_table, uar_of, with_condition
from cimeu.progress import Progress, silent
from cimeu.pyramid import DIRECTIONS

BASELINES = {baseline.name: baseline for baseline in (Majority, Linear, RadialSupportVectors)}


@dataclass(frozen=True)
class CellResult:
    """What one cell leaves behind.

    `predictions` has a row per validation and test clip: the columns `DESCRIBED`, `part` (validation or test), the
    group column, `STREAMS`, and `fused.<emotion>`, not numbers where the clip could not be used. Under the protocol
    `robustness` test clips are there once for each `condition`.
    """

    predictions: pd.DataFrame
    parameters: int = 0
    updates: int = 0
    wall_s: float = 0.0
    cpu_s: float = math.nan
    """Seconds of processor time; not a number where nobody counted."""
    selection: str = "validation"
    figures: Mapping[str, float] = field(default_factory=dict)
    """Anything else worth keeping: chosen settings, epoch, validation UAR."""


@dataclass(frozen=True)
class Parts:
    """Training, validation and test clips of a fold with their streams."""

    train: ClipDataset
    validation: ClipDataset
    test: ClipDataset


def baseline_cell(
    name: str,
    parts: Parts,
    *,
    seed: int = 0,
    group: str = "culture",
    settings: Settings | None = None,
    conditions: Sequence[Condition] = (),
) -> CellResult:
    """Fit a baseline of `BASELINES` on one vector per clip.

    Args:
        name: of the baseline.
        parts: clips with their streams.
        seed: of the fit.
        group: column that is kept beside the predictions.
        settings: settings that are not chosen on validation clips but given.
        conditions: what the test clips also suffer; each adds their rows once more.

    Raises:
        FeatureError: no training or no validation clip has features.
    """
    started = time.monotonic()
    baseline: Baseline = BASELINES[name](len(parts.train.labels), settings)
    baseline.fit(
        pooled(parts.train),
        parts.train.emotions[parts.train.usable],
        pooled(parts.validation),
        parts.validation.emotions[parts.validation.usable],
        seed,
    )
    predictions = predictions_table(
        parts,
        lambda clips: _on_all(clips, baseline.probabilities(pooled(clips))),
        group=group,
        conditions=conditions,
        blank=True,
    )
    figures = dict(baseline.settings) | {"validation_uar": uar_of(predictions, "validation")}
    return CellResult(predictions, wall_s=time.monotonic() - started, figures=figures)


def method_cell(
    name: str,
    parts: Parts,
    config: FitConfig,
    *,
    seed: int = 0,
    conditions: Sequence[Condition] = (),
    progress: Progress = silent,
) -> CellResult:
    """Train a domain method, ours or another package's. Raises RecipeError for an unknown name or setting."""
    started = time.monotonic()
    fitted = fit(method_named(name), parts.train, parts.validation, config, seed=seed, progress=progress)
    predictions = predictions_table(parts, fitted.probabilities, group=config.group, conditions=conditions)
    return CellResult(
        predictions,
        parameters=fitted.parameters,
        updates=fitted.updates,
        wall_s=time.monotonic() - started,
        selection=config.selection,
        figures={"epoch": float(fitted.epoch), "validation_uar": uar_of(predictions, "validation")},
    )


Answer = Callable[[ClipDataset], Float[np.ndarray, "N K"]]
"""Probabilities of every clip of a dataset; not numbers where a clip could not be used."""


def predictions_table(
    parts: Parts,
    answer: Answer,
    *,
    group: str,
    conditions: Sequence[Condition] = (),
    blank: bool = False,
) -> pd.DataFrame:
    """Both parts in the form of a run folder's predictions.csv; test clips once more for each condition."""
    tables = [part_table(parts.validation, "validation", answer(parts.validation), group=group)]
    tables.append(part_table(parts.test, "test", answer(parts.test), group=group))
    statistics = parts.train.statistics() if conditions else (None, None)
    for condition in conditions:
        if str(condition):
            clips = damaged(parts.test, condition, statistics, blank=blank)
            tables.append(part_table(clips, "test", answer(clips), group=group).assign(condition=str(condition)))
    return with_condition(pd.concat(tables, ignore_index=True))


def mean_of(results: Sequence[CellResult]) -> CellResult:
    """An ensemble of equal members on the same clips: mean probabilities, summed costs."""
    first = results[0].predictions
    answers = (PROBABILITY, *(f"{direction}." for direction in DIRECTIONS))
    columns = [column for column in first.columns if column.startswith(answers)]
    for other in results[1:]:
        assert list(other.predictions["clip_id"]) == list(first["clip_id"]), "members saw other clips"
    mean = first.copy()
    mean[columns] = np.mean([result.predictions[columns].to_numpy(float) for result in results], axis=0)
    return CellResult(
        mean,
        parameters=sum(result.parameters for result in results),
        updates=sum(result.updates for result in results),
        wall_s=sum(result.wall_s for result in results),
        selection=results[0].selection,
        figures={"validation_uar": float(np.mean([each.figures.get("validation_uar", np.nan) for each in results]))},
    )


def _on_all(dataset: ClipDataset, probabilities: Float[np.ndarray, "U K"]) -> Float[np.ndarray, "N K"]:
    whole = np.full((len(dataset), probabilities.shape[1]), np.nan)
    whole[dataset.usable] = probabilities
    return whole
