"""A run folder as one classifier: the networks of both directions with their settings, or any other kind of model.

Axes: N clips, K emotions, C width of the primitives.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from cimeu.batching.dataset import ClipDataset, Sample
from cimeu.errors import CheckpointError
from cimeu.evaluation.calibration import at_temperature
from cimeu.evaluation.predict import (
    EnsembleSettings,
    Scores,
    continuous_labels,
    evaluation_collator,
    fused_continuous,
    fused_probabilities,
)
from cimeu.evaluation.rivals import NETWORKS, read_rival
from cimeu.media.threads import one_thread
from cimeu.model.checkpoint import CIMEU, Specifications, kind_of
from cimeu.model.classifier import Answers, Classifier, Clip
from cimeu.model.network import CiMEU, Output
from cimeu.model.style_set import StyleSet
from cimeu.pyramid import DIRECTIONS, Direction


class Ensemble:
    """Networks of one or both directions whose answers are fused."""

    def __init__(
        self, models: Mapping[Direction, CiMEU], settings: EnsembleSettings, device: torch.device | str = "cpu"
    ) -> None:
        """Put networks together.

        Raises:
            CheckpointError: no network, or networks of different encoders.
        """
        if not models:
            raise CheckpointError("an ensemble without a model\n\nhint: train `forward`, `backward` or both")
        self.models = {d: models[d].eval().to(device) for d in DIRECTIONS if d in models}
        self.settings, self.device = settings, device
        self.specifications = next(iter(self.models.values())).specifications
        for stream in ("first", "second"):
            described = [getattr(model.specifications, f"{stream}_encoder") for model in self.models.values()]
            if any(description != described[0] for description in described):
                raise CheckpointError(
                    f"forward and backward model have different {stream} encoders\n\nhint: train both in one run"
                )

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions in which the first stream is read."""
        return tuple(self.models)

    def answer(self, clips: Sequence[Clip]) -> Answers:
        """Fused probabilities, and the primitives of the first direction's network."""
        return self.answer_by_direction(dict.fromkeys(self.models, clips))

    def answer_by_direction(self, clips: Mapping[Direction, Sequence[Clip]]) -> Answers:
        """The same about clips that each network reads otherwise."""
        outputs = {direction: self._output(clips[direction], direction) for direction in self.models}
        scores = {
            direction: _scores(self.models[direction], output, _present(clips[direction], direction))
            for direction, output in outputs.items()
        }
        fused = fused_probabilities(scores.get("forward"), scores.get("backward"), self.settings)["fused"]
        direction, output = next(iter(outputs.items()))
        # Streams with primitives of their own: a clip with neither of them has none.
        present = _present(clips[direction], direction)[:, : len(output.emotion)].any(axis=1, keepdims=True)
        emotion = np.where(present, output.emotion_pooled[0].numpy(), np.float32(np.nan))
        continuous = fused_continuous(scores.get("forward"), scores.get("backward"), self.settings)
        style = None
        if output.style_pooled is not None:
            style = np.where(present, output.style_pooled[0].numpy(), np.float32(np.nan))
        return Answers(fused, emotion, style, continuous)

    def _output(self, clips: Sequence[Clip], direction: Direction) -> Output:
        model = self.models[direction]
        samples = [
            Sample(str(index), clip.first.get(direction), clip.second, -1, -1, index)
            for index, clip in enumerate(clips)
        ]
        batch = evaluation_collator(model)(samples).to(torch.device(self.device))
        assert batch.first is not None, "every network has a first stream"
        with torch.inference_mode(), one_thread():
            return model(batch.first, batch.second).map(Tensor.cpu)


READERS: dict[str, Callable[[Path], Classifier]] = {
    StyleSet.kind: StyleSet.from_pretrained,
    **dict.fromkeys(NETWORKS, read_rival),
}
"""How kinds of models that stand alone are read, from the folder of their direction."""


def load_classifier(folder: Path, settings: EnsembleSettings, device: torch.device | str = "cpu") -> Classifier:
    """The model of a run folder.

    Raises:
        CheckpointError: a part is missing or damaged, or of a kind that this version does not know.
    """
    kind = kind_of(folder / settings.directions[0])
    if kind == CIMEU:
        models = {direction: CiMEU.from_pretrained(folder / direction) for direction in settings.directions}
        return Ensemble(models, settings, device)
    if kind not in READERS:
        raise CheckpointError(
            f"`{folder}` holds a model of kind `{kind}`, this version reads {', '.join([CIMEU, *READERS])}\n\n"
            "hint: install the version of cimeu that made it"
        )
    classifier = READERS[kind](folder / settings.directions[0])
    return Tempered(classifier, settings.temperature) if kind in NETWORKS else classifier


@dataclass(frozen=True)
class Tempered:
    """A classifier whose probabilities are taken at a temperature that was fitted on validation clips."""

    classifier: Classifier
    temperature: float

    @property
    def specifications(self) -> Specifications:
        """Those of the classifier."""
        return self.classifier.specifications

    def answer(self, clips: Sequence[Clip]) -> Answers:
        """Answers of the classifier at the temperature."""
        answers = self.classifier.answer(clips)
        return replace(answers, probabilities=at_temperature(answers.probabilities, self.temperature))


def answers_of(classifier: Classifier, dataset: ClipDataset, batch: int = 256) -> Answers:
    """What a classifier of one direction says about every clip of a dataset; NaN where a clip cannot be used."""
    parts = []
    for start in range(0, len(dataset.usable), batch):
        rows = dataset.usable[start : start + batch]
        parts.append(classifier.answer([_clip(dataset, int(row)) for row in rows]))
    assert parts, "no clip can be used"
    probabilities = np.full((len(dataset), parts[0].probabilities.shape[1]), np.nan)
    representation = np.full((len(dataset), parts[0].representation.shape[1]), np.nan, np.float32)
    probabilities[dataset.usable] = np.concatenate([part.probabilities for part in parts])
    representation[dataset.usable] = np.concatenate([part.representation for part in parts])
    return Answers(probabilities, representation)


def _clip(dataset: ClipDataset, row: int) -> Clip:
    first = dataset.first_features[row]
    return Clip({} if first is None else {dataset.direction: first}, dataset.second_features[row])


def _present(clips: Sequence[Clip], direction: Direction) -> Bool[np.ndarray, "N 2"]:
    return np.array([[direction in clip.first, clip.second is not None] for clip in clips])


def _scores(model: CiMEU, output: Output, present: Bool[np.ndarray, "N 2"]) -> Scores:
    second = None if output.second_logits is None else torch.stack(output.second_logits).numpy()
    first, gate = torch.stack(output.first_logits).numpy(), torch.stack(output.gate).numpy()
    names, continuous = tuple(map(str, range(len(present)))), continuous_labels(model, output, present)
    return Scores(names, first, second, gate, present, continuous)
