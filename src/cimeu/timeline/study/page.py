"""The page of a study: the answer in one sentence, small multiples, then tables."""

from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from cimeu.plots.charts import scale, whisker
from cimeu.plots.pages import page_environment
from cimeu.timeline.segments import CONTINUOUS_CAUTION, DEMONSTRATION, USE_LIMITS
from cimeu.timeline.study.inputs import WHOLE
from cimeu.timeline.study.recordings import Measures
from cimeu.timeline.study.tables import Study
from cimeu.timeline.style import colours_of

MOST_ROWS = 200
"""Rows of participants on the page; the files hold them all."""
FEW = 20
"""With fewer participants, percentile intervals of the bootstrap are known to be too narrow."""
LEVEL = 0.05


def to_page(study: Study) -> str:
    """One page without scripts or links."""
    tables, measures = study.tables, study.recordings[0].measures
    of_emotions, emotions = tables.conditions["emotion"].isin(measures.emotions), measures.emotions
    n_people = tables.participants["participant"].nunique()
    template = page_environment("cimeu.timeline.study", "study.html").get_template("study.html")
    header = study.recordings[0].header
    return template.render(
        limits=USE_LIMITS,
        demonstration=DEMONSTRATION if header["demonstration"] else "",
        answer=answer(study),
        study=study,
        n_people=n_people,
        few=n_people < FEW,
        colours=colours_of(emotions),
        emotions=emotions,
        base=study.baseline or "own mean",
        scores=_panels(tables.conditions[of_emotions], "score", (0.0, 1.0)),
        differences=_difference_panels(tables.conditions[of_emotions]),
        continuous=[_continuous(tables.conditions, name, measures) for name in measures.scales],
        scales=measures.scales,
        caution=CONTINUOUS_CAUTION,
        curves=list(_curve_panels(tables.curves, measures)),
        rows=_with_shares(tables.participants.head(MOST_ROWS)),
        n_rows=len(tables.participants),
        columns=[
            column for column in tables.participants.columns if not column.startswith(("sd.", "share.", "difference."))
        ],
        cell=_cell,
        model=header["model"],
        version=header["version"],
        settings=", ".join(f"{name} {value:g}" for name, value in header["settings"].items()),
    )


def answer(study: Study) -> str:
    """What the study says, in a sentence or two."""
    tables = study.tables
    whole = tables.participants[tables.participants["condition"] == WHOLE]
    seconds = whole["duration_s"].sum()
    divisor, unit = (3600, "hours") if seconds >= 3600 else (60, "minutes") if seconds >= 60 else (1, "seconds")
    length = f"{seconds / divisor:.1f} {unit}"
    scored = (whole["share.scored"] * whole["duration_s"]).sum() / max(seconds, 1e-9)
    about = (
        f"{_count(len(whole), 'participant')} in {_count(len(study.recordings), 'recording')}, {length}, "
        f"{scored:.0%} of them with scores."
    )
    tested = tables.conditions.dropna(subset=["difference_p_holm"])
    if tested.empty:
        return about
    clear = tested[tested["difference_p_holm"] < LEVEL]
    base = f"their own `{study.baseline}`" if study.baseline else "their own mean"
    if clear.empty:
        base = base.removeprefix("their ")
        emotion = " or ".join(["emotion", *study.recordings[0].measures.scales])
        corrected = f"after correction for {len(tested)} comparisons"
        return f"{about} No {emotion} differs from participants' {base} in any condition, {corrected}."
    measures = study.recordings[0].measures
    # As shares of their scales, so that a scale of 1 to 7 does not win by its length.
    lengths = np.array([np.ptp(measures.scale(name)) for name in clear["emotion"]])
    top = clear.loc[(clear["difference"].abs() / lengths).idxmax()]
    what = top["emotion"] if top["emotion"] in measures.scales else f"scores of {top['emotion']}"
    others = (
        f" {_count(len(clear) - 1, 'other difference')} also hold{'s' * (len(clear) == 2)}." if len(clear) > 1 else ""
    )
    return (
        f"{about} In `{top['condition']}`, {what} lie{'s' * (top['emotion'] in measures.scales)} "
        f"{abs(top['difference']):.2f} "
        f"[{_ends(top)}] {'above' if top['difference'] > 0 else 'below'} {base}, after correction for "
        f"{len(tested)} comparisons.{others}"
    )


def _ends(row: pd.Series) -> str:
    low, high = sorted(abs(row[f"difference_{end}"]) for end in ("low", "high"))
    return f"{low:.2f}, {high:.2f}"


def _panels(conditions: pd.DataFrame, name: str, ends: tuple[float, float]) -> dict[str, Any]:
    """A dot and an interval for each emotion and condition, all on one scale."""
    listed = conditions[np.isfinite(conditions[name].astype(float))]
    names = list(dict.fromkeys(listed["condition"]))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in listed.to_dict("records"):
        low, high = (value if np.isfinite(value) else None for value in (row[f"{name}_low"], row[f"{name}_high"]))
        style = "+.2f" if name == "difference" else ".2f"
        interval = "" if low is None else f" [{low:{style}}, {high:{style}}]"
        cells[row["emotion"], row["condition"]] = {
            "drawing": whisker(
                row[name], low, high, chance=0.0 if name == "difference" else None, start=ends[0], end=ends[1]
            ),
            "words": f"{row[name]:{style}}{interval}",
        }
    middle = (ends[0] + ends[1]) / 2
    axis = scale((f"{ends[0]:.2g}", f"{middle:.2g}", f"{ends[1]:.2g}"))
    return {"conditions": names, "emotions": list(dict.fromkeys(listed["emotion"])), "cells": cells, "axis": axis}


def _difference_panels(conditions: pd.DataFrame) -> dict[str, Any]:
    return _panels(conditions, "difference", _range(conditions))


def _continuous(conditions: pd.DataFrame, name: str, measures: Measures) -> dict[str, Any]:
    """Means and differences of one continuous label, on its own scale."""
    rows, (low, high) = conditions[conditions["emotion"] == name], measures.scale(name)
    means = _panels(rows, "score", (low, high))
    return {"name": name, "ends": f"{low:g} to {high:g}", "means": means, "differences": _difference_panels(rows)}


def _range(conditions: pd.DataFrame) -> tuple[float, float]:
    ends = conditions[["difference", "difference_low", "difference_high"]].abs().to_numpy(float)
    most = float(np.nanmax(ends)) if np.isfinite(ends).any() else 1.0
    return -max(most, 0.01), max(most, 0.01)


def _curve_panels(curves: pd.DataFrame, measures: Measures) -> Iterator[dict[str, Any]]:
    """Per condition a small drawing for each emotion, all on one scale, and for each continuous label on its own."""
    for condition, of_condition in curves.groupby("condition", sort=False):
        drawings = []
        for name in measures.names:
            rows = of_condition[of_condition["emotion"] == name]
            if rows["score"].notna().any():
                drawing = _curve(rows, f"{name} around {condition}", measures.scale(name))
                drawings.append({"emotion": name, "drawing": drawing})
        if drawings:
            yield {"condition": condition, "n_events": int(of_condition["n_events"].iloc[0]), "drawings": drawings}


def _curve(
    rows: pd.DataFrame, label: str, ends: tuple[float, float] = (0.0, 1.0), width: int = 230, height: int = 110
) -> str:
    """Mean and interval over time; the event is the upright line, gaps stay gaps."""
    low, high = ends
    offsets = rows["offset_s"].to_numpy(float)
    first, last = float(offsets[0]), float(offsets[-1])

    def x(time_s: float) -> str:
        return f"{4 + (width - 8) * (time_s - first) / max(last - first, 1e-9):.1f}"

    def y(score: float) -> str:
        return f"{6 + (height - 24) * (high - score) / (high - low):.1f}"

    shapes = [f'<line class="axis" x1="4" y1="{height - 18}" x2="{width - 4}" y2="{height - 18}"/>']
    shapes.append(f'<line class="chance" x1="{x(0.0)}" y1="4" x2="{x(0.0)}" y2="{height - 14}"/>')
    if low < 0 < high:
        shapes.append(f'<line class="chance" x1="4" y1="{y(0.0)}" x2="{width - 4}" y2="{y(0.0)}"/>')
    values = rows[["score", "score_low", "score_high"]].to_numpy(float)
    present = np.flatnonzero(np.isfinite(values[:, 0]))
    for run in np.split(present, np.flatnonzero(np.diff(present) > 1) + 1):
        banded = [place for place in run.tolist() if np.isfinite(values[place]).all()]
        if len(banded) > 1:
            above = [f"{x(offsets[place])},{y(values[place, 2])}" for place in banded]
            below = [f"{x(offsets[place])},{y(values[place, 1])}" for place in reversed(banded)]
            shapes.append(f'<polygon class="ribbon" points="{" ".join([*above, *below])}"/>')
        line = " ".join(f"{x(offsets[place])},{y(values[place, 0])}" for place in run.tolist())
        shapes.append(f'<polyline class="mean" points="{line}"/>')
    for time_s, anchor in ((first, "start"), (last, "end")):
        shapes.append(f'<text x="{x(time_s)}" y="{height - 4}" text-anchor="{anchor}">{time_s:g} s</text>')
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg class="curve" {size} role="img" aria-label="{escape(label, quote=True)}">{"".join(shapes)}</svg>'


def _with_shares(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows whose bar of shares is empty where nothing was recorded."""
    shares = [column for column in rows.columns if column.startswith("share.")]
    filled = rows.assign(**{column: rows[column].fillna(0.0) for column in shares})
    return [{str(name): value for name, value in row.items()} for row in filled.to_dict("records")]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.2f}"
    return str(value)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"
