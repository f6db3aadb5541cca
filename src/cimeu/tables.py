"""A table of text, and how it is written: CSV for programs, Markdown, LaTeX for papers, HTML for pages.

Percent with one decimal; an interval stands in brackets; what cannot be said is n/a, what is not there yet is a dash.
"""

import html
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from cimeu.atomic import write_whole
from cimeu.csv_files import csv_text

TABLE_SUFFIXES = ("csv", "md", "tex", "html")
"""Of the files that `write_table` writes."""
ABSENT = "n/a"
MISSING = "–"


@dataclass(frozen=True)
class Table:
    """A heading, columns, lines of text, and notes that belong beneath."""

    heading: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    heat: tuple[tuple[float | None, ...], ...] = ()
    """Share from 0 to 1 that shades each cell in HTML; None or nothing: no shade."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; ends are None where there is one speaker only."""

    value: float
    low: float | None
    high: float | None


@runtime_checkable
class HasInterval(Protocol):
    """An estimate, or a difference of two."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def interval_of(estimate: HasInterval) -> Interval:
    """Value and ends; no ends where a group has one speaker only."""
    return Interval(estimate.value, finite(estimate.low), finite(estimate.high))


def finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def span(interval: Interval | None, *, signed: bool = False) -> str:
    """Percent with the interval in brackets; a dash where there is nothing.

    >>> span(Interval(0.5, 0.4, 0.6)), span(Interval(-0.01, None, None), signed=True)
    ('50.0 [40.0, 60.0]', '-1.0')
    """
    if interval is None:
        return MISSING
    value = percent(interval.value, signed=signed)
    if interval.low is None or interval.high is None:
        return value
    return f"{value} [{percent(interval.low, signed=signed)}, {percent(interval.high, signed=signed)}]"


def percent(share: float | None, *, digits: int = 1, signed: bool = False) -> str:
    """A share in percent; a dash where there is nothing."""
    return MISSING if share is None else f"{100 * share:{'+' if signed else ''}.{digits}f}"


def to_csv(table: Table) -> str:
    """The lines as they are printed, comma separated."""
    return csv_text([table.columns, *table.lines])


def to_markdown(table: Table) -> str:
    """A pipe table with its heading and notes."""
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in (table.columns, *table.lines)]
    rule = ["---", *["---:"] * (len(table.columns) - 1)]
    rows = ["| " + " | ".join(line) + " |" for line in (escaped[0], rule, *escaped[1:])]
    return "\n".join([f"### {table.heading}", "", *rows, "", *table.notes]) + "\n"


def to_latex(table: Table, *, caption: str = "") -> str:
    """A booktabs tabular with its heading and notes as comments above; a float where there is a caption."""
    tabular = [
        r"\begin{tabular}{l" + "r" * (len(table.columns) - 1) + "}",
        r"\toprule",
        " & ".join(map(_latex, table.columns)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_latex, line)) + r" \\" for line in table.lines),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if caption:
        tabular = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(caption)}}}", *tabular, r"\end{table}"]
    comments = [f"% {note}" for note in (table.heading, *table.notes)]
    return "\n".join([*comments, *tabular]) + "\n"


def to_html(table: Table) -> str:
    """A `<table>` that scrolls inside itself, to be put into a page; text is escaped, names in backticks are code."""
    head = "".join(f'<th scope="col">{html_text(cell)}</th>' for cell in table.columns)
    heat = table.heat or [(None,) * len(line) for line in table.lines]
    body = "\n".join(
        "<tr>" + "".join(_html_cell(cell, shade) for cell, shade in zip(line, shades, strict=True)) + "</tr>"
        for line, shades in zip(table.lines, heat, strict=True)
    )
    notes = "\n".join(f"<p>{html_text(note)}</p>" for note in table.notes)
    scrolled = f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(table.heading)}">'
    return (
        f"{scrolled}<table>\n<caption>{html_text(table.heading)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table></div>\n{notes}\n"
    )


def write_table(table: Table, folder: Path, name: str, *, page: str = "") -> list[Path]:
    """Write NAME.csv, .md, .tex and .html of one table, the last one alone or in a page; returns their paths."""
    texts = {"csv": to_csv(table), "md": to_markdown(table), "tex": to_latex(table), "html": page or to_html(table)}
    for suffix, text in texts.items():
        write_whole(folder / f"{name}.{suffix}", text, "table")
    return [folder / f"{name}.{suffix}" for suffix in texts]


def html_text(text: str) -> str:
    """Escaped text in which names between backticks are set as code.

    >>> html_text("`a<b>` is n/a")
    '<code>a&lt;b&gt;</code> is n/a'
    """
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _html_cell(cell: str, shade: float | None) -> str:
    # At most half of the shade, so that text is read on it in light and dark pages.
    style = "" if shade is None else f' style="background:rgba(31,119,180,{0.5 * max(0.0, min(1.0, shade)):.2f})"'
    return f"<td{style}>{html_text(cell)}</td>"


LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "%_&#${}"},
        "\\": r"\textbackslash{}",
        "^": r"\^{}",
        "~": r"\~{}",
        "±": r"$\pm$",
        "–": "--",
        "−": "$-$",
    }
)


def _latex(cell: str) -> str:
    return cell.translate(LATEX)
