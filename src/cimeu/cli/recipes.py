"""`cimeu recipes`: the recipes that ship with the package, and copies of them to be changed."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.help import shown
from cimeu.cli.terminal import complete_recipe, say

recipes_app = typer.Typer(help="Recipes that ship with the package.", no_args_is_help=True, rich_markup_mode=None)


@recipes_app.command("list", **shown("recipes list"))
def list_() -> None:
    """Name of every recipe, what it is, and the command that runs it."""
    from cimeu.recipes import shipped_recipes

    for recipe in shipped_recipes():
        print(recipe.name)
        print(f"  {recipe.about}")
        print(f"  {recipe.command}")


@recipes_app.command(**shown("recipes copy"))
def copy(
    name: Annotated[
        str, typer.Argument(help="A name that `cimeu recipes list` shows.", autocompletion=complete_recipe)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The copy. [default: NAME.yaml, `-` for each `/`]")
    ] = None,
) -> None:
    """Copy a recipe to a file of your own; its first line is the command that runs the copy."""
    from cimeu.recipes import copy_recipe

    place = copy_recipe(name, output or Path(name.replace("/", "-") + ".yaml"))
    say(f"copied {name}; line 1 is the command that runs it")
    print(place)
