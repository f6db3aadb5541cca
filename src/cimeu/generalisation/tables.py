"""A summary as text: CSV for programs, Markdown for repositories, LaTeX for papers, HTML for reports.

Percent with one decimal; an interval stands in brackets; what cannot be said is n/a, what is not there yet is a dash.
"""

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cimeu.generalisation.summary import Interval, RowSummary, Summary

ABSENT = "n/a"
MISSING = "–"


@dataclass(frozen=True)
class Table:
    """A heading, columns, lines of text, and notes that belong beneath."""

    heading: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def comparison_table(summary: Summary) -> Table:
    """The comparison for people: one line per row, figures in percent."""
    bench = summary.bench
    groups = sorted({name for line in summary.lines for name in line.groups or {}})
    columns = (
        *("row", f"UAR, mean over {bench.group}s [95 %]", "worst", *groups, "WAR", "macro F1"),
        *(f"minus {bench.reference} [95 %]", "p (Holm)", "better in", "validation UAR", "seeds", "parameters"),
        *("updates", "seconds", "selection"),
    )
    lines = tuple(_text_line(line, groups, len(columns)) for line in summary.lines)
    return Table(bench.name, columns, lines, _notes(summary))


def figures_csv(summary: Summary) -> str:
    """Every figure with full digits, one line per row; empty where there is none."""
    groups = sorted({name for line in summary.lines for name in line.groups or {}})
    spans = ("uar", "war", "macro_f1", "difference")
    plain = (
        *("p", "p_holm", "improved", "validation_uar", "seed_deviation", "seeds", "cells", "cells_wanted"),
        *("n_clips", "n_speakers", "parameters", "updates", "wall_s", "selection"),
    )
    heading = [
        *("row", "absent", "worst"),
        *(f"{name}{end}" for name in spans for end in ("", "_low", "_high")),
        *(f"uar.{name}{end}" for name in groups for end in ("", "_low", "_high")),
        *plain,
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    for line in summary.lines:
        cells: list[object] = [line.row, line.absent, line.worst]
        for span in (*(getattr(line, name) for name in spans), *((line.groups or {}).get(name) for name in groups)):
            cells += [None, None, None] if span is None else [span.value, span.low, span.high]
        cells += [getattr(line, name) for name in plain]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue()


def to_csv(table: Table) -> str:
    """The lines as they are printed, comma separated."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.columns, *table.lines])
    return text.getvalue()


def to_markdown(table: Table) -> str:
    """A pipe table with its heading and notes."""
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in (table.columns, *table.lines)]
    rule = ["---", *["---:"] * (len(table.columns) - 1)]
    rows = ["| " + " | ".join(line) + " |" for line in (escaped[0], rule, *escaped[1:])]
    return "\n".join([f"### {table.heading}", "", *rows, "", *table.notes]) + "\n"


def to_latex(table: Table) -> str:
    """A booktabs tabular with its notes as comments above."""
    body = [" & ".join(map(_latex, line)) + r" \\" for line in table.lines]
    return (
        "\n".join(
            [
                *(f"% {note}" for note in (table.heading, *table.notes)),
                r"\begin{tabular}{l" + "r" * (len(table.columns) - 1) + "}",
                r"\toprule",
                " & ".join(map(_latex, table.columns)) + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )
        + "\n"
    )


def to_html(table: Table) -> str:
    """A `<table>` to be put into a page; text is escaped."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in table.lines
    )
    notes = "\n".join(f"<p>{html.escape(note)}</p>" for note in table.notes)
    caption = f"<caption>{html.escape(table.heading)}</caption>"
    return f"<table>\n{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n{notes}\n"


def write_tables(summary: Summary, folder: Path) -> list[Path]:
    """Write figures.csv, comparison.csv, .md, .tex and .html; returns their paths."""
    table = comparison_table(summary)
    texts = {
        "figures.csv": figures_csv(summary),
        "comparison.csv": to_csv(table),
        "comparison.md": to_markdown(table),
        "comparison.tex": to_latex(table),
        "comparison.html": to_html(table),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def _text_line(line: RowSummary, groups: Sequence[str], width: int) -> tuple[str, ...]:
    if line.absent:
        return (line.row, *[ABSENT] * (width - 1))
    if line.uar is None or line.groups is None:
        return (line.row, *[MISSING] * (width - 1))
    spread = "" if line.seed_deviation is None else f" (±{100 * line.seed_deviation:.1f})"
    cells = "" if line.cells == line.cells_wanted else f", {line.cells}/{line.cells_wanted} cells"
    return (
        line.row,
        _span(line.uar),
        f"{_percent(line.groups[line.worst].value)} {line.worst}",
        *(_percent(line.groups[name].value) if name in line.groups else MISSING for name in groups),
        _percent(None if line.war is None else line.war.value),
        _percent(None if line.macro_f1 is None else line.macro_f1.value),
        _span(line.difference, signed=True),
        MISSING if line.p_holm is None else f"{line.p_holm:.3f}",
        MISSING if line.improved is None else f"{line.improved} of {len(line.groups)}",
        _percent(line.validation_uar),
        f"{line.seeds}{spread}{cells}",
        f"{line.parameters:,}" if line.parameters else MISSING,
        f"{line.updates:,}" if line.updates else MISSING,
        f"{line.wall_s:.0f}",
        line.selection,
    )


def _notes(summary: Summary) -> tuple[str, ...]:
    bench, measured = summary.bench, [line for line in summary.lines if line.uar is not None]
    size = f"N = {measured[0].n_clips} test clips of {measured[0].n_speakers} speakers, " if measured else ""
    notes = [
        f"{size}{len(bench.folds)} folds, chance {_percent(summary.chance)} %. "
        f"Intervals: bootstrap over speakers within each {bench.group}; clips that could not be used are wrong. "
        "Parameters, updates and seconds are those of a cell.",
        f"Compared with `{bench.reference}`, listed beforehand: {', '.join(bench.compared()) or 'nothing'}.",
        *(f"`{row}` is {ABSENT}: {reason}." for row, reason in bench.absent.items()),
    ]
    if any("oracle" in line.selection for line in summary.lines):
        notes.append("Selection `oracle` chose on test clips: a figure to compare with published ones, no estimate.")
    if bench.synthetic:
        notes.append("The clips are made by a program; nothing here says how the method does on people.")
    if not summary.complete:
        notes.append("The bench is not finished.")
    return tuple(notes)


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f}"


def _span(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return MISSING
    style = "+.1f" if signed else ".1f"
    value = f"{100 * interval.value:{style}}"
    if interval.low is None or interval.high is None:
        return value
    return f"{value} [{100 * interval.low:{style}}, {100 * interval.high:{style}}]"


def _latex(cell: str) -> str:
    for plain, escaped in (("\\", r"\textbackslash{}"), ("%", r"\%"), ("_", r"\_"), ("&", r"\&"), ("±", r"$\pm$")):
        cell = cell.replace(plain, escaped)
    return cell.replace("–", "--")
