"""Tell what runs have found, in one page that opens anywhere.

`report` writes one self-contained HTML page (no scripts, nothing fetched; light, dark, phone and print) and the same
numbers as Markdown, CSV, JSON and a LaTeX table. It reads run folders only: nothing is trained and no model is loaded.

    predictions.csv      required. clip_id, part (validation | test), emotion, corpus, speaker, culture, gender,
                         problem, then forward.<emotion>, backward.<emotion>, fused.<emotion>; these are empty where a
                         clip could not be used. Also the column that was held out, when it is not `culture`
    fold.json            name, protocol, group (column held out), note
    recipe.yaml          name, seeds (its first is the seed, unless environment.json has one), training.selection
    ensemble.json        mu, levels, temperature, abstain_below, selection
    environment.json     seed, synthetic (else specifications.synthetic in forward/config.json); the rest is shown
    forward/journal.csv, backward/journal.csv     epoch and any numbers; those that begin with `style` stand together,
                         those of `cimeu.training.faults` say which parts have little or no effect
    projections.npz      clip_id [N], emotion_primitives [N, C], style_primitives [N, C]: any C, shown on two axes
    probes.json          rows of `cimeu.evaluation.probes.probe_table` (a list, or under `rows`)
    ../baselines.csv     one line per baseline, in percent, beside the run folders of a bench (`cimeu bench` writes it)

All but the first are optional; what is missing is said to be absent.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cimeu.atomic import beside, check_free, page_path, write_whole
from cimeu.csv_files import csv_text
from cimeu.evaluation.metrics import METRICS
from cimeu.experiments.run_folder import Json
from cimeu.plots import charts
from cimeu.plots.pages import ForestRow, page_environment
from cimeu.reports.run_summary import summarise
from cimeu.reports.verdict import baseline_interval, interval_in, report_answer
from cimeu.tables import MISSING, Interval, Table, percent, span
from cimeu.tables import to_latex as latex_of
from cimeu.tables import to_markdown as markdown_of
from cimeu.timeline.segments import CONTINUOUS_CAUTION, USE_LIMITS
from cimeu.timeline.style import colours_of

_METRIC_NAMES = {"uar": "UAR", "war": "WAR", "macro_f1": "Macro F1", "weighted_f1": "Weighted F1"}


def report(runs: Sequence[Path | str], output: Path | str, *, title: str | None = None) -> Path:
    """Write the report of one or more runs of one recipe; returns the page.

    `output` is the page (`report.html`), or a folder for it; the other files stand beside it under the same name.

    Raises:
        RecipeError: a run has no predictions, or the runs do not belong together.
        OutputError: a file of one of these names is not ours to replace.
    """
    summary = summarise([Path(run) for run in runs], title=title)
    page = page_path(Path(output), "report")
    writers = {".html": to_html, ".md": to_markdown, ".tex": to_latex, ".json": _to_json, ".csv": _to_csv}
    contents = {beside(page, suffix): write(summary) for suffix, write in writers.items()}
    check_free(contents, "report")
    for path, content in contents.items():
        write_whole(path, content, "report")
    return page


def to_html(summary: Json) -> str:
    """The page."""
    environment = page_environment("cimeu.reports", "report.html")
    colours = colours_of(summary["emotions"])
    environment.filters |= {
        "pct": percent,
        "points": _points,
        "interval": _interval,
        "cell": _cell,
        "groupby_kept": _grouped,
        "span": _span,
        "whisker": lambda estimate, chance: Markup(
            charts.whisker(estimate["value"], estimate["low"], estimate["high"], chance=chance)
        ),
        "difference": lambda estimate, reach=0.2: Markup(
            charts.whisker(estimate["value"], estimate["low"], estimate["high"], chance=0.0, start=-reach, end=reach)
        ),
        "reliability": lambda bins: Markup(charts.reliability(bins)),
        "curves": lambda journal: Markup(charts.curves(journal["name"], journal["curves"])),
        "scatter": lambda points, labels: Markup(charts.scatter(points, labels, colours)),
        "legend": lambda labels: Markup(charts.legend(labels, colours)),
    }
    journals = summary["journals"]
    styles = [journal for journal in journals if journal["name"].startswith("style")]
    return environment.get_template("report.html").render(
        s=summary,
        answer=report_answer(summary),
        rows=_forest(summary),
        limits=USE_LIMITS,
        caution=CONTINUOUS_CAUTION,
        selection=_chosen_on(summary),
        journal_parts=[
            ("Training", [journal for journal in journals if journal not in styles]),
            ("Style clustering", styles),
        ],
    )


def _forest(summary: Json) -> list[ForestRow]:
    """Fused and each direction over all groups, the groups, then the baselines of the bench."""
    results = summary["results"]
    whole = [row for row in results if row["group"] == results[-1]["group"]]
    *directions, fused = whole
    rows = [ForestRow("fused model", interval_in(fused["uar"]), first=True)]
    rows += [ForestRow(f"{row['kind']} alone", interval_in(row["uar"]), part=True) for row in directions]
    groups = [row for row in results if row["kind"] == "fused" and row not in whole]
    rows += [ForestRow(row["group"], interval_in(row["uar"]), gap=not place) for place, row in enumerate(groups)]
    named = {str(next(iter(row.values()))): baseline_interval(row) for row in summary["baselines"] or ()}
    measured = [(name, uar) for name, uar in named.items() if uar is not None]
    return rows + [ForestRow(name, uar, part=True, gap=not place) for place, (name, uar) in enumerate(measured)]


def to_markdown(summary: Json) -> str:
    """Facts, then every table, for a README or an issue."""
    lines = [f"# {summary['title']}", ""]
    lines += [f"- **{fact['label']}**: {fact['value']}" for fact in summary["facts"]]
    lines += [f"- **Left out**: {name}" for name in summary["left_out"]]
    for network in summary["faults"]:
        name = f"{network['run']}, {network['direction']}"
        lines.append(f"- **Little or no effect in {name}**: {'; '.join(network['lines']) or 'no part'}")
    return "\n".join([*lines, "", *map(markdown_of, tables_of(summary))])


def to_latex(summary: Json) -> str:
    """Every table as a `booktabs` float, with what must be said in its caption."""
    facts = {fact["label"]: fact["value"] for fact in summary["facts"]}
    named = (f"{label}: {facts[label]}." for label in ("Data", "Clips", "Seeds", "Selection", "Speakers"))
    caption = f"{summary['title']}. {' '.join(named)}"
    return "\n".join(latex_of(table, caption=f"{table.heading}. {caption}") for table in tables_of(summary))


def tables_of(summary: Json) -> list[Table]:
    """The tables of a report: results, folds, comparisons, recalls and baselines, as far as there are any."""
    group = summary["group_word"].capitalize()
    oracle = " ORACLE selection." if summary["oracle"] else ""
    results = tuple(
        (row["group"], row["kind"], f"{row['n_clips']}", *(span(_estimate(row[metric])) for metric in METRICS))
        for row in summary["results"]
    )
    heading = f"Percent, with 95 % intervals.{oracle}"
    written = [Table(heading, (group, "Model", "N", *_METRIC_NAMES.values()), results)]
    if summary["folds"]:
        written.append(_fold_table(summary))
    if summary["comparisons"]:
        compared = tuple(
            (
                row["name"],
                span(_estimate(row), signed=True),
                f"{row['improved']} of {row['n_groups']}",
                _cell(row["p_holm"]),
            )
            for row in summary["comparisons"]
        )
        written.append(Table("Paired differences", ("Comparison", "UAR, points", "Better in", "p, Holm"), compared))
    recalls = tuple((row["group"], *(percent(cell["recall"]) for cell in row["cells"])) for row in summary["recalls"])
    written.append(Table("Recall of the fused model, percent", (group, *summary["emotions"]), recalls))
    if summary["baselines"]:
        lines = tuple(tuple(map(_cell, row.values())) for row in summary["baselines"])
        written.append(Table("Baselines", tuple(summary["baselines"][0]), lines))
    if summary["elsewhere"]:
        lines = tuple(tuple(row.values()) for row in summary["elsewhere"])
        written.append(Table("Published on this benchmark", tuple(summary["elsewhere"][0]), lines))
    return written


def _to_json(summary: Json) -> str:
    return json.dumps(summary, indent=1, ensure_ascii=False) + "\n"


def _to_csv(summary: Json) -> str:
    """One line per group, model and metric; shares between 0 and 1."""
    counted = ["n_clips", "n_unused", "n_speakers"]
    rows: list[list[object]] = [["group", "model", "metric", "value", "low", "high", *counted, "synthetic", "oracle"]]
    for row in summary["results"]:
        for metric in METRICS:
            figures = [row[metric][name] for name in ("value", "low", "high")]
            counts = [row[name] for name in counted]
            rows.append([row["group"], row["kind"], metric, *figures, *counts, summary["synthetic"], summary["oracle"]])
    return csv_text(rows)


def _fold_table(summary: Json) -> Table:
    """This run's folds, their mean and deviation, then published methods."""
    folds, chosen = summary["folds"], _chosen_on(summary)
    columns = [f"{model} {metric}" for model in folds["models"] for metric in ("UAR", "WAR")]

    def cells(figures: Json, digits: int = 1) -> list[str]:
        shares = [figures.get(model, {}).get(metric) for model in folds["models"] for metric in ("uar", "war")]
        return [percent(share, digits=digits) for share in shares]

    means, n_folds = cells(folds["mean"]), len(folds["lines"])
    if folds["deviation"]:
        means = [f"{mean} ± {spread}" for mean, spread in zip(means, cells(folds["deviation"]), strict=True)]
    pooled = folds["pooled"]
    lines = [(line["name"], f"{line['n_clips']:,}", *cells(line["figures"]), chosen) for line in folds["lines"]]
    lines.append(("mean ± deviation", f"{n_folds} fold{'' if n_folds == 1 else 's'}", *means, chosen))
    lines.append((pooled["name"], f"{pooled['n_clips']:,}", *cells(pooled["figures"]), chosen))
    for line in folds["published"]:
        lines.append((f"{line['name']}, published", "", *cells(line["figures"], 2), "test clips (ORACLE)"))
    return Table("Fold by fold, percent", ("Fold", "N", *columns, "Chosen on"), tuple(lines))


def _chosen_on(summary: Json) -> str:
    """The clips on which checkpoint and mixture were chosen."""
    rules = {run["settings"].get("selection", "") for run in summary["runs"]}
    named = {"oracle": "test clips (ORACLE)", "validation": "validation clips", "last": "nothing chosen"}
    return "test clips (ORACLE)" if summary["oracle"] else ", ".join(named.get(rule, MISSING) for rule in sorted(rules))


def _grouped(rows: Sequence[Json], key: str) -> list[tuple[str, list[Json]]]:
    """Neighbouring rows of one group, in the order they have."""
    groups: dict[str, list[Json]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return list(groups.items())


def _points(share: float | None) -> str:
    return percent(share, signed=True).replace("-", "−")


def _interval(estimate: Mapping[str, Any]) -> str:
    low, high = estimate["low"], estimate["high"]
    return MISSING if low is None or high is None else f"[{percent(low)}, {percent(high)}]".replace("-", "−")


def _estimate(estimate: Mapping[str, Any]) -> Interval | None:
    return None if estimate["value"] is None else Interval(estimate["value"], estimate["low"], estimate["high"])


def _cell(value: object) -> str:
    """Anything in a table: three significant digits, a dash for what is absent."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _span(journal: Mapping[str, Any]) -> str:
    values = [value for curve in journal["curves"] for value in curve["values"]]
    return f"{min(values):.3g} to {max(values):.3g}"
