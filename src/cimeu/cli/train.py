"""`cimeu train`: a recipe to run folders."""

from pathlib import Path
from typing import Annotated

import typer

from cimeu.cli.figures import show_figures
from cimeu.cli.terminal import complete_recipe, progress_bars


def train(
    recipe: Annotated[
        Path,
        typer.Argument(help="A YAML file, or a name that `cimeu recipes list` shows.", autocompletion=complete_recipe),
    ],
    settings: Annotated[list[str] | None, typer.Argument(help="key=value that replace settings of the recipe.")] = None,
    devices: Annotated[int | None, typer.Option(help="Processes on each node, such as its GPUs.", min=1)] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines that train together.", min=1)] = None,
) -> None:
    """Run a recipe: features where missing, then an ensemble for each fold and seed; resumes."""
    from cimeu.experiments.recipe import load_recipe, recipe_tree

    tree = recipe_tree(recipe)  # what is missing is said before the imports that take seconds
    from cimeu.experiments.run import run_recipe
    from cimeu.experiments.starter import METHOD, load_starter, train_starter
    from cimeu.training.distributed import is_first

    if tree.get("method") == METHOD:
        with progress_bars() as progress:
            print(train_starter(load_starter(recipe, settings or ()), progress=progress))
        return
    counts = {"devices": devices, "nodes": nodes}
    shared = [f"training.{name}={count}" for name, count in counts.items() if count is not None]
    loaded = load_recipe(recipe, [*(settings or ()), *shared])
    with progress_bars() as progress:
        runs = run_recipe(loaded, progress=progress)
    if not is_first(loaded.training):
        return
    show_figures(runs)
    for run in runs:
        print(run)
