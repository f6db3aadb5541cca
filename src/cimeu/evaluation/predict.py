"""Ask two models about every clip, and fuse what they say.

A network answers at three levels (H, M, L) and from two streams; nothing is thrown away here, so that the weight of the
second stream, the levels and the mixture of directions can be chosen afterwards on validation clips.

    level      (1 - a) first + a second, weights renormalised over the streams a clip has
    direction  softmax of level H, or the mean of the softmaxes of H, M and L
    fused      mu forward + (1 - mu) backward, on probabilities, then the temperature

Published (CiMEU release): mu 0.6 and a 0.2 on logits, H alone.

Axes: 3 levels (H, M, L), N clips, K emotions, C channels. A clip that could not be used keeps its row, as NaN; a clip
known to one direction only is fused from that one.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from cimeu.atomic import write_whole
from cimeu.batching.collate import Batch, Collator, evaluation_batches
from cimeu.batching.dataset import ClipDataset, Sample, Statistics
from cimeu.corpora.continuous import native
from cimeu.errors import CheckpointError, RecipeError
from cimeu.evaluation.calibration import at_temperature
from cimeu.model.network import CiMEU, Decision, Output
from cimeu.model.rivals.rival import Rival
from cimeu.pyramid import LEVELS, Direction, Stream
from cimeu.ranges import Within, check_values, from_plain
from cimeu.reading import read_json

Levels = Literal["H", "mean"]
Selection = Literal["validation", "last", "oracle"]


@dataclass(frozen=True)
class Scores:
    """What one model says about every clip of a dataset.

    `gate` is the weight of the second stream the model chose, 0 without a second stream and 1 without a first.
    `present` says which streams a clip has; rows of clips with neither are NaN.
    """

    clip_ids: tuple[str, ...]
    first: Float32[np.ndarray, "3 N K"]
    second: Float32[np.ndarray, "3 N K"] | None
    gate: Float32[np.ndarray, "3 N"]
    present: Bool[np.ndarray, "N 2"]
    continuous: Float32[np.ndarray, "N V"] | None = None
    """Continuous labels on the scales of the corpus; None where the model has none."""


ENSEMBLE = "ensemble.json"
_ADDED = ("coverage",)
"""Settings that runs of earlier versions do not have."""


@dataclass(frozen=True, kw_only=True)
class EnsembleSettings:
    """How the answers of an ensemble are put together; the defaults are the published ones."""

    mu: Annotated[float, Within(0, 1)] = 0.6
    """Weight of the forward model."""
    levels: Levels = "H"
    """`H` alone, or the mean probability of H, M and L."""
    a: Annotated[float, Within(0, 1)] | None = None
    """One weight of the second stream for all clips; None keeps what the models say."""
    temperature: Annotated[float, Within(0.01, 100)] = 1.0
    """Temperature of the fused probabilities."""
    abstain_below: Annotated[float, Within(0, 1)] = 0.0
    """Fused confidence under which no emotion is named."""
    coverage: Annotated[float, Within(0, 1)] | None = None
    """Share of usable clips that must get an emotion, from which that confidence follows; None: nothing was chosen."""
    selection: Selection = "last"
    """Where these settings come from: `validation` clips, nowhere (`last`: defaults), or the test clips (`oracle`)."""
    directions: tuple[Direction, ...] = ("forward", "backward")
    """Directions that have a model."""

    def __post_init__(self) -> None:
        check_values(self)
        if not self.directions or len(set(self.directions)) < len(self.directions):
            raise RecipeError(
                f"`directions` is {list(self.directions)}\n\nhint: forward, backward, or each of them once"
            )

    def __str__(self) -> str:
        """One line for a log or a table."""
        rule = {
            "validation": "chosen on validation clips",
            "last": "defaults",
            "oracle": "ORACLE: chosen on test clips",
        }
        weight = "as the models say" if self.a is None else f"{self.a:.2f}"
        return (
            f"{rule[self.selection]}: mu {self.mu:.2f}, levels {self.levels}, second stream {weight}, "
            f"temperature {self.temperature:.2f}, abstains below {self.abstain_below:.2f}"
        )

    def save(self, folder: Path) -> Path:
        """Write `ensemble.json` into the folder of a run."""
        return write_whole(folder / "ensemble.json", json.dumps(asdict(self), indent=2) + "\n", "run")

    @classmethod
    def load(cls, folder: Path) -> "EnsembleSettings":
        """Read `ensemble.json` from the folder of a run; keys of others are left alone.

        Raises:
            CheckpointError: the file is missing or damaged, lacks a setting, or has one outside its range.
        """
        path, hint = folder / ENSEMBLE, "name the folder of a finished run; `cimeu evaluate` writes this file again"
        written = read_json(path, CheckpointError, hint)
        names = [field.name for field in fields(cls)]
        # Settings that came later have defaults under which older runs answer as they did.
        missing = [name for name in names if name not in written and name not in _ADDED]
        if missing:
            raise CheckpointError(f"`{path}` has no `{missing[0]}`\n\nhint: evaluate the run again to write it anew")
        return from_plain(cls, {name: written[name] for name in names if name in written}, path, CheckpointError)


def score_clips(model: CiMEU, dataset: ClipDataset, *, batch_size: int = 64) -> Scores:
    """Logits of every clip: middle steps, evaluation mode, the statistics stored with the model."""
    n_clips, n_emotions = len(dataset.clip_ids), len(model.config.emotions)
    first = np.full((len(LEVELS), n_clips, n_emotions), np.nan, dtype=np.float32)
    second = None if model.config.second is None else first.copy()
    gate = np.zeros((len(LEVELS), n_clips), dtype=np.float32)
    present = np.zeros((n_clips, 2), dtype=bool)
    dimensions = len(model.config.continuous)
    continuous = np.full((n_clips, dimensions), np.nan, dtype=np.float32) if dimensions else None
    collate = evaluation_collator(model)
    # Only usable clips are computed; the others stay NaN, so that every row keeps its place.
    for start in range(0, len(dataset.usable), batch_size):
        rows = dataset.usable[start : start + batch_size]
        scores = scores_of(model, [dataset[int(row)] for row in rows], collate)
        first[:, rows], gate[:, rows], present[rows] = scores.first, scores.gate, scores.present
        if second is not None and scores.second is not None:
            second[:, rows] = scores.second
        if continuous is not None and scores.continuous is not None:
            continuous[rows] = scores.continuous
    return Scores(tuple(dataset.clip_ids), first, second, gate, present, continuous)


def scores_of(model: CiMEU, samples: Sequence[Sample], collate: Collator | None = None) -> Scores:
    """Logits of some clips in one batch, in their order; `collate` is `evaluation_collator(model)`, made once."""
    batch = (collate or evaluation_collator(model))(samples, None)
    with _evaluating(model, batch) as streams:
        decision = model.decision(*streams)
    first, gate = _array(torch.stack(decision.first_logits)), _array(torch.stack(decision.gate))
    second = None if decision.second_logits is None else _array(torch.stack(decision.second_logits))
    absent = np.zeros(len(samples), bool)
    present = [absent if stream is None else stream.present.numpy() for stream in (batch.first, batch.second)]
    clip_ids, has_stream = tuple(sample.clip_id for sample in samples), np.stack(present, axis=1)
    return Scores(clip_ids, first, second, gate, has_stream, continuous_labels(model, decision, has_stream))


def continuous_labels(
    model: CiMEU, output: Decision, present: Bool[np.ndarray, "N 2"]
) -> Float32[np.ndarray, "N V"] | None:
    """Continuous labels of an output, on the scales that the model was trained on; None where it has none.

    They are read from primitives: NaN where a clip has no stream that is disentangled.
    """
    if output.continuous is None:
        return None
    has_primitives = present[:, : len(model.config.disentangled)].any(axis=1, keepdims=True)
    values = native(_array(output.continuous), model.specifications.continuous)
    return np.where(has_primitives, values, np.float32(np.nan))


def project(
    model: CiMEU, dataset: ClipDataset, *, batch_size: int = 64
) -> tuple[Float32[np.ndarray, "N C"], Float32[np.ndarray, "N C"] | None]:
    """Emotion and style primitives of every clip: masked means at H, streams side by side, NaN where a clip has no
    disentangled stream; no style without S."""
    n_clips = len(dataset.clip_ids)
    emotion: np.ndarray | None = None
    style: np.ndarray | None = None
    for batch, output in _outputs(model, dataset, batch_size):
        present = batch.first_present
        if batch.second is not None and len(output.emotion) > 1:
            present = present | batch.second.present
        kept = present.numpy()
        rows = batch.index.numpy()[kept]
        if emotion is None:
            emotion = np.full((n_clips, output.emotion_pooled[0].shape[1]), np.nan, dtype=np.float32)
        emotion[rows] = _array(output.emotion_pooled[0])[kept]
        if output.style_pooled is not None:
            style = np.full_like(emotion, np.nan) if style is None else style
            style[rows] = _array(output.style_pooled[0])[kept]
    assert emotion is not None, "no clip can be used"
    return emotion, style


def evaluation_collator(model: CiMEU | Rival) -> Collator:
    """Batches as the model was trained to read them, with the statistics it carries."""
    config, specifications = model.config, model.specifications
    return Collator(
        first=_statistics(specifications.first_statistics, config.first.width),
        second=_statistics(specifications.second_statistics, config.second.width) if config.second else None,
        second_kind=config.second.kind if config.second else "steps",
        shares_windows=specifications.shares_windows,
        direction=config.direction,
    )


def direction_probabilities(
    scores: Scores, *, levels: Levels = "H", a: float | None = None
) -> Float[np.ndarray, "N K"]:
    """Probabilities of one direction; `a` replaces the weight of the second stream in clips that have both."""
    logits = scores.first.astype(np.float64)
    if scores.second is not None:
        has_first, has_second = scores.present.T
        # A clip with one stream keeps the whole weight on it, whatever `a` says.
        weight = scores.gate if a is None else np.where(has_second, np.where(has_first, a, 1.0), 0.0)
        weight = np.broadcast_to(weight, scores.gate.shape)[..., None]
        logits = (1 - weight) * logits + weight * scores.second
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))  # no overflow
    probabilities = raised / raised.sum(axis=-1, keepdims=True)
    return probabilities[0] if levels == "H" else probabilities.mean(axis=0)


def fused_probabilities(
    forward: Scores | None, backward: Scores | None, settings: EnsembleSettings
) -> dict[str, Float[np.ndarray, "N K"]]:
    """Probabilities by `forward`, `backward` (each where there is a model) and `fused`, with its temperature."""
    by_direction = {
        direction: direction_probabilities(scores, levels=settings.levels, a=settings.a)
        for direction, scores in (("forward", forward), ("backward", backward))
        if scores is not None
    }
    assert by_direction, "an ensemble has at least one direction"
    if forward is not None and backward is not None:
        assert forward.clip_ids == backward.clip_ids, "both directions score the same clips in the same order"
    fused = mixture([by_direction.get("forward"), by_direction.get("backward")], settings.mu)
    return {**by_direction, "fused": at_temperature(fused, settings.temperature)}


def fused_continuous(
    forward: Scores | None, backward: Scores | None, settings: EnsembleSettings
) -> Float32[np.ndarray, "N V"] | None:
    """Continuous labels of both directions together; None where the models have none."""
    values = [None if scores is None else scores.continuous for scores in (forward, backward)]
    return None if all(part is None for part in values) else mixture(values, settings.mu)


def mixture(directions: Sequence[Float[np.ndarray, "N K"] | None], mu: float) -> Float[np.ndarray, "N K"]:
    """mu forward + (1 - mu) backward; where one of them is absent or NaN, the other."""
    forward, backward = directions
    if forward is None or backward is None:
        alone = forward if forward is not None else backward
        assert alone is not None
        return alone
    # Probabilities are mixed, not logits: two models trained apart have no common scale of logits.
    mixed = mu * forward + (1 - mu) * backward
    return np.where(np.isnan(forward), backward, np.where(np.isnan(backward), forward, mixed))


def _outputs(model: CiMEU, dataset: ClipDataset, batch_size: int) -> Iterator[tuple[Batch, Output]]:
    """Batches of the usable clips and what the model makes of them."""
    for batch in evaluation_batches(dataset, evaluation_collator(model), batch_size):
        with _evaluating(model, batch) as streams:
            output = model(*streams)
        yield batch, output


@contextmanager
def _evaluating(model: CiMEU, batch: Batch) -> Iterator[tuple[Stream, Stream | None]]:
    """Both streams of a batch where the model is, in evaluation mode without gradients; the model is left as it was."""
    on_device = batch.to(next(model.parameters()).device)
    assert on_device.first is not None, "every setting has a first stream"
    # Callers score in the middle of a training too (validation), which must continue with dropout.
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield on_device.first, on_device.second
    finally:
        model.train(training)


def _statistics(stored: dict[str, list[float]], width: int) -> Statistics:
    if not stored:
        return Statistics.identity(width)
    return Statistics(*(np.asarray(stored[name], dtype=np.float32) for name in ("mean", "deviation")))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()
