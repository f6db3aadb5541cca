"""Figures with support sets from cells whose truth is known."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cimeu.bench.cells import CellResult
from cimeu.bench.comparison import Bench, Cell
from cimeu.bench.protocols import held_out_pair
from cimeu.bench.runner import run_bench
from cimeu.reports.bench_summary import Summary, summarise
from cimeu.reports.nested_table import nested_table
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
    folder: Path, folds: tuple[str, ...], protocol: str, answered: Callable[[Cell], CellResult] = answer
) -> Summary:
    bench = Bench(
        name="little",
        emotions=EMOTIONS,
        rows=("full", "erm"),
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
    assert told == [("person-4", "de", "48 of 48", "4.0", "75", "0.0", "100.0", "")]


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
