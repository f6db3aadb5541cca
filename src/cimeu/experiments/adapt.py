"""Adapt a run to a new group with a few labels, and say what they are worth.

The adapted run is a run folder like any other; its card and `adaptation.json` say where it comes from. Before and after
are measured on clips of speakers who gave no label, along with fewer labels, so that one sees how many are needed.

Axes: N clips, K emotions.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from cimeu.atomic import STATE, write_whole
from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.folds import SPEAKERS_UNKNOWN, Fold
from cimeu.errors import RecipeError
from cimeu.evaluation.metrics import called
from cimeu.evaluation.ood import FILE as FAMILIARITY
from cimeu.evaluation.predict import EnsembleSettings, fused_probabilities, score_clips
from cimeu.evaluation.uncertainty import Estimates, bootstrap, compared, speaker_names
from cimeu.experiments.recipe import load_recipe, to_yaml
from cimeu.experiments.run import Prepared, environment, prepare, score_run
from cimeu.experiments.run_folder import read_run
from cimeu.model.checkpoint import save_checkpoint
from cimeu.model.network import CiMEU
from cimeu.plots.label_curve import label_curve
from cimeu.progress import Progress, silent
from cimeu.pyramid import Direction
from cimeu.tables import Interval, Table, interval_of, span, write_table
from cimeu.training.finetune import (
    FineTuning,
    Part,
    TargetParts,
    correct_prior,
    divide_target,
    estimated_prior,
    fine_tune,
    labelled,
)

Models = Mapping[Direction, CiMEU]


@dataclass(frozen=True)
class Adapted:
    """One way of answering the test clips of the new group, 0 to 1, with its gain over the run as it came."""

    name: str
    labels: int
    uar: Interval
    war: Interval
    gain: Interval | None
    prior_corrected: bool


def adapt_run(
    run: Path,
    target: Path,
    output: Path,
    *,
    shots: int = 16,
    part: Part = "heads",
    prior: bool = False,
    seed: int = 0,
    settings: Sequence[str] = (),
    config: FineTuning | None = None,
    progress: Progress = silent,
) -> list[Adapted]:
    """Fit a run to a new group and leave the adapted run in `output`.

    Args:
        run: folder of a finished run.
        target: manifest of the new group.
        output: folder of the adapted run; a new one.
        shots: labels of each emotion.
        part: what is fitted.
        prior: whether the adapted run also corrects the shares of the emotions (the table shows it either way).
        seed: which speakers and clips give labels.
        settings: key=value that replace settings of the run's recipe, such as data.features.
        config: of the fit.
        progress: counts the fits.

    Returns:
        The run as it came, with fewer labels, with all, and each end with its prior corrected.

    Raises:
        RecipeError: the run is not finished, the folder is taken, or one speaker only.
        ManifestError: the target contradicts the labels of the run.
    """
    if output.exists() and any(output.iterdir()):
        raise RecipeError(f"`{output}` is not empty\n\nhint: choose a new folder for the adapted run")
    read = read_run(run)
    ensemble = EnsembleSettings.load(run)
    prepared = _prepared(run, target, ensemble, settings, progress)
    divided = divide_target(prepared.manifest, shots, seed=seed)
    pool = prepared.manifest.select(divided.pool).table
    if not len(pool):
        raise RecipeError("no clip of the new group can give a label\n\nhint: look at the column `problem`")
    checked = read.predictions[read.predictions["part"] == "validation"]  # its shares are those of training
    shares = np.array([(checked["emotion"] == name).sum() for name in read.emotions], float)
    training = (shares + 0.5) / (shares + 0.5).sum()

    judged = _Judged(prepared, divided, ensemble)
    rows = {"as it came": _Answers(0, judged.calls(_models(run, ensemble)))}
    counts = [*(2**power for power in range(12) if 2**power < shots), shots]
    for done, count in enumerate(counts):
        progress("adapting", done, len(counts))
        models = _models(run, ensemble)
        learned = labelled(pool, count, seed=seed)
        for direction, model in models.items():
            fine_tune(model, prepared.dataset(learned, direction), part, config)
        rows[f"{part}, {count} labels"] = _Answers(count, judged.calls(models))
    progress("adapting", len(counts), len(counts))
    came = _models(run, ensemble)
    for name, each in (("as it came", came), (f"{part}, {shots} labels", models)):
        shifted = {direction: copy.deepcopy(model) for direction, model in each.items()}
        _correct(shifted, judged, training)
        rows[f"{name}, prior corrected"] = _Answers(rows[name].labels, judged.calls(shifted), prior_corrected=True)
    if prior:
        _correct(models, judged, training)
    found = _figures(rows, judged)
    _write(
        run, output, prepared, divided, learned, models, ensemble, found, part=part, prior=prior, shots=shots, seed=seed
    )
    return found


def adaptation_table(found: Sequence[Adapted], title: str) -> Table:
    """Before, after, and the labels in between."""
    lines = tuple(
        (
            each.name,
            str(each.labels),
            span(each.uar),
            span(each.war),
            "" if each.gain is None else span(each.gain, signed=True),
        )
        for each in found
    )
    enough = [each for each in found if each.gain and each.gain.low is not None and each.gain.low > 0 and each.labels]
    note = (
        f"The gain is above zero from {min(each.labels for each in enough)} labels of each emotion on."
        if enough
        else "No number of labels gives a gain whose interval lies above zero."
    )
    notes = (
        "Percent, on clips of speakers who gave no label; 95 % intervals over speakers; gains are paired. Nothing was "
        "chosen on these clips.",
        note,
    )
    return Table(
        title, ("model", "labels of each emotion", "UAR [95 %]", "WAR [95 %]", "gain in UAR [95 %]"), lines, notes
    )


@dataclass(frozen=True)
class _Answers:
    """What one way said of the test clips, and how many labels of each emotion it saw."""

    labels: int
    calls: Int[np.ndarray, " N"]
    prior_corrected: bool = False


@dataclass(frozen=True)
class _Judged:
    """The test clips of the new group, and how an ensemble answers them."""

    prepared: Prepared
    divided: TargetParts
    ensemble: EnsembleSettings

    def probabilities(self, models: Models, clip_ids: Sequence[str]) -> Float[np.ndarray, "N K"]:
        scores = {
            direction: score_clips(model, self.prepared.dataset(clip_ids, direction))
            for direction, model in models.items()
        }
        return fused_probabilities(scores.get("forward"), scores.get("backward"), self.ensemble)["fused"]

    def calls(self, models: Models) -> Int[np.ndarray, " N"]:
        return called(self.probabilities(models, self.divided.test))

    def dataset(self) -> ClipDataset:
        return self.prepared.dataset(self.divided.test, self.ensemble.directions[0])


def _prepared(
    run: Path, target: Path, ensemble: EnsembleSettings, settings: Sequence[str], progress: Progress
) -> Prepared:
    recipe = load_recipe(run / "recipe.yaml", [*settings, "data.root=null", f"data.manifest={target.absolute()}"])
    recipe = replace(
        recipe,
        name=f"{recipe.name}-adapted",
        training=replace(recipe.training, selection="last"),
        evaluation=replace(recipe.evaluation, mu=ensemble.mu, levels=ensemble.levels, probes=False),
    )
    return prepare(recipe, progress=progress)


def _models(run: Path, ensemble: EnsembleSettings) -> dict[Direction, CiMEU]:
    return {direction: CiMEU.from_pretrained(run / direction) for direction in ensemble.directions}


def _correct(models: Models, judged: _Judged, training: Float[np.ndarray, " K"]) -> None:
    """Correct to the shares that the answers to the pool suggest; its labels are not looked at."""
    shares = estimated_prior(judged.probabilities(models, judged.divided.pool), training)
    for model in models.values():
        correct_prior(model, shares, training)


def _figures(rows: Mapping[str, _Answers], judged: _Judged) -> list[Adapted]:
    clips = judged.dataset()
    speakers = speaker_names(clips.groups("corpus"), clips.groups("speaker"))
    everyone = ["everyone"] * len(clips)
    found: list[Adapted] = []
    first: Estimates | None = None
    for name, said in rows.items():
        figures = bootstrap(clips.emotions, said.calls[None], speakers, everyone, n_classes=len(clips.labels))
        uar, war = figures["uar"], figures["war"]
        gain = None if first is None else compared(first, uar)
        first = first or uar
        found.append(
            Adapted(
                name,
                said.labels,
                interval_of(uar.mean),
                interval_of(war.mean),
                None if gain is None else interval_of(gain),
                said.prior_corrected,
            )
        )
    return found


def _write(
    run: Path,
    output: Path,
    prepared: Prepared,
    divided: TargetParts,
    learned: Sequence[str],
    models: Models,
    ensemble: EnsembleSettings,
    found: Sequence[Adapted],
    *,
    part: Part,
    prior: bool,
    shots: int,
    seed: int,
) -> None:
    """The adapted run, its predictions last."""
    corpora = {name for name in prepared.manifest.table["corpus"] if name}
    for direction, model in models.items():
        known = sorted({*model.specifications.corpora, *corpora})
        model.specifications = replace(
            model.specifications, corpora=known, synthetic=model.specifications.synthetic or prepared.synthetic
        )
        save_checkpoint(model, output / direction)
    unknown = "" if divided.speakers_known else f"; {SPEAKERS_UNKNOWN}"
    note = f"adapted from {run.name} with {shots} labels of each emotion ({part}){unknown}"
    fold = Fold(
        f"{prepared.manifest.root.name}-{shots}",
        tuple(learned),
        (),
        divided.test,
        speakers_known=divided.speakers_known,
        note=note,
    )
    provenance = {
        "run": str(run.absolute()),
        "target": str(prepared.recipe.data.table),
        "part": part,
        "shots": shots,
        "prior_corrected": prior,
        "seed": seed,
        "labelled": list(learned),
        "speakers_known": divided.speakers_known,
        "figures": [asdict(each) for each in found],
    }
    texts = {
        "recipe.yaml": to_yaml(prepared.recipe),
        "environment.json": _json(environment(prepared, seed)),
        "fold.json": _json({**asdict(fold), "protocol": "adaptation", "group": prepared.recipe.folds.group}),
        "adaptation.json": _json(provenance),
    }
    for name, text in texts.items():
        write_whole(output / name, text, "run")
    if part == "heads" and (run / FAMILIARITY).is_file():  # E answers as before
        write_whole(output / FAMILIARITY, (run / FAMILIARITY).read_bytes(), STATE)
    table = adaptation_table(found, f"{run.name} on {prepared.recipe.data.table.name}")
    curve = label_curve({part: [(each.labels, each.uar) for each in found if not each.prior_corrected]})
    write_table(table, output, "adaptation", drawing=curve)
    score_run(prepared, fold, output, settings=ensemble)


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
