"""What a run folder says: its predictions, and how it was made.

An ensemble of one fold and one seed, as `cimeu.experiments.run` leaves it. Plain data; no model is loaded.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cimeu.csv_files import read_csv
from cimeu.errors import RecipeError
from cimeu.evaluation.predictions import PREDICTED, PROBABILITY
from cimeu.pyramid import DIRECTIONS
from cimeu.reading import LARGEST_JSON_BYTES, blaming, read_text, require_regular
from cimeu.reading import read_json as read_values
from cimeu.sealed import check_seal
from cimeu.strict_yaml import read_yaml

AGAIN = "the run was interrupted or changed by hand; run it again"
KINDS = ("forward", "backward", "fused")
Json = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run folder as read: an ensemble of one fold and one seed."""

    folder: Path
    recipe_name: str
    fold: str
    seed: int
    settings: Json
    recipe: Json
    fold_facts: Json
    environment: Json
    synthetic: bool | None
    emotions: tuple[str, ...]
    kinds: tuple[str, ...]
    predictions: pd.DataFrame = field(repr=False)

    @property
    def name(self) -> str:
        """Recipe, fold and seed."""
        return f"{self.recipe_name} · {self.fold} · seed {self.seed}"


def read_run(folder: Path) -> Run:
    """Read what a run folder says about its predictions.

    Raises:
        RecipeError: `predictions.csv` is missing, or has no column that the report needs; another file is damaged.
        ManifestError: `predictions.csv` is not a table.
        CheckpointError: it is not what was written, by the digests of the folder.
    """
    path = folder / "predictions.csv"
    require_regular(path, RecipeError, "name folders of finished runs (`cimeu train RECIPE`)")
    check_seal(folder, [path.name])  # of a table that was cut, half would be taken for all
    cells = read_csv(path)
    table = cells.frame.astype(str)
    emotions = tuple(column.removeprefix(PROBABILITY) for column in table.columns if column.startswith(PROBABILITY))
    lacking = [column for column in ("clip_id", "part", "emotion") if column not in table]
    if lacking or not emotions:
        raise RecipeError(
            f"`{path}` has no column `{lacking[0] if lacking else 'fused.<emotion>'}`\n\n"
            "hint: evaluate the run again to write it anew"
        )
    for column in ("corpus", "speaker", "culture", "gender", "problem"):
        table[column] = table.get(column, "")
    shares = [column for column in table.columns if column.partition(".")[0] in KINDS and "." in column]
    for column in shares:
        table[column] = cells.numbers(column)
        if not table[column].dropna().between(0, 1).all():
            raise RecipeError(f"`{path}` is damaged: `{column}` holds no probabilities\n\nhint: {AGAIN}")
    for column in [column for column in table.columns if column.startswith(PREDICTED)]:
        for name in (column, column.removeprefix(PREDICTED)):
            if name not in table:
                raise RecipeError(f"`{path}` has no column `{name}`\n\nhint: {AGAIN}")
            table[name] = cells.numbers(name)
    table = table.reset_index(drop=True)
    rated = [column.removeprefix(PREDICTED) for column in table.columns if column.startswith(PREDICTED)]
    # Clips with continuous labels alone have no emotion.
    named = (table["emotion"] != "") | ~table[rated].notna().any(axis=1)
    stray = sorted(set(table.loc[(table["part"] == "test") & named, "emotion"]) - set(emotions))
    if stray:
        raise RecipeError(
            f"`{path}` holds test clips of `{stray[0]}`, which the model does not know\n\n"
            f"hint: it knows {', '.join(emotions)}; leave other clips out of the manifest"
        )
    recipe, fold_facts = _recipe_of(folder / "recipe.yaml"), read_json(folder / "fold.json")
    environment = read_json(folder / "environment.json")
    return Run(
        folder=folder,
        recipe_name=str(recipe.get("name", folder.name)),
        fold=str(fold_facts.get("name", folder.name)),
        seed=_seed(environment, recipe),
        settings=read_json(folder / "ensemble.json"),
        recipe=recipe,
        fold_facts=fold_facts,
        environment=environment,
        synthetic=_synthetic(folder, environment),
        emotions=emotions,
        kinds=tuple(kind for kind in KINDS if all(f"{kind}.{emotion}" in table for emotion in emotions)),
        predictions=table,
    )


def _seed(environment: Json, recipe: Json) -> int:
    seeds = recipe.get("seeds")
    seed = environment.get("seed", seeds[0] if isinstance(seeds, list) and seeds else 0)
    return seed if isinstance(seed, int) else 0


def _synthetic(folder: Path, environment: Json) -> bool | None:
    if "synthetic" in environment:
        return bool(environment["synthetic"])
    for direction in DIRECTIONS:
        specifications = read_json(folder / direction / "config.json").get("specifications", {})
        if isinstance(specifications, dict) and "synthetic" in specifications:
            return bool(specifications["synthetic"])
    return None


def read_json(path: Path) -> Json:
    """The values of a file by name; nothing where there is none. Raises RecipeError where it cannot be read."""
    return read_values(path, RecipeError, AGAIN) if path.exists() else {}


def read_rows(path: Path) -> list[Json]:
    """A list of rows, alone or under `rows`; nothing where there is no file. Raises RecipeError where it is damaged."""
    if not path.exists():
        return []
    text = read_text(path, RecipeError, AGAIN, at_most=LARGEST_JSON_BYTES)
    with blaming(path, RecipeError, AGAIN):
        content = json.loads(text)
        rows = list(content.get("rows", []) if isinstance(content, dict) else content)
    if not all(isinstance(row, dict) for row in rows):
        raise RecipeError(f"`{path}` holds no rows\n\nhint: {AGAIN}")
    return rows


def _recipe_of(path: Path) -> Json:
    recipe = read_yaml(path, RecipeError, AGAIN) if path.exists() else {}
    if not isinstance(recipe, dict):
        raise RecipeError(f"`{path}` holds no named values\n\nhint: {AGAIN}")
    return recipe
