"""What a finished run leaves beside its checkpoints: settings, predictions, representations, probes, a card.

Axes: N clips of a part, M clips of the fold, K emotions, C width of a representation.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32

from cimeu.atomic import STATE, whole, write_whole
from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.folds import Fold
from cimeu.corpora.training_record import record_training
from cimeu.csv_files import frame_text
from cimeu.evaluation.calibration import at_temperature, fit_temperature
from cimeu.evaluation.ensemble import answers_of
from cimeu.evaluation.ood import MOST_CLIPS, Familiarity, views_of
from cimeu.evaluation.predict import (
    EnsembleSettings,
    Scores,
    Selection,
    fused_continuous,
    fused_probabilities,
    project,
    score_clips,
)
from cimeu.evaluation.predictions import DESCRIBED, PREDICTED
from cimeu.evaluation.probes import RAW, ProbeClips, probe_table
from cimeu.evaluation.rivals import read_rival
from cimeu.evaluation.selection import abstention_threshold, choose
from cimeu.evaluation.uncertainty import speaker_names
from cimeu.experiments.model_card import model_card
from cimeu.experiments.prepare import Prepared
from cimeu.inference.neighbours import TrainingClips
from cimeu.model.network import CiMEU
from cimeu.model.rivals.rival import Rival
from cimeu.pyramid import DIRECTIONS
from cimeu.sealed import seal, unseal
from cimeu.training.faults import read_faults

PREDICTIONS = "predictions.csv"
Probabilities = dict[str, Float[np.ndarray, "_ _"]]
"""By `forward`, `backward`, `fused`, as far as there are any."""


@dataclass(frozen=True)
class Scored:
    """What a trained model says about the clips of a fold."""

    settings: EnsembleSettings
    probabilities: Mapping[str, Probabilities]
    """By part of the fold."""
    model: CiMEU | Rival
    """The network of the first direction."""
    clips: ClipDataset
    """Training, validation and test clips, one after the other."""
    emotion: Float32[np.ndarray, "M C"]
    """What emotion is read from, for these clips."""
    style: Float32[np.ndarray, "M C"] | None
    continuous: Mapping[str, Float32[np.ndarray, "_ V"] | None] = field(default_factory=dict)
    """Continuous labels by part, on the scales of the recipe."""


def score_run(
    prepared: Prepared,
    fold: Fold,
    folder: Path,
    *,
    settings: EnsembleSettings | None = None,
    describe: bool = True,
) -> None:
    """Score validation and test clips with a trained model, and write everything that a finished run holds.

    Settings of the ensemble are chosen on validation clips unless given. Without `describe`, only they and
    `predictions.csv` are written. That file is written last.
    """
    unseal(folder)
    score = score_network if prepared.recipe.is_network else score_rival
    scored = score(prepared, fold, folder, settings)
    # Before the predictions: `predictions.csv` says that a run is whole.
    scored.settings.save(folder)
    table = pd.concat(
        predictions_of(prepared, part, clip_ids, scored.probabilities[part], scored.continuous.get(part))
        for part, clip_ids in parts_of(fold).items()
    )
    if describe:
        _describe(prepared, fold, scored, table, folder)
    # Six digits: equal predictions of two machines that differ in the last bits have equal files.
    write_whole(folder / PREDICTIONS, frame_text(table, digits=6), "run")
    seal(folder)


def _describe(prepared: Prepared, fold: Fold, scored: Scored, table: pd.DataFrame, folder: Path) -> None:
    """Representations, probes and the card."""
    write_representations(fold, scored, folder)
    if prepared.recipe.is_network and prepared.recipe.evaluation.probes and fold.validation:
        write_json(folder / "probes.json", probe_primitives(prepared, fold, scored))
    record = record_training(prepared.manifest, fold.train, fold.validation, folder)
    trained_on = record[record["part"] == "train"]
    emotions = len(prepared.labels.emotions)
    found = {direction: read_faults(folder / direction, emotions=emotions) for direction in prepared.directions}
    measured = {direction: faults for direction, faults in found.items() if faults is not None}
    card = model_card(prepared.recipe, fold, scored.settings, table, scored.model, trained_on, measured)
    write_whole(folder / "MODEL_CARD.md", card, "run")


def parts_of(fold: Fold) -> dict[str, tuple[str, ...]]:
    """Clips that are scored, by part."""
    validation = {"validation": fold.validation} if fold.validation else {}
    return {**validation, "test": fold.test}


def score_network(prepared: Prepared, fold: Fold, folder: Path, settings: EnsembleSettings | None) -> Scored:
    """Scores of a CiMEU ensemble."""
    recipe, parts = prepared.recipe, parts_of(fold)
    models = {direction: CiMEU.from_pretrained(folder / direction) for direction in prepared.directions}
    scores: dict[str, dict[str, Scores | None]] = {part: dict.fromkeys(DIRECTIONS) for part in parts}
    for part, clip_ids in parts.items():
        for direction, model in models.items():
            scores[part][direction] = score_clips(model, prepared.dataset(clip_ids, direction))
    chosen_on = chosen_on_part(recipe.training.selection, fold)
    settings = settings or choose(
        scores[chosen_on]["forward"],
        scores[chosen_on]["backward"],
        prepared.dataset(parts[chosen_on], prepared.directions[0]).emotions,
        selection=rule_of(recipe.training.selection),
        mu=recipe.evaluation.mu,
        levels=recipe.evaluation.levels,
        # The share of the second stream is a learned gate otherwise.
        choose_a=recipe.model.get("late_fusion") == "validation",
        coverage=recipe.evaluation.coverage,
    )
    model = models[prepared.directions[0]]
    # Training clips too: neighbours and out-of-distribution scores are distances from them.
    clips = prepared.dataset((*fold.train, *fold.validation, *fold.test), model.config.direction)
    emotion, style = project(model, clips)
    return Scored(
        settings,
        {
            part: fused_probabilities(directions["forward"], directions["backward"], settings)
            for part, directions in scores.items()
        },
        model,
        clips,
        emotion,
        style,
        {
            part: fused_continuous(directions["forward"], directions["backward"], settings)
            for part, directions in scores.items()
        },
    )


def score_rival(prepared: Prepared, fold: Fold, folder: Path, settings: EnsembleSettings | None) -> Scored:
    """Scores of a rival of CiMEU: one model, of clips as they were recorded."""
    recipe, parts = prepared.recipe, parts_of(fold)
    classifier = read_rival(folder / "forward")
    clips = prepared.dataset((*fold.train, *fold.validation, *fold.test), "forward")
    answers = answers_of(classifier, clips)
    # Parts lie one after the other in `clips`, so that a model that is slow to build answers once.
    ends = {"validation": len(fold.train), "test": len(fold.train) + len(fold.validation)}
    probabilities = {part: answers.probabilities[ends[part] :][: len(ids)] for part, ids in parts.items()}
    if settings is None:
        chosen_on = chosen_on_part(recipe.training.selection, fold)
        truth = clips.emotions[ends[chosen_on] :][: len(parts[chosen_on])]
        settings = rival_settings(
            probabilities[chosen_on], truth, rule_of(recipe.training.selection), recipe.evaluation.coverage
        )
    temperature = settings.temperature
    fused = {
        part: {"fused": at_temperature(probabilities_of_part, temperature)}
        for part, probabilities_of_part in probabilities.items()
    }
    return Scored(settings, fused, classifier.network, clips, answers.representation, None)


def rival_settings(
    probabilities: Float[np.ndarray, "N K"], truth: np.ndarray, selection: Selection, coverage: float
) -> EnsembleSettings:
    """Temperature and threshold of a rival, from its validation clips; with `last` nothing is chosen."""
    # A temperature fitted on validation clips would be a choice made on them.
    if selection == "last":
        return EnsembleSettings(mu=1.0, selection="last", directions=("forward",))
    temperature = fit_temperature(probabilities, truth)
    return EnsembleSettings(
        mu=1.0,
        temperature=temperature,
        abstain_below=abstention_threshold(at_temperature(probabilities, temperature), coverage),
        coverage=coverage,
        selection=selection,
        directions=("forward",),
    )


def chosen_on_part(selection: str, fold: Fold) -> str:
    """The part of a fold that settings are chosen on."""
    # Oracle looks at the test clips on purpose; every table says so.
    return "validation" if fold.validation and selection != "oracle" else "test"


def rule_of(selection: str) -> Selection:
    """The rule for what is chosen after training; averaged weights choose no epoch, validation clips all else."""
    return "validation" if selection == "average" else selection  # type: ignore[return-value]


def predictions_of(
    prepared: Prepared,
    part: str,
    clip_ids: Sequence[str],
    probabilities: Probabilities,
    continuous: Float32[np.ndarray, "N V"] | None = None,
) -> pd.DataFrame:
    """Rows of `predictions.csv` of one part; the column that was held out is among them.

    Continuous labels stand in columns such as `valence` (of the manifest) and `predicted.valence`.
    """
    clips = prepared.manifest.select(clip_ids).table
    table = clips[list(dict.fromkeys([*DESCRIBED, prepared.recipe.folds.group]))].copy()
    table.insert(1, "part", part)
    for name, values in probabilities.items():
        table[[f"{name}.{emotion}" for emotion in prepared.labels.emotions]] = values
    if continuous is not None:
        for name, values in zip(prepared.recipe.data.continuous, continuous.T, strict=True):
            table[name], table[PREDICTED + name] = clips[name], values
    usable = np.isfinite(probabilities["fused"]).all(axis=1)
    # Every clip stays a row: one that could not be used counts as wrong.
    missing = (table["problem"] == "") & ~usable
    table.loc[missing, "problem"] = "no stream could be encoded"
    return table


def write_representations(fold: Fold, scored: Scored, folder: Path) -> None:
    """Representations of the clips of the fold: for drawings, neighbours and out-of-distribution scores."""
    clips, emotion, style = scored.clips, scored.emotion, scored.style
    first = len(fold.train)
    arrays: dict[str, Any] = {"clip_id": np.array(clips.clip_ids[first:]), "emotion_primitives": emotion[first:]}
    if style is not None:
        arrays["style_primitives"] = style[first:]
    with whole(folder / "projections.npz", STATE) as partial:
        np.savez_compressed(partial, **arrays)
    train, validation, _ = part_masks(fold)
    named = train & (clips.emotions >= 0)  # a neighbour without an emotion would explain nothing
    TrainingClips.of(clips.manifest.table[named], emotion[named], None if style is None else style[named]).save(folder)
    if not all(clips.present[part].any() for part in (train, validation)):
        return
    views = views_of(scored.model.config, clips, emotion)
    # Evenly over the manifest, whose order is by corpus and speaker: the first so many would be one corpus.
    evenly = [np.flatnonzero(part)[:: max(1, part.sum() // MOST_CLIPS)] for part in (train, validation)]
    fitted, held_out = ({name: vectors[rows] for name, vectors in views.items()} for rows in evenly)
    Familiarity.of(fitted, held_out).save(folder)


def part_masks(fold: Fold) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of the clips, training first and test last, are in each part."""
    n_train, n_validation = len(fold.train), len(fold.validation)
    places = np.arange(n_train + n_validation + len(fold.test))
    train, test = places < n_train, places >= n_train + n_validation
    return train, ~train & ~test, test


def probe_primitives(prepared: Prepared, fold: Fold, scored: Scored) -> list[dict[str, object]]:
    """What can be read from emotion and style primitives, beside raw features and an untrained encoder."""
    recipe, clips, model = prepared.recipe, scored.clips, scored.model
    assert isinstance(model, CiMEU), "rivals have no primitives"
    # Weights of the untrained twin must not move the random numbers of whatever comes next.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        untrained = project(CiMEU(model.config, model.specifications), clips)[0]
    raw = views_of(model.config, clips, scored.emotion)["first"]
    representations = {RAW: raw, "emotion": scored.emotion, "untrained": untrained}
    if scored.style is not None:
        representations["style"] = scored.style
    column = recipe.folds.group
    groups = sorted(set(prepared.manifest.table[column]))
    names = speaker_names(clips.groups("corpus"), clips.groups("speaker"))
    whole = ProbeClips(
        representations,
        clips.emotions,
        np.array([groups.index(name) for name in clips.groups(column)]),
        # An unknown speaker counts as a person of their own.
        [name or clip_id for name, clip_id in zip(names, clips.clip_ids, strict=True)],
    )
    probed = clips.present[:, 0] & (clips.emotions >= 0)
    train, validation, test = (whole.take(part & probed) for part in part_masks(fold))
    return probe_table(train, validation, test if recipe.folds.protocol == "leave-one-group-out" else None)


def write_json(path: Path, content: object) -> None:
    """Indented JSON with a final newline."""
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n", "run")
