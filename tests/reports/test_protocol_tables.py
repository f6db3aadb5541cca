"""Figures of the protocols from cells whose truth is known."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from cimeu.bench.cells import CellResult
from cimeu.bench.comparison import Bench, Cell
from cimeu.bench.corruption import Condition, conditions
from cimeu.bench.protocols import shots_of, side_of, source_group
from cimeu.bench.runner import run_bench
from cimeu.evaluation.metrics import uar
from cimeu.reports.bench_summary import Summary, summarise
from cimeu.reports.gap import gap_of, training_priors, with_prior
from cimeu.reports.protocol_tables import protocol_tables, shots_curve
from cimeu.reports.views import View, predictions_of
from cimeu.tables import to_html

EMOTIONS = ("anger", "neutral")
GROUPS = ("de", "en")
N = 48  # clips of a group, of 8 speakers


def clips(groups: tuple[str, ...], accuracy: float, seed: int, chosen: slice = slice(None)) -> pd.DataFrame:
    """Clips of some groups, a share of them right; the first quarter of each group has one stream, half was acted."""
    generator = np.random.default_rng([seed, round(1000 * accuracy)])
    tables = []
    for group in groups:
        emotion = np.arange(N) % 2
        right = generator.permutation(N) < round(accuracy * N)
        said = np.where(right, emotion, 1 - emotion)
        table = pd.DataFrame(
            {"clip_id": [f"{group}/{clip:02}" for clip in range(N)], "part": "test", "corpus": group}
            | {"emotion": np.array(EMOTIONS)[emotion], "speaker": [f"{group}{clip // 6}" for clip in range(N)]}
            | {"culture": group, "problem": "", "acted": np.where(np.arange(N) % 4 < 2, "yes", "no")}
            | {"has_first": True, "has_second": np.arange(N) >= N // 4}
            | {f"fused.{name}": np.where(said == number, 0.6, 0.4) for number, name in enumerate(EMOTIONS)}
        )
        tables.append(table.iloc[chosen])
    return pd.concat(tables, ignore_index=True)


def bench(protocol: str, folds: tuple[str, ...], rows: tuple[str, ...] = ("full", "erm")) -> Bench:
    return Bench(name="little", emotions=EMOTIONS, rows=rows, folds=folds, seeds=(0, 1), protocol=protocol)


def summary(wanted: Bench, run, folder: Path) -> Summary:  # type: ignore[no-untyped-def]
    run_bench(wanted, run, folder)
    return summarise(folder, resamples=100)


MATRIX = bench("matrix", ("de-1", "de-2", "en-1", "en-2"))


def teach(cell: Cell) -> CellResult:
    """Own speakers, half in each fold, are 0.9 right; the other group 0.7, or with `erm` 0.5."""
    teacher = source_group(cell.fold)
    other = {"full": 0.7, "erm": 0.5}[cell.row]
    half = slice(None, N // 2) if cell.fold.endswith("1") else slice(N // 2, None)
    fold = MATRIX.folds.index(cell.fold)
    own = clips((teacher,), 0.9, 10 * cell.seed, half)
    others = clips(tuple(name for name in GROUPS if name != teacher), other, 10 * cell.seed + fold)
    return CellResult(pd.concat([own, others], ignore_index=True))


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return summary(MATRIX, teach, tmp_path_factory.mktemp("matrix"))


def test_a_matrix_has_a_figure_for_every_teaching_and_tested_group(matrix: Summary) -> None:
    pairs = matrix.figures.pairs("full")
    assert set(pairs) == {(a, b) for a in GROUPS for b in GROUPS}
    for (teacher, tested), figures in pairs.items():
        assert figures["uar"].mean.n_clips == N
        assert figures["uar"].mean.value == pytest.approx(0.9 if teacher == tested else 0.7, abs=0.02)


def test_rows_of_a_matrix_are_compared_off_the_diagonal(matrix: Summary) -> None:
    full, erm = matrix.lines
    assert full.uar is not None
    assert full.uar.value == pytest.approx(0.7, abs=0.02)
    assert erm.difference is not None
    assert erm.difference.value == pytest.approx(-0.2, abs=0.02)
    assert erm.difference.high < 0
    assert full.n_clips == 2 * N


def test_the_heat_of_a_matrix_is_its_figures(matrix: Summary) -> None:
    table = protocol_tables(matrix)["matrix"]
    assert table.columns == ("row", "trained on", "on de", "on en")
    assert [line[:2] for line in table.lines] == [(row, group) for row in ("full", "erm") for group in GROUPS]
    assert "rgba(" in to_html(table)
    assert table.lines[0][2].startswith(f"{100 * (table.heat[0][2] or 0):.1f}")


WITHIN = bench("within", tuple(f"{group}-1-{side}" for group in GROUPS for side in ("within", "across")), ("full",))
FOLDS = pd.DataFrame(
    {"fold": fold, "part": "train", "group": "x", "emotion": emotion, "acted": "yes", "clips": count, "speakers": 1}
    for fold in WITHIN.folds
    for emotion, count in zip(EMOTIONS, (30, 10), strict=True)
)


def taught(cell: Cell) -> CellResult:
    accuracy = 0.9 if side_of(cell.fold) == "within" else 0.6
    return CellResult(clips((source_group(cell.fold),), accuracy, cell.seed))


def test_the_parts_of_a_gap_add_up_to_it(tmp_path: Path) -> None:
    found = summary(WITHIN, taught, tmp_path)
    gap = gap_of(found.figures, "full", training_priors(FOLDS, EMOTIONS))
    assert gap is not None
    assert gap.gap.value == pytest.approx(0.3, abs=0.03)
    assert gap.within.mean.value - gap.across.mean.value == pytest.approx(gap.gap.value)
    parts = [part for part in gap.parts.values() if part is not None]
    assert len(parts) == 4
    assert sum(part.value for part in parts) == pytest.approx(gap.gap.value)


def test_what_cannot_be_told_from_the_rest_is_not_a_part(tmp_path: Path) -> None:
    def everything(cell: Cell) -> CellResult:
        table = taught(cell).predictions
        return CellResult(table.assign(has_second=True, acted="yes"))

    found = summary(WITHIN, everything, tmp_path)
    gap = gap_of(found.figures, "full", training_priors(FOLDS, EMOTIONS))
    assert gap is not None
    assert (gap.parts["modality"], gap.parts["acted"]) == (None, None)
    (line,) = protocol_tables(found, training_priors(FOLDS, EMOTIONS))["within"].lines
    assert line[4:6] == ("n/a", "n/a")


def test_the_prior_is_corrected_from_training_to_the_tested_group(tmp_path: Path) -> None:
    found = summary(WITHIN, taught, tmp_path)
    answers = predictions_of(WITHIN, found.cells["full"], View(("de-1-across", "en-1-across")))
    assert answers is not None
    known = training_priors(FOLDS, EMOTIONS)
    assert known["de"][0] == pytest.approx([0.75, 0.25])
    corrected = with_prior(answers, known).probabilities
    np.testing.assert_allclose(corrected.sum(axis=-1), 1)
    odds = corrected[..., 1] / corrected[..., 0] / (answers.probabilities[..., 1] / answers.probabilities[..., 0])
    np.testing.assert_allclose(odds, 3)  # balanced clips after three angry ones in four


FEW = bench("few-shot", tuple(f"{group}+{shots}" for group in GROUPS for shots in (0, 8)), ("full",))


def test_labels_of_the_tested_group_are_told_with_their_gain(tmp_path: Path) -> None:
    def run(cell: Cell) -> CellResult:
        group = cell.fold.partition("+")[0]
        return CellResult(clips((group,), 0.6 + 0.03 * shots_of(cell.fold), cell.seed))

    found = summary(FEW, run, tmp_path)
    assert found.lines[0].uar is not None
    assert found.lines[0].uar.value == pytest.approx(0.6, abs=0.02)  # rows are compared without any label
    table = protocol_tables(found)["shots"]
    assert table.columns[1:] == ("0 labels [95 %]", "8 labels [95 %]", "8 minus 0 [95 %]")
    assert float(table.lines[0][3].split(" ")[0]) == pytest.approx(24, abs=3)
    drawing = ElementTree.fromstring(shots_curve(found))
    assert len(drawing.findall("circle")) == 2 + 1  # points, and the legend
    assert "full" in [text.text for text in drawing.findall("text")]


ROBUST = bench("robustness", GROUPS, ("full",))


def test_the_fused_answer_is_held_against_the_better_single_stream(tmp_path: Path) -> None:
    said = {Condition("noise"): 0.60, Condition("noise", "absent"): 0.55, Condition("absent"): 0.70, Condition(): 0.8}

    def run(cell: Cell) -> CellResult:
        each = [
            clips((cell.fold,), said.get(condition, 0.5), cell.seed).assign(condition=str(condition))
            for condition in conditions(two_streams=True)
        ]
        return CellResult(pd.concat(each, ignore_index=True))

    found = summary(ROBUST, run, tmp_path)
    lines = {line[1]: line[2:] for line in protocol_tables(found)["robustness"].lines}
    assert found.lines[0].uar is not None
    assert found.lines[0].uar.value == pytest.approx(0.8, abs=0.02)  # rows are compared on untouched clips
    fused, better, minus, kept = lines["first noise"]
    assert fused.startswith("60")
    assert better.startswith("second 70")
    assert float(minus.split(" ")[0]) == pytest.approx(-10, abs=1)
    assert kept == "NO"
    assert lines["untouched"][3] == "yes"
    assert lines["first absent"][1:] == ("n/a", "n/a", "n/a")


def test_cultures_known_from_one_corpus_each_are_called_corpus_groups(tmp_path: Path) -> None:
    found = summary(ROBUST, lambda cell: CellResult(clips((cell.fold,), 0.8, cell.seed)), tmp_path)
    assert found.word == "corpus group"


def test_the_mean_over_groups_is_that_of_each_group(tmp_path: Path) -> None:
    found = summary(ROBUST, lambda cell: CellResult(clips((cell.fold,), 0.8, cell.seed)), tmp_path)
    by_group = []
    for group in GROUPS:
        scores = []
        for seed in (0, 1):
            table = clips((group,), 0.8, seed)
            said = table[[f"fused.{name}" for name in EMOTIONS]].to_numpy().argmax(axis=1)
            scores.append(uar(np.arange(N) % 2, said))
        by_group.append(np.mean(scores))
    assert found.lines[0].uar is not None
    assert found.lines[0].uar.value == pytest.approx(np.mean(by_group))
