"""Adapt a run to a new group with a few labels, and say what they are worth.

The adapted run is a run folder like any other; its card and `adaptation.json` say where it comes from. Before and after
are measured on clips of speakers who gave no label, along with fewer labels, so that one sees how many are needed.

Axes: N clips, K emotions.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cimeu.atomic import STATE, check_writable, write_whole
from cimeu.corpora.folds import SPEAKERS_UNKNOWN, Fold, check_contents
from cimeu.corpora.manifest import read_manifest
from cimeu.corpora.training_record import TRAINED_ON, check_unseen, training_record
from cimeu.errors import RecipeError
from cimeu.evaluation.ood import FILE as FAMILIARITY
from cimeu.evaluation.predict import EnsembleSettings, fused_probabilities, score_clips
from cimeu.evaluation.predictions import Predictions
from cimeu.evaluation.uncertainty import Estimates, compared
from cimeu.experiments.artefacts import score_run, write_json
from cimeu.experiments.prepare import Prepared, prepare
from cimeu.experiments.recipe import load_recipe, to_yaml
from cimeu.experiments.run import environment
from cimeu.experiments.run_folder import read_run
from cimeu.model.checkpoint import save_checkpoint
from cimeu.model.network import CiMEU
from cimeu.plots.label_curve import label_curve
from cimeu.plots.pages import tables_page
from cimeu.progress import Progress, silent
from cimeu.pyramid import Direction
from cimeu.tables import Interval, Table, interval_of, span, write_table
from cimeu.timeline.segments import USE_LIMITS
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
AS_IT_CAME = "as it came"


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What of a run is fitted to a new group, and by how many labels."""

    shots: int = 16
    """Labels of each emotion."""
    part: Part = "heads"
    """What is fitted."""
    prior: bool = False
    """Whether the adapted run also corrects the shares of the emotions (the table shows it either way)."""
    seed: int = 0
    """Which speakers and clips give labels."""
    fit: FineTuning = field(default_factory=FineTuning)
    """How the part is fitted."""


@dataclass(frozen=True)
class Adapted:
    """One way of answering the test clips of the new group, 0 to 1, with its gain over the run as it came."""

    name: str
    labels: int
    """Of each emotion."""
    uar: Interval
    war: Interval
    gain: Interval | None
    prior_corrected: bool


def adapt_run(
    run: Path,
    target: Path,
    output: Path,
    adaptation: Adaptation | None = None,
    *,
    settings: Sequence[str] = (),
    progress: Progress = silent,
) -> list[Adapted]:
    """Fit a run to a new group and leave the adapted run in `output`.

    Args:
        run: folder of a finished run of CiMEU.
        target: manifest of the new group.
        output: folder of the adapted run; a new one.
        adaptation: what is fitted.
        settings: key=value that replace settings of the run's recipe, such as data.features.
        progress: counts the fits.

    Returns:
        The run as it came, with fewer labels, with all, and each end with its prior corrected.

    Raises:
        RecipeError: the run is not finished, one of a rival, or does not say what it was trained on; the folder is
            taken; one speaker only.
        FoldLeak: the run was trained on clips of the target, or clips that may give labels are tested.
        ManifestError: the target contradicts the labels of the run.
    """
    adaptation = adaptation or Adaptation()
    _check_new(output)
    ensemble = EnsembleSettings.load(run)
    check_unseen(read_manifest(target), training_record(run), run.name)
    prepared = _prepared(run, target, ensemble, settings, progress)
    divided = divide_target(prepared.manifest, adaptation.shots, seed=adaptation.seed)
    if not divided.pool:
        raise RecipeError("no clip of the new group can give a label\n\nhint: look at the column `problem`")
    group = _NewGroup(prepared, divided, ensemble, _training_shares(run))
    check_contents(_fold(run, group, adaptation, divided.pool), prepared.manifest)
    came = _models(run, ensemble)
    answers = {AS_IT_CAME: group.answers(came)}
    labels = {AS_IT_CAME: 0}
    counts = [*(2**power for power in range(12) if 2**power < adaptation.shots), adaptation.shots]
    for done, count in enumerate(counts):
        progress("adapting", done, len(counts))
        models = _models(run, ensemble)
        learned = group.fit(models, count, adaptation)
        name = f"{adaptation.part}, {count} labels"
        answers[name], labels[name] = group.answers(models), count
    progress("adapting", len(counts), len(counts))
    for before, fitted in ((AS_IT_CAME, came), (name, models)):
        corrected = f"{before}, prior corrected"
        answers[corrected], labels[corrected] = group.answers(group.with_prior(fitted)), labels[before]
    rows = _figures(answers, labels)
    _write(run, output, group, adaptation, learned, rows)
    _save(group.with_prior(models) if adaptation.prior else models, group.prepared, output)
    fold = _fold(run, group, adaptation, learned)
    write_json(output / "fold.json", {**asdict(fold), "protocol": "adaptation", "group": prepared.recipe.folds.group})
    score_run(prepared, fold, output, settings=ensemble)
    return rows


def _check_new(output: Path) -> None:
    if output.exists() and any(output.iterdir()):
        raise RecipeError(f"`{output}` is not empty\n\nhint: choose a new folder for the adapted run")
    check_writable(output)


def adaptation_table(rows: Sequence[Adapted], title: str) -> Table:
    """Before, after, and the labels in between."""
    lines = []
    for row in rows:
        gain = "" if row.gain is None else span(row.gain, signed=True)
        lines.append((row.name, str(row.labels), span(row.uar), span(row.war), gain))
    enough = [row.labels for row in rows if row.labels and row.gain and row.gain.low is not None and row.gain.low > 0]
    note = (
        f"The gain is above zero from {min(enough)} labels of each emotion on."
        if enough
        else "No number of labels gives a gain whose interval lies above zero."
    )
    notes = (
        "Percent, on clips of speakers who gave no label; 95 % intervals over speakers; gains are paired. Nothing was "
        "chosen on these clips.",
        note,
    )
    columns = ("model", "labels of each emotion", "UAR [95 %]", "WAR [95 %]", "gain in UAR [95 %]")
    return Table(title, columns, tuple(lines), notes)


@dataclass(frozen=True)
class _NewGroup:
    """Clips of a new group, and how networks are fitted to them and answer them."""

    prepared: Prepared
    divided: TargetParts
    ensemble: EnsembleSettings
    training_shares: Float[np.ndarray, " K"]
    """Shares of the emotions among the clips that the run was trained on."""

    def fit(self, models: Models, shots: int, adaptation: Adaptation) -> tuple[str, ...]:
        """Fit networks in place; returns the clips whose labels were used."""
        pool = self.prepared.manifest.select(self.divided.pool).table
        learned = labelled(pool, shots, seed=adaptation.seed)
        for direction, model in models.items():
            fine_tune(model, self.prepared.dataset(learned, direction), adaptation.part, adaptation.fit)
        return learned

    def answers(self, models: Models) -> Predictions:
        """What networks say about the test clips."""
        table = self.prepared.manifest.select(self.divided.test).table.copy()
        emotions = self.prepared.labels.emotions
        table[[f"fused.{emotion}" for emotion in emotions]] = self._probabilities(models, self.divided.test)
        return Predictions.of([table], emotions)

    def with_prior(self, models: Models) -> Models:
        """Copies that expect the shares which their answers to the unlabelled pool suggest."""
        shares = estimated_prior(self._probabilities(models, self.divided.pool), self.training_shares)
        copies = {direction: copy.deepcopy(model) for direction, model in models.items()}
        for model in copies.values():
            correct_prior(model, shares, self.training_shares)
        return copies

    def _probabilities(self, models: Models, clip_ids: Sequence[str]) -> Float[np.ndarray, "N K"]:
        scores = {
            direction: score_clips(model, self.prepared.dataset(clip_ids, direction))
            for direction, model in models.items()
        }
        return fused_probabilities(scores.get("forward"), scores.get("backward"), self.ensemble)["fused"]


def _prepared(
    run: Path, target: Path, ensemble: EnsembleSettings, settings: Sequence[str], progress: Progress
) -> Prepared:
    recipe = load_recipe(run / "recipe.yaml", [*settings, "data.root=null", f"data.manifest={target.absolute()}"])
    if not recipe.is_network:
        raise RecipeError(
            f"`{run}` is a run of `{recipe.method}`, which has no parts to fit\n\n"
            "hint: adapt a run of CiMEU, or train again with clips of the new group"
        )
    recipe = replace(
        recipe,
        name=f"{recipe.name}-adapted",
        # There are no validation clips of the new group: nothing may be chosen.
        # An adapted run keeps no rule of style.
        training=replace(recipe.training, selection="last", supports=False),
        evaluation=replace(recipe.evaluation, mu=ensemble.mu, levels=ensemble.levels, probes=False),
    )
    return prepare(recipe, emotions_only=True, progress=progress)


def _models(run: Path, ensemble: EnsembleSettings) -> dict[Direction, CiMEU]:
    return {direction: CiMEU.from_pretrained(run / direction) for direction in ensemble.directions}


def _training_shares(run: Path) -> Float[np.ndarray, " K"]:
    """Shares of the emotions among the validation clips of a run, which are those of its training clips."""
    read = read_run(run)
    emotions = read.predictions.loc[read.predictions["part"] == "validation", "emotion"]
    # Half a clip each, so that an emotion without a validation clip has no share of zero to divide by.
    counts = np.array([(emotions == name).sum() for name in read.emotions], float) + 0.5
    return counts / counts.sum()


def _figures(answers: Mapping[str, Predictions], labels: Mapping[str, int]) -> list[Adapted]:
    rows: list[Adapted] = []
    first: Estimates | None = None
    for name, predictions in answers.items():
        figures = predictions.estimates()
        uar, war = figures["uar"], figures["war"]
        gain = None if first is None else interval_of(compared(first, uar))
        # The first line is the run as it came; every gain is against it.
        first = first or uar
        corrected = name.endswith("prior corrected")
        rows.append(Adapted(name, labels[name], interval_of(uar.mean), interval_of(war.mean), gain, corrected))
    return rows


def _fold(run: Path, group: _NewGroup, adaptation: Adaptation, learned: Sequence[str]) -> Fold:
    speakers_known = group.divided.speakers_known
    unknown = "" if speakers_known else f"; {SPEAKERS_UNKNOWN}"
    note = f"adapted from {run.name} with {adaptation.shots} labels of each emotion ({adaptation.part}){unknown}"
    name = f"{group.prepared.manifest.root.name}-{adaptation.shots}"
    return Fold(name, tuple(learned), (), group.divided.test, speakers_known=speakers_known, note=note)


def _save(models: Models, prepared: Prepared, output: Path) -> None:
    corpora = {name for name in prepared.manifest.table["corpus"] if name}
    for direction, model in models.items():
        specifications = model.specifications
        model.specifications = replace(
            specifications,
            corpora=sorted({*specifications.corpora, *corpora}),
            synthetic=specifications.synthetic or prepared.synthetic,
        )
        save_checkpoint(model, output / direction)


def _write(
    run: Path,
    output: Path,
    group: _NewGroup,
    adaptation: Adaptation,
    learned: Sequence[str],
    rows: Sequence[Adapted],
) -> None:
    """Where the adapted run comes from, and the figures."""
    prepared = group.prepared
    provenance = {
        "run": str(run.absolute()),
        "target": str(prepared.recipe.data.table),
        "part": adaptation.part,
        "shots": adaptation.shots,
        "prior_corrected": adaptation.prior,
        "seed": adaptation.seed,
        "labelled": list(learned),
        "speakers_known": group.divided.speakers_known,
        "figures": [asdict(row) for row in rows],
    }
    write_whole(output / "recipe.yaml", to_yaml(prepared.recipe), "run")
    write_json(output / "environment.json", environment(prepared, adaptation.seed))
    write_json(output / "adaptation.json", provenance)
    write_whole(output / TRAINED_ON, (run / TRAINED_ON).read_bytes(), "run")  # scoring adds the labelled clips
    if adaptation.part == "heads" and (run / FAMILIARITY).is_file():  # E answers as before
        write_whole(output / FAMILIARITY, (run / FAMILIARITY).read_bytes(), STATE)
    curve = label_curve({adaptation.part: [(row.labels, row.uar) for row in rows if not row.prior_corrected]})
    table = adaptation_table(rows, f"{run.name} on {prepared.recipe.data.table.name}")
    page = tables_page(table.heading, [table], kind="adaptation", footer=USE_LIMITS, drawings=[curve])
    write_table(table, output, "adaptation", page=page)
