"""A comparison runs every row on the same clips, folds, seeds and budget."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from cimeu.bench.bench import bench_recipe
from cimeu.bench.cell_runner import CellRunner, Comparison
from cimeu.bench.comparison import Cell, read_bench, read_cell
from cimeu.bench.corruption import conditions
from cimeu.bench.style_offset import support_protocols
from cimeu.errors import RecipeError
from cimeu.evaluation.ensemble import answers_of, load_classifier
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.experiments.prepare import prepare
from cimeu.experiments.recipe import Recipe, load_recipe
from cimeu.experiments.run import run_recipe
from cimeu.media.audio import read_sound
from cimeu.media.video import frames, write_video
from cimeu.reports.bench_report import write_bench
from cimeu.reports.bench_summary import summarise

QUICK = ("direction=forward", "evaluation.probes=false")


@pytest.fixture
def recipe(toy, tmp_path: Path) -> Recipe:
    return load_recipe(toy.recipe, [*QUICK, f"output={tmp_path / 'runs'}"])


def test_a_comparison_leaves_a_cell_for_each_row_and_keeps_it(toy, tmp_path: Path) -> None:
    recipe = load_recipe(toy.recipe, [*QUICK, "training.epochs=1", "streams.second=null"])
    rows = ("full", "majority", "linear", "erm")
    found = bench_recipe(recipe, rows, tmp_path / "bench", seeds=(0,), workers=0)
    assert (found.done, found.kept, list(found.failures)) == (4, 0, [])
    again = bench_recipe(recipe, rows, tmp_path / "bench", seeds=(0,), workers=0)
    assert (again.done, again.kept) == (0, 4)
    assert summarise(tmp_path / "bench").bench.synthetic


def test_names_that_look_like_numbers_stay_names(toy, tmp_path: Path) -> None:
    table = pd.read_csv(toy.manifest, dtype=str, keep_default_na=False)
    table["path"] = [str(toy.manifest.parent / path) for path in table["path"]]
    table["clip_id"] = [f"{number:03d}" for number in range(len(table))]
    speakers = {name: f"{number:02d}" for number, name in enumerate(dict.fromkeys(table["speaker"]))}
    table["speaker"] = table["speaker"].map(speakers)
    table.to_csv(tmp_path / "numbers.csv", index=False)
    recipe = load_recipe(toy.recipe, [*QUICK, f"data.manifest={tmp_path / 'numbers.csv'}", "training.epochs=1"])
    cell = CellRunner(recipe, tmp_path / "bench")(Cell("full", "east", 0))
    assert set(cell.predictions["clip_id"]) <= set(table["clip_id"])
    assert set(cell.predictions["speaker"]) <= set(speakers.values())


def test_the_row_full_is_the_recipe_itself(recipe: Recipe, tmp_path: Path) -> None:
    cell = CellRunner(recipe, tmp_path / "bench")(Cell("full", "east", 0))
    (run,) = run_recipe(recipe)
    alone = pd.read_csv(run / "predictions.csv")
    fused = [f"fused.{emotion}" for emotion in ("anger", "happiness", "neutral", "sadness")]
    pd.testing.assert_frame_equal(cell.predictions[["clip_id", *fused]], alone[["clip_id", *fused]])
    assert cell.parameters > 100_000
    assert cell.updates == 2
    note = json.loads((run / "forward" / "finished.json").read_text())
    assert (
        note["identity"]["training"]["equal_groups"] == "culture"
    )  # batches have equal shares of what a fold holds out
    assert cell.selection == "validation"


@pytest.mark.parametrize(("row", "setting"), [("style-culture", 2), ("style-speaker", 4)])
def test_styles_of_a_column_fit_the_training_clips(toy, tmp_path: Path, row: str, setting: int) -> None:
    one_stream = load_recipe(toy.recipe, [*QUICK, "training.epochs=1", "streams.second=null"])
    CellRunner(one_stream, tmp_path)(Cell(row, "east", 0))
    written = json.loads((tmp_path / "runs" / row / "toy-east-s0" / "forward" / "config.json").read_text())
    assert written["model"]["styles"] == setting


def test_random_styles_have_in_each_direction_the_sizes_of_the_run_they_control(toy, tmp_path: Path) -> None:
    settings = ["evaluation.probes=false", "training.patience=0", "streams.second=null"]
    for row, epochs in (("full", 4), ("random-style", 1)):  # pseudo styles begin with the fourth
        CellRunner(load_recipe(toy.recipe, [*settings, f"training.epochs={epochs}"]), tmp_path)(Cell(row, "east", 0))
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


def test_any_row_that_is_kept_is_a_model_that_says_what_its_cell_says(recipe: Recipe, tmp_path: Path) -> None:
    rows = ("linear-second", "dann", "linear-handmade")
    found = bench_recipe(recipe, rows, tmp_path / "bench", Comparison(keep=True), seeds=(0,), workers=0)
    assert (found.done, found.failures) == (3, {})
    for row in rows:
        run = tmp_path / "bench" / "runs" / row / "toy-east-s0"
        cell = read_cell(read_bench(tmp_path / "bench"), Cell(row, "east", 0), tmp_path / "bench")
        assert cell is not None
        kept = load_recipe(run / "recipe.yaml")
        prepared = prepare(kept)
        clips = prepared.dataset(json.loads((run / "fold.json").read_text())["test"], "forward")
        answers = answers_of(load_classifier(run, EnsembleSettings.load(run)), clips)
        test = cell.predictions[cell.predictions["part"] == "test"]
        np.testing.assert_allclose(test.filter(regex=r"^fused\.").to_numpy(float), answers.probabilities, atol=1e-5)
        assert kept.method in (run / "MODEL_CARD.md").read_text()
        assert (run / "familiarity.safetensors").is_file()


def test_without_keeping_rivals_leave_cells_alone(recipe: Recipe, tmp_path: Path) -> None:
    bench_recipe(recipe, ("linear",), tmp_path / "bench", seeds=(0, 1), workers=0)
    assert not (tmp_path / "bench" / "runs").exists()
    bench = read_bench(tmp_path / "bench")
    first, second = (read_cell(bench, Cell("linear", "east", seed), tmp_path / "bench") for seed in (0, 1))
    assert first is not None
    assert second is not None
    pd.testing.assert_frame_equal(first.predictions, second.predictions)


def test_a_cell_has_the_test_clips_once_for_each_condition_and_trains_on_none(toy, tmp_path: Path) -> None:
    recipe = load_recipe(toy.recipe, QUICK)
    plain = CellRunner(recipe, tmp_path / "plain")(Cell("linear", "east", 0)).predictions
    under = CellRunner(recipe, tmp_path / "corrupted", Comparison(protocol="robustness"))(
        Cell("linear", "east", 0)
    ).predictions
    test = under[under["part"] == "test"]
    n_test = (plain["part"] == "test").sum()
    assert set(test["condition"]) == set(map(str, conditions(two_streams=True)))
    assert (test.groupby("condition").size() == n_test).all()
    untouched = under[under["condition"] == ""].drop(columns="condition").reset_index(drop=True)
    pd.testing.assert_frame_equal(untouched, plain, check_dtype=False)


def test_a_model_trained_with_supports_answers_beside_one_that_was_not(toy, tmp_path: Path) -> None:
    """Speakers of the toy corpus have one clip of each emotion."""
    recipe = load_recipe(toy.recipe, [*QUICK, "training.epochs=1", "streams.second=null"])
    plain = CellRunner(recipe, tmp_path / "plain")(Cell("linear", "east", 0)).predictions
    sets = support_protocols("person-3,person-8:even,culture-8")
    found = bench_recipe(
        recipe, ("linear", "full"), tmp_path / "bench", Comparison(supports=sets), seeds=(0,), workers=0
    )
    assert (found.done, found.failures) == (2, {})
    for row in ("linear", "full"):
        cell = read_cell(read_bench(tmp_path / "bench"), Cell(row, "east", 0), tmp_path / "bench")
        assert cell is not None
        test = cell.predictions[cell.predictions["part"] == "test"]
        assert test["condition"].value_counts().to_dict() == {"": 12, "person-3": 60, "culture-8": 60}
        fused = [f"fused.{emotion}" for emotion in ("anger", "happiness", "neutral", "sadness")]
        once = test[test["draw"].isin([np.nan, 0.0])]
        alone, person, culture = (once.loc[once["condition"] == name, fused] for name in ("", "person-3", "culture-8"))
        assert not np.allclose(alone, person)
        assert not np.allclose(alone, culture)
        if row == "full":
            assert list((tmp_path / "bench" / "runs" / "full" / "supports").glob("*/forward/style/model.safetensors"))
        if row == "linear":
            np.testing.assert_array_equal(alone, plain.loc[plain["part"] == "test", fused])
    write_bench(tmp_path / "bench")
    table = pd.read_csv(tmp_path / "bench" / "support_sets.csv", keep_default_na=False)
    assert list(table["why n/a"]) == [f"{n} of 12 clips have such a support" for n in (12, 0, 12)]
    assert list(table["clips in it"]) == ["3.0", "n/a", "8.0"]
    weights = dict(zip(table["support set"], table["weight"], strict=True))
    assert weights["person-8:even"] == "n/a"
    assert 0 < float(weights["person-3"]) <= 1
    assert "ransductive" in (tmp_path / "bench" / "supports.md").read_text()


@pytest.mark.parametrize("protocol", ["matrix", "robustness", "transductive"])
def test_a_protocol_that_has_no_supports_refuses_them(protocol: str) -> None:
    with pytest.raises(RecipeError, match=f"the protocol `{protocol}` has no support sets\n\nhint: they go with"):
        Comparison(protocol=protocol, supports=support_protocols("person-3"))


def test_a_folder_of_another_comparison_is_refused(toy, recipe: Recipe, tmp_path: Path) -> None:
    bench_recipe(recipe, ("majority",), tmp_path / "bench", seeds=(0,), workers=0)
    other = load_recipe(toy.recipe, [*QUICK, "training.epochs=3"])
    with pytest.raises(RecipeError, match="hint: "):
        bench_recipe(other, ("majority",), tmp_path / "bench", seeds=(0,), workers=0)


def test_a_bench_begun_before_batches_had_equal_shares_takes_no_cells_that_have(recipe: Recipe, tmp_path: Path) -> None:
    bench_recipe(recipe, ("majority",), tmp_path / "bench", seeds=(0,), workers=0)
    path = tmp_path / "bench" / "bench.json"
    stored = json.loads(path.read_text())
    del stored["settings"]["training.equal_groups"]
    path.write_text(json.dumps(stored))
    with pytest.raises(RecipeError, match=r"other `training\.equal_groups`: False, not True"):
        bench_recipe(recipe, ("majority",), tmp_path / "bench", seeds=(0,), workers=0)


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


@pytest.mark.parametrize(
    ("protocol", "n_folds", "table"),
    [
        ("leave-one-out", 3, "comparison"),
        ("matrix", 9, "matrix"),
        ("within", 18, "within"),
        ("robustness", 3, "robustness"),
        ("transductive", 3, "comparison"),
        ("nested", 3, "nested"),
    ],
)
def test_every_protocol_goes_from_a_recipe_to_its_table(
    toy, tmp_path: Path, protocol: str, n_folds: int, table: str
) -> None:
    recipe = load_recipe(toy.recipe, [*QUICK, "fold=all", "folds.n_folds=3"])
    found = bench_recipe(recipe, ("linear",), tmp_path, Comparison(protocol=protocol), seeds=(0,))
    assert (found.done, list(found.failures)) == (n_folds, [])
    summary = write_bench(tmp_path)
    assert summary.complete
    lines = (tmp_path / f"{table}.csv").read_text().splitlines()
    assert len(lines) > 1
    assert lines[1].startswith("linear,")
    for form in ("md", "tex", "html"):
        assert (tmp_path / f"{table}.{form}").stat().st_size
    assert "linear" in (tmp_path / "bench.html").read_text()
    assert len(pd.read_csv(tmp_path / "folds.csv")["fold"].unique()) == n_folds


def test_a_row_that_cannot_be_tuned_fails_alone_with_the_reason_of_its_trial(
    toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(runner: CellRunner, trial: object) -> None:
        raise RecipeError("no such kernel\n\nhint: take another")

    monkeypatch.setattr(CellRunner, "trial", fail)
    recipe = load_recipe(toy.recipe, QUICK)
    found = bench_recipe(recipe, ("linear", "majority"), tmp_path, Comparison(tune=1), seeds=(0,))
    assert found.done == 1  # `majority` has nothing to tune
    (reason,) = found.failures.values()
    assert re.match(r"linear, fold east, configuration 0 on \w+ failed: no such kernel\n", reason)


def test_a_tuned_bench_takes_the_settings_that_its_trials_chose(toy, tmp_path: Path) -> None:
    recipe = load_recipe(toy.recipe, QUICK)
    found = bench_recipe(recipe, ("linear", "majority"), tmp_path, Comparison(tune=2), seeds=(0,))
    assert (found.done, list(found.failures)) == (2, [])
    assert len(list((tmp_path / "tuning").rglob("*.json"))) == 2 * 2  # configurations, inner groups
    assert bench_recipe(recipe, ("linear", "majority"), tmp_path, Comparison(tune=2), seeds=(0,)).kept == 2
    write_bench(tmp_path)
    tuning = pd.read_csv(tmp_path / "tuning.csv")
    assert list(tuning["configuration"]) == ["1 of 2", "2 of 2"]
    assert (tuning["chosen"] == "yes").sum() == 1


def test_the_oracle_chooses_for_every_row_and_marks_the_table(toy, tmp_path: Path) -> None:
    recipe = load_recipe(toy.recipe, [*QUICK, "training.epochs=1"])
    bench_recipe(recipe, ("linear", "erm"), tmp_path, Comparison(selection="oracle"), seeds=(0,))
    assert {line.selection for line in write_bench(tmp_path).lines} == {"oracle"}
    assert "chose on test clips" in (tmp_path / "comparison.md").read_text()


def test_picture_sound_and_labels_of_the_held_out_group_never_reach_the_weights(toy, tmp_path: Path) -> None:
    """Every clip of the group becomes one clip of another group, and its label another one."""
    clips = tmp_path / "clips"
    shutil.copytree(toy.manifest.parent, clips)
    table = pd.read_csv(toy.manifest, dtype=str, keep_default_na=False)
    east = table["culture"] == "east"
    donor = clips / table.loc[table["culture"] == "north", "path"].iloc[0]
    # Encoded anew: the donor's own recording on both sides would be a leak.
    encoded = tmp_path / "encoded.mp4"
    write_video(encoded, [frame.pixels for frame in frames(donor)], rate_hz=25, samples=read_sound(donor), crf="30")
    for path in table.loc[east, "path"]:
        shutil.copyfile(encoded, clips / path)
    table.loc[east, "emotion"] = np.roll(table.loc[east, "emotion"], 1)
    table.to_csv(clips / "manifest.csv", index=False)
    runs = []
    for manifest in (toy.manifest, clips / "manifest.csv"):
        changes = ["training.epochs=1", f"data.manifest={manifest}", f"output={tmp_path / manifest.parent.name}-runs"]
        runs += run_recipe(load_recipe(toy.recipe, [*QUICK, *changes, f"name=run{len(runs)}"]))
    plain, nonsense = (load_file(run / "forward" / "model.safetensors") for run in runs)
    assert all(torch.equal(tensor, nonsense[name]) for name, tensor in plain.items())
    said = [pd.read_csv(run / "predictions.csv").query("part == 'test'") for run in runs]
    assert not np.allclose(said[0]["fused.anger"], said[1]["fused.anger"])
