"""A comparison runs every row on the same clips, folds, seeds and budget."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cimeu.errors import RecipeError
from cimeu.experiments.bench import CellRunner, bench_recipe
from cimeu.experiments.recipe import Recipe, load_recipe
from cimeu.experiments.run import run_recipe
from cimeu.generalisation.comparison import Cell
from cimeu.generalisation.summary import summarise

QUICK = ("direction=forward", "evaluation.probes=false")


@pytest.fixture
def recipe(toy, tmp_path: Path) -> Recipe:
    return load_recipe(toy.recipe, [*QUICK, f"output={tmp_path / 'runs'}"])


def test_a_comparison_leaves_a_cell_for_each_row_and_keeps_it(recipe: Recipe, tmp_path: Path) -> None:
    rows = ("full", "majority", "linear", "erm")
    found = bench_recipe(recipe, rows, tmp_path / "bench", seeds=(0,), workers=0)
    assert (found.done, found.kept, list(found.failures)) == (4, 0, [])
    again = bench_recipe(recipe, rows, tmp_path / "bench", seeds=(0,), workers=0)
    assert (again.done, again.kept) == (0, 4)
    assert summarise(tmp_path / "bench").bench.synthetic


def test_the_row_full_is_the_recipe_itself(recipe: Recipe, tmp_path: Path) -> None:
    cell = CellRunner(recipe, tmp_path / "bench")(Cell("full", "east", 0))
    (run,) = run_recipe(recipe)
    alone = pd.read_csv(run / "predictions.csv")
    fused = [f"fused.{emotion}" for emotion in ("anger", "happiness", "neutral", "sadness")]
    pd.testing.assert_frame_equal(cell.predictions[["clip_id", *fused]], alone[["clip_id", *fused]])
    assert cell.parameters > 100_000
    assert cell.updates == 2
    assert cell.selection == "validation"


@pytest.mark.parametrize(("row", "setting"), [("style-culture", 2), ("style-speaker", 4)])
def test_styles_of_a_column_fit_the_training_clips(recipe: Recipe, tmp_path: Path, row: str, setting: int) -> None:
    CellRunner(recipe, tmp_path)(Cell(row, "east", 0))
    written = json.loads((tmp_path / "runs" / row / "toy-east-s0" / "forward" / "config.json").read_text())
    assert written["model"]["styles"] == setting


def test_random_styles_have_in_each_direction_the_sizes_of_the_run_they_control(toy, tmp_path: Path) -> None:
    longer = load_recipe(toy.recipe, ["evaluation.probes=false", "training.epochs=4", "training.patience=0"])
    runner = CellRunner(longer, tmp_path)
    for row in ("full", "random-style"):
        runner(Cell(row, "east", 0))
    for direction in ("forward", "backward"):
        journal = pd.read_csv(tmp_path / "runs" / "full" / "toy-east-s0" / direction / "journal.csv")
        wanted = list(journal.filter(regex=r"^style\.size\.").iloc[-1].astype(int))
        control = tmp_path / "runs" / "random-style" / "toy-east-s0" / direction / "finished.json"
        training = json.loads(control.read_text())["identity"]["training"]
        assert training["style_labels"] == "random"
        assert training["style_sizes"] == wanted
        assert sum(wanted) == 16


def test_rows_on_handmade_functionals_get_them_first(recipe: Recipe, tmp_path: Path) -> None:
    found = bench_recipe(recipe, ("majority", "linear-handmade"), tmp_path / "bench", seeds=(0,), workers=0)
    assert (found.done, list(found.failures)) == (2, [])
    assert (recipe.data.features / "handmade" / "encoder.json").is_file()


def test_a_folder_of_another_comparison_is_refused(toy, recipe: Recipe, tmp_path: Path) -> None:
    bench_recipe(recipe, ("majority",), tmp_path / "bench", seeds=(0,), workers=0)
    other = load_recipe(toy.recipe, [*QUICK, "training.epochs=3"])
    with pytest.raises(RecipeError, match="hint: "):
        bench_recipe(other, ("majority",), tmp_path / "bench", seeds=(0,), workers=0)


def test_where_results_lie_is_no_part_of_a_comparison(toy, recipe: Recipe, tmp_path: Path) -> None:
    bench_recipe(recipe, ("majority",), tmp_path / "bench", seeds=(0,), workers=0)
    elsewhere = load_recipe(toy.recipe, [*QUICK, f"output={tmp_path / 'other'}"])
    assert bench_recipe(elsewhere, ("majority",), tmp_path / "bench", seeds=(0,), workers=0).kept == 1


def test_a_row_that_cannot_differ_is_absent(toy, tmp_path: Path) -> None:
    alone = load_recipe(toy.recipe, [*QUICK, "streams.second=null"])
    found = bench_recipe(alone, ("majority", "without-rfa"), tmp_path / "bench", seeds=(0,), workers=0)
    assert (found.done, list(found.failures)) == (1, [])
    assert json.loads((tmp_path / "bench" / "bench.json").read_text())["absent"] == {
        "without-rfa": "one stream: nothing to align or fuse"
    }
