"""Recipes ship with the package and can be copied to be changed."""

import tomllib
from pathlib import Path

import pytest

from cimeu.errors import RecipeError
from cimeu.recipes import copy_recipe, recipe_path, shipped_names, shipped_recipes

ROOT = Path(__file__).parents[2]


def test_a_recipe_is_named_by_its_place() -> None:
    assert {"default", "published", "cross_culture/speech", "toy/demo"} <= set(shipped_names())
    assert recipe_path("toy/demo").read_text(encoding="utf-8").startswith("# cimeu train toy/demo ")


def test_each_recipe_says_what_it_is_and_how_it_is_run() -> None:
    for recipe in shipped_recipes():
        assert recipe.command.split()[:1] == ["cimeu"]
        assert recipe.command.split()[2] == recipe.name
        assert len(recipe.about.split()) > 2


def test_a_file_is_taken_before_a_shipped_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("default").write_text("name: mine\n", encoding="utf-8")
    assert recipe_path("default") == Path("default")


@pytest.mark.parametrize(
    "text", ["recipes/cross_culture/speech.yaml", "cross_culture/speach", "cross_culture/speech.yaml"]
)
def test_a_recipe_that_is_not_there_is_refused_with_a_guess(text: str) -> None:
    with pytest.raises(
        RecipeError, match=rf"recipe `{text}` does not exist\n\nhint: did you mean `cross_culture/speech`\?"
    ):
        recipe_path(text)


def test_the_first_line_of_a_copy_runs_the_copy(tmp_path: Path) -> None:
    place = copy_recipe("toy/demo", tmp_path / "own" / "mine.yaml")
    shipped = recipe_path("toy/demo").read_text(encoding="utf-8").splitlines()
    command, *rest = place.read_text(encoding="utf-8").splitlines()
    assert command == shipped[0].replace("toy/demo", place.as_posix(), 1)
    assert rest == shipped[1:]


@pytest.mark.parametrize("name", ["two\nlines.yaml", "caf\udce9.yaml"])
def test_a_copy_whose_name_no_command_can_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=r"cannot stand in a command\n\nhint: name the copy with letters"):
        copy_recipe("toy/demo", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"`.*mine\.yaml` already exists\n\nhint: name another file with -o"):
        copy_recipe("toy/demo", tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "mine"


def test_only_shipped_recipes_are_copied(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"no recipe `toy/dmo` ships with the package\n\nhint: did you mean `toy/demo`\?"
    ):
        copy_recipe("toy/dmo", tmp_path / "mine.yaml")


def test_every_file_of_the_package_ships_in_its_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    package = ROOT / "src" / "cimeu"
    patterns = ["**/*.py", *project["tool"]["setuptools"]["package-data"]["cimeu"]]
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert files - shipped == set()
