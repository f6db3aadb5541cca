"""Train the voice model that ships with the package, and measure it on cultures it has not heard.

    OUTPUT/NAME/          the run folder: forward/, ensemble.json, familiarity.safetensors, recipe.yaml, MODEL_CARD.md
    OUTPUT/figures.json   every figure of the card and of the results page
    OUTPUT/figures.md     the same as tables

Nothing of single training clips is written: no names, vectors, predictions or folds. The rule is chosen by leaving one
culture out; the figures are those of cultures that took no part in their own choice (`cimeu.experiments.held_out`).

Axes: N clips, D width.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import yaml

from cimeu.atomic import STATE, write_whole
from cimeu.corpora.manifest import Manifest, read_manifest
from cimeu.encoders.description import describe
from cimeu.encoders.registry import build_encoder
from cimeu.errors import FeatureError, RecipeError
from cimeu.evaluation.ood import Familiarity, mean_step
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.evaluation.uncertainty import speaker_names
from cimeu.experiments.held_out import ALONE, HeldOut, within
from cimeu.experiments.prepare import cores, extract_streams
from cimeu.experiments.recipe import LARGEST_SEED, EncoderConfig, check_name, recipe_tree, validated
from cimeu.experiments.starter_card import card, tables
from cimeu.experiments.starter_figures import figures
from cimeu.features.store import FeatureStore, key_of
from cimeu.labels import label_space
from cimeu.model.checkpoint import Specifications, save_checkpoint
from cimeu.model.style_set import StyleSet
from cimeu.progress import Progress, silent
from cimeu.ranges import Within, adapter_of, check_values
from cimeu.sealed import seal, unseal
from cimeu.training.style_set import Embedded, calibrated

METHOD = StyleSet.kind
HELD_BACK = 5
"""Every so many-th speaker sets the limit of what is unlike the training clips."""


@dataclass(frozen=True, kw_only=True)
class StarterData:
    """Clips of one or several manifests."""

    manifests: tuple[Path, ...]
    """Tables of clips, below `root`."""
    root: Path
    """Folder of the manifests."""
    features: Path = Path("features")
    """Folder of the feature store; filled first where clips are missing."""
    labels: str | list[str] = "four"
    """Name of a label space, or the list of emotions."""
    workers: Annotated[int, Within(0, 1024)] = 0
    """Processes that decode and encode; 0 takes one for each core."""


@dataclass(frozen=True, kw_only=True)
class StarterRecipe:
    """Everything about a style-set model."""

    name: str
    """Name of the run folder."""
    data: StarterData
    encoder: EncoderConfig
    method: str = METHOD
    """What is trained."""
    group: str = "culture"
    """Column whose values are held out in turn."""
    without: tuple[str, ...] = ()
    """Groups left out of a second, comparable table."""
    seeds: tuple[Annotated[int, Within(0, LARGEST_SEED)], ...] = (0,)
    """Draws of supports in training and in tests."""
    coverage: Annotated[float, Within(0, 1, above=True)] = 0.5
    """Share of clips of a held-out group that get an emotion."""
    output: Path = Path("starter")
    """Folder for the run folder and the figures."""


def load_starter(path: Path | str, overrides: Sequence[str] = ()) -> StarterRecipe:
    """Read a recipe whose method is `style-set`. Raises RecipeError for an unknown key or an unusable value."""
    tree = recipe_tree(path, overrides)
    if "root" not in tree.get("data", {}):
        raise RecipeError("the recipe names no recordings\n\nhint: set data.root=FOLDER, the folder of its manifests")
    recipe: StarterRecipe = validated(StarterRecipe, tree)
    check_values(recipe)
    check_values(recipe.data, "data")
    check_name(recipe.name)
    return recipe


def train_starter(recipe: StarterRecipe, *, progress: Progress = silent) -> Path:
    """Extract, choose, measure, fit on all clips and write; returns the run folder."""
    clips, table, encoder = embedded(recipe, progress)
    held_out = HeldOut(clips, progress)
    folds = [held_out.outer(group, recipe.seeds) for group in clips.groups]
    shipped = held_out.choose(clips.groups, (recipe.coverage,))
    inside = {seed: within(clips, shipped.rule, seed) for seed in recipe.seeds}
    own = {group: within(clips, shipped.rule, recipe.seeds[0], only=group)[ALONE] for group in clips.groups}
    fewer = None
    if set(recipe.without) & set(clips.groups):
        kept = clips.take(~np.any([clips.of(group) for group in recipe.without], axis=0))
        held_out_again = HeldOut(kept, progress)
        fewer = [held_out_again.outer(group, recipe.seeds) for group in kept.groups]
    measured = figures(clips, table, folds, shipped, inside, own, fewer)

    model = held_out.fit(clips.groups, recipe.seeds[0]).model(
        shipped.rule, _specifications(recipe, clips, table, encoder), recipe.encoder.encoder
    )
    folder = recipe.output / recipe.name
    unseal(folder)
    save_checkpoint(calibrated(model, *shipped.temperatures), folder / "forward")
    settings = EnsembleSettings(
        mu=1.0,
        abstain_below=round(shipped.thresholds[recipe.coverage], 4),
        coverage=recipe.coverage,
        selection="validation",
        directions=("forward",),
    )
    settings.save(folder)
    _familiarity(clips).save(folder)
    write_whole(folder / "recipe.yaml", to_yaml(recipe), STATE)
    write_whole(folder / "MODEL_CARD.md", card(recipe.name, model, settings, table, measured), STATE)
    seal(folder)
    write_whole(recipe.output / "figures.json", json.dumps(measured, indent=1) + "\n", STATE)
    write_whole(recipe.output / "figures.md", tables(measured), STATE)
    return folder


def embedded(recipe: StarterRecipe, progress: Progress = silent) -> tuple[Embedded, pd.DataFrame, dict[str, object]]:
    """One vector for each clip, the mean over its steps; the rows of its manifest; the description of the encoder."""
    labels = label_space(recipe.data.labels)
    build = build_encoder(recipe.encoder.encoder, **recipe.encoder.settings)
    folder = recipe.data.features / recipe.encoder.store
    rows: list[np.ndarray] = []
    parts: list[pd.DataFrame] = []
    for name in recipe.data.manifests:
        manifest = read_manifest(recipe.data.root / name)
        usable_rows = manifest.table["emotion"].isin(labels.emotions) & (manifest.table[recipe.group] != "")
        manifest = Manifest(manifest.table[usable_rows].reset_index(drop=True), manifest.root)
        workers = recipe.data.workers or cores()
        extract_streams(manifest, [(recipe.encoder, False)], recipe.data.features, workers=workers, progress=progress)
        store, usable = FeatureStore.open(folder), []
        for clip in manifest.clips():
            key = key_of(clip, store.description, "forward")
            steps = None if clip.problem or key not in store else store.get(key).features
            usable.append(steps is not None)
            if steps is not None:
                rows.append(mean_step(steps, build.width))
        parts.append(manifest.table[usable])
    if not rows:
        raise FeatureError("no clip has features\n\nhint: look at the column `problem` of the manifests")
    table = pd.concat(parts, ignore_index=True)
    emotion = np.array([labels.index(name) for name in table["emotion"]], int)
    people = speaker_names(table["corpus"], table["speaker"])
    clips = Embedded(np.stack(rows), emotion, tuple(table[recipe.group]), tuple(people), tuple(labels.emotions))
    return clips, table, describe(build)


def to_yaml(recipe: StarterRecipe) -> str:
    """YAML of a recipe as it was run, without the folders of one machine."""
    tree = adapter_of(StarterRecipe).dump_python(recipe, mode="json")
    tree["data"] = {name: value for name, value in tree["data"].items() if name not in ("root", "features", "workers")}
    del tree["output"]
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _specifications(
    recipe: StarterRecipe, clips: Embedded, table: pd.DataFrame, encoder: Mapping[str, object]
) -> Specifications:
    return Specifications(
        emotions=clips.emotions,
        labels=label_space(recipe.data.labels).name,
        first_encoder=dict(encoder),
        corpora=sorted(set(table["corpus"])),
        synthetic="yes" in set(table.get("synthetic", ())),
        selection="leave-one-group-out validation",
    )


def _familiarity(clips: Embedded) -> Familiarity:
    """What training clips look like, with a limit from speakers that are not in the fit."""
    people = sorted(set(clips.person))
    held = np.isin(clips.person, people[::HELD_BACK])
    return Familiarity.of({"first": clips.x[~held]}, {"first": clips.x[held]})
