"""From the cells of a bench to one line per row: figures with intervals, never a mean over folds alone.

Predictions of all folds are pooled. UAR is computed in each group and averaged without weights over groups; the worst
group stands beside it. Intervals draw whole speakers within each group; a difference is paired with the reference on
the same clips and draws; p-values are Holm's over all rows of the bench, which are fixed before its first cell. A clip
that could not be used is wrong. Seeds are averaged, never counted as samples.

Which clips and answers belong to a figure depends on the protocol: `views`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cimeu.bench.comparison import Bench, finished, read_bench
from cimeu.bench.rows import HANDMADE, STREAMS, row_named
from cimeu.encoders.pretraining import Knowledge
from cimeu.evaluation.predictions import chance_of
from cimeu.evaluation.uncertainty import N_RESAMPLES, Difference, Estimates, compared, estimates_over, holm
from cimeu.pyramid import DIRECTIONS
from cimeu.reports.pretraining import encoders_of, marks_of, unseen_among
from cimeu.reports.views import Cells, Figures
from cimeu.tables import Interval, finite, interval_of
from cimeu.training.faults import read_faults


@dataclass(frozen=True)
class Alone:
    """One direction of an ensemble alone, and what the ensemble gains over it on the same clips and draws."""

    uar: Interval
    gain: Interval
    improved: int
    """Groups in which the gain is above zero."""


@dataclass(frozen=True, kw_only=True)
class RowSummary:
    """One line of the table; figures from 0 to 1, None where the line is n/a or no seed is complete."""

    row: str
    absent: str
    """Why the row is n/a; empty where it is not."""
    uar: Interval | None = None
    uar_unseen: Interval | None = None
    """Mean over the groups that the encoders surely have not seen, where those are some of all."""
    marks: dict[str, Knowledge] = field(default_factory=dict)
    """What the encoders of the row may know of each group; empty where the bench does not name them."""
    groups: dict[str, Interval] | None = None
    worst: str = ""
    war: Interval | None = None
    macro_f1: Interval | None = None
    difference: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    improved: int | None = None
    training_error: float | None = None
    """Standard error of the difference over seeds: how far other trainings would move it. None with one seed."""
    validation_uar: float | None = None
    by_seed: Mapping[int, float] = field(default_factory=dict)
    """UAR of every complete seed."""
    cells: int = 0
    cells_expected: int = 0
    n_clips: int = 0
    n_speakers: int = 0
    parameters: int = 0
    updates: int = 0
    wall_s: float = 0.0
    selection: str = ""
    alone: dict[str, Alone] = field(default_factory=dict)
    """By direction; empty where a row is no ensemble of both, or its cells keep the fused answers only."""

    @property
    def seeds(self) -> int:
        """How many seeds are complete."""
        return len(self.by_seed)

    @property
    def seed_deviation(self) -> float | None:
        """Standard deviation of UAR over seeds."""
        return float(np.std(list(self.by_seed.values()), ddof=1)) if self.seeds > 1 else None


@dataclass(frozen=True)
class PartsWithoutEffect:
    """In how many models of a row each part has little or no effect; a direction of a run is a model."""

    models: int
    parts: Mapping[str, int]


@dataclass(frozen=True)
class Summary:
    """A bench in figures."""

    bench: Bench
    lines: tuple[RowSummary, ...]
    figures: Figures = field(repr=False)
    """What the lines are made of."""
    word: str = "culture"
    """What a group is called."""
    faults: Mapping[str, PartsWithoutEffect] = field(default_factory=dict)
    """Of every row whose run folders hold networks with a journal."""

    @property
    def cells(self) -> Mapping[str, Cells]:
        """Finished cells of every row by fold and seed."""
        return self.figures.cells

    @property
    def chance(self) -> float:
        """UAR of always predicting one emotion; before the first cell, as if every group had every emotion."""
        tables = [cell.predictions for cells in self.cells.values() for cell in cells.values()]
        if not tables:
            return 1 / len(self.bench.emotions)
        tested = pd.concat([table.loc[table["part"] == "test", [self.bench.group, "emotion"]] for table in tables])
        tested = tested.drop_duplicates()
        return chance_of(tested[self.bench.group], tested["emotion"])

    @property
    def unnamed(self) -> dict[str, int]:
        """Test clips whose speaker is unknown, by group, as far as there are any."""
        tables = [cell.predictions for cells in self.cells.values() for cell in cells.values()]
        if not tables:
            return {}
        tested = pd.concat(
            table.loc[table["part"] == "test", ["clip_id", "speaker", self.bench.group]] for table in tables
        )
        tested = tested[tested["speaker"].fillna("") == ""].drop_duplicates("clip_id")
        return {str(name): int(count) for name, count in tested[self.bench.group].value_counts(sort=False).items()}

    @property
    def corpora(self) -> list[str]:
        """Corpora of the test clips."""
        groups = (_corpora(self.bench, cells) for cells in self.cells.values())
        return sorted({corpus for by_group in groups for corpora in by_group.values() for corpus in corpora})

    def encoders(self, row: str) -> tuple[str, ...]:
        """Encoders whose features a row reads; none where the bench does not name them (version 0.1)."""
        return _encoders(self.bench, row)

    @property
    def complete(self) -> bool:
        """Whether every cell is there."""
        return all(line.cells == line.cells_expected for line in self.lines)


def summarise(folder: Path, *, resamples: int = N_RESAMPLES, seed: int = 0) -> Summary:
    """Figures of every row from the cells that are there.

    A seed counts for a row once all its folds are there. Raises RecipeError where the folder holds no bench.
    """
    bench = read_bench(folder)
    cells = {row: {} if row in bench.absent else finished(bench, folder, row, bench.seeds) for row in bench.rows}
    figures = Figures(bench, cells, resamples, seed)
    lines = [_line(figures, row) for row in bench.rows]
    reference = figures.of(bench.reference)
    differences = {
        row: compared(reference["uar"], other["uar"])
        for row in bench.compared()
        if reference is not None and (other := figures.of(row)) is not None
    }
    adjusted = adjusted_p(bench, differences)
    of_reference = next(line.by_seed for line in lines if line.row == bench.reference)
    lines = [
        line
        if line.row not in differences
        else replace(
            line,
            difference=interval_of(differences[line.row]),
            training_error=_training_error(of_reference, line.by_seed),
            p=finite(differences[line.row].p),
            p_holm=adjusted.get(line.row),
            improved=differences[line.row].improved,
        )
        for line in lines
    ]
    faults = {row: found for row in bench.rows if (found := _faults(bench, folder / "runs" / row)).models}
    return Summary(bench, tuple(lines), figures, _word(bench, cells), faults)


def adjusted_p(bench: Bench, differences: Mapping[str, Difference]) -> dict[str, float]:
    """p after Holm of rows against the reference, by row; those without intervals have none."""
    p_values = {row: difference.p for row, difference in differences.items() if np.isfinite(difference.p)}
    adjusted = holm(dict.fromkeys(bench.compared(), 1.0) | p_values)  # rows that are not there yet count
    return {row: adjusted[row] for row in p_values}


def _line(drawn: Figures, row: str) -> RowSummary:
    bench, cells = drawn.bench, drawn.cells[row]
    if row in bench.absent:
        return RowSummary(row=row, absent=bench.absent[row])
    figures = drawn.of(row)
    costs = list(cells.values())
    n_expected = len(bench.folds) * len(bench.seeds)
    if figures is None:
        return RowSummary(row=row, absent="", cells=len(costs), cells_expected=n_expected)
    groups = {name: interval_of(estimate) for name, estimate in figures["uar"].cultures.items()}
    marks = marks_of(_encoders(bench, row), _corpora(bench, cells))
    unseen = unseen_among({name: mark for name, mark in marks.items() if name in groups})
    unseen_alone = estimates_over({name: figures["uar"].cultures[name] for name in unseen}) if unseen else None
    by_seed = {seed: _of_one_seed(bench, cells, seed) for seed in bench.seeds}
    return RowSummary(
        row=row,
        absent="",
        uar=interval_of(figures["uar"].mean),
        uar_unseen=None if unseen_alone is None else interval_of(unseen_alone.mean),
        marks=marks,
        groups=groups,
        worst=min(groups, key=lambda name: groups[name].value),
        war=interval_of(figures["war"].mean),
        macro_f1=interval_of(figures["macro_f1"].mean),
        validation_uar=_mean([cell.figures["validation_uar"] for cell in costs if "validation_uar" in cell.figures]),
        by_seed={seed: value for seed, value in by_seed.items() if value is not None},
        cells=len(costs),
        cells_expected=n_expected,
        n_clips=figures["uar"].mean.n_clips,
        n_speakers=figures["uar"].mean.n_speakers,
        parameters=max(cell.parameters for cell in costs),
        updates=round(float(np.mean([cell.updates for cell in costs]))),
        wall_s=float(np.mean([cell.wall_s for cell in costs])),
        selection=" ".join(sorted({cell.selection for cell in costs})),
        alone=_alone(drawn, row, figures["uar"]),
    )


def _faults(bench: Bench, runs: Path) -> PartsWithoutEffect:
    """Of the last epochs of the finished runs in a folder."""
    finished_runs = [path.parent for path in sorted(runs.glob("*/predictions.csv"))]
    found = [
        read_faults(run / direction, emotions=len(bench.emotions)) for run in finished_runs for direction in DIRECTIONS
    ]
    measured = [faults for faults in found if faults is not None]
    # A part with two faults in one model counts once.
    parts = Counter(part for faults in measured for part in {fault.part: None for fault in faults})
    return PartsWithoutEffect(len(measured), dict(parts.most_common()))


def _encoders(bench: Bench, row: str) -> tuple[str, ...]:
    if row == "majority":  # answers without looking at a clip
        return ()
    kind = row_named(row)
    settings = {**bench.settings, **kind.overrides}
    if kind.inputs == HANDMADE:
        return (HANDMADE,)
    streams: list[dict[str, Any]] = []
    for place in STREAMS if kind.inputs == "streams" else (kind.inputs,):
        prefix = f"streams.{place}."
        stream = {name.removeprefix(prefix): value for name, value in settings.items() if name.startswith(prefix)}
        if stream:
            own = {name.removeprefix("settings."): value for name, value in stream.items() if "." in name}
            streams.append({"encoder": stream["encoder"], "settings": own})
    return encoders_of(streams)


def _corpora(bench: Bench, cells: Cells) -> dict[str, set[str]]:
    """Corpora of the test clips of each group."""
    corpora: dict[str, set[str]] = {}
    for cell in cells.values():
        tested = cell.predictions.loc[cell.predictions["part"] == "test", [bench.group, "corpus"]].drop_duplicates()
        for group, corpus in tested.itertuples(index=False):
            corpora.setdefault(str(group), set()).add(str(corpus))
    return corpora


def _alone(drawn: Figures, row: str, fused: Estimates) -> dict[str, Alone]:
    figures_of = {direction: drawn.of(row, direction) for direction in DIRECTIONS}
    uars = {direction: figures["uar"] for direction, figures in figures_of.items() if figures is not None}
    if len(uars) < len(DIRECTIONS):
        return {}
    gains = {direction: compared(uar, fused) for direction, uar in uars.items()}
    return {
        direction: Alone(interval_of(uars[direction].mean), interval_of(gain), gain.improved)
        for direction, gain in gains.items()
    }


def _of_one_seed(bench: Bench, cells: Cells, seed: int) -> float | None:
    """Mean UAR of the groups with one seed; None where its cells are not all there."""
    # One resample: only the value is read here, not its interval.
    figures = Figures(replace(bench, seeds=(seed,)), {"": cells}, resamples=1).of("")
    return None if figures is None else figures["uar"].mean.value


def _word(bench: Bench, cells: Mapping[str, Cells]) -> str:
    """The honest word for a group: a culture known from a single corpus is a corpus group."""
    tables = [cell.predictions for cells_of_row in cells.values() for cell in cells_of_row.values()]
    if bench.group != "culture" or not tables:
        return bench.group
    origins = pd.concat([table[["culture", "corpus"]].drop_duplicates() for table in tables]).drop_duplicates()
    origins = origins[(origins["culture"] != "") & (origins["corpus"] != "")]
    # Every culture one corpus and every corpus one culture: their effects cannot be told apart.
    one_to_one = len(origins) == origins["culture"].nunique() == origins["corpus"].nunique() > 1
    return "corpus group" if one_to_one else bench.group


def _training_error(before: Mapping[int, float], after: Mapping[int, float]) -> float | None:
    """Standard error of `after` minus `before`, seed by seed; None where fewer than two seeds have both."""
    differences = [after[seed] - before[seed] for seed in before if seed in after]
    return float(np.std(differences, ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else None


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None
