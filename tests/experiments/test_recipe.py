"""A recipe is read strictly: what it cannot mean is an error that names the setting."""

import itertools
import os
import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from cimeu.cli.main import app
from cimeu.errors import CimeuError, ManifestError, RecipeError
from cimeu.experiments.recipe import Recipe, load_recipe, override, recipe_from, recipe_tree, to_tree, to_yaml
from cimeu.experiments.starter import METHOD, load_starter
from cimeu.model.config import StreamConfig
from cimeu.recipes import recipe_path, shipped_names

RECIPES = shipped_names()
STYLE_SETS = tuple(recipe for recipe in RECIPES if recipe_tree(recipe).get("method") == METHOD)
LAUGHS = "".join(
    f"{name}: &{name} [{', '.join(10 * [f'*{before}'])}]\n" for before, name in itertools.pairwise("abcdefghi")
)
"""A billion values in a kilobyte."""
SMALLEST = {
    "name": "least",
    "data": {"root": "recordings"},
    "streams": {"first": {"encoder": "hog"}},
    "folds": {},
    "training": {},
}


def words_of(recipe: str) -> list[str]:
    """The command on the first line, word by word."""
    line = recipe_path(recipe).read_text(encoding="utf-8").splitlines()[0]
    assert line.startswith("# cimeu "), line
    return shlex.split(os.path.expandvars(line.removeprefix("# cimeu ").replace("$CIMEU_DATA", "DATA")))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_opens_with_the_command_that_runs_it(recipe: str) -> None:
    name, named, *rest = words_of(recipe)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    context = command.make_context(name, [named, *rest])  # fails for an option the command does not have
    assert named == recipe
    load = load_starter if recipe in STYLE_SETS else load_recipe
    load(recipe, context.params["settings"] or ())


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe not in STYLE_SETS])
def test_every_recipe_is_written_out_and_read_back_as_itself(recipe: str, tmp_path: Path) -> None:
    read = load_recipe(recipe, [word for word in words_of(recipe) if word.startswith("data.")])
    (tmp_path / "again.yaml").write_text(to_yaml(read), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml") == read


def test_a_run_lies_in_its_folder_whatever_its_fold_is_called() -> None:
    recipe = recipe_from(SMALLEST)
    assert recipe.run_name("north-american", 1) == "least-north-american-s1"
    assert recipe.run_name("UK/US", 0) == "least-UK%2FUS-s0"
    assert recipe.run_name("UK%2FUS", 0) == "least-UK%252FUS-s0"


def test_a_recipe_that_leaves_everything_open_takes_the_defaults() -> None:
    recipe = recipe_from(SMALLEST)
    assert (recipe.seeds, recipe.fold, recipe.direction, recipe.output) == ((0,), "all", "both", Path("runs"))
    assert recipe.data.table == Path("recordings/manifest.csv")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("trainig", r"unknown setting `trainig`\n\nhint: did you mean `training`\?"),
        ("training.epoch", r"unknown setting `training.epoch`\n\nhint: did you mean `epochs`\?"),
        ("training.weights.minning", r"unknown setting `training.weights.minning`\n\nhint: did you mean `mining`\?"),
        ("data.manifests", r"unknown setting `data.manifests`\n\nhint: did you mean `manifest`\?"),
        ("streams.third", r"unknown setting `streams.third`\n\nhint: known here: first, second"),
        ("streams.first.encoders", r"unknown setting `streams.first.encoders`\n\nhint: did you mean `encoder`\?"),
        ("folds.protocoll", r"unknown setting `folds.protocoll`\n\nhint: did you mean `protocol`\?"),
        ("model.siz", r"unknown setting `model.siz`\n\nhint: did you mean `size`\?"),
        ("model.emotions", r"unknown setting `model.emotions`\n\nhint: known here: size"),
    ],
)
def test_an_unknown_setting_is_refused_with_a_guess(key: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_from(override(SMALLEST, [f"{key}=1"]))


@pytest.mark.parametrize(
    ("assignment", "error", "message"),
    [
        ("training.epochs=many", RecipeError, "`training.epochs`: .*integer.*, got 'many'"),
        ("training.epochs=2.5", RecipeError, "`training.epochs`: .*, got 2.5"),
        ("training.epochs=0", RecipeError, "`training.epochs` is 0\n\nhint: a number of 1 or more"),
        ("training.epochs=true", RecipeError, "`training.epochs`: .*integer, got True"),
        ("training.epochs=1:30", RecipeError, "`training.epochs`: .*integer, got '1:30'"),  # 90 in YAML 1.1
        ("training.epochs=1_000", RecipeError, "`training.epochs`: .*integer, got '1_000'"),
        ("training.tensorboard=no", RecipeError, "`training.tensorboard`: .*boolean, got 'no'"),
        ("training.optimiser.learning_rate=.nan", RecipeError, "learning_rate` is nan\n\nhint: a number above 0"),
        ("training.optimiser.weight_decay=.inf", RecipeError, "weight_decay` is inf\n\nhint: a number of 0 or more"),
        ("training.weights.style='0.1'", RecipeError, "`training.weights.style`: .*number, got '0.1'"),
        ("training.augmentation.noise=-1", RecipeError, "`training.augmentation.noise` is -1.0\n\nhint: a number of 0"),
        ("model.drop_path=2", RecipeError, "`model.drop_path` is 2.0\n\nhint: a number from 0 to below 1"),
        ("evaluation.mu=7", RecipeError, "`evaluation.mu` is 7.0\n\nhint: a number from 0 to 1"),
        ("evaluation.coverage=5", RecipeError, "`evaluation.coverage` is 5.0\n\nhint: a number above 0, up to 1"),
        ("data.workers=-1", RecipeError, "`data.workers` is -1\n\nhint: a number from 0 to 1024"),
        ("seeds=[-1]", RecipeError, r"`seeds.0` is -1\n\nhint: a number from 0 to 2147483647"),
        ("seeds=[]", RecipeError, "`seeds` is empty\n\nhint: one seed for each run"),
        ("name=../../etc/x", RecipeError, "`name` is '../../etc/x'\n\nhint: the name of a folder"),
        ('name="a\\nb"', RecipeError, r"`name` is 'a\\nb'\n\nhint: the name of a folder"),
        ("name=.hidden", RecipeError, "`name` is '.hidden'\n\nhint: the name of a folder"),
        ("name=" + 101 * "n", RecipeError, "`name` is .nnn(.|\\n)*up to 100 characters"),
        ("seeds=[0, a]", RecipeError, "`seeds.1`: .*, got 'a'"),
        ("direction=sideways", RecipeError, "`direction`: .*'both', 'forward' or 'backward', got 'sideways'"),
        ("folds.protocol=loso", RecipeError, "`folds.protocol`: .*leave-one-group-out.*, got 'loso'"),
        ("folds.n_folds=1", ManifestError, "`folds.n_folds` is 1\n\nhint: a number of 2 or more"),
        ("evaluation.levels=M", RecipeError, "`evaluation.levels`.*, got 'M'"),
        ("model.size=huge", RecipeError, "size.*`huge`"),
        ("model.fusion=late", RecipeError, "late"),
        ("streams.first=null", RecipeError, "`streams.first`: .*, got None"),
        ("data.root=null", RecipeError, r"the recipe names no recordings\n\nhint: set data.root=FOLDER"),
        ("streams.first=hog", RecipeError, "`streams.first`: .*, got 'hog'"),
        ("training=fast", RecipeError, "`training`: .*, got 'fast'"),
    ],
)
def test_a_value_that_cannot_be_used_is_shown(assignment: str, error: type[CimeuError], message: str) -> None:
    with pytest.raises(error, match=message):
        recipe_from(override(SMALLEST, [assignment]))


@pytest.mark.parametrize("absent", ["name", "data", "streams", "folds", "training"])
def test_what_a_recipe_must_say_is_asked_for(absent: str) -> None:
    with pytest.raises(RecipeError, match=f"`{absent}`: Field required"):
        recipe_from({key: value for key, value in SMALLEST.items() if key != absent})


def test_assignments_are_read_as_yaml_and_the_last_one_counts() -> None:
    recipe = recipe_from(override(SMALLEST, ["seeds=[3, 4]", "training.epochs=5", "training.epochs=6", "name=other"]))
    assert (recipe.seeds, recipe.training.epochs, recipe.name) == ((3, 4), 6, "other")


def test_a_value_may_hold_an_equals_sign() -> None:
    assert override({}, ["data.root=a=b"]) == {"data": {"root": "a=b"}}


def test_an_assignment_leaves_the_given_settings_alone() -> None:
    tree = {"training": {"epochs": 3}}
    override(tree, ["training.epochs=5"])
    assert tree == {"training": {"epochs": 3}}


@pytest.mark.parametrize("assignment", ["epochs", "=5", ""])
def test_an_assignment_without_key_and_value_is_refused(assignment: str) -> None:
    with pytest.raises(RecipeError, match=f"`{assignment}` sets nothing\n\nhint: write key=value"):
        override({}, [assignment])


def test_an_assignment_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(RecipeError, match=re.escape("`seeds=[0, 1` is not YAML (line 1: ")):
        override({}, ["seeds=[0, 1"])


def test_a_second_stream_can_be_taken_away(tmp_path: Path) -> None:
    recipe = load_recipe("toy/demo", ["streams.second=null"])
    assert recipe.streams.second is None


def test_an_absent_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe `.*none.yaml` does not exist\n\nhint: give a file, or a name that"):
        load_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "is not YAML"),
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\n" + LAUGHS, "holds more than 20,000 values, aliases written out"),
        ("", "holds no settings"),
        ("- a list", "holds no settings"),
        ("training: {epochs: 2}\ntraining: {epochs: 3}\n", "`training` is there twice"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(tmp_path / "odd.yaml")


def test_a_tree_is_plain_enough_for_yaml() -> None:
    recipe = recipe_from(SMALLEST)
    assert recipe_from(yaml.safe_load(yaml.safe_dump(to_tree(recipe)))) == recipe


def test_switches_of_the_model_reach_the_network() -> None:
    recipe: Recipe = recipe_from(override(SMALLEST, ["model.size=small", "model.styles=5"]))
    network = recipe.network(("anger", "sadness"), StreamConfig(width=7), None, "backward")
    assert (network.size, network.styles, network.direction, network.first.width) == ("small", 5, "backward", 7)


# Recipes that extend others


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_recipe_that_extends_another_says_only_what_it_changes(tmp_path: Path) -> None:
    base = {**SMALLEST, "streams": {"first": {"encoder": "hog"}, "second": {"encoder": "filterbank"}}}
    written(tmp_path, "base.yaml", yaml.safe_dump({**base, "training": {"epochs": 7, "batch_size": 4}}))
    changes = "extends: ../base.yaml\nname: mine\nstreams: {second: null}\ntraining: {epochs: 9}\n"
    recipe = load_recipe(written(tmp_path, "mine/own.yaml", changes), ["training.patience=2"])
    assert (recipe.name, recipe.streams.first.encoder, recipe.streams.second) == ("mine", "hog", None)
    assert (recipe.training.epochs, recipe.training.batch_size, recipe.training.patience) == (9, 4, 2)


def test_a_recipe_that_extends_a_missing_one_names_it(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe `.*absent\.yaml` does not exist"):
        load_recipe(written(tmp_path, "mine.yaml", "extends: absent.yaml\n"))


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    written(tmp_path, "b.yaml", "extends: a.yaml\n")
    with pytest.raises(RecipeError, match=r"recipe `.*b\.yaml` extends itself"):
        load_recipe(written(tmp_path, "a.yaml", "extends: b.yaml\n"))


def test_a_recipe_may_extend_one_that_ships_unless_a_file_of_that_name_lies_beside_it(tmp_path: Path) -> None:
    mine = written(tmp_path, "mine.yaml", "extends: toy/demo\nname: mine\n")
    assert load_recipe(mine).streams == load_recipe("toy/demo").streams
    written(tmp_path, "toy/demo", yaml.safe_dump(SMALLEST))
    assert load_recipe(mine).streams.second is None


def test_what_a_recipe_extends_is_never_looked_for_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "base.yaml", yaml.safe_dump(SMALLEST))
    with pytest.raises(RecipeError, match=r"recipe `.*inner/base\.yaml` does not exist"):
        load_recipe(written(tmp_path, "inner/mine.yaml", "extends: base.yaml\n"))


def test_a_long_chain_of_recipes_is_refused(tmp_path: Path) -> None:
    for number in range(21):
        written(tmp_path, f"{number}.yaml", f"extends: {number + 1}.yaml\n")
    with pytest.raises(RecipeError, match=r"`.*0\.yaml` extends more than 19 recipes in a row\n\nhint: join some"):
        load_recipe(tmp_path / "0.yaml")


def test_a_recipe_extends_one_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe `.*\.yaml` extends \['toy/demo'\]\n\nhint: a file, or the name"):
        load_recipe(written(tmp_path, "mine.yaml", "extends: [toy/demo]\n"))


def test_choosing_on_validation_clips_needs_some() -> None:
    with pytest.raises(RecipeError, match=r"`folds.validation_share` is 0, and `training.selection` is `validation`"):
        recipe_from(override(SMALLEST, ["folds.validation_share=0"]))


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name.endswith("published") and "/" in name])
def test_published_recipes_differ_in_their_corpus_alone(recipe: str) -> None:
    ours, shared = (to_tree(load_recipe(name, ["data.manifest=m.csv"])) for name in (recipe, "published"))
    differing = {name for name in ours if ours[name] != shared[name]} - {"name", "data"}
    assert differing <= {"folds"} if "meld" in recipe else differing <= {"streams"}
    assert ours["training"]["selection"] == "oracle"
