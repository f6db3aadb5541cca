import csv
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cimeu.bench.cells import CellResult
from cimeu.bench.comparison import Bench, Cell
from cimeu.bench.runner import run_bench
from cimeu.cluster import Machines
from cimeu.errors import RecipeError
from cimeu.evaluation.metrics import uar
from cimeu.evaluation.uncertainty import Difference
from cimeu.reports.bench_summary import RowSummary, Summary, summarise
from cimeu.reports.bench_tables import (
    bench_page,
    comparison_table,
    directions_table,
    figures_csv,
    timing_table,
    write_tables,
)
from cimeu.reports.verdict import bench_answer
from cimeu.tables import Interval, interval_of, span, to_html, to_latex, to_markdown
from cimeu.training.journal import write_journal

EMOTIONS = ("anger", "neutral")
ACCURACY = {"full": 0.7, "plain": 0.5, "without-er": 0.7}
BENCH = Bench(
    name="little_bench",
    emotions=EMOTIONS,
    rows=("full", "plain", "without-er", "without-rfa"),
    folds=("de", "en", "ur"),
    seeds=(0, 1),
    absent={"without-rfa": "one stream"},
)


def run(cell: Cell) -> CellResult:
    """60 clips of 10 speakers; `ur` is harder for all rows, and its first clip could not be used."""
    generator = np.random.default_rng([cell.seed, list(ACCURACY).index(cell.row), BENCH.folds.index(cell.fold)])
    emotion = np.arange(60) % 2
    share = ACCURACY[cell.row] - 0.15 * (cell.fold == "ur")
    said = np.where(generator.uniform(size=60) < share, emotion, 1 - emotion)
    table = pd.DataFrame(
        {
            "clip_id": [f"{cell.fold}/{clip:02}" for clip in range(60)],
            "part": "test",
            "corpus": "little",
            "emotion": np.array(EMOTIONS)[emotion],
            "speaker": [f"s{clip // 6}" for clip in range(60)],
            "culture": cell.fold,
            "problem": "",
            **{f"fused.{name}": (said == number).astype(float) for number, name in enumerate(EMOTIONS)},
        }
    )
    if cell.fold == "ur":
        table.loc[0, [f"fused.{name}" for name in EMOTIONS]] = np.nan
    return CellResult(table, parameters=1234, updates=10, wall_s=2.0, figures={"validation_uar": 0.8})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench")
    run_bench(BENCH, run, path)
    return path


@pytest.fixture(scope="module")
def summary(folder: Path) -> Summary:
    return summarise(folder, resamples=200)


def line_of(summary: Summary, row: str) -> RowSummary:
    (line,) = [line for line in summary.lines if line.row == row]
    return line


def test_the_figure_is_the_mean_over_groups_of_the_mean_over_seeds(summary: Summary) -> None:
    scores = []
    for fold in BENCH.folds:
        for seed in BENCH.seeds:
            table = run(Cell("full", fold, seed)).predictions
            said = table[["fused.anger", "fused.neutral"]].to_numpy()
            called = np.where(np.isnan(said[:, 0]), -1, np.nan_to_num(said).argmax(axis=1))
            scores.append(uar(np.arange(60) % 2, called))
    line = line_of(summary, "full")
    assert line.uar is not None
    assert line.uar.value == pytest.approx(np.mean(scores))
    assert line.uar.low < line.uar.value < line.uar.high
    assert (line.seeds, line.n_clips, line.n_speakers) == (2, 180, 30)


def test_the_worst_group_stands_beside_the_mean(summary: Summary) -> None:
    assert line_of(summary, "full").worst == "ur"


def test_a_worse_row_is_told_from_the_reference_and_an_equal_one_is_not(summary: Summary) -> None:
    worse, equal = line_of(summary, "plain"), line_of(summary, "without-er")
    assert worse.difference is not None
    assert worse.difference.high < 0
    assert worse.p_holm < 0.05 < equal.p_holm
    assert worse.improved == 0
    assert worse.p_holm == pytest.approx(min(1, 2 * worse.p))


def test_a_difference_has_its_standard_error_over_seeds(summary: Summary) -> None:
    full, plain = line_of(summary, "full").by_seed, line_of(summary, "plain").by_seed
    first, second = (plain[seed] - full[seed] for seed in BENCH.seeds)
    # Of two numbers, the standard deviation over the root of 2 is half their distance.
    assert line_of(summary, "plain").training_error == pytest.approx(abs(first - second) / 2)
    assert line_of(summary, "full").training_error is None


def test_the_reference_and_absent_rows_have_no_difference(summary: Summary) -> None:
    assert line_of(summary, "full").difference is None
    assert line_of(summary, "without-rfa").uar is None


def test_a_seed_counts_once_all_its_folds_are_there(tmp_path: Path) -> None:
    run_bench(BENCH, run, tmp_path)
    (tmp_path / Cell("plain", "ur", 1).stem.with_suffix(".json")).unlink()
    found = summarise(tmp_path, resamples=50)
    line = line_of(found, "plain")
    assert (line.seeds, line.cells, line.cells_expected) == (1, 5, 6)
    assert line.seed_deviation is None
    assert not found.complete
    assert "1, 5/6 cells" in to_markdown(comparison_table(found))
    assert "not finished" in to_markdown(comparison_table(found))


def test_comparisons_that_are_not_there_yet_count_for_holm(tmp_path: Path) -> None:
    run_bench(BENCH, run, tmp_path)
    for fold in BENCH.folds:
        for seed in BENCH.seeds:
            (tmp_path / Cell("without-er", fold, seed).stem.with_suffix(".json")).unlink()
    line = line_of(summarise(tmp_path, resamples=200), "plain")
    assert line.p_holm == pytest.approx(min(1, 2 * line.p))


def test_an_empty_bench_prints_dashes(tmp_path: Path) -> None:
    run_bench(BENCH, run, tmp_path, machines=Machines((50, 50)))
    table = comparison_table(summarise(tmp_path, resamples=50))
    assert set(table.lines[0][1:]) == {"–"}


def test_absent_rows_print_no_number(summary: Summary) -> None:
    table = comparison_table(summary)
    assert set(table.lines[-1][1:]) == {"n/a"}
    assert "`without-rfa` is n/a: one stream." in table.notes


def test_every_form_has_every_row(summary: Summary) -> None:
    table = comparison_table(summary)
    for text in (to_markdown(table), to_latex(table), to_html(table), figures_csv(summary)):
        for row in BENCH.rows:
            assert row in text


def test_figures_keep_full_digits(summary: Summary) -> None:
    (line,) = [line for line in csv.DictReader(io.StringIO(figures_csv(summary))) if line["row"] == "full"]
    found = line_of(summary, "full").uar
    assert found is not None
    assert float(line["uar"]) == found.value
    assert float(line["uar_low"]) == found.low


def test_text_is_escaped_where_its_form_asks(summary: Summary) -> None:
    table = replace(comparison_table(summary), heading="a <b> & c", lines=(("x_1|<i>",),))
    assert "a &lt;b&gt; &amp; c" in to_html(table)
    assert "x_1|&lt;i&gt;" in to_html(table)
    assert r"x_1\|<i>" in to_markdown(table)
    assert r"x\_1|<i>" in to_latex(table)


def with_directions(cell: Cell) -> CellResult:
    """Both directions of `full` say what it says, but forward is wrong on `en`; other rows keep what is fused only."""
    result = run(cell)
    if cell.row != "full":
        return result
    table = result.predictions
    for name, other in zip(EMOTIONS, EMOTIONS[::-1], strict=True):
        table[f"forward.{name}"] = table[f"fused.{other if cell.fold == 'en' else name}"]
        table[f"backward.{name}"] = table[f"fused.{name}"]
    return result


def test_a_bench_says_what_each_direction_does_alone(tmp_path: Path) -> None:
    run_bench(BENCH, with_directions, tmp_path)
    found = summarise(tmp_path, resamples=100)
    assert [line.row for line in found.lines if line.alone] == ["full"]
    line = line_of(found, "full")
    forward, backward = line.alone["forward"], line.alone["backward"]
    assert backward.uar == line.uar
    assert (backward.gain, backward.improved) == (Interval(0.0, 0.0, 0.0), 0)
    of_en = line.groups["en"].value
    assert forward.gain.value == pytest.approx((of_en - (1 - of_en)) / 3)
    assert forward.gain.value == pytest.approx(line.uar.value - forward.uar.value)
    assert forward.gain.low < forward.gain.value < forward.gain.high
    assert forward.improved == 1
    table = directions_table(found)
    assert [each[0] for each in table.lines] == ["full"]
    assert table.lines[0][-3:] == ("1 of 3", "+0.0 [+0.0, +0.0]", "0 of 3")
    written = [path.name for path in write_tables(found, tmp_path / "tables")]
    assert "directions.csv" in written
    (figures,) = [each for each in csv.DictReader(io.StringIO(figures_csv(found))) if each["row"] == "full"]
    assert float(figures["forward.gain"]) == forward.gain.value


def test_cells_that_keep_the_fused_answers_only_have_no_table_of_directions(summary: Summary) -> None:
    assert directions_table(summary) is None


def test_all_tables_are_written(summary: Summary, tmp_path: Path) -> None:
    names = [
        "figures.csv",
        "timing.csv",
        "bench.html",
        *(f"comparison.{form}" for form in ("csv", "md", "tex", "html")),
    ]
    assert [path.name for path in write_tables(summary, tmp_path / "tables") if path.stat().st_size] == names


def test_the_page_of_a_bench_says_what_it_found_before_its_tables(summary: Summary) -> None:
    table = comparison_table(summary)
    page = re.sub(r"<style>.*?</style>", "", bench_page(summary, [table], timing_table(summary)), flags=re.DOTALL)
    minus = f"{100 * line_of(summary, 'plain').difference.value:.1f}".replace("-", "−")
    parts = [
        "<h1>little_bench: 4 rows on the same clips</h1>",
        f"<code>full</code> has a UAR of {span(line_of(summary, 'full').uar)} %, above chance (50.0 %).",
        "Parts left out or replaced, against <code>full</code>: "
        f"below: <code>plain</code> ({minus}); no detectable difference: <code>without-er</code>.",
        '<div class="forest"',
        '<div class="scroll" tabindex="0" role="region" aria-label="little_bench"><table>',
        "<code>without-rfa</code> is n/a: one stream.",
        "<details><summary>Time of every row</summary>",
    ]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    assert "`" not in page
    assert page.count('class="whisker"') == 3  # one for each row with figures
    others = tuple(replace(line, row="erm") if line.row == "plain" else line for line in summary.lines)
    assert f"Other methods, against `full`: below: `erm` ({minus})." in bench_answer(replace(summary, lines=others))
    uncertain = [replace(line, training_error=0.2) if line.row == "plain" else line for line in summary.lines]
    (parts,) = (text for text in bench_answer(replace(summary, lines=tuple(uncertain))) if text.startswith("Parts"))
    assert parts == "Parts left out or replaced, against `full`: no detectable difference: `plain`, `without-er`."


def test_the_page_of_an_unfinished_bench_says_how_much_is_there(tmp_path: Path) -> None:
    run_bench(BENCH, run, tmp_path, machines=Machines((1, 6)))
    assert bench_answer(summarise(tmp_path, resamples=50)) == ["The bench is not finished: 3 of 18 cells are there."]


def test_a_table_counts_the_models_in_which_a_part_has_no_effect(folder: Path, summary: Summary) -> None:
    assert "no effect" not in to_markdown(comparison_table(summary))
    few, many = {"epoch": 1, "health.layer_scale": 0.1}, {"health.layer_scale": 0.0, "health.adversary.style": 0.9}
    unsettled = {"style.ari.last": 0.1, "style.size.0": 99, "style.size.1": 1}
    for row, entries in (("full", [many, few, many | unsettled]), ("plain", [{"epoch": 1}]), ("without-er", [few])):
        for number, entry in enumerate(entries):
            for direction in ("forward", "backward")[: 1 + number // 2]:
                write_journal(make(folder / "runs" / row / str(number) / direction), [many, entry])
            (folder / "runs" / row / str(number) / "predictions.csv").touch()
    write_journal(make(folder / "runs" / "full" / "unfinished" / "forward"), [many])
    try:
        found = comparison_table(summarise(folder, resamples=50))
    finally:
        shutil.rmtree(folder / "runs")
    (note,) = [note for note in found.notes if "no effect" in note]
    assert note == (
        "Parts with little or no effect in the last epoch, in how many models of a row: "
        "`full` (4 models) temporal blocks 3, style adversary 3, style clusters 2; `without-er` (1 model) none."
    )
    assert "<code>without-er</code> (1 model) none." in to_html(found)


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_tables_of_clips_made_by_a_program_say_so(summary: Summary) -> None:
    drawn = replace(summary, bench=replace(BENCH, synthetic=True))
    assert "made by a program" in to_markdown(comparison_table(drawn))


def test_tables_of_published_divisions_that_share_speakers_say_so(summary: Summary) -> None:
    shared = replace(summary, bench=replace(BENCH, settings={"folds.allow_shared_speakers": True}))
    assert "Speakers shared" in to_markdown(comparison_table(shared))
    assert "Speakers shared" not in to_markdown(comparison_table(summary))


def test_tables_selected_on_test_clips_say_so(summary: Summary) -> None:
    marked = replace(summary, lines=(replace(summary.lines[0], selection="oracle"),))
    assert "Selection `oracle` chose on test clips" in to_markdown(comparison_table(marked))


def test_a_folder_without_a_bench_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no bench in"):
        summarise(tmp_path)


def test_a_difference_without_ends_has_no_interval() -> None:
    nan = float("nan")
    unknown = Difference(value=0.1, low=nan, high=nan, p=nan, improved=1, n_cultures=1, cultures={})
    assert interval_of(unknown) == Interval(0.1, None, None)


def test_clips_of_nobody_known_are_no_speakers_and_the_table_says_so(tmp_path: Path) -> None:
    def nameless(cell: Cell) -> CellResult:
        result = run(cell)
        table = result.predictions.copy()
        table.loc[(table["culture"] == "ur") & (table.index < 45), "speaker"] = ""
        return replace(result, predictions=table)

    run_bench(BENCH, nameless, tmp_path)
    notes = "\n".join(comparison_table(summarise(tmp_path)).notes)
    assert "N = 180 test clips of 23 speakers" in notes  # ten each of two groups, and three whole ones of the third
    assert "Clips without a known speaker (ur 45) are drawn one by one: intervals of these groups" in notes


def test_where_all_speakers_are_known_nothing_is_said_of_them(folder: Path) -> None:
    notes = "\n".join(comparison_table(summarise(folder)).notes)
    assert "N = 180 test clips of 30 speakers" in notes
    assert "unknown" not in notes


@pytest.fixture(scope="module")
def of_known_encoders(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """`wavlm-large` cannot have seen two of three corpora; `linear-second` reads what was never trained."""

    def of_several_corpora(cell: Cell) -> CellResult:
        result = run(replace(cell, row="plain" if cell.row.startswith("linear") else cell.row))
        corpora = {"de": "emodb", "en": "msppodcast", "ur": "urdu"}
        return replace(result, predictions=result.predictions.assign(corpus=corpora[cell.fold]))

    first = {"streams.first.encoder": "hub-sound", "streams.first.settings.preset": "wavlm-large"}
    settings = first | {"streams.second.encoder": "prosody"}
    bench = replace(BENCH, rows=("full", "linear-second", "without-rfa"), settings=settings)
    path = tmp_path_factory.mktemp("known")
    run_bench(bench, of_several_corpora, path)
    return summarise(path, resamples=200)


def test_the_mean_over_what_pretraining_has_not_seen_stands_beside_the_mean(of_known_encoders: Summary) -> None:
    line = line_of(of_known_encoders, "full")
    assert line.marks == {"de": "unseen", "en": "unknown", "ur": "unseen"}
    assert line.uar_unseen is not None
    assert line.uar_unseen.value == pytest.approx((line.groups["de"].value + line.groups["ur"].value) / 2)
    assert line.uar_unseen.low < line.uar_unseen.value < line.uar_unseen.high
    table = comparison_table(of_known_encoders)
    cells = dict(zip(table.columns, table.lines[0], strict=True))
    assert cells["UAR, unseen in pretraining alone [95 %]"] == span(line.uar_unseen)
    assert cells["pretraining"] == "unknown: en; unseen: de, ur"
    (note,) = [note for note in table.notes if note.startswith("Pretraining: the tested corpora are, to wavlm-large, ")]
    assert "emodb and urdu, unknown (its data and these corpora were gathered from the same kind of place): msp" in note
    assert "; to prosody, unseen (never trained" in note


def test_a_row_is_marked_by_what_it_reads(of_known_encoders: Summary) -> None:
    line = line_of(of_known_encoders, "linear-second")
    assert (set(line.marks.values()), line.uar_unseen) == ({"unseen"}, None)
    figures = pd.read_csv(io.StringIO(figures_csv(of_known_encoders))).set_index("row")
    assert figures["pretraining"].tolist()[:2] == ["unknown: en; unseen: de, ur", "unseen"]
    assert figures["uar_unseen"].notna().tolist() == [True, False, False]


def test_a_bench_that_does_not_name_its_encoders_has_no_marks(summary: Summary) -> None:
    table = comparison_table(summary)
    assert "pretraining" not in table.columns
    assert not any(note.startswith("Pretraining") for note in table.notes)
