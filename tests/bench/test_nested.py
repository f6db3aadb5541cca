"""Settings are chosen inside the training groups alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cimeu.bench.cells import CellResult
from cimeu.bench.comparison import Bench
from cimeu.bench.nested import Trial, TuningWork, inner_folds, inner_groups, settings_chosen, trials_of
from cimeu.bench.protocols import divide, folds_table
from cimeu.bench.rows import ROWS, row_named
from cimeu.bench.runner import do_all
from cimeu.bench.search_space import OWN, configuration, space_of
from cimeu.corpora.folds import FoldsConfig
from cimeu.errors import RecipeError
from cimeu.reports.nested_table import tuning_table

CONFIG = FoldsConfig(protocol="leave-one-group-out", validation_share=0.3, n_folds=3)
LINEAR = row_named("linear")
INNER = ("c1", "c2")
"""Held out in turn where c0 is tested."""
BENCH = Bench(
    name="b",
    emotions=("anger", "neutral"),
    rows=("linear",),
    folds=("c0",),
    seeds=(0,),
    reference="linear",
    tune=3,
    fingerprint="abc",
)


def trial_result(trial: Trial) -> CellResult:
    """Configuration 2 is right most often, whatever the group."""
    right = {0: 4, 1: 3, 2: 6}[trial.number]
    said = [0.9 if clip < right else 0.1 for clip in range(8)]
    return CellResult(
        pd.DataFrame({"part": "test", "emotion": "anger", "fused.anger": said, "fused.neutral": 1 - np.array(said)})
    )


@pytest.mark.parametrize("protocol", ["leave-one-out", "few-shot", "transductive"])
def test_the_outer_test_group_is_in_no_part_of_any_trial(world: Any, protocol: str) -> None:
    for fold in divide(world.manifest, CONFIG, protocol, shots=(2,)):
        tested = set(world.manifest.select(fold.test).table["culture"])
        inner = inner_folds(world.manifest, fold, CONFIG)
        assert len(inner) == 2
        for each in inner:
            used = world.manifest.select([*each.train, *each.validation, *each.test]).table
            assert tested.isdisjoint(used["culture"])
            assert set(used["clip_id"]) <= {*fold.train, *fold.validation}


def test_one_training_group_cannot_be_tuned(world: Any) -> None:
    fold = divide(world.manifest, CONFIG, "matrix")[0]
    with pytest.raises(RecipeError, match=r"fold c0-1 cannot be tuned: 0 training group\(s\)"):
        inner_folds(world.manifest, fold, CONFIG)


def test_the_best_mean_over_inner_groups_is_chosen_and_told_with_its_number(world: Any, tmp_path: Path) -> None:
    folds = divide(world.manifest, CONFIG, "")
    trials = trials_of([LINEAR, row_named("majority")], folds, world.manifest, CONFIG, 3)
    assert len(trials) == 3 * 3 * 2  # configurations, outer folds, inner groups; nothing to tune in `majority`
    work = TuningWork(trial_result, tmp_path, "abc")
    assert do_all(work, trials, workers=1).done == len(trials)
    assert do_all(work, trials, workers=1).kept == len(trials)
    assert settings_chosen(BENCH, tmp_path, LINEAR, "c0", INNER) == configuration(LINEAR, 2)
    assert settings_chosen(BENCH, tmp_path, row_named("majority"), "c0", INNER) == {}
    table = tuning_table(BENCH, tmp_path, {"c0": INNER})
    assert [(line[2], line[3], line[4]) for line in table.lines] == [
        ("1 of 3", "", "50.0"),
        ("2 of 3", "", "37.5"),
        ("3 of 3", "yes", "75.0"),
    ]
    assert "N = 3 configurations" in table.notes[0]
    assert "6 trainings" in table.notes[0]


def test_the_first_of_equal_configurations_is_chosen(world: Any, tmp_path: Path) -> None:
    folds = divide(world.manifest, CONFIG, "")
    trials = trials_of([LINEAR], folds, world.manifest, CONFIG, 2)
    same = TuningWork(lambda trial: trial_result(replace(trial, number=0)), tmp_path, "abc")
    do_all(same, trials, workers=1)
    assert settings_chosen(replace(BENCH, tune=2), tmp_path, LINEAR, "c1", ("c0", "c2")) == {}


def test_a_configuration_that_was_not_tried_on_every_inner_group_is_an_error(world: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="row `linear`, fold c0: configuration 0 was not tried on `c1`\n\nhint: "):
        settings_chosen(BENCH, tmp_path, LINEAR, "c0", INNER)
    do_all(TuningWork(trial_result, tmp_path, "abc"), _trials_of_c0(world), workers=1)
    (tmp_path / "tuning" / "linear" / "c0" / "2" / "c2.json").unlink()
    with pytest.raises(RecipeError, match="configuration 2 was not tried on `c2`"):
        settings_chosen(BENCH, tmp_path, LINEAR, "c0", INNER)
    lines = tuning_table(BENCH, tmp_path, {"c0": INNER}).lines
    assert [(line[3], line[4]) for line in lines] == [("", "50.0"), ("", "37.5"), ("", "–")]


def test_trials_of_another_bench_do_not_count(world: Any, tmp_path: Path) -> None:
    do_all(TuningWork(trial_result, tmp_path, "abc"), _trials_of_c0(world), workers=1)
    other = replace(BENCH, fingerprint="other")
    with pytest.raises(RecipeError, match="configuration 0 was not tried on `c1`"):
        settings_chosen(other, tmp_path, LINEAR, "c0", INNER)
    assert not tuning_table(other, tmp_path, {"c0": INNER}).lines


def test_the_table_of_folds_knows_the_inner_groups(world: Any) -> None:
    for protocol in ("leave-one-out", "few-shot", "within"):
        folds = divide(world.manifest, CONFIG, protocol, shots=(2,))
        found = inner_groups(folds_table(folds, world.manifest, "culture"))
        for fold in folds:
            if protocol != "within" or fold.name.endswith("across"):
                assert found[fold.name] == [each.name for each in inner_folds(world.manifest, fold, CONFIG)]


def _trials_of_c0(world: Any) -> list[Trial]:
    return trials_of([LINEAR], divide(world.manifest, CONFIG, "")[:1], world.manifest, CONFIG, 3)


def test_a_control_takes_the_settings_of_the_row_it_controls(world: Any, tmp_path: Path) -> None:
    folds = divide(world.manifest, CONFIG, "")
    rows = [row_named("full"), row_named("random-style")]
    trials = trials_of(rows, folds, world.manifest, CONFIG, 3)
    assert {trial.row for trial in trials} == {"full"}
    do_all(TuningWork(trial_result, tmp_path, "abc"), trials, workers=1)
    assert settings_chosen(BENCH, tmp_path, rows[1], "c0", INNER) == configuration(rows[0], 2)


def test_configurations_are_the_same_in_every_fold_and_differ_from_each_other() -> None:
    drawn = [configuration(row_named("dann"), number) for number in range(4)]
    assert drawn[0] == {}
    assert drawn == [configuration(row_named("dann"), number) for number in range(4)]
    assert len({str(each) for each in drawn}) == 4


def test_every_drawn_setting_is_one_of_a_recipe() -> None:
    from cimeu.bench.bench import ANYTHING
    from cimeu.experiments.recipe import override, recipe_from

    for row in (row for row in ROWS.values() if row.kind == "cimeu"):
        assert not set(space_of(row)) & set(row.overrides)
        recipe_from(override(ANYTHING, [f"{key}={value}" for key, value in configuration(row, 1).items()]))


def test_every_setting_of_a_space_is_one_the_method_has() -> None:
    from cimeu.baselines.registry import METHODS
    from cimeu.baselines.train import SIMPLE

    for name, space in OWN.items():
        known = METHODS[name].defaults if name in METHODS else SIMPLE[name].grid[0]
        assert set(space) <= set(known), name
