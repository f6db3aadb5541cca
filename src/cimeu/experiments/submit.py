"""Answers for clips whose labels a corpus keeps to itself, in the file that its organisers read.

Several runs, such as one of each fold, answer together: the mean of their probabilities. Nothing is chosen on the clips
that are answered; thresholds of blends come from the test clips of the runs, on which none of them was trained.

Sources of the formats: the repository of BLEMORE (saliences in percent by file name), the baseline of MER (columns
`name` and `discrete`).
Axes: N clips without a label, K emotions.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from cimeu.atomic import check_free, write_whole
from cimeu.corpora.adapters.blemore import EMOTIONS as BLEMORE_CODES
from cimeu.corpora.manifest import HIDDEN, UNLABELLED, Manifest, read_manifest
from cimeu.corpora.votes import shares_of
from cimeu.csv_files import frame_text
from cimeu.errors import RecipeError
from cimeu.evaluation.blends import blends, choose_thresholds
from cimeu.experiments.prepare import directions_of, open_stores
from cimeu.experiments.recipe import Recipe, load_recipe
from cimeu.experiments.run_folder import Run, read_run
from cimeu.inference.model_folder import open_model_folder
from cimeu.labels import label_space
from cimeu.model.classifier import Clip
from cimeu.progress import Progress, silent

KIND = "submission"
MER_WORDS = {"anger": "angry", "happiness": "happy", "sadness": "sad", "worry": "worried"}
"""How MER names emotions that this project names otherwise."""
BATCH = 256


@dataclass(frozen=True)
class Answered:
    """What several runs say together about the clips without a label."""

    manifest: Manifest
    emotions: tuple[str, ...]
    probabilities: Float[np.ndarray, "N K"]
    unusable: int
    """Clips without any stream: they have the mean answer to all others, for every row has to be there."""

    @property
    def names(self) -> list[str]:
        """Names of the files, without suffix."""
        return [clip.path.stem for clip in self.manifest.clips()]


def submit(runs: Sequence[Path | str], form: str, output: Path | str, *, progress: Progress = silent) -> Answered:
    """Write what runs say about the clips of their manifest whose labels are hidden.

    Args:
        runs: folders that `cimeu train` wrote; of one manifest and label space.
        form: a key of `FORMS`.
        output: the file.
        progress: counts runs, and clips where features are missing.

    Raises:
        RecipeError: no such format, runs of other emotions or manifests, no clip without a label, a name twice.
        OutputError: the file is there and is not ours to replace.
    """
    if form not in FORMS:
        raise RecipeError(f"unknown format `{form}`\n\nhint: one of {', '.join(FORMS)}")
    output = Path(output)
    check_free([output], KIND)
    read = [read_run(Path(run)) for run in runs]
    answered = answer_hidden(read, progress=progress)
    names = pd.Series(answered.names)
    if names.duplicated().any():
        raise RecipeError(
            f"two clips without a label are called `{names[names.duplicated()].iloc[0]}`\n\n"
            "hint: organisers tell clips by their file names; keep one of each in the manifest"
        )
    write_whole(output, FORMS[form](answered, read), KIND)
    return answered


def answer_hidden(runs: Sequence[Run], *, progress: Progress = silent) -> Answered:
    """What runs say together about the clips of their manifest whose labels are hidden.

    Raises:
        RecipeError: runs of other emotions or manifests, or no clip without a label.
    """
    recipes = [load_recipe(run.folder / "recipe.yaml") for run in runs]
    for recipe in recipes:
        if (recipe.data.table, recipe.data.labels) != (recipes[0].data.table, recipes[0].data.labels):
            raise RecipeError(
                f"`{recipe.name}` reads `{recipe.data.table}` with labels `{recipe.data.labels}`, "
                f"`{recipes[0].name}` reads `{recipes[0].data.table}` with `{recipes[0].data.labels}`\n\n"
                "hint: submit runs of one recipe together"
            )
    manifest = _hidden(recipes[0])
    rows = []
    for number, (run, recipe) in enumerate(zip(runs, recipes, strict=True)):
        progress("runs", number, len(runs))
        rows.append(_probabilities(run, recipe, manifest, progress))
    progress("runs", len(runs), len(runs))
    probabilities = np.mean(rows, axis=0)
    unusable = ~np.isfinite(probabilities).all(axis=1)
    if unusable.all():
        raise RecipeError(f"none of the {len(manifest)} clips can be used\n\nhint: look at the column `problem`")
    probabilities[unusable] = probabilities[~unusable].mean(axis=0)
    return Answered(manifest, runs[0].emotions, probabilities, int(unusable.sum()))


def _hidden(recipe: Recipe) -> Manifest:
    manifest = read_manifest(recipe.data.table, root=recipe.data.root)
    reasons = manifest.table.get(UNLABELLED, pd.Series("", manifest.table.index))
    hidden = manifest.table.loc[reasons == HIDDEN, "clip_id"]
    if hidden.empty:
        raise RecipeError(
            f"`{recipe.data.table}` has no clip whose label is hidden\n\n"
            f"hint: rows to be answered have no emotion and `{HIDDEN}` in the column `{UNLABELLED}`"
        )
    return manifest.select(list(hidden))


def _probabilities(run: Run, recipe: Recipe, manifest: Manifest, progress: Progress) -> Float[np.ndarray, "N K"]:
    """Of one run; NaN where a clip cannot be used."""
    recipe = replace(recipe, data=replace(recipe.data, targets="classes"))  # there are no votes either
    prepared = open_stores(recipe, manifest, label_space(recipe.data.labels), progress=progress)
    clip_ids = list(manifest.table["clip_id"])
    streams = {direction: prepared.dataset(clip_ids, direction) for direction in directions_of(recipe)}
    any_direction = next(iter(streams.values()))
    usable = any_direction.usable
    clips = []
    for n in usable.tolist():
        features = {direction: rows.first_features[n] for direction, rows in streams.items()}
        first = {direction: steps for direction, steps in features.items() if steps is not None}
        clips.append(Clip(first, any_direction.second_features[n]))
    classifier = open_model_folder(run.folder).classifier
    probabilities = np.full((len(clip_ids), len(run.emotions)), np.nan)
    for start in range(0, len(clips), BATCH):
        answers = classifier.answer(clips[start : start + BATCH])
        probabilities[usable[start : start + BATCH]] = answers.probabilities
    in_order = [list(classifier.specifications.emotions).index(emotion) for emotion in run.emotions]
    return probabilities[:, in_order]


def _table(answered: Answered, runs: Sequence[Run]) -> str:
    """Every clip with the likeliest emotion and all probabilities."""
    columns = {"clip_id": answered.manifest.table["clip_id"].to_list(), "emotion": _likeliest(answered)}
    scores = dict(zip(answered.emotions, answered.probabilities.round(6).T, strict=True))
    return frame_text(pd.DataFrame(columns | {f"fused.{emotion}": values for emotion, values in scores.items()}))


def _mer(answered: Answered, runs: Sequence[Run]) -> str:
    words = [MER_WORDS.get(emotion, emotion) for emotion in _likeliest(answered)]
    return frame_text(pd.DataFrame({"name": answered.names, "discrete": words}))


def _blemore(answered: Answered, runs: Sequence[Run]) -> str:
    codes = {emotion: code for code, emotion in BLEMORE_CODES.items()}
    if set(answered.emotions) != set(codes):
        raise RecipeError(
            f"the runs know {', '.join(answered.emotions)}, not the emotions of BLEMORE\n\n"
            "hint: train `blemore/frozen`, or set `data.labels=blemore`"
        )
    tests = pd.concat([run.predictions[run.predictions["part"] == "test"] for run in runs])
    scores = tests[[f"fused.{emotion}" for emotion in answered.emotions]].to_numpy(float)
    thresholds = choose_thresholds(scores, _saliences(runs[0], tests["clip_id"]), answered.emotions)
    saliences = blends(answered.probabilities, answered.emotions, thresholds)
    rows = {
        name: [
            {"emotion": codes[answered.emotions[k]], "salience": float(row[k])}
            for k in np.argsort(-row, kind="stable")
            if row[k]
        ]
        for name, row in zip(answered.names, saliences, strict=True)
    }
    return json.dumps(rows, indent=1) + "\n"


def _saliences(run: Run, clip_ids: pd.Series) -> Float[np.ndarray, "M K"]:
    """The true saliences of clips, in percent, in the order of the emotions of the run."""
    recipe = load_recipe(run.folder / "recipe.yaml")
    labels = label_space(recipe.data.labels)
    table = read_manifest(recipe.data.table, root=recipe.data.root).table
    tested = table.set_index("clip_id", drop=False).loc[clip_ids]
    return 100.0 * shares_of(tested, labels)[:, [labels.index(emotion) for emotion in run.emotions]]


def _likeliest(answered: Answered) -> list[str]:
    return [answered.emotions[k] for k in answered.probabilities.argmax(axis=1).tolist()]


FORMS: dict[str, Callable[[Answered, Sequence[Run]], str]] = {"table": _table, "blemore": _blemore, "mer": _mer}
"""What organisers read, by name: a new form is a function and a line here."""
