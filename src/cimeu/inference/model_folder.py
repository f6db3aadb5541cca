"""A trained model as it lies in a run folder or in an unpacked bundle: everything that answers depend on, checked.

This is the one door. `predict`, `serve` and `bundle` read models through it, and a bundle is unpacked and read through
it as well. In order: digests (`cimeu.sealed`), then what each file says by itself, then what files say of each other.

    ensemble.json            ranges                          cimeu.evaluation.predict.EnsembleSettings
    forward/ backward/       ranges, twins, tensors          cimeu.model.checkpoint
    forward/style/ ...       the same, and those of its model cimeu.evaluation.behind_rule
    familiarity.safetensors  shapes, finite, above 0         cimeu.evaluation.ood
    training_clips.npz       shapes, finite                  cimeu.inference.neighbours
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from cimeu.errors import CheckpointError
from cimeu.evaluation.behind_rule import BehindRule, read_rules, rule_files
from cimeu.evaluation.ensemble import Ensemble, load_classifier
from cimeu.evaluation.ood import FILE as FAMILIARITY
from cimeu.evaluation.ood import PRIMITIVES, Familiarity
from cimeu.evaluation.predict import ENSEMBLE, EnsembleSettings
from cimeu.inference.neighbours import FILE as TRAINING_CLIPS
from cimeu.inference.neighbours import TrainingClips
from cimeu.model.checkpoint import CONFIG_FILE, WEIGHTS_FILE, Specifications
from cimeu.model.classifier import Classifier
from cimeu.model.network import CiMEU
from cimeu.pyramid import Direction
from cimeu.sealed import check_seal


@dataclass(frozen=True)
class ModelFolder:
    """What a folder holds."""

    folder: Path
    ensemble: EnsembleSettings
    classifier: Classifier
    familiarity: Familiarity | None
    training_clips: TrainingClips | None


def open_model_folder(folder: Path, device: torch.device | str = "cpu") -> ModelFolder:
    """Read and check a run folder or an unpacked bundle, whatever kind of model it holds.

    Raises:
        CheckpointError: a part is missing, damaged, changed since it was written, or contradicts another.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no run folder `{folder}`\n\nhint: name the folder that `cimeu train` wrote")
    ensemble = EnsembleSettings.load(folder)
    check_seal(folder, model_files(ensemble))
    classifier = load_classifier(folder, ensemble, device)
    if isinstance(classifier, Ensemble):
        check_models(classifier.models, folder)
    if rules := read_rules(folder, classifier, ensemble.directions):
        classifier = BehindRule(classifier, rules)
    familiarity, training_clips = Familiarity.load(folder), TrainingClips.load(folder)
    specifications = classifier.specifications
    if familiarity is not None:
        _check_familiarity(familiarity, specifications, folder / FAMILIARITY)
    if training_clips is not None:
        unknown = sorted(set(training_clips.names["emotion"]) - set(specifications.emotions))
        if unknown:
            raise _contradiction(folder / TRAINING_CLIPS, f"clips of `{unknown[0]}`", list(specifications.emotions))
    return ModelFolder(folder, ensemble, classifier, familiarity, training_clips)


def model_files(ensemble: EnsembleSettings) -> list[str]:
    """Names of the files that answers depend on."""
    parts = [f"{direction}/{name}" for direction in ensemble.directions for name in (CONFIG_FILE, WEIGHTS_FILE)]
    return [ENSEMBLE, *parts, *rule_files(ensemble.directions), FAMILIARITY, TRAINING_CLIPS]


def check_models(models: Mapping[Direction, CiMEU], folder: Path) -> None:
    """Compare the networks of one ensemble with each other.

    Raises:
        CheckpointError: a network is of another direction than its folder, two have other emotions, encoders or widths,
            or one is a copy of the other.
    """
    for direction, model in models.items():
        if model.config.direction != direction:
            raise _contradiction(folder / direction, f"a model that reads {model.config.direction}", direction)
    for (name, one), (twin, other) in pairwise(models.items()):
        for what in ("emotions", "first_encoder", "second_encoder"):
            if getattr(one.specifications, what) != getattr(other.specifications, what):
                raise CheckpointError(
                    f"{name} and {twin} model of `{folder}` have different {what.replace('_', ' ').rstrip('s')}s\n\n"
                    "hint: train both in one run"
                )
        # An encoder that gives one vector per clip reads it alike in both directions.
        has_order = bool(one.specifications.first_encoder.get("window"))
        weights = one.state_dict(), other.state_dict()
        if has_order and all(
            torch.equal(tensor, weights[1].get(key, tensor[:0])) for key, tensor in weights[0].items()
        ):
            raise CheckpointError(
                f"`{folder / twin}` holds the weights of `{name}`\n\nhint: copy it again from where it was trained"
            )


def _check_familiarity(familiarity: Familiarity, specifications: Specifications, path: Path) -> None:
    widths = {stream: getattr(specifications, f"{stream}_encoder").get("width") for stream in ("first", "second")}
    for name, view in familiarity.views.items():
        if name not in (PRIMITIVES, *widths):
            raise _contradiction(path, f"a view `{name}`", [PRIMITIVES, *widths])
        if widths.get(name) not in (None, len(view.mean)):
            raise _contradiction(path, f"a view `{name}` of width {len(view.mean)}", widths[name])


def _contradiction(path: Path, stored: str, expected: object) -> CheckpointError:
    return CheckpointError(
        f"`{path}` holds {stored}, expected: {expected}\n\nhint: copy it again from where it was made"
    )
