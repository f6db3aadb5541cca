"""From the cells of a bench to one line per row: figures with intervals, never a mean over folds alone.

Predictions of all folds are pooled. UAR is computed in each group and averaged without weights over groups; the worst
group stands beside it. Intervals draw whole speakers within each group; a difference is paired with the reference on
the same clips and draws; p-values are Holm's over the comparisons listed beforehand. A clip that could not be used is
wrong. Seeds are averaged, never counted as samples.

Axes: S seeds, N test clips, K emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from cimeu.evaluation.metrics import called
from cimeu.evaluation.uncertainty import N_RESAMPLES, Difference, Estimate, bootstrap, holm, paired
from cimeu.generalisation.cells import PROBABILITY, CellResult
from cimeu.generalisation.comparison import Bench, finished, read_bench


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; ends are None where there is one speaker only."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class RowSummary:
    """One line of the table; figures from 0 to 1, None where the line is n/a or no seed is complete."""

    row: str
    absent: str
    """Why the row is n/a; empty where it is not."""
    uar: Interval | None = None
    groups: dict[str, Interval] | None = None
    worst: str = ""
    war: Interval | None = None
    macro_f1: Interval | None = None
    difference: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    improved: int | None = None
    validation_uar: float | None = None
    seed_deviation: float | None = None
    seeds: int = 0
    cells: int = 0
    cells_wanted: int = 0
    n_clips: int = 0
    n_speakers: int = 0
    parameters: int = 0
    updates: int = 0
    wall_s: float = 0.0
    selection: str = ""


@dataclass(frozen=True)
class Summary:
    """A bench in figures: its lines, and the chance level of a uniform guess."""

    bench: Bench
    lines: tuple[RowSummary, ...]

    @property
    def chance(self) -> float:
        """UAR of guessing."""
        return 1 / len(self.bench.emotions)

    @property
    def complete(self) -> bool:
        """Whether every cell is there."""
        return all(line.cells == line.cells_wanted for line in self.lines)


@dataclass(frozen=True)
class _Calls:
    """What a row said of the test clips with each complete seed, clips in one order for all rows."""

    clip_ids: tuple[str, ...]
    truth: Int[np.ndarray, " N"]
    predicted: Int[np.ndarray, "S N"]
    speakers: tuple[str, ...]
    groups: tuple[str, ...]


def summarise(folder: Path, *, resamples: int = N_RESAMPLES, seed: int = 0) -> Summary:
    """Figures of every row from the cells that are there.

    A seed counts for a row once all its folds are there. Raises RecipeError where the folder holds no bench.
    """
    bench = read_bench(folder)
    cells = {row: {} if row in bench.absent else finished(bench, folder, row, bench.seeds) for row in bench.rows}
    calls = {row: _calls(bench, there) for row, there in cells.items()}
    lines = [_line(bench, row, cells[row], calls[row], resamples, seed) for row in bench.rows]
    differences = _differences(bench, calls, resamples, seed)
    adjusted = holm({row: each.p for row, each in differences.items() if np.isfinite(each.p)})
    compared = [
        line if line.row not in differences else _with_difference(line, differences[line.row], adjusted.get(line.row))
        for line in lines
    ]
    return Summary(bench, tuple(compared))


def _calls(bench: Bench, there: dict[tuple[str, int], CellResult]) -> _Calls | None:
    complete = [seed for seed in bench.seeds if all((fold, seed) in there for fold in bench.folds)]
    if not complete:
        return None
    columns = [PROBABILITY + emotion for emotion in bench.emotions]
    tables = [_test_clips([there[fold, seed].predictions for fold in bench.folds]) for seed in complete]
    first = tables[0]
    assert all(list(table["clip_id"]) == list(first["clip_id"]) for table in tables), "seeds were tested on other clips"
    index = {emotion: number for number, emotion in enumerate(bench.emotions)}
    return _Calls(
        tuple(first["clip_id"]),
        np.array([index[emotion] for emotion in first["emotion"]], np.int64),
        np.stack([called(table[columns].to_numpy(float)) for table in tables]),
        tuple(_people(first)),
        tuple(str(name) or "unknown" for name in first[bench.group]),
    )


def _test_clips(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    whole = pd.concat([table[table["part"] == "test"] for table in tables], ignore_index=True)
    return whole.sort_values("clip_id", kind="stable", ignore_index=True)


def _people(table: pd.DataFrame) -> list[str]:
    return [
        f"{corpus}/{speaker}" if speaker else ""
        for corpus, speaker in zip(table["corpus"], table["speaker"], strict=True)
    ]


def _line(
    bench: Bench,
    row: str,
    there: dict[tuple[str, int], CellResult],
    calls: _Calls | None,
    resamples: int,
    seed: int,
) -> RowSummary:
    if row in bench.absent:
        return RowSummary(row=row, absent=bench.absent[row])
    costs = list(there.values())
    wanted = len(bench.folds) * len(bench.seeds)
    if calls is None:
        return RowSummary(row=row, absent="", cells=len(costs), cells_wanted=wanted)
    figures = bootstrap(
        calls.truth,
        calls.predicted,
        calls.speakers,
        calls.groups,
        n_classes=len(bench.emotions),
        n_resamples=resamples,
        seed=seed,
    )
    groups = {name: _interval(estimate) for name, estimate in figures["uar"].cultures.items()}
    return RowSummary(
        row=row,
        absent="",
        uar=_interval(figures["uar"].mean),
        groups=groups,
        worst=min(groups, key=lambda name: groups[name].value),
        war=_interval(figures["war"].mean),
        macro_f1=_interval(figures["macro_f1"].mean),
        validation_uar=_mean([cell.figures["validation_uar"] for cell in costs if "validation_uar" in cell.figures]),
        seed_deviation=_seed_deviation(calls, len(bench.emotions)),
        seeds=len(calls.predicted),
        cells=len(costs),
        cells_wanted=wanted,
        n_clips=len(calls.truth),
        n_speakers=figures["uar"].mean.n_speakers,
        parameters=max(cell.parameters for cell in costs),
        updates=round(float(np.mean([cell.updates for cell in costs]))),
        wall_s=float(np.mean([cell.wall_s for cell in costs])),
        selection=" ".join(sorted({cell.selection for cell in costs})),
    )


def _seed_deviation(calls: _Calls, n_emotions: int) -> float | None:
    """Deviation over seeds of the mean UAR of the groups; None for one seed."""
    if len(calls.predicted) < 2:
        return None
    means = [
        bootstrap(calls.truth, each[None], calls.speakers, calls.groups, n_classes=n_emotions, n_resamples=1)["uar"]
        for each in calls.predicted
    ]
    return float(np.std([estimates.mean.value for estimates in means], ddof=1))


def _differences(bench: Bench, calls: dict[str, _Calls | None], resamples: int, seed: int) -> dict[str, Difference]:
    """Each compared row minus the reference, on the same clips; rows of other clips are no comparison."""
    reference = calls[bench.reference]
    if reference is None:
        return {}
    found: dict[str, Difference] = {}
    for row in bench.compared():
        other = calls[row]
        if other is None:
            continue
        assert other.clip_ids == reference.clip_ids, f"row {row} was tested on other clips"
        found[row] = paired(
            reference.truth,
            reference.predicted,
            other.predicted,
            reference.speakers,
            reference.groups,
            n_classes=len(bench.emotions),
            n_resamples=resamples,
            seed=seed,
        )
    return found


def _with_difference(line: RowSummary, difference: Difference, p_holm: float | None) -> RowSummary:
    interval = Interval(difference.value, _finite(difference.low), _finite(difference.high))
    changes = {"difference": interval, "p": _finite(difference.p), "p_holm": p_holm, "improved": difference.improved}
    return RowSummary(**{**vars(line), **changes})


def _interval(estimate: Estimate) -> Interval:
    return Interval(estimate.value, _finite(estimate.low), _finite(estimate.high))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None
