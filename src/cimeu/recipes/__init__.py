"""The recipes that ship with the package: YAML files, named by their place below this folder (`cross_culture/speech`).

Line 1 of each is the command that runs it; the comment below says what it is.
"""

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from shlex import quote

from cimeu.atomic import write_whole
from cimeu.errors import RecipeError, guess, likely
from cimeu.reading import require_regular

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ShippedRecipe:
    """One recipe of the package."""

    name: str
    command: str
    """Command that runs it, as its first line gives it."""
    about: str
    """First sentence of the comment below."""


def shipped_names() -> tuple[str, ...]:
    """Names of all recipes of the package, in alphabetical order; those without a folder first."""
    names = [path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml")]
    return tuple(sorted(names, key=lambda name: ("/" in name, name)))


def shipped_recipes() -> list[ShippedRecipe]:
    """Every recipe of the package with its command and what it is."""
    recipes = []
    for name in shipped_names():
        lines = _path_of(name).read_text(encoding="utf-8").splitlines()
        command, *about = (line.removeprefix("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
        recipes.append(ShippedRecipe(name, command, " ".join(about).split(". ")[0].rstrip(".")))
    return recipes


def recipe_path(recipe: Path | str, folder: Path = Path()) -> Path:
    """File of a recipe, given as a path that starts at `folder` or as the name of one that ships.

    Whatever is a file is a path; only what is not is looked up as a name.

    Raises:
        RecipeError: there is no such file, and no recipe of that name, with a guess.
    """
    path, name = folder / recipe, Path(recipe).as_posix()
    if path.is_file():
        return path
    if name in shipped_names():
        return _path_of(name)
    if path.exists():
        require_regular(path, RecipeError, "give a file, or a name that `cimeu recipes list` shows")
    # Up to version 0.1 recipes were files in `recipes/` of the repository: commands that name one get its name now.
    bare = name.removeprefix("recipes/").removesuffix(".yaml")
    hint = f"{likely(bare, shipped_names())} give a file, or a name that `cimeu recipes list` shows".lstrip()
    raise RecipeError(f"recipe `{path}` does not exist\n\nhint: {hint}")


def copy_recipe(name: str, place: Path) -> Path:
    """Copy a recipe of the package to be changed; its first line then runs the copy.

    Args:
        name: one of `shipped_names()`.
        place: file to write; nothing that exists is replaced.

    Raises:
        RecipeError: an unknown name, a file that is there already, or a name that no command line can hold.
    """
    if name not in shipped_names():
        raise RecipeError(f"no recipe `{name}` ships with the package\n\nhint: {guess(name, shipped_names())}")
    text = _path_of(name).read_text(encoding="utf-8")
    if place.exists():
        raise RecipeError(f"`{place}` already exists\n\nhint: name another file with -o")
    if not str(place).isprintable():  # it stands in the first line, which is a command
        raise RecipeError(f"`{place}` cannot stand in a command\n\nhint: name the copy with letters, digits, - and _")
    # Only line 1 names the recipe itself; `extends` names another one that ships, wherever the copy lies.
    write_whole(place, text.replace(f" {name} ", f" {quote(place.as_posix())} ", 1), "recipe")
    return place


def _path_of(name: str) -> Path:
    return FOLDER / f"{name}.yaml"
