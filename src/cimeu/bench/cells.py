"""One cell of a table: a row, trained on one fold with one seed, and what it says of each clip.

Axes: N clips, K emotions.
"""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from cimeu.baselines.fit import fit
from cimeu.baselines.registry import ENTRY_POINTS, method_named
from cimeu.batching.dataset import ClipDataset
from cimeu.bench.corruption import Condition, damaged
from cimeu.bench.style_offset import SupportProtocol, answers_with_supports
from cimeu.evaluation.predictions import PROBABILITY, part_table, uar_of, with_condition
from cimeu.plugins import failures_of, offered
from cimeu.progress import Progress, silent
from cimeu.pyramid import DIRECTIONS
from cimeu.training.config import TrainingConfig
from cimeu.training.episodes import StreamRule


@dataclass(frozen=True)
class CellResult:
    """What one cell leaves behind.

    `predictions` has a row per validation and test clip: the columns `DESCRIBED`, `part` (validation or test), the
    group column, `STREAMS`, and `fused.<emotion>`, NaN where the clip could not be used. Under the protocol
    `robustness`, and with support sets, test clips are there once for each `condition`.
    """

    predictions: pd.DataFrame
    parameters: int = 0
    updates: int = 0
    wall_s: float = 0.0
    cpu_s: float = math.nan
    """Seconds of processor time; NaN where nobody counted."""
    selection: str = "validation"
    figures: Mapping[str, float] = field(default_factory=dict)
    """Anything else worth keeping: chosen settings, epoch, validation UAR."""

    def with_tables(self, tables: Sequence[pd.DataFrame]) -> "CellResult":
        """With answers to the same clips under other conditions among the predictions."""
        return replace(self, predictions=with_condition(pd.concat([self.predictions, *tables], ignore_index=True)))


@dataclass(frozen=True)
class Parts:
    """Training, validation and test clips of a fold with their streams."""

    train: ClipDataset
    validation: ClipDataset
    test: ClipDataset


def foreign_cell(
    name: str,
    parts: Parts,
    config: TrainingConfig,
    *,
    group: str = "culture",
    settings: dict[str, float] | None = None,
    conditions: Sequence[Condition] = (),
    supports: Sequence[SupportProtocol] = (),
    progress: Progress = silent,
) -> CellResult:
    """Train a method of another package, whose network need not be one that can be kept as a run folder.

    Raises:
        RecipeError: no such method, a setting that it lacks, or anything that its own code raises.
    """
    started = time.monotonic()
    build = method_named(name)
    other = offered(ENTRY_POINTS).get(name)
    with failures_of(other) if other else nullcontext():
        fitted = fit(build, parts.train, parts.validation, config, group=group, settings=settings, progress=progress)
        tables = [
            part_table(parts.validation, "validation", fitted.probabilities(parts.validation), group=group),
            part_table(parts.test, "test", fitted.probabilities(parts.test), group=group),
        ]
        for condition in conditions:
            if str(condition):
                clips = damaged(parts.test, condition, parts.train.statistics())
                table = part_table(clips, "test", fitted.probabilities(clips), group=group)
                tables.append(table.assign(condition=str(condition)))
        if supports:
            rule = StreamRule.of(parts.train, group)
            episodes = rule.in_episodes(parts.train), rule.in_episodes(parts.validation).episode(0)
            behind = fit(build, *episodes, config, group=group, settings=settings, progress=progress)
            tables += answers_with_supports(
                {"forward": rule},
                {"forward": parts.test},
                lambda clips: fitted.probabilities(clips["forward"]),
                lambda clips: behind.probabilities(clips["forward"]),
                supports,
            )
    predictions = with_condition(pd.concat(tables, ignore_index=True))
    return CellResult(
        predictions,
        parameters=sum(parameter.numel() for parameter in fitted.method.parameters() if parameter.requires_grad),
        updates=fitted.updates,
        wall_s=time.monotonic() - started,
        selection=config.selection,
        figures={"epoch": float(fitted.epoch), "validation_uar": uar_of(predictions, "validation")},
    )


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
        figures={
            "validation_uar": float(
                np.mean([cell_result.figures.get("validation_uar", np.nan) for cell_result in results])
            )
        },
    )
