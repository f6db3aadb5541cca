"""Recipes of single corpora divide a table of their corpus as it was published."""

from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from cimeu.corpora.folds import make_folds
from cimeu.corpora.manifest import Manifest, build_manifest
from cimeu.corpora.votes import strongest_named
from cimeu.experiments.recipe import load_recipe
from cimeu.labels import label_space

TESTED = {
    "iemocap/five_sessions": ["1", "2", "3", "4", "5"],
    "msppodcast/default": ["official"],
    "blemore/frozen": ["0", "1", "2", "3", "4"],
    "cameo/leave_one_language_out": ["de", "en", "fr"],
    "cameo/within_language": [f"{language}-{part}" for language in ("de", "en", "fr") for part in range(1, 6)],
    "mer/default": ["official"],
    "affwild2/expr": ["1", "2", "3", "4", "5"],
    "affwild2/both": ["1", "2", "3", "4", "5"],
    "chsims/default": ["official"],
}


def table_of(recipe_name: str, root: Path) -> Manifest:
    """Ten speakers in each of three languages, a clip of every emotion each."""
    recipe = load_recipe(recipe_name, ["data.manifest=m.csv"])
    emotions = label_space(recipe.data.labels).emotions
    rows = []
    for language, number, emotion in product(("de", "en", "fr"), range(10), emotions):
        split = "test" if number < 3 else "train"
        rows.append(
            {"path": f"{language}/{number}/{emotion}.wav", "emotion": emotion, "speaker": f"{language}{number}"}
            | {"corpus": recipe_name.partition("/")[0], "language": language, "split": split, "problem": "generated"}
            | {"partition": f"Test{number + 1}" if split == "test" else "Train", "part": "MULTI" * (split == "test")}
            | {f"votes_{name}": "70" if name == emotion else "30" if name == emotions[0] else "0" for name in emotions}
        )
        if recipe_name.startswith("iemocap"):
            rows[-1]["fold"] = str(number // 2 + 1)
        if recipe_name.startswith("blemore"):
            rows[-1]["fold"] = str(number % 5)
            rows[-1]["emotion"] = "_".join(sorted({emotion, emotions[0]}))  # strongest: `emotion`
    manifest = build_manifest(pd.DataFrame(rows), root)
    manifest.table["problem"] = ""  # as if the recordings were there
    return strongest_named(manifest, label_space(recipe.data.labels)) if recipe.data.targets == "shares" else manifest


@pytest.mark.parametrize("name", TESTED)
def test_a_recipe_divides_its_corpus_as_published(name: str, tmp_path: Path) -> None:
    manifest = table_of(name, tmp_path)
    recipe = load_recipe(name, ["data.manifest=m.csv"])
    folds = make_folds(manifest, recipe.folds)
    assert [fold.name for fold in folds] == TESTED[name]
    assert set(manifest.table["emotion"]) == set(label_space(recipe.data.labels).emotions)
    assert all(fold.speakers_known for fold in folds)
    if name != "cameo/within_language" and recipe.folds.protocol != "leave-one-group-out":
        tested = [clip_id for fold in folds for clip_id in fold.test]
        assert len(tested) == len(set(tested))
