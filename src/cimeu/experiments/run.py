"""Run a recipe: features where they are missing, then one ensemble for each fold and seed.

A run folder is an ensemble and everything one needs to read it again without training:

    recipe.yaml environment.json fold.json       what was asked for, where it ran, who was held out
    forward/ backward/                           checkpoints with their journals
    forward/style/ backward/style/               how a style is read, where trained with `training.supports`
    ensemble.json                                mu, levels, temperature, thresholds, and how they were chosen
    predictions.csv                              every validation and test clip with its probabilities
    familiarity.safetensors                      views of the training clips, for out-of-distribution scores
    training_clips.npz                           primitives of the training clips, to name those near a segment
    trained_on.csv                               training and validation clips with their content, to refuse later tests
    projections.npz probes.json MODEL_CARD.md    primitives, what can be read from them, what the model is for
    digests.json                                 of every file, so that none is read that was changed or cut

`predictions.csv` is written last: a folder that has it is finished, one that lacks it resumes.
"""

import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cimeu.atomic import adopt, check_free, check_writable, write_whole
from cimeu.baselines.train import Rivalry, check_rival, train_rival
from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.folds import Fold, check_contents, make_folds
from cimeu.errors import OutputError, RecipeError
from cimeu.evaluation.behind_rule import rule_files
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.experiments.artefacts import PREDICTIONS, score_run, write_json
from cimeu.experiments.prepare import Prepared, clips_of, cores, folds_named, prepare
from cimeu.experiments.recipe import Recipe, load_recipe, to_tree, to_yaml
from cimeu.model.checkpoint import CONFIG_FILE, WEIGHTS_FILE, save_checkpoint, versions
from cimeu.model.config import StreamConfig
from cimeu.model.support_rule import FOLDER as STYLE
from cimeu.progress import Progress, silent
from cimeu.pyramid import DIRECTIONS, Direction
from cimeu.reading import blaming, read_json
from cimeu.sealed import check_seal
from cimeu.training.distributed import first_only, is_first, one_after_the_other
from cimeu.training.loop import train


def run_recipe(recipe: Recipe, *, progress: Progress = silent) -> list[Path]:
    """Everything a recipe asks for; returns the run folders, one for each fold and seed.

    Raises:
        RecipeError: a fold of that name does not exist, or a setting contradicts the data.
        ManifestError: the clips contradict the recipe (labels, folds).
    """
    if not recipe.is_network:
        check_rival(recipe.method)
    training = recipe.training
    progress = progress if is_first(training) else silent
    check_writable(recipe.output)
    folds = folds_named(recipe.fold, make_folds(clips_of(recipe)[0], recipe.folds))  # refused before the extraction
    prepared = one_after_the_other(training, lambda: prepare(recipe, progress=progress))
    runs = [(fold, seed) for fold in folds for seed in recipe.seeds]
    paths = []
    for done, (fold, seed) in enumerate(runs):
        progress("runs", done, len(runs))
        folder = recipe.output / recipe.run_name(fold.name, seed)
        paths.append(run_fold(prepared, fold, seed, folder, progress=progress))
    progress("runs", len(runs), len(runs))
    return paths


def run_fold(
    prepared: Prepared, fold: Fold, seed: int, folder: Path, *, describe: bool = True, progress: Progress = silent
) -> Path:
    """Train, choose, score and describe one model; a finished folder is left as it is.

    Without `describe` it holds what its figures need, not what explanations, cards and probes are made of.
    """
    recipe = replace(prepared.recipe, training=replace(prepared.recipe.training, seed=seed))
    prepared = replace(prepared, recipe=recipe)
    if first_only(recipe.training, lambda: _opened(prepared, fold, seed, folder)):
        return folder
    train_member = _train_network if recipe.is_network else _train_rival
    for direction in prepared.directions:
        train_member(prepared, fold, direction, folder / direction, progress)
    first_only(recipe.training, lambda: _closed(prepared, fold, folder, describe))
    return folder


def _train_network(prepared: Prepared, fold: Fold, direction: Direction, folder: Path, progress: Progress) -> None:
    learned, checked = _datasets(prepared, fold, direction)
    first, *others = streams_of(prepared)
    second = others[0] if others else None
    network = prepared.recipe.network(prepared.labels.emotions, first, second, direction)
    if learned.style_names and "styles" not in prepared.recipe.model:
        network = replace(network, styles=max(2, len(learned.style_names)))
    training = prepared.training(direction)
    group = prepared.recipe.folds.group
    train(network, learned, checked, training, folder, group=group, synthetic=prepared.synthetic, progress=progress)


def _train_rival(prepared: Prepared, fold: Fold, direction: Direction, folder: Path, progress: Progress) -> None:
    recipe, (learned, checked) = prepared.recipe, _datasets(prepared, fold, direction)
    rivalry = Rivalry(method=recipe.method, group=recipe.folds.group, settings=recipe.method_settings)

    def trained() -> Path:
        streams = streams_of(prepared)
        return train_rival(
            rivalry, learned, checked, streams, recipe.training, folder, synthetic=prepared.synthetic, progress=progress
        )

    first_only(recipe.training, trained)


def _datasets(prepared: Prepared, fold: Fold, direction: Direction) -> tuple[ClipDataset, ClipDataset]:
    """Clips to learn from, and clips that choose: the test clips for selection `oracle`."""
    training = prepared.recipe.training
    chosen_on = fold.test if training.selection == "oracle" else fold.validation
    learned, checked = (prepared.dataset(part, direction) for part in (fold.train, chosen_on))
    if not training.supports:
        return learned, checked
    rule = prepared.style_rule(fold.train, direction)
    return rule.in_episodes(learned), rule.in_episodes(checked).episode(0)


def _opened(prepared: Prepared, fold: Fold, seed: int, folder: Path) -> bool:
    """Claim the folder and note what the run is; true where it is finished."""
    recipe = prepared.recipe
    _claim(folder, recipe)
    if (folder / PREDICTIONS).is_file() and set(prepared.directions) <= set(EnsembleSettings.load(folder).directions):
        return True
    write_json(folder / "environment.json", environment(prepared, seed))
    write_json(folder / "fold.json", {**asdict(fold), "protocol": recipe.folds.protocol, "group": recipe.folds.group})
    return False


def _closed(prepared: Prepared, fold: Fold, folder: Path, describe: bool) -> None:
    if prepared.recipe.training.supports:
        for direction in prepared.directions:
            rule = prepared.style_rule(fold.train, direction).kept(direction)
            save_checkpoint(rule, folder / direction / STYLE)
    trained = [direction for direction in DIRECTIONS if (folder / direction / "finished.json").is_file()]
    if set(trained) > set(prepared.directions):  # forward yesterday and backward today make an ensemble
        prepared = replace(prepared, recipe=replace(prepared.recipe, direction="both"))
        write_whole(folder / "recipe.yaml", to_yaml(prepared.recipe), "run")
    score_run(prepared, fold, folder, describe=describe)


def evaluate_run(folder: Path, *, progress: Progress = silent) -> Path:
    """Score the checkpoints of a finished run again on its own clips and write the numbers anew.

    Raises:
        RecipeError: not a run folder.
        CheckpointError: a network is damaged, or was changed since it was trained.
        FoldLeak: a test clip holds the recording of a training clip.
        OutputError: a card or table that a person corrected would be replaced.
    """
    if not (folder / "recipe.yaml").is_file() or not (folder / "fold.json").is_file():
        raise RecipeError(f"`{folder}` is not a run folder\n\nhint: name a folder that `cimeu train` printed")
    adopt_earlier(folder)
    check_free([folder / "MODEL_CARD.md", folder / PREDICTIONS], "run")
    # Scoring seals the folder again: weights that were changed must not get a fresh digest.
    networks = [f"{direction}/{name}" for direction in DIRECTIONS for name in (CONFIG_FILE, WEIGHTS_FILE)]
    check_seal(folder, [*networks, *rule_files(DIRECTIONS)])
    prepared = prepare(load_recipe(folder / "recipe.yaml"), progress=progress)
    hint = "copy the run folder again"
    stored = read_json(folder / "fold.json", RecipeError, hint)
    with blaming(folder / "fold.json", RecipeError, hint):
        parts = {part: tuple(stored[part]) for part in ("train", "validation", "test")}
        fold = Fold(stored["name"], **parts, speakers_known=stored["speakers_known"], note=stored["note"])
    if stored.get("protocol") != "official":
        check_contents(fold, prepared.manifest)
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


def streams_of(prepared: Prepared) -> tuple[StreamConfig, ...]:
    """What the clips hold, first stream first."""
    described = [store.description for store in (prepared.first, prepared.second) if store is not None]
    return tuple(StreamConfig(width=d["width"], kind=d["kind"], encoder=d["name"]) for d in described)  # type: ignore[arg-type]


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
    earlier, requested = to_tree(load_recipe(path)), to_tree(recipe)
    for tree in (earlier, requested):  # a stopped training refuses another number itself, a finished one has none
        del tree["training"]["devices"], tree["training"]["nodes"]
    ignored = ("fold", "seeds", "output", "direction")  # which runs are made together changes none of them
    for name in requested:
        if name not in ignored and earlier[name] != requested[name]:
            raise RecipeError(
                f"`{folder}` was made with other settings of `{name}`: {earlier[name]}, now {requested[name]}\n\n"
                "hint: set another `output` or `name`, or remove the folder"
            )
