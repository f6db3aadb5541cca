"""Run a recipe: features where they are missing, then one ensemble for each fold and seed.

A run folder is an ensemble and everything one needs to read it again without training:

    recipe.yaml environment.json fold.json       what was asked for, where it ran, who was held out
    forward/ backward/                           checkpoints with their journals
    ensemble.json                                mu, levels, temperature, thresholds, and how they were chosen
    predictions.csv                              every validation and test clip with its probabilities
    familiarity.safetensors                      what the training clips look like, to tell what is unlike them
    training_clips.npz                           primitives of the training clips, to name those near a segment
    projections.npz probes.json MODEL_CARD.md    primitives, what can be read from them, what the model is for
    digests.json                                 of every file, so that none is read that was changed or cut

`predictions.csv` is written last: a folder that has it is finished, one that lacks it goes on where it stopped.
"""

import json
import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32

from cimeu.atomic import STATE, adopt, check_free, whole, write_whole
from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.folds import Fold, make_folds
from cimeu.corpora.manifest import Manifest, check_labels, read_manifest
from cimeu.corpora.paths import MISSING_FILE
from cimeu.encoders.base import Encoder
from cimeu.encoders.registry import build_encoder
from cimeu.errors import FeatureError, FingerprintMismatch, MediaError, OutputError, RecipeError, WeightsMissing
from cimeu.evaluation.ood import MOST_CLIPS, Familiarity, views_of
from cimeu.evaluation.predict import EnsembleSettings, Scores, fused_probabilities, project, score_clips
from cimeu.evaluation.predictions import DESCRIBED
from cimeu.evaluation.probes import RAW, ProbeClips, probe_table
from cimeu.evaluation.selection import choose
from cimeu.evaluation.uncertainty import speaker_names
from cimeu.experiments.model_card import model_card
from cimeu.experiments.recipe import EncoderConfig, Recipe, load_recipe, to_tree, to_yaml
from cimeu.features.extract import Extraction, extract
from cimeu.features.store import FeatureStore, key_of
from cimeu.inference.neighbours import TrainingClips
from cimeu.labels import LabelSpace, label_space
from cimeu.model.checkpoint import CONFIG_FILE, WEIGHTS_FILE, versions
from cimeu.model.config import StreamConfig
from cimeu.model.network import CiMEU
from cimeu.progress import Progress, silent
from cimeu.pyramid import DIRECTIONS, Direction
from cimeu.sealed import check_seal, seal, unseal
from cimeu.training.config import TrainingConfig
from cimeu.training.distributed import first_only, is_first, one_after_the_other
from cimeu.training.loop import train

logger = logging.getLogger(__name__)

PREDICTIONS = "predictions.csv"


@dataclass(frozen=True)
class Prepared:
    """A recipe with its clips and opened stores."""

    recipe: Recipe
    manifest: Manifest
    labels: LabelSpace
    first: FeatureStore
    second: FeatureStore | None

    def dataset(self, clip_ids: Sequence[str], direction: Direction) -> ClipDataset:
        """Named clips with their streams of one direction."""
        style = self.recipe.training.style_labels
        column = style if style in self.manifest.table.columns else None
        clips = self.manifest.select(clip_ids)
        stores = {"first": self.first, "second": self.second}
        return ClipDataset(clips, self.labels, **stores, direction=direction, style_column=column)

    def training(self, direction: Direction) -> TrainingConfig:
        """How the network of one direction is trained."""
        return self.recipe.training

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions the recipe trains."""
        return DIRECTIONS if self.recipe.direction == "both" else (self.recipe.direction,)

    @property
    def synthetic(self) -> bool:
        """Whether clips were drawn by a program."""
        return "yes" in set(self.manifest.table.get("synthetic", ()))


def run_recipe(recipe: Recipe, *, progress: Progress = silent) -> list[Path]:
    """Everything a recipe asks for; returns the run folders, one for each fold and seed.

    Raises:
        RecipeError: a fold of that name does not exist, or a setting contradicts the data.
        ManifestError: the clips contradict the recipe (labels, folds).
    """
    training = recipe.training
    progress = progress if is_first(training) else silent
    prepared = one_after_the_other(training, lambda: prepare(recipe, progress=progress))
    folds = folds_named(recipe.fold, make_folds(prepared.manifest, recipe.folds))
    runs = [(fold, seed) for fold in folds for seed in recipe.seeds]
    paths = []
    for done, (fold, seed) in enumerate(runs):
        progress("runs", done, len(runs))
        folder = recipe.output / f"{recipe.name}-{fold.name}-s{seed}"
        paths.append(run_fold(prepared, fold, seed, folder, progress=progress))
    progress("runs", len(runs), len(runs))
    return paths


def prepare(recipe: Recipe, *, progress: Progress = silent) -> Prepared:
    """Read the manifest, compute the features that are missing, open the stores.

    Clips whose emotion the label space lacks take no part. Features of an encoder whose weights are not on this machine
    are taken as they were extracted, if every clip has them; imported features need no recording.
    """
    labels = label_space(recipe.data.labels)
    manifest = _labelled(read_manifest(recipe.data.table, root=recipe.data.root), labels)
    streams = [recipe.streams.first, *([recipe.streams.second] if recipe.streams.second else [])]
    if all(_imported(recipe, each) for each in streams):
        problems = manifest.table["problem"]
        manifest = Manifest(manifest.table.assign(problem=problems.where(problems != MISSING_FILE, "")), manifest.root)
    check_labels(manifest, labels)
    wanted = []
    for each in streams:
        if _imported(recipe, each):
            continue
        try:
            build_encoder(each.encoder, **each.settings)
        except WeightsMissing as error:
            _check_whole(recipe, each, manifest, error)
        else:
            wanted.append((each, each is recipe.streams.first))
    if wanted:
        workers = recipe.data.workers or cores()
        extract_streams(manifest, wanted, recipe.data.features, workers=workers, progress=progress)
    opened = [FeatureStore.open(recipe.data.features / each.store) for each in streams]
    return Prepared(recipe, manifest, labels, opened[0], opened[1] if len(opened) > 1 else None)


def extract_streams(
    manifest: Manifest,
    streams: Sequence[tuple[EncoderConfig, bool]],
    folder: Path,
    *,
    workers: int,
    shard: tuple[int, int] = (1, 1),
    progress: Progress = silent,
) -> Extraction:
    """Fill the stores of several encoders; each comes with whether it is also played backward."""
    encoders: list[Encoder] = [build_encoder(each.encoder, **each.settings) for each, _ in streams]
    second = [encoder.name for encoder, (_, backward) in zip(encoders, streams, strict=True) if not backward]
    return extract(manifest, encoders, folder, second=second, workers=workers, shard=shard, progress=progress)


def default_streams(manifest: Manifest) -> list[tuple[EncoderConfig, bool]]:
    """The embedded encoders for what the clips are: picture and sound, or sound alone."""
    from cimeu.media.video import probe

    usable = [clip for clip in manifest.clips() if not clip.problem]
    if not usable:
        raise RecipeError(f"none of the {len(manifest)} clips can be used\n\nhint: look at the column `problem`")
    for clip in usable:
        try:
            names = ("hog", "filterbank") if probe(clip.path).has_video else ("spectral", "prosody")
        except MediaError:
            continue  # extraction gives its reason
        return [(EncoderConfig(encoder=name), place == 0) for place, name in enumerate(names)]
    raise RecipeError(f"none of the {len(usable)} files can be opened\n\nhint: play one, such as `{usable[0].path}`")


def folds_named(name: str | int, folds: Sequence[Fold]) -> list[Fold]:
    """All of the folds, the one of that name, or those of a group (`german-1`, `german+8`).

    Raises:
        RecipeError: there is no such fold.
    """
    if name == "all":
        return list(folds)
    named = [fold for fold in folds if fold.name == str(name)]
    named = named or [fold for fold in folds if fold.name.startswith((f"{name}-", f"{name}+"))]
    if not named:
        raise RecipeError(f"no fold `{name}`\n\nhint: all, or one of {', '.join(fold.name for fold in folds)}")
    return named


def run_fold(prepared: Prepared, fold: Fold, seed: int, folder: Path, *, progress: Progress = silent) -> Path:
    """Train, choose, score and describe one ensemble; a finished folder is left as it is."""
    recipe = replace(prepared.recipe, training=replace(prepared.recipe.training, seed=seed))
    prepared = replace(prepared, recipe=recipe)
    if first_only(recipe.training, lambda: _opened(prepared, fold, seed, folder)):
        return folder
    oracle = recipe.training.selection == "oracle"
    for direction in prepared.directions:
        learned = prepared.dataset(fold.train, direction)
        checked = prepared.dataset(fold.test if oracle else fold.validation, direction)
        first, second = _stream_config(prepared.first), _stream_config(prepared.second)
        assert first is not None
        network = recipe.network(prepared.labels.emotions, first, second, direction)
        if learned.style_names and "styles" not in recipe.model:
            network = replace(network, styles=max(2, len(learned.style_names)))
        train(
            network,
            learned,
            checked,
            prepared.training(direction),
            folder / direction,
            synthetic=prepared.synthetic,
            progress=progress,
        )
    first_only(recipe.training, lambda: _closed(prepared, fold, folder))
    return folder


def _opened(prepared: Prepared, fold: Fold, seed: int, folder: Path) -> bool:
    """Claim the folder and note what the run is; true where it is finished."""
    recipe = prepared.recipe
    _claim(folder, recipe)
    if (folder / PREDICTIONS).is_file() and set(prepared.directions) <= set(EnsembleSettings.load(folder).directions):
        return True
    _write_json(folder / "environment.json", environment(prepared, seed))
    _write_json(folder / "fold.json", {**asdict(fold), "protocol": recipe.folds.protocol, "group": recipe.folds.group})
    return False


def _closed(prepared: Prepared, fold: Fold, folder: Path) -> None:
    trained = [direction for direction in DIRECTIONS if (folder / direction / "finished.json").is_file()]
    if set(trained) > set(prepared.directions):  # forward yesterday and backward today make an ensemble
        prepared = replace(prepared, recipe=replace(prepared.recipe, direction="both"))
        write_whole(folder / "recipe.yaml", to_yaml(prepared.recipe), "run")
    score_run(prepared, fold, folder)


def evaluate_run(folder: Path, *, progress: Progress = silent) -> Path:
    """Score the checkpoints of a finished run again on its own clips and write the numbers anew.

    Raises:
        RecipeError: not a run folder.
        CheckpointError: a network is damaged, or was changed since it was trained.
        OutputError: a card or table that a person corrected would be replaced.
    """
    if not (folder / "recipe.yaml").is_file() or not (folder / "fold.json").is_file():
        raise RecipeError(f"`{folder}` is no run folder\n\nhint: name a folder that `cimeu train` printed")
    adopt_earlier(folder)
    check_free([folder / "MODEL_CARD.md", folder / PREDICTIONS], "run")
    # Scoring seals the folder again: weights that were changed must not get a fresh digest.
    check_seal(folder, [f"{direction}/{name}" for direction in DIRECTIONS for name in (CONFIG_FILE, WEIGHTS_FILE)])
    prepared = prepare(load_recipe(folder / "recipe.yaml"), progress=progress)
    stored = json.loads((folder / "fold.json").read_text(encoding="utf-8"))
    parts = {part: tuple(stored[part]) for part in ("train", "validation", "test")}
    fold = Fold(stored["name"], **parts, speakers_known=stored["speakers_known"], note=stored["note"])
    adapted = (folder / "adaptation.json").is_file()
    score_run(prepared, fold, folder, settings=EnsembleSettings.load(folder) if adapted else None)
    return folder


def adopt_earlier(folder: Path) -> None:
    """Take the files of a run that kept no list of what it wrote (before 0.2) as ours."""
    names = ["recipe.yaml", "environment.json", "fold.json", "ensemble.json", "probes.json", PREDICTIONS]
    card, table = folder / "MODEL_CARD.md", folder / PREDICTIONS
    if card.is_file() and table.is_file() and card.stat().st_mtime <= table.stat().st_mtime + 1:
        names.append(card.name)  # written just before the table; a younger one was corrected
    adopt(folder, names, "run")


def score_run(prepared: Prepared, fold: Fold, folder: Path, *, settings: EnsembleSettings | None = None) -> None:
    """Choose the settings of the ensemble on validation clips unless given, then score validation and test clips."""
    recipe = prepared.recipe
    unseal(folder)
    models = {direction: CiMEU.from_pretrained(folder / direction) for direction in prepared.directions}
    parts = {"validation": fold.validation} if fold.validation else {}
    parts["test"] = fold.test
    scores: dict[str, dict[str, Scores | None]] = {part: dict.fromkeys(DIRECTIONS) for part in parts}
    for part, clip_ids in parts.items():
        for direction, model in models.items():
            scores[part][direction] = score_clips(model, prepared.dataset(clip_ids, direction))
    chosen_on = "validation" if fold.validation and recipe.training.selection != "oracle" else "test"
    settings = settings or choose(
        scores[chosen_on]["forward"],
        scores[chosen_on]["backward"],
        prepared.dataset(parts[chosen_on], prepared.directions[0]).emotions,
        # averaged weights choose no epoch; what else is chosen, is chosen on the validation clips
        selection="validation" if recipe.training.selection == "average" else recipe.training.selection,
        mu=recipe.evaluation.mu,
        levels=recipe.evaluation.levels,
        choose_a=recipe.model.get("late_fusion") == "validation",
        coverage=recipe.evaluation.coverage,
    )
    settings.save(folder)
    model = models[prepared.directions[0]]
    _write_primitives(prepared, fold, model, folder)
    table = pd.concat(
        [
            _predictions(prepared, part, clip_ids, scores[part]["forward"], scores[part]["backward"], settings)
            for part, clip_ids in parts.items()
        ]
    )
    trained_on = prepared.manifest.select(fold.train).table
    card = model_card(prepared.recipe, fold, settings, table, model, trained_on)
    write_whole(folder / "MODEL_CARD.md", card, "run")
    write_whole(folder / PREDICTIONS, table.to_csv(index=False, float_format="%.6f"), "run")
    seal(folder)


def environment(prepared: Prepared, seed: int) -> dict[str, Any]:
    """Where and with what a run was made."""
    manifest = prepared.manifest
    return {
        "seed": seed,
        "synthetic": prepared.synthetic,
        "labels": list(prepared.labels.emotions),
        "clips": len(manifest),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": cores(),
        "versions": versions(),
    }


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _labelled(manifest: Manifest, labels: LabelSpace) -> Manifest:
    """The clips whose emotion the label space has; the log counts the others, for a misspelt emotion is among them."""
    outside = manifest.table["emotion"][~manifest.table["emotion"].isin(labels.emotions)]
    if len(outside):
        counts = ", ".join(f"{emotion} {count}" for emotion, count in outside.value_counts(sort=False).items())
        text = "%d of %d clips take no part, label space `%s` lacks their emotion: %s"
        logger.warning(text, len(outside), len(manifest), labels.name, counts)
    return manifest.select(list(manifest.table["clip_id"].drop(outside.index)))


def _imported(recipe: Recipe, stream: EncoderConfig) -> bool:
    description = recipe.data.features / stream.store / "encoder.json"
    return description.is_file() and json.loads(description.read_text(encoding="utf-8")).get("version") == "imported"


def _check_whole(recipe: Recipe, stream: EncoderConfig, manifest: Manifest, missing: WeightsMissing) -> None:
    """Every clip has the features the recipe asks for; else there is no going on without the weights."""
    try:
        store = FeatureStore.open(recipe.data.features / stream.store)
    except FeatureError:
        raise missing from None
    said = store.description
    found = {"source": said["source"], **said["preprocessing"]}  # type: ignore[dict-item]
    for name, value in stream.settings.items():
        if name in found and found[name] != value:
            raise FingerprintMismatch(
                f"`{store.folder}` was made with {name} `{found[name]}`, the recipe says `{value}`\n\n"
                "hint: extract again into another folder, or change the recipe"
            )
    directions = DIRECTIONS if recipe.direction == "both" else (recipe.direction,)
    needed = directions if stream is recipe.streams.first else ("forward",)
    usable = [clip for clip in manifest.clips() if not clip.problem]
    lacking = [clip for clip in usable if any(key_of(clip, said, direction) not in store for direction in needed)]
    if lacking:
        raise WeightsMissing(
            f"{len(lacking)} of {len(usable)} clips have no features of `{stream.encoder}` in "
            f"`{recipe.data.features}`, the first is `{lacking[0].clip_id}`, and its weights are not here\n\n"
            f"hint: `cimeu extract {recipe.data.table} -o {recipe.data.features} --encoder {stream.encoder} "
            "--weights FILE` computes what is missing"
        )


def _stream_config(store: FeatureStore | None) -> StreamConfig | None:
    if store is None:
        return None
    said = store.description
    return StreamConfig(width=said["width"], kind=said["kind"], encoder=said["name"])  # type: ignore[arg-type]


def _claim(folder: Path, recipe: Recipe) -> None:
    """Write the recipe into the folder, or refuse a folder that was made with another one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    if not path.is_file():
        if any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise OutputError(f"`{folder}` holds other files\n\nhint: set another `output` or `name`")
        write_whole(path, to_yaml(recipe), "run")
        return
    adopt_earlier(folder)
    there, here = to_tree(load_recipe(path)), to_tree(recipe)
    for tree in (there, here):  # a stopped training refuses another number itself, a finished one has none
        del tree["training"]["devices"], tree["training"]["nodes"]
    ignored = ("fold", "seeds", "output", "direction")  # which runs are made together changes none of them
    for name in here:
        if name not in ignored and there[name] != here[name]:
            raise RecipeError(
                f"`{folder}` was made with other settings of `{name}`: {there[name]}, now {here[name]}\n\n"
                "hint: set another `output` or `name`, or remove the folder"
            )


def _predictions(
    prepared: Prepared,
    part: str,
    clip_ids: Sequence[str],
    forward: Scores | None,
    backward: Scores | None,
    settings: EnsembleSettings,
) -> pd.DataFrame:
    """Rows of `predictions.csv` of one part; the column that was held out is among them."""
    clips = prepared.manifest.select(clip_ids).table
    table = clips[list(dict.fromkeys([*DESCRIBED, prepared.recipe.folds.group]))].copy()
    table.insert(1, "part", part)
    probabilities = fused_probabilities(forward, backward, settings)
    for name, values in probabilities.items():
        table[[f"{name}.{emotion}" for emotion in prepared.labels.emotions]] = values
    usable = np.isfinite(probabilities["fused"]).all(axis=1)
    missing = (table["problem"] == "") & ~usable
    table.loc[missing, "problem"] = "no stream could be encoded"
    return table


def _write_primitives(prepared: Prepared, fold: Fold, model: CiMEU, folder: Path) -> None:
    """What the clips of the fold look like to the network: for drawings, neighbours, familiarity and probes."""
    clips = prepared.dataset((*fold.train, *fold.validation, *fold.test), model.config.direction)
    emotion, style = project(model, clips)
    views = views_of(model.config, clips, emotion)
    first, places = len(fold.train), np.arange(len(emotion))
    train, test = places < first, places >= first + len(fold.validation)
    validation = ~train & ~test
    arrays: dict[str, Any] = {"clip_id": np.array(clips.clip_ids[first:]), "emotion_primitives": emotion[first:]}
    if style is not None:
        arrays["style_primitives"] = style[first:]
    with whole(folder / "projections.npz", STATE) as partial:
        np.savez_compressed(partial, **arrays)
    known = clips.manifest.table[train]
    TrainingClips.of(known, emotion[train], None if style is None else style[train]).save(folder)
    if all(clips.present[part].any() for part in (train, validation)):
        spread = [np.flatnonzero(part)[:: max(1, part.sum() // MOST_CLIPS)] for part in (train, validation)]
        Familiarity.of(*({name: rows[part] for name, rows in views.items()} for part in spread)).save(folder)
    if not prepared.recipe.evaluation.probes or not fold.validation:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(prepared.recipe.training.seed)
        untrained = project(CiMEU(model.config, model.specifications), clips)[0]
    representations = {RAW: views["first"], "emotion": emotion, "untrained": untrained}
    if style is not None:
        representations["style"] = style
    probed = _probe_clips(prepared, clips, representations)
    parts = [probed.take(part & clips.present[:, 0]) for part in (train, validation, test)]
    held_out = parts[2] if prepared.recipe.folds.protocol == "leave-one-group-out" else None
    _write_json(folder / "probes.json", probe_table(parts[0], parts[1], held_out))


def _probe_clips(
    prepared: Prepared, clips: ClipDataset, representations: dict[str, Float32[np.ndarray, "N _"]]
) -> ProbeClips:
    column = prepared.recipe.folds.group
    groups = sorted(set(prepared.manifest.table[column]))
    group = np.array([groups.index(name) for name in clips.groups(column)])
    names = speaker_names(clips.groups("corpus"), clips.groups("speaker"))
    speakers = [name or clip_id for name, clip_id in zip(names, clips.clip_ids, strict=True)]
    return ProbeClips(representations, clips.emotions, group, speakers)


def _write_json(path: Path, content: object) -> None:
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n", "run")
