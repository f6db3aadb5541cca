import json
from typing import Any

import pytest

from cimeu.baselines.registry import METHODS
from cimeu.baselines.train import SIMPLE
from cimeu.bench.rows import ROWS, Row, Setting, dotted, row_named, rows_named, setting_of, why_absent
from cimeu.errors import RecipeError
from cimeu.experiments.recipe import load_recipe, to_tree

PLAIN: dict[str, Any] = {
    "model.disentangle": "both",
    "model.alignment": "steps",
    "model.fusion": "published",
    "direction": "both",
    "training.weights.mining": "diverse",
    "training.weights.heads_trained": "all",
    "training.style_labels": "pseudo",
}


ONE_DIRECTION = "one direction: no backward model beside a forward one"


def setting(**changes: Any) -> Setting:
    offered = {"recipe": PLAIN, "two_streams": True, "cultures": 3, "speakers": 20, "groups": 3}
    return Setting(**{**offered, **changes})


def test_the_published_row_has_the_forms_of_the_published_recipe() -> None:
    recipes = (load_recipe(name, ["data.manifest=m.csv"]) for name in ("published", "default"))
    published, default = (dotted(to_tree(recipe)) for recipe in recipes)
    row = ROWS["published"].overrides
    assert {name: published[name] for name in row} == row
    differing = {name for name in published if published[name] != default.get(name, "unset")} - set(row)
    budget = {"training.epochs", "training.patience", "training.selection"}
    optimiser = {f"training.optimiser.{name}" for name in ("schedule", "learning_rate", "clip_norm")}
    assert differing == budget | optimiser | {"name", "folds.validation_share", "evaluation.probes"}


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_every_row_can_differ_where_everything_is_offered(row: Row) -> None:
    assert why_absent(row, setting()) == ""


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("without-rfa", {"two_streams": False}, "one stream: nothing to align or fuse"),
        ("style-culture", {"cultures": 1}, "one culture among the training clips"),
        ("style-speaker", {"speakers": 0}, "one known speaker among the training clips"),
        ("coral", {"groups": 1}, "one group among the training clips"),
        ("dann", {"groups": 1}, "one group among the training clips"),
        ("groupdro", {"groups": 1}, "one group among the training clips"),
        ("random-style", {"recipe": PLAIN | {"model.disentangle": "off"}}, "no style primitives in the recipe"),
        ("without-er", {"recipe": PLAIN | {"model.disentangle": "off"}}, "no style primitives in the recipe"),
        ("forward-only", {"recipe": PLAIN | {"direction": "forward"}}, ONE_DIRECTION),
        ("two-forward-seeds", {"recipe": PLAIN | {"direction": "forward"}}, ONE_DIRECTION),
        ("style-culture", {"recipe": PLAIN | {"training.style_labels": "culture"}}, "the recipe already says so"),
    ],
)
def test_a_row_that_cannot_differ_is_absent_with_its_reason(name: str, changes: dict[str, Any], reason: str) -> None:
    assert why_absent(ROWS[name], setting(**changes)) == reason


def test_two_forward_seeds_are_never_the_same() -> None:
    row = ROWS["two-forward-seeds"]
    assert len(set(row.seeds(0)) | set(row.seeds(1))) == 4


def test_the_setting_counts_training_clips_alone(world: Any) -> None:
    found = setting_of({"model": {"size": "tiny"}}, world.manifest, world.folds, two_streams=True, group="culture")
    assert (found.cultures, found.groups) == (2, 2)
    assert found.recipe["model.size"] == "tiny"
    assert found.recipe["model.disentangle"] == "both", "the default, which the recipe does not name"


def test_every_baseline_and_method_has_a_row() -> None:
    assert {row.algorithm for row in ROWS.values() if row.kind == "baseline"} == set(SIMPLE)
    assert {row.algorithm for row in ROWS.values() if row.kind == "method"} == set(METHODS)


def test_the_overrides_of_a_row_are_settings_of_a_recipe() -> None:
    from cimeu.experiments.recipe import override, recipe_from

    tree = {
        "name": "x",
        "data": {"root": "."},
        "folds": {},
        "training": {},
        "streams": {"first": {"encoder": "spectral"}, "second": {"encoder": "prosody"}},
    }
    for row in ROWS.values():
        recipe_from(override(tree, [f"{key}={json.dumps(value)}" for key, value in row.settings({}).items()]))


def test_names_of_rows_may_be_listed_and_grouped() -> None:
    assert rows_named("full, erm,full") == ("full", "erm")
    assert set(rows_named("main")) < set(rows_named("all")) == set(ROWS)


def test_without_lrm_h_alone_is_trained_and_decides() -> None:
    overrides = ROWS["without-lrm"].overrides
    assert (overrides["training.weights.heads_trained"], overrides["evaluation.levels"]) == ("H", "H")


def test_plain_leaves_out_what_the_rows_without_a_part_leave_out() -> None:
    parts = [ROWS[name].overrides for name in ("without-er", "without-rfa", "without-lrm")]
    assert ROWS["plain"].overrides == {key: value for part in parts for key, value in part.items()}


def test_all_parts_are_the_defaults_of_what_plain_leaves_out(world: Any) -> None:
    recipe = to_tree(load_recipe("default", ["data.manifest=m.csv"]))
    found = setting_of(recipe, world.manifest, world.folds, two_streams=True, group="culture")
    assert set(ROWS["all-parts"].overrides) == set(ROWS["plain"].overrides)
    assert why_absent(ROWS["all-parts"], found) == "the recipe already says so"


@pytest.mark.parametrize(
    ("recipe", "row"), [("cross_culture/speech", "plain"), ("cross_culture/speech_all_parts", "all-parts")]
)
def test_speech_is_shipped_without_any_part_and_with_all(recipe: str, row: str, world: Any) -> None:
    tree = to_tree(load_recipe(recipe, ["data.manifest=m.csv"]))
    found = setting_of(tree, world.manifest, world.folds, two_streams=True, group="culture")
    assert why_absent(ROWS[row], found) == "the recipe already says so"


def test_an_unknown_row_is_an_error_with_a_guess() -> None:
    with pytest.raises(RecipeError, match="unknown row `without-ET`\n\nhint: did you mean `without-er`"):
        row_named("without-ET")


@pytest.mark.parametrize(
    ("row", "inputs"), [("linear", "streams"), ("linear-first", "first"), ("linear-second", "second")]
)
def test_a_row_on_one_stream_is_the_same_baseline_on_fewer_inputs(row: str, inputs: str) -> None:
    assert row_named(row).algorithm == "linear"
    assert row_named(row).inputs == inputs
