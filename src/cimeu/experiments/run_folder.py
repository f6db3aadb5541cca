"""What a run folder says: its predictions, and how it was made.

An ensemble of one fold and one seed, as `cimeu.experiments.run` leaves it. Plain data; no model is loaded.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cimeu.errors import RecipeError
from cimeu.evaluation.predictions import PROBABILITY
from cimeu.pyramid import DIRECTIONS

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
        RecipeError: `predictions.csv` is missing, or has no column that the report needs.
    """
    path = folder / "predictions.csv"
    if not path.is_file():
        raise RecipeError(f"`{path}` does not exist\n\nhint: name folders of finished runs (`cimeu train RECIPE`)")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
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
    table[shares] = table[shares].apply(pd.to_numeric)
    stray = sorted(set(table.loc[table["part"] == "test", "emotion"]) - set(emotions))
    if stray:
        raise RecipeError(
            f"`{path}` holds test clips of `{stray[0]}`, which the model does not know\n\n"
            f"hint: it knows {', '.join(emotions)}; leave other clips out of the manifest"
        )
    recipe, facts = _yaml(folder / "recipe.yaml"), read_json(folder / "fold.json")
    environment = read_json(folder / "environment.json")
    return Run(
        folder=folder,
        recipe_name=str(recipe.get("name", folder.name)),
        fold=str(facts.get("name", folder.name)),
        seed=_seed(environment, recipe),
        settings=read_json(folder / "ensemble.json"),
        recipe=recipe,
        fold_facts=facts,
        environment=environment,
        synthetic=_synthetic(folder, environment),
        emotions=emotions,
        kinds=tuple(kind for kind in KINDS if f"{kind}.{emotions[0]}" in table),
        predictions=table,
    )


def _seed(environment: Json, recipe: Json) -> int:
    seeds = recipe.get("seeds") or [0]
    return int(environment.get("seed", seeds[0]))


def _synthetic(folder: Path, environment: Json) -> bool | None:
    if "synthetic" in environment:
        return bool(environment["synthetic"])
    for direction in DIRECTIONS:
        specifications = read_json(folder / direction / "config.json").get("specifications", {})
        if "synthetic" in specifications:
            return bool(specifications["synthetic"])
    return None


def read_json(path: Path) -> Json:
    """The values of a file by name; nothing where there is none. Raises RecipeError where it cannot be read."""
    return _mapping(path, json.loads)


def read_rows(path: Path) -> list[Json]:
    """A list of rows, alone or under `rows`; nothing where there is no file."""
    if not path.is_file():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    return list(found.get("rows", [])) if isinstance(found, dict) else list(found)


def _yaml(path: Path) -> Json:
    return _mapping(path, yaml.safe_load)


def _mapping(path: Path, parse: Any) -> Json:
    if not path.is_file():
        return {}
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"`{path}` cannot be read: {error}\n\nhint: the run was interrupted; run it again") from error
    if not isinstance(found, dict):
        raise RecipeError(f"`{path}` holds no named values\n\nhint: the file was changed by hand; run it again")
    return found
