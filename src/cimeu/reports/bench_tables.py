"""A summary as text: CSV for programs, Markdown for repositories, LaTeX for papers, HTML for reports.

Percent with one decimal; an interval stands in brackets; what cannot be said is n/a, what is not there yet is a dash.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cimeu.atomic import check_free, write_whole
from cimeu.bench.rows import row_named
from cimeu.csv_files import csv_text
from cimeu.plots.pages import ForestRow, tables_page
from cimeu.pyramid import DIRECTIONS
from cimeu.reports.bench_summary import PartsWithoutEffect, RowSummary, Summary
from cimeu.reports.pretraining import knowledge_in_words, marks_in_words
from cimeu.reports.verdict import bench_answer
from cimeu.tables import ABSENT, MISSING, TABLE_SUFFIXES, Interval, Table, percent, span, to_csv, write_table
from cimeu.timeline.segments import USE_LIMITS

UNSEEN, PRETRAINING = "UAR, unseen in pretraining alone [95 %]", "pretraining"
"""Columns: the mean over the groups that no encoder of the row has seen, where others were; what is known of each."""


def comparison_table(summary: Summary) -> Table:
    """The comparison for people: one line per row, figures in percent."""
    bench = summary.bench
    groups = sorted({name for line in summary.lines for name in line.groups or {}})
    unseen = any(line.uar_unseen for line in summary.lines)
    marks = any(line.marks for line in summary.lines)
    columns = (
        *("row", f"UAR, mean over {summary.word}s [95 %]", *([UNSEEN] if unseen else [])),
        *("worst", *groups, "WAR", "macro F1"),
        *(f"minus {bench.reference} [95 %]", "p (Holm)", "SE over seeds", "better in", "validation UAR", "seeds"),
        *("parameters", "updates", "seconds", "selection", *([PRETRAINING] if marks else [])),
    )
    lines = tuple(_text_line(line, groups, columns) for line in summary.lines)
    return Table(bench.name, columns, lines, _notes(summary))


def directions_table(summary: Summary) -> Table | None:
    """Forward alone, backward alone, and both fused; None where no row keeps answers of both."""
    lines = tuple(
        (
            line.row,
            *(span(alone.uar) for alone in line.alone.values()),
            span(line.uar),
            *(
                cell
                for alone in line.alone.values()
                for cell in (span(alone.gain, signed=True), f"{alone.improved} of {len(line.groups or {})}")
            ),
        )
        for line in summary.lines
        if line.alone
    )
    if not lines:
        return None
    gains = (text for name in DIRECTIONS for text in (f"fused minus {name} [95 %]", "better in"))
    notes = (
        f"UAR in percent, mean over {summary.word}s; differences are paired. A clip that a direction cannot use is "
        "wrong for it. Settings of the ensemble (levels, weights) are used for each direction too.",
        "Two networks are better than one in any case: what the backward one is worth is `full` against "
        "`two-forward-seeds`.",
    )
    return Table(
        f"{summary.bench.name}: by direction",
        ("row", *(f"{name} [95 %]" for name in DIRECTIONS), "fused [95 %]", *gains),
        lines,
        notes,
    )


def baselines_table(summary: Summary) -> Table:
    """Rows that are not CiMEU, for a report of its runs (`baselines.csv` beside the run folders)."""
    lines = tuple(
        (line.row, span(line.uar), span(line.war), span(line.macro_f1), str(line.seeds), line.selection)
        for line in summary.lines
        if line.uar is not None and row_named(line.row).kind != "cimeu"
    )
    return Table(summary.bench.name, ("baseline", "UAR, %", "WAR, %", "macro F1, %", "seeds", "selection"), lines)


def figures_csv(summary: Summary) -> str:
    """Every figure with full digits, one line per row; empty where there is none."""
    groups = sorted({name for line in summary.lines for name in line.groups or {}})
    spans = ("uar", "uar_unseen", "war", "macro_f1", "difference")
    alone = ("uar", "gain")
    plain = (
        *("p", "p_holm", "training_error", "improved", "validation_uar", "seed_deviation"),
        *("seeds", "cells", "cells_expected"),
        *("n_clips", "n_speakers", "parameters", "updates", "wall_s", "selection"),
    )
    heading = [
        *("row", "absent", "worst", PRETRAINING),
        *(f"{name}{end}" for name in spans for end in ("", "_low", "_high")),
        *(f"uar.{name}{end}" for name in groups for end in ("", "_low", "_high")),
        *plain,
        *(f"{name}.{figure}{end}" for name in DIRECTIONS for figure in alone for end in ("", "_low", "_high")),
    ]
    rows: list[Sequence[object]] = [heading]
    for line in summary.lines:
        cells: list[object] = [line.row, line.absent, line.worst, marks_in_words(line.marks)]
        for interval in (*(getattr(line, name) for name in spans), *((line.groups or {}).get(name) for name in groups)):
            cells += _with_ends(interval)
        cells += [getattr(line, name) for name in plain]
        for direction in DIRECTIONS:
            for figure in alone:
                cells += _with_ends(getattr(line.alone.get(direction), figure, None))
        rows.append(cells)
    return csv_text(rows)


def check_tables_free(folder: Path) -> None:
    """Refuse before the work what `write_tables` could not write after it. Raises OutputError."""
    names = ["figures.csv", "timing.csv", "bench.html", *(f"comparison.{suffix}" for suffix in TABLE_SUFFIXES)]
    check_free([folder / name for name in names], "table")


def write_tables(
    summary: Summary, folder: Path, others: Mapping[str, Table] | None = None, *, drawing: str = ""
) -> list[Path]:
    """Write figures.csv, comparison.*, timing.csv, every other table by its name, and bench.html with all of them.

    `directions.*` is there where a row keeps answers of both directions.
    """
    tables = {"comparison": comparison_table(summary)}
    directions = directions_table(summary)
    if directions is not None:
        tables["directions"] = directions
    tables |= others or {}
    timing = timing_table(summary)
    page = bench_page(summary, list(tables.values()), timing, drawing)
    texts = {"figures.csv": figures_csv(summary), "timing.csv": to_csv(timing), "bench.html": page}
    for name, text in texts.items():
        write_whole(folder / name, text, "table")
    written = [folder / name for name in texts]
    for name, table in tables.items():
        written += write_table(table, folder, name)
    return written


def bench_page(summary: Summary, tables: Sequence[Table], timing: Table, drawing: str = "") -> str:
    """`bench.html`: what the bench says, its rows as a forest plot, then the tables."""
    bench = summary.bench
    measured = [line for line in summary.lines if line.uar is not None]
    ordered = sorted(measured, key=lambda line: -(line.uar.value if line.uar else 0.0))
    cautions = []
    if bench.synthetic:
        cautions.append("Synthetic data. The clips were made by a program; no figure below says anything about people.")
    if any("oracle" in line.selection for line in summary.lines):
        cautions.append("Oracle selection. Something was chosen on the test clips; these figures are too good.")
    return tables_page(
        f"{bench.name}: {len(bench.rows)} row{'s' * (len(bench.rows) != 1)} on the same clips",
        tables,
        kind="bench",
        footer=USE_LIMITS,
        answer=bench_answer(summary),
        cautions=cautions,
        rows=[ForestRow(line.row, line.uar, first=line.row == bench.reference) for line in ordered if line.uar],
        chance=summary.chance,
        drawings=[drawing] if drawing else [],
        folded={"Time of every row": timing},
    )


def timing_table(summary: Summary) -> Table:
    """Wall time and processor time of every row, summed over its cells."""
    lines = []
    totals = np.zeros(3)
    for row, cells in summary.cells.items():
        costs = np.array([(1.0, cell.wall_s, cell.cpu_s) for cell in cells.values()]).reshape(-1, 3)
        spent = costs.sum(axis=0)
        totals += spent
        lines.append((row, *_seconds(spent)))
    lines.append(("all rows", *_seconds(totals)))
    note = "Processes beside each other share the wall time of a bench; processor time is what it costs."
    return Table(f"{summary.bench.name}: time", ("row", "cells", "wall_s", "cpu_s"), tuple(lines), (note,))


def _text_line(line: RowSummary, groups: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    if line.absent:
        return (line.row, *[ABSENT] * (len(columns) - 1))
    if line.uar is None or line.groups is None:
        return (line.row, *[MISSING] * (len(columns) - 1))
    spread = "" if line.seed_deviation is None else f" (±{100 * line.seed_deviation:.1f})"
    cells = "" if line.cells == line.cells_expected else f", {line.cells}/{line.cells_expected} cells"
    return (
        line.row,
        span(line.uar),
        *([span(line.uar_unseen)] if UNSEEN in columns else []),
        f"{percent(line.groups[line.worst].value)} {line.worst}",
        *(percent(line.groups[name].value) if name in line.groups else MISSING for name in groups),
        percent(None if line.war is None else line.war.value),
        percent(None if line.macro_f1 is None else line.macro_f1.value),
        span(line.difference, signed=True),
        MISSING if line.p_holm is None else f"{line.p_holm:.3f}",
        percent(line.training_error),
        MISSING if line.improved is None else f"{line.improved} of {len(line.groups)}",
        percent(line.validation_uar),
        f"{line.seeds}{spread}{cells}",
        f"{line.parameters:,}" if line.parameters else MISSING,
        f"{line.updates:,}" if line.updates else MISSING,
        f"{line.wall_s:.0f}",
        line.selection,
        *([marks_in_words(line.marks) if line.marks else MISSING] if PRETRAINING in columns else []),
    )


def _notes(summary: Summary) -> tuple[str, ...]:
    bench, measured = summary.bench, [line for line in summary.lines if line.uar is not None]
    unnamed = summary.unnamed if measured else {}
    size = ""
    if measured:  # each clip of nobody known is drawn as a speaker of its own
        named = measured[0].n_speakers - sum(unnamed.values())
        speakers = f"{named} speaker{'s' * (named != 1)}" if named else "unknown speakers"
        size = f"N = {measured[0].n_clips} test clips of {speakers}, "
    notes = [
        f"{size}{len(bench.folds)} fold{'s' * (len(bench.folds) != 1)}, chance {percent(summary.chance)} %. "
        f"Intervals: bootstrap over speakers within each {summary.word}; clips that could not be used are wrong. "
        "Parameters, updates and seconds are those of a cell.",
    ]
    if unnamed:
        groups = ", ".join(f"{name or 'no name'} {count:,}" for name, count in sorted(unnamed.items()))
        notes.append(
            f"Clips without a known speaker ({groups}) are drawn one by one: intervals of these groups, and of the "
            "mean, are too narrow."
        )
    if bench.compared():
        notes.append(
            f"Compared with `{bench.reference}`, named before the first cell was run: {', '.join(bench.compared())}. "
            "p (Holm) is over all of them. Intervals and p are about other speakers; SE over seeds, the standard error "
            "of the difference, is about other trainings: less than twice that is no difference."
        )
    notes += [f"`{row}` is {ABSENT}: {reason}." for row, reason in bench.absent.items()]
    if any(line.marks for line in measured):
        notes.append(f"Pretraining: {_pretraining(summary)}.")
    if any("oracle" in line.selection for line in summary.lines):
        notes.append("Selection `oracle` chose on test clips: a figure to compare with published ones, no estimate.")
    if bench.settings.get("folds.allow_shared_speakers"):
        notes.append("Speakers shared: the published division has people both in training and in test.")
    if bench.protocol:
        notes.append(f"Protocol: {bench.protocol}; clips and speakers of every fold are in folds.csv.")
    if bench.tune:
        notes.append(
            f"Settings of each row and fold: best of {bench.tune} configurations by nested leave-one-group-out inside "
            "the training groups."
        )
    if summary.faults:
        rows = "; ".join(_faults_in_words(row, found) for row, found in summary.faults.items())
        notes.append(f"Parts with little or no effect in the last epoch, in how many models of a row: {rows}.")
    if bench.synthetic:
        notes.append("The clips are made by a program; nothing here says how the method does on people.")
    if not summary.complete:
        notes.append("The bench is not finished.")
    return tuple(notes)


def _faults_in_words(row: str, found: PartsWithoutEffect) -> str:
    parts = ", ".join(f"{part} {count}" for part, count in found.parts.items()) or "none"
    return f"`{row}` ({found.models} model{'s' * (found.models != 1)}) {parts}"


def _pretraining(summary: Summary) -> str:
    """What the encoders of all rows may know of the tested corpora."""
    encoders = dict.fromkeys(name for line in summary.lines if line.marks for name in summary.encoders(line.row))
    return knowledge_in_words(tuple(encoders), summary.corpora)


def _with_ends(interval: Interval | None) -> list[float | None]:
    return [None, None, None] if interval is None else [interval.value, interval.low, interval.high]


def _seconds(spent: Float[np.ndarray, "3"]) -> tuple[str, ...]:
    cells, *seconds = spent.tolist()
    return (f"{cells:.0f}", *(f"{duration_s:.1f}" if math.isfinite(duration_s) else MISSING for duration_s in seconds))
