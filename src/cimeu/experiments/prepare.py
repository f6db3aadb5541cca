"""From a recipe to clips with features: the manifest is read, missing features are computed, stores are opened."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.folds import Fold
from cimeu.corpora.inclusions import inclusions_among
from cimeu.corpora.manifest import Clip, Manifest, check_labels, read_manifest
from cimeu.corpora.paths import MISSING_FILE
from cimeu.corpora.same_file import with_same_file
from cimeu.corpora.votes import strongest_named
from cimeu.encoders.base import Encoder
from cimeu.encoders.registry import build_encoder
from cimeu.errors import EmptyClass, FeatureError, FingerprintMismatch, MediaError, RecipeError, WeightsMissing
from cimeu.experiments.recipe import EncoderConfig, Recipe
from cimeu.features.extract import Extraction, extract
from cimeu.features.store import FeatureStore, key_of
from cimeu.labels import LabelSpace, label_space
from cimeu.media.video import probe
from cimeu.progress import Progress, silent
from cimeu.pyramid import DIRECTIONS, Direction
from cimeu.reading import read_json
from cimeu.training.config import TrainingConfig
from cimeu.training.episodes import StreamRule

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A recipe with its clips and opened stores."""

    recipe: Recipe
    manifest: Manifest
    labels: LabelSpace
    first: FeatureStore
    second: FeatureStore | None
    rules: dict[tuple[str, ...], StreamRule] = field(default_factory=dict)
    """Linear rules of support sets that were fitted already, by streams, direction and training clips."""

    def dataset(self, clip_ids: Sequence[str], direction: Direction) -> ClipDataset:
        """Named clips with their streams of one direction."""
        style = self.recipe.training.style_labels
        column = style if style in self.manifest.table.columns else None
        clips = self.manifest.select(clip_ids)
        data = self.recipe.data
        return ClipDataset(
            clips,
            self.labels,
            first=self.first,
            second=self.second,
            direction=direction,
            style_column=column,
            targets=data.targets,
            # Rivals learn the emotion alone.
            continuous=data.continuous if self.recipe.is_network else None,
        )

    def style_rule(self, train: Sequence[str], direction: Direction) -> StreamRule:
        """The linear rule of a support set, fitted to training clips as a network of one direction reads them."""
        stores = (str(store.folder) if store else "" for store in (self.first, self.second))
        key = (*stores, direction, *train)
        if key not in self.rules:
            self.rules[key] = StreamRule.of(self.dataset(train, direction), self.recipe.folds.group)
        return self.rules[key]

    def training(self, direction: Direction) -> TrainingConfig:
        """How the network of one direction is trained."""
        return self.recipe.training

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions the recipe trains."""
        return directions_of(self.recipe)

    @property
    def synthetic(self) -> bool:
        """Whether clips were drawn by a program."""
        return "yes" in set(self.manifest.table.get("synthetic", ()))


def directions_of(recipe: Recipe) -> tuple[Direction, ...]:
    """Directions a recipe trains; a rival reads clips as they were recorded."""
    if not recipe.is_network:
        return ("forward",)
    return DIRECTIONS if recipe.direction == "both" else (recipe.direction,)


def clips_of(recipe: Recipe, *, emotions_only: bool = False) -> tuple[Manifest, LabelSpace]:
    """The clips of a recipe and its label space; clips whose emotion the label space lacks take no part.

    Clips without an emotion and with a continuous label that the recipe learns stay, unless it is about emotions only.
    Nothing is decoded, so whatever contradicts the recipe can be refused before hours of extraction.
    """
    labels = label_space(recipe.data.labels)
    for name in recipe.data.continuous:
        if name in labels:
            raise RecipeError(
                f"data.continuous names `{name}`, an emotion of the label space `{labels.name}`: results would have "
                f"two columns of one name\n\nhint: rename the column of the manifest, such as `{name}_intensity`"
            )
    manifest = read_manifest(recipe.data.table, root=recipe.data.root)
    if not (manifest.table["emotion"] != "").any():
        raise EmptyClass(
            f"none of the {len(manifest)} clips of `{recipe.data.table}` has an emotion, and continuous labels are "
            "learned beside emotions, not alone\n\nhint: put clips with emotions into the manifest too, as "
            "`cimeu prepare affwild2 --task both` does; each clip trains what it has labels of"
        )
    if recipe.data.targets == "shares":
        manifest = strongest_named(manifest, labels)
    rated = [] if emotions_only or not recipe.is_network else list(recipe.data.continuous)
    manifest = with_same_file(_labelled(manifest, labels, rated))
    # Imported features need no recording: a missing file is then no problem of the clip.
    if all(_imported(recipe, stream) for stream in _streams(recipe)):
        problems = manifest.table["problem"]
        manifest = Manifest(manifest.table.assign(problem=problems.where(problems != MISSING_FILE, "")), manifest.root)
    check_labels(manifest.select(list(manifest.table["clip_id"][manifest.table["emotion"] != ""])), labels)
    return manifest, labels


def prepare(recipe: Recipe, *, emotions_only: bool = False, progress: Progress = silent) -> Prepared:
    """Read the manifest, compute the features that are missing, open the stores; clips as `clips_of` takes them.

    Features of an encoder whose weights are not on this machine are taken as they were extracted, if every clip has
    them; imported features need no recording.
    """
    manifest, labels = clips_of(recipe, emotions_only=emotions_only)
    for inclusion in inclusions_among(set(manifest.table["corpus"])):
        logger.warning("%s: `cimeu overlap` names them", inclusion)
    return open_stores(recipe, manifest, labels, progress=progress)


def open_stores(recipe: Recipe, manifest: Manifest, labels: LabelSpace, *, progress: Progress = silent) -> Prepared:
    """Compute the features of these clips that are missing, and open the stores of a recipe."""
    streams = _streams(recipe)
    missing = []
    for stream in streams:
        if _imported(recipe, stream):
            continue
        try:
            build_encoder(stream.encoder, **stream.settings)
        # Features may have been extracted elsewhere, where the weights were.
        except WeightsMissing as error:
            _check_whole(recipe, stream, manifest, error)
        else:
            missing.append((stream, stream is recipe.streams.first))
    if missing:
        workers = recipe.data.workers or cores()
        extract_streams(manifest, missing, recipe.data.features, workers=workers, progress=progress)
    opened = [FeatureStore.open(recipe.data.features / stream.store) for stream in streams]
    return Prepared(recipe, manifest, labels, opened[0], opened[1] if len(opened) > 1 else None)


def _streams(recipe: Recipe) -> list[EncoderConfig]:
    return [recipe.streams.first, *([recipe.streams.second] if recipe.streams.second else [])]


def extract_streams(
    manifest: Manifest,
    streams: Sequence[tuple[EncoderConfig, bool]],
    folder: Path,
    *,
    workers: int,
    progress: Progress = silent,
) -> Extraction:
    """Fill the stores of several encoders; each comes with whether it is also played backward."""
    encoders: list[Encoder] = [
        build_encoder(encoder_config.encoder, **encoder_config.settings) for encoder_config, _ in streams
    ]
    second = [encoder.name for encoder, (_, backward) in zip(encoders, streams, strict=True) if not backward]
    return extract(manifest, encoders, folder, second=second, workers=workers, progress=progress)


def usable_clips(manifest: Manifest) -> list[Clip]:
    """The clips without a problem.

    Raises:
        RecipeError: there is none.
    """
    usable = [clip for clip in manifest.clips() if not clip.problem]
    if not usable:
        raise RecipeError(f"none of the {len(manifest)} clips can be used\n\nhint: look at the column `problem`")
    return usable


def default_streams(manifest: Manifest) -> list[tuple[EncoderConfig, bool]]:
    """The embedded encoders for what the clips are: video and sound, or sound alone."""
    usable = usable_clips(manifest)
    for clip in usable:
        try:
            names = ("hog", "filterbank") if probe(clip.path).has_video else ("spectral", "prosody")
        except MediaError:
            continue  # extraction gives its reason
        # The first file that opens decides: a corpus is either filmed or not.
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


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _labelled(manifest: Manifest, labels: LabelSpace, continuous: Sequence[str] = ()) -> Manifest:
    """The clips whose emotion the label space has, and those without one that have a continuous label.

    The log counts the others, for a misspelt emotion is among them.
    """
    table = manifest.table
    rated = (table[[name for name in continuous if name in table]].map(str.strip) != "").any(axis=1)
    outside = table["emotion"][~table["emotion"].isin(labels.emotions) & ~((table["emotion"] == "") & rated)]
    if len(outside):
        counts = ", ".join(
            f"{emotion or 'no label'} {count}" for emotion, count in outside.value_counts(sort=False).items()
        )
        text = "%d of %d clips take no part, label space `%s` lacks their emotion: %s"
        logger.warning(text, len(outside), len(manifest), labels.name, counts)
    return manifest.select(list(manifest.table["clip_id"].drop(outside.index)))


def _imported(recipe: Recipe, stream: EncoderConfig) -> bool:
    description = recipe.data.features / stream.store / "encoder.json"
    hint = "restore it, or extract into an empty folder"
    return description.is_file() and read_json(description, FeatureError, hint).get("version") == "imported"


def _check_whole(recipe: Recipe, stream: EncoderConfig, manifest: Manifest, missing: WeightsMissing) -> None:
    """Raise `missing` unless the store holds features of every clip: without weights none can be computed."""
    try:
        store = FeatureStore.open(recipe.data.features / stream.store)
    except FeatureError:
        raise missing from None
    description = store.description
    imported = {"source": description["source"], **description["preprocessing"]}  # type: ignore[dict-item]
    for name, value in stream.settings.items():
        if name in imported and imported[name] != value:
            raise FingerprintMismatch(
                f"`{store.folder}` was made with {name} `{imported[name]}`, the recipe says `{value}`\n\n"
                "hint: extract again into another folder, or change the recipe"
            )
    needed = directions_of(recipe) if stream is recipe.streams.first else ("forward",)
    usable = [clip for clip in manifest.clips() if not clip.problem]
    lacking = [
        clip for clip in usable if any(key_of(clip, description, direction) not in store for direction in needed)
    ]
    if lacking:
        raise WeightsMissing(
            f"{len(lacking)} of {len(usable)} clips have no features of `{stream.encoder}` in "
            f"`{recipe.data.features}`, the first is `{lacking[0].clip_id}`, and its weights are not here\n\n"
            f"hint: `cimeu extract {recipe.data.table} -o {recipe.data.features} --encoder {stream.encoder} "
            "--weights FILE` computes what is missing"
        )
