"""Figures with support sets from cells whose truth is known."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cimeu.bench.cells import CellResult
from cimeu.bench.comparison import Bench, Cell
from cimeu.bench.protocols import held_out_pair
from cimeu.bench.runner import run_bench
from cimeu.bench.style_offset import WEIGHT
from cimeu.reports.bench_summary import Summary, summarise
from cimeu.reports.nested_table import nested_supports_table, nested_table
from cimeu.reports.protocol_tables import protocol_tables
from cimeu.reports.support_tables import sets_of, support_sets_table, supports_table

EMOTIONS = ("anger", "neutral")
GROUPS = ("de", "en", "ur")
N = 48
"""Clips of a group, of eight speakers, half of each emotion; those of `ur` show one emotion each, but for two."""
RIGHT = {("full", ""): 0.75, ("full", "person-4"): 1.0, ("erm", ""): 0.5, ("erm", "person-4"): 0.75}


def clips(group: str, accuracy: float, *, swapped: bool = False) -> pd.DataFrame:
    """Clips of a group, of which a share of each emotion is right."""
    place = np.arange(N)
    emotion = place // (N // 2) if group == "ur" else place % 2
    rank = np.array([np.sum(emotion[:row] == emotion[row]) for row in range(N)])
    right = rank < round(accuracy * N / 2)
    said = np.where(right, emotion, 1 - emotion)
    return pd.DataFrame(
        {"clip_id": [f"{group}/{clip:02}" for clip in place], "part": "test", "corpus": group}
        | {"emotion": np.array(EMOTIONS)[emotion], "speaker": [f"{clip // 6}" for clip in place]}
        | {"culture": group, "problem": "", "condition": ""}
        | {f"fused.{name}": np.where(said == number, 0.6, 0.4) for number, name in enumerate(EMOTIONS)}
    )


def given(group: str, accuracy: float, condition: str) -> pd.DataFrame:
    """The same with supports of four clips, three of them of the emotion that the clip does not show."""
    table = clips(group, accuracy).assign(condition=condition)
    other = table["emotion"] != EMOTIONS[0]
    return table.assign(**{"support.anger": np.where(other, 3, 1), "support.neutral": np.where(other, 1, 3)})


def answer(cell: Cell) -> CellResult:
    tables = []
    groups = held_out_pair(cell.fold) if "+" in cell.fold else (cell.fold,)
    for group in groups:
        for condition in ("person-4", "person-4:even"):
            tables.append(given(group, RIGHT[cell.row, "person-4"], condition))
        tables[-1] = tables[-1].iloc[: 10 if group == "en" else N]  # few of `en` can fill the even mix
        tables.append(clips(group, RIGHT[cell.row, ""]))
    return CellResult(pd.concat(tables, ignore_index=True))


def answer_twice(cell: Cell) -> CellResult:
    """The same answers, given supports that were drawn twice."""
    table = answer(cell).predictions
    given_one = table["condition"] != ""
    return CellResult(pd.concat([table[~given_one], *(table[given_one].assign(draw=float(n)) for n in (0, 1))]))


def summary_of(
    folder: Path,
    folds: tuple[str, ...],
    protocol: str,
    answered: Callable[[Cell], CellResult] = answer,
    rows: tuple[str, ...] = ("full", "erm"),
) -> Summary:
    bench = Bench(
        name="little",
        emotions=EMOTIONS,
        rows=rows,
        folds=folds,
        seeds=(0,),
        protocol=protocol,
        supports=("person-4", "person-4:even"),
    )
    run_bench(bench, answered, folder)
    return summarise(folder, resamples=50)


@dataclass(frozen=True)
class Drawn:
    """A bench and its table of supports, made once."""

    summary: Summary
    lines: dict[tuple[str, str], dict[str, str]]

    @classmethod
    def of(cls, summary: Summary) -> "Drawn":
        table = supports_table(summary)
        assert table is not None
        return cls(summary, {each[:2]: dict(zip(table.columns, each, strict=True)) for each in table.lines})  # type: ignore[misc]


@pytest.fixture(scope="module")
def outer(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return Drawn.of(summary_of(tmp_path_factory.mktemp("outer"), GROUPS, "leave-one-out"))


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return Drawn.of(summary_of(tmp_path_factory.mktemp("nested"), ("de+en", "de+ur", "en+ur"), "nested"))


@pytest.mark.parametrize("which", ["outer", "nested"])
def test_a_figure_stands_beside_the_same_model_on_the_same_clips_alone(
    which: str, request: pytest.FixtureRequest
) -> None:
    said = request.getfixturevalue(which).lines["erm", "person-4"]
    assert said["UAR [95 %]"].startswith("75.0 [")
    assert said["alone, same clips [95 %]"].startswith("50.0 [")
    assert said["gain [95 %]"].startswith("+25.0 [")
    assert said["minus full [95 %]"].startswith("-25.0 [")
    assert (said["clips in it"], said["largest share, %"]) == ("4.0", "75")
    assert (said["de"], said["en"], said["ur"]) == ("75.0", "75.0", "n/a")


def test_a_group_says_why_it_has_no_figure(outer: Drawn) -> None:
    assert sets_of(outer.summary, "person-4")["ur"].reason == "8 of 8 speakers show one emotion"
    assert sets_of(outer.summary, "person-4")["de"].reason == ""
    assert sets_of(outer.summary, "person-4:even")["en"].reason == "10 of 48 clips have such a support"
    assert outer.lines["full", "person-4:even"]["en"] == "n/a"


def test_alone_is_measured_on_the_clips_that_have_a_support(outer: Drawn) -> None:
    """The comparison of all clips stays what it is."""
    assert outer.lines["full", "person-4:even"]["alone, same clips [95 %]"].startswith("75.0")
    (full, _) = outer.summary.lines
    assert full.uar is not None
    assert full.uar.value == pytest.approx(0.75)
    assert full.n_clips == 3 * N


def test_a_guess_from_the_support_alone_shows_what_the_draw_gives_away(outer: Drawn) -> None:
    sets = sets_of(outer.summary, "person-4")["de"]
    assert (sets.commonest, sets.rarest) == (0.0, 1.0)
    told = [each for each in support_sets_table(outer.summary).lines if each[:2] == ("person-4", "de")]
    assert told == [("person-4", "de", "48 of 48", "4.0", "75", "–", "0.0", "100.0", "")]


def test_a_figure_stands_beside_the_better_guess_of_each_group(tmp_path: Path) -> None:
    """Supports of `de` hold little of the clip's own emotion, those of `en` much; those of even draws say nothing."""

    def tilted(cell: Cell) -> CellResult:
        table = answer(cell).predictions
        even, en = table["condition"] == "person-4:even", table["culture"] == "en"
        table.loc[en, ["support.anger", "support.neutral"]] = table.loc[en, ["support.neutral", "support.anger"]].values
        table.loc[even, ["support.anger", "support.neutral"]] = 2
        return CellResult(table)

    lines = Drawn.of(summary_of(tmp_path, ("de", "en"), "", tilted)).lines
    assert lines["erm", "person-4"]["support alone"] == "100.0"
    assert lines["erm", "person-4:even"]["support alone"] == "50.0"


def test_p_is_adjusted_over_the_rows_of_one_support_set(tmp_path: Path) -> None:
    def answered(cell: Cell) -> CellResult:
        """`full` is right given supports; of every speaker, `erm` is wrong half of the time, and `without-er` never."""
        table = answer(replace(cell, row="full")).predictions
        if cell.row == "erm":
            table.loc[table["condition"] != "", ["fused.anger", "fused.neutral"]] = [0.6, 0.4]
        return CellResult(table)

    lines = Drawn.of(summary_of(tmp_path, ("de",), "", answered, ("full", "erm", "without-er"))).lines
    # No draw of 50 is beyond zero. Two rows are compared with the reference, and as many under the other set.
    assert lines["erm", "person-4"]["p (Holm)"] == f"{2 * 2 / 51:.3f}"
    assert lines["without-er", "person-4"]["p (Holm)"] == "1.000"
    assert lines["full", "person-4"]["p (Holm)"] == "–"


def test_the_weight_of_supports_is_that_of_the_reference(tmp_path: Path) -> None:
    def weighted(cell: Cell) -> CellResult:
        table = answer(cell).predictions
        anger = np.where(table["emotion"] == "anger", 0.25, 0.5)
        weight = anger if cell.row == "full" else 1.0
        return CellResult(table.assign(**{WEIGHT: np.where(table["condition"] == "", np.nan, weight)}))

    table = support_sets_table(summary_of(tmp_path, ("de",), "", weighted, ("erm", "full")))
    assert [dict(zip(table.columns, each, strict=True))["weight"] for each in table.lines] == ["0.38", "0.38"]


def test_unknown_speakers_have_no_support_of_their_own(tmp_path: Path) -> None:
    bench = Bench(
        name="little", emotions=EMOTIONS, rows=("full",), folds=("de",), seeds=(0,), supports=("person-4", "culture-4")
    )

    def unknown(cell: Cell) -> CellResult:
        tables = [clips("de", 0.5), given("de", 1.0, "culture-4"), given("de", 1.0, "person-4").iloc[:0]]
        return CellResult(pd.concat(tables, ignore_index=True).assign(speaker=""))

    run_bench(bench, unknown, tmp_path)
    summary = summarise(tmp_path, resamples=50)
    lines = Drawn.of(summary).lines
    assert sets_of(summary, "person-4")["de"].reason == "no speaker is known"
    assert sets_of(summary, "culture-4")["de"].reason == ""
    assert lines["full", "person-4"]["UAR [95 %]"] == "n/a"
    assert lines["full", "culture-4"]["UAR [95 %]"].startswith("100.0")


def test_a_choice_for_an_outer_group_looks_at_the_others_alone(nested: Drawn) -> None:
    table = nested_table(nested.summary)
    assert table.columns == ("row", *(f"choice for {name} [95 %]" for name in GROUPS))
    best, other = table.lines
    assert best[0] == "full"
    assert all(each.startswith("75.0 [") and each.endswith(" *") for each in best[1:])
    assert all(each.startswith("50.0 [") and "*" not in each for each in other[1:])


def test_a_choice_under_a_support_set_looks_at_other_groups_that_have_a_figure(tmp_path: Path) -> None:
    def differs(cell: Cell) -> CellResult:
        """Given supports, `erm` is right about `en`, and `full` is not always."""
        table = answer(cell).predictions
        other = answer(replace(cell, row="erm" if cell.row == "full" else "full")).predictions
        changed = (table["culture"] == "en") & (table["condition"] == "person-4")
        return CellResult(table.where(~changed, other))

    summary = summary_of(tmp_path, ("de+en", "de+ur", "en+ur"), "nested", differs)
    shown = nested_supports_table(summary)
    choices = {
        each[:2]: [value.partition(" [")[0] + value[-2:] * ("*" in value) for value in each[2:]] for each in shown.lines
    }
    assert shown.columns[:3] == ("row", "support set", "choice for de [95 %]")
    assert choices == {
        ("full", "person-4"): ["75.0", "100.0 *", "87.5 *"],
        ("erm", "person-4"): ["100.0 *", "75.0", "87.5"],
        ("full", "person-4:even"): ["n/a", "100.0 *", "100.0 *"],
        ("erm", "person-4:even"): ["n/a", "75.0", "75.0"],
    }
    assert all(each[1].endswith("*") for each in nested_table(summary).lines[:1])
    assert set(protocol_tables(summary)) == {"nested", "nested_supports"}


def test_a_nested_bench_compares_rows_over_all_pairs(nested: Drawn) -> None:
    full, erm = nested.summary.lines
    assert full.uar is not None
    assert set(full.groups or {}) == set(GROUPS)
    assert full.uar.value == pytest.approx(0.75)
    assert erm.difference is not None
    assert erm.difference.value == pytest.approx(-0.25)


def test_a_group_is_read_from_the_folds_that_test_it_however_often_supports_were_drawn(tmp_path: Path) -> None:
    once, twice = (
        supports_table(summary_of(tmp_path / name, ("de", "en", "ur"), "", answered))
        for name, answered in (("once", answer), ("twice", answer_twice))
    )
    assert once is not None
    assert once == twice
