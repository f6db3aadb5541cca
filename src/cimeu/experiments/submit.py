"""Answers for clips whose labels a corpus keeps to itself, in the file that its organisers read.

Several runs, such as one of each fold, answer together: the mean of their probabilities. Nothing is chosen on the clips
that are answered; thresholds of blends come from the test clips of the runs, on which none of them was trained.

Sources of the formats: the repository of BLEMORE (saliences in percent by file name), the baseline of MER (columns
`name` and `discrete`), the example files of ABAW (a row per frame), the consensus table of MSP-Podcast (its columns).
Axes: N clips without a label, K emotions.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from cimeu.atomic import check_free, write_whole
from cimeu.corpora.adapters.affwild2 import EMOTIONS as ABAW_EMOTIONS
from cimeu.corpora.adapters.blemore import EMOTIONS as BLEMORE_CODES
from cimeu.corpora.adapters.msppodcast import EMOTIONS as MSP_CODES
from cimeu.corpora.continuous import Scales
from cimeu.corpora.manifest import HIDDEN, UNLABELLED, Manifest, read_manifest
from cimeu.corpora.votes import shares_of
from cimeu.csv_files import frame_text
from cimeu.errors import ManifestError, RecipeError
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
ABAW_SCALE, MSP_SCALE = (-1.0, 1.0), (1.0, 7.0)
BATCH = 256


@dataclass(frozen=True)
class Answered:
    """What several runs say together about the clips without a label."""

    manifest: Manifest
    emotions: tuple[str, ...]
    probabilities: Float[np.ndarray, "N K"]
    unusable: int
    """Clips without any stream: they have the mean answer to all others, for every row has to be there."""
    scales: Scales = field(default_factory=dict)
    """Continuous labels that the runs give, such as valence."""
    continuous: Float[np.ndarray, "N V"] | None = None

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
    run_contents = [read_run(Path(run)) for run in runs]
    answered = answer_hidden(run_contents, progress=progress)
    names = pd.Series(answered.names)
    if names.duplicated().any() and form not in BY_FRAME:
        raise RecipeError(
            f"two clips without a label are called `{names[names.duplicated()].iloc[0]}`\n\n"
            "hint: organisers tell clips by their file names; keep one of each in the manifest"
        )
    write_whole(output, FORMS[form](answered, run_contents), KIND)
    return answered


def answer_hidden(runs: Sequence[Run], *, progress: Progress = silent) -> Answered:
    """What runs say together about the clips of their manifest whose labels are hidden.

    Raises:
        RecipeError: runs of other emotions or manifests, or no clip without a label.
    """
    recipes = [load_recipe(run.folder / "recipe.yaml") for run in runs]
    for recipe in recipes:
        if recipe.data.continuous != recipes[0].data.continuous:
            raise RecipeError(
                f"`{recipe.name}` learned the continuous labels {recipe.data.continuous}, `{recipes[0].name}` "
                f"{recipes[0].data.continuous}\n\nhint: submit runs of one recipe together"
            )
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
        rows.append(_answers(run, recipe, manifest, progress))
    progress("runs", len(runs), len(runs))
    probabilities, continuous = (np.mean(parts, axis=0) for parts in zip(*rows, strict=True))
    unusable = ~np.isfinite(probabilities).all(axis=1)
    if unusable.all():
        raise RecipeError(f"none of the {len(manifest)} clips can be used\n\nhint: look at the column `problem`")
    for values in (probabilities, continuous):
        values[unusable] = values[~unusable].mean(axis=0)
    scales = recipes[0].data.continuous if recipes[0].is_network else {}
    return Answered(manifest, runs[0].emotions, probabilities, int(unusable.sum()), scales, continuous)


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


def _answers(
    run: Run, recipe: Recipe, manifest: Manifest, progress: Progress
) -> tuple[Float[np.ndarray, "N K"], Float[np.ndarray, "N V"]]:
    """Probabilities and continuous labels of one run; NaN where a clip cannot be used."""
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
    continuous = np.full((len(clip_ids), len(classifier.specifications.continuous)), np.nan)
    for start in range(0, len(clips), BATCH):
        answers = classifier.answer(clips[start : start + BATCH])
        rows = usable[start : start + BATCH]
        probabilities[rows] = answers.probabilities
        if answers.continuous is not None:
            continuous[rows] = answers.continuous
    in_order = [list(classifier.specifications.emotions).index(emotion) for emotion in run.emotions]
    return probabilities[:, in_order], continuous


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
    thresholds = choose_thresholds(scores, true_saliences(runs[0], tests["clip_id"]), answered.emotions)
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


def true_saliences(run: Run, clip_ids: pd.Series) -> Float[np.ndarray, "M K"]:
    """The true saliences of clips, in percent, in the order of the emotions of the run.

    Raises:
        ManifestError: the manifest of the run is not there, or lacks a clip or the votes.
    """
    recipe = load_recipe(run.folder / "recipe.yaml")
    labels = label_space(recipe.data.labels)
    table = read_manifest(recipe.data.table, root=recipe.data.root).table
    missing = set(clip_ids) - set(table["clip_id"])
    if missing:
        raise ManifestError(
            f"`{recipe.data.table}` has no clip `{min(missing)}`, which `{run.name}` was tested on\n\n"
            "hint: prepare the corpus again as it was"
        )
    tested = table.set_index("clip_id", drop=False).loc[clip_ids]
    return 100.0 * shares_of(tested, labels)[:, [labels.index(emotion) for emotion in run.emotions]]


def _abaw_expr(answered: Answered, runs: Sequence[Run]) -> str:
    """The number of an emotion for every frame of every video."""
    unknown = sorted(set(answered.emotions) ^ set(ABAW_EMOTIONS))
    if unknown:
        raise RecipeError(
            f"the runs know {', '.join(answered.emotions)}, not the eight classes of ABAW ({unknown[0]})\n\n"
            "hint: train `affwild2/expr`"
        )
    names, scores = _by_frame(answered.manifest, answered.probabilities)
    numbers = np.array([ABAW_EMOTIONS.index(emotion) for emotion in answered.emotions])[scores.argmax(axis=1)]
    heading = ",".join(["image_location", *(name.capitalize() for name in ABAW_EMOTIONS[:-1]), "Other"])
    return "\n".join([heading, *(f"{name},{number}" for name, number in zip(names, numbers, strict=True))]) + "\n"


def _abaw_va(answered: Answered, runs: Sequence[Run]) -> str:
    """Valence and arousal of every frame of every video."""
    values = _continuous(answered, ("valence", "arousal"), ABAW_SCALE)
    names, by_frame = _by_frame(answered.manifest, values)
    columns = dict(zip(("valence", "arousal"), by_frame.round(6).T, strict=True))
    return frame_text(pd.DataFrame({"image_location": names} | columns))


def _msp(answered: Answered, runs: Sequence[Run]) -> str:
    """Letter of the emotion, and activation, valence and dominance where the runs give them."""
    codes = {emotion: code for code, emotion in MSP_CODES.items()}
    unknown = [emotion for emotion in answered.emotions if emotion not in codes]
    if unknown:
        raise RecipeError(f"`{unknown[0]}` is no class of MSP-Podcast\n\nhint: train `msppodcast/default`")
    files = [clip.path.name for clip in answered.manifest.clips()]
    table = pd.DataFrame({"FileName": files, "EmoClass": [codes[emotion] for emotion in _likeliest(answered)]})
    if answered.scales:
        values = _continuous(answered, ("arousal", "valence", "dominance"), MSP_SCALE)
        table[["EmoAct", "EmoVal", "EmoDom"]] = values.round(6)
    return frame_text(table)


def _continuous(answered: Answered, dimensions: Sequence[str], scale: tuple[float, float]) -> Float[np.ndarray, "N V"]:
    """These dimensions in this order. Raises RecipeError where the runs lack one, or have it on another scale."""
    for name in dimensions:
        if answered.continuous is None or tuple(answered.scales.get(name, ())) != scale:
            low, high = scale
            raise RecipeError(
                f"the runs give no `{name}` from {low:g} to {high:g}\n\n"
                f"hint: train with data.continuous={{{name}: [{low:g}, {high:g}], ...}}"
            )
    assert answered.continuous is not None
    return answered.continuous[:, [list(answered.scales).index(name) for name in dimensions]]


def _by_frame(manifest: Manifest, values: Float[np.ndarray, "N V"]) -> tuple[list[str], Float[np.ndarray, "F V"]]:
    """Every frame of every video in order, between the middles of stretches as a straight line.

    Raises:
        RecipeError: rows that are no stretches of frames, or a video with a gap or an overlap.
    """
    table = manifest.table.reset_index(drop=True)
    if not {"video", "first_frame", "last_frame"} <= set(table):
        raise RecipeError(
            "the manifest has no stretches of frames\n\nhint: make it with `cimeu prepare affwild2` (columns `video`, "
            "`first_frame`, `last_frame`)"
        )
    names: list[str] = []
    parts = []
    for video, rows in table.groupby("video", sort=True):
        first, last = (rows[name].astype(int).to_numpy() for name in ("first_frame", "last_frame"))
        order = np.argsort(first)
        first, last, own = first[order], last[order], values[rows.index.to_numpy()[order]]
        if first[0] != 1 or (first[1:] != last[:-1] + 1).any():
            raise RecipeError(
                f"the stretches of video `{video}` leave frames out or share some\n\nhint: prepare the corpus again"
            )
        frames = np.arange(1, last[-1] + 1)
        names += [f"{video}/{frame:05}.jpg" for frame in frames]
        parts.append(np.stack([np.interp(frames, (first + last) / 2, column) for column in own.T], axis=1))
    return names, np.concatenate(parts)


def _likeliest(answered: Answered) -> list[str]:
    return [answered.emotions[k] for k in answered.probabilities.argmax(axis=1).tolist()]


FORMS: dict[str, Callable[[Answered, Sequence[Run]], str]] = {
    "table": _table,
    "blemore": _blemore,
    "mer": _mer,
    "abaw-expr": _abaw_expr,
    "abaw-va": _abaw_va,
    "msp": _msp,
}
"""What organisers read, by name: a new form is a function and a line here."""
BY_FRAME = ("abaw-expr", "abaw-va")
"""Formats in which many rows are frames of one file."""
