"""The style of a person, read from other speech of the same person: a linear rule with few numbers.

One clip does not tell what is the person and what is the emotion; several unlabelled clips of the person do. The mean
embedding x of a clip or window, standardised, is taken as

    x = u + delta_e + noise         u: the person, the room, the culture; delta_e: what emotion e adds

and u is estimated from a support set: n unlabelled clips of the same person, never the scored one.

    r_ie    probability of emotion e in support clip i, by a classifier that does not know the person, times the mix
    p_e     mix of emotions in the support: (sum_i r_ie + prior) / (n + K prior), refined with r in a few passes
    u       n / (n + shrink) mean_i (x_i - sum_e r_ie delta_e), 0 without support

The classifier of x - u answers, together with the classifier of x: their log-probabilities are weighted by

    t       (entropy of the mean posterior / log K)^caution, 0 without support

Without the mix, a support set of one emotion makes that emotion the person's style and hides it; with it, what all
clips share is first taken for their emotion, and only the rest for the person. t guards against what is left of this
error: the fewer emotions a support seems to hold, the less its style counts.

Sources: the offset and its shrinkage are those of speaker factors (Kenny et al., IEEE TASLP 2007); the mix is estimated
like class priors in new data (Saerens et al., Neural Computation 2002), with a Dirichlet prior; classifiers are
combined by a logarithmic opinion pool (Genest and Zidek, Statistical Science 1986).

Axes: N scored clips, M clips that supports are taken from, D width, K emotions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from cimeu.model.checkpoint import Specifications, read_model
from cimeu.model.classifier import Answers, Clip, StyledAnswers
from cimeu.model.config import StreamConfig
from cimeu.ranges import Within, check_values

FURTHEST = 8.0
"""Standardised values are cut here: single dimensions of foreign sound must not decide alone."""

SMALLEST = 1e-12
"""Probability below which none is told from another."""

Reading = TypeVar("Reading", bound="SupportReading")


@dataclass(frozen=True, kw_only=True)
class StyleSetConfig:
    """Sizes and constants of the rule."""

    emotions: tuple[str, ...]
    """Classes in the order of the logits."""
    first: StreamConfig
    """The only stream."""
    shrink: Annotated[float, Within(0)] = 1.0
    """Support clips that weigh as much as the assumption that a person has no style."""
    mix_prior: Annotated[float, Within(0)] = 1.0
    """Clips of each emotion assumed in every support beforehand."""
    passes: Annotated[int, Within(0, 1000)] = 3
    """How often the mix and the posteriors are refined in turn; 0 leaves the posteriors as they are."""
    caution: Annotated[float, Within(0)] = 0.0
    """How soon a support of few emotions loses its weight; 0: every support has the whole weight."""

    def __post_init__(self) -> None:
        check_values(self)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "StyleSetConfig":
        """Read from plain values."""
        return cls(**{**values, "emotions": tuple(values["emotions"]), "first": StreamConfig(**values["first"])})


class SupportReading(nn.Module):
    """What a support is read with: statistics of the training groups, what emotions add, a classifier that knows no
    person.

    A subclass is built from a configuration, of the class `config_class`, and specifications.
    """

    kind: ClassVar[str]
    config_class: ClassVar[Any]

    def __init__(self, width: int, n_emotions: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.deviation: Tensor
        self.register_buffer("deviation", torch.ones(width))
        self.deltas: Tensor
        self.register_buffer("deltas", torch.zeros(n_emotions, width))
        self.alone = nn.Linear(width, n_emotions)

    def standardised(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """With the training groups' statistics; what was not measurable (NaN) becomes their mean, 0."""
        return ((x - self.mean) / self.deviation).nan_to_num(nan=0.0).clamp(-FURTHEST, FURTHEST)

    def posteriors(self, z: Float[Tensor, "M D"]) -> Float[Tensor, "M K"]:
        """By the classifier that knows no person, as it was when what answers without style was trained."""
        return self.alone(z).softmax(-1)

    @classmethod
    def from_pretrained(cls: type[Reading], folder: Path | str) -> Reading:
        """Read a folder that `save_checkpoint` wrote.

        Raises:
            CheckpointError: a file is missing, damaged or does not fit; the first differing tensor is named.
        """
        return read_model(cls, folder, cls.kind, cls.config_class.from_values)


class StyleSet(SupportReading):
    """Two linear classifiers of one embedding per clip: of the clip alone, and of the clip less a person's style."""

    kind: ClassVar[str] = "style-set"
    config_class: ClassVar[type] = StyleSetConfig
    reads_steps: ClassVar[bool] = False

    def __init__(self, config: StyleSetConfig, specifications: Specifications | None = None) -> None:
        super().__init__(config.first.width, len(config.emotions))
        self.config = config
        self.specifications = specifications or Specifications(emotions=config.emotions)
        self.adapted = nn.Linear(config.first.width, len(config.emotions))
        self.sharpness: Tensor
        self.register_buffer("sharpness", torch.ones(2))
        """Inverse temperatures of answers alone and of answers given a support, fitted on held-out groups."""

    def forward(
        self,
        x: Float[Tensor, "N D"],
        offsets: Float[Tensor, "N D"] | None = None,
        trust: Float[Tensor, " N"] | None = None,
    ) -> Float[Tensor, "N K"]:
        """Calibrated logits of clips alone, or given the style that was estimated for each and its weight."""
        z = self.standardised(x)
        alone = self.alone(z)
        if offsets is None or trust is None:
            return alone * self.sharpness[0]
        weight = trust[:, None]
        given = weight * self.adapted((z - offsets).clamp(-FURTHEST, FURTHEST)) + (1 - weight) * alone
        return torch.where(weight > 0, given * self.sharpness[1], alone * self.sharpness[0])

    @torch.inference_mode()
    def answer(self, clips: Sequence[Clip]) -> Answers:
        """Probabilities of each clip alone, and its embedding."""
        x = self.embed(clips)
        probabilities = self(torch.from_numpy(x).to(self.mean.device)).softmax(-1).double().cpu().numpy()
        probabilities[~np.isfinite(x).any(axis=1)] = np.nan
        return Answers(probabilities, x)

    def embed(self, clips: Sequence[Clip]) -> Float32[np.ndarray, "N D"]:
        """Mean over the steps of each clip; NaN in dimensions, or clips, that hold nothing measurable."""
        empty = np.full((1, self.config.first.width), np.nan, np.float32)
        steps = [clip.first.get("forward", empty) for clip in clips]
        return np.stack([_mean(row) for row in steps]) if steps else empty[:0]

    @torch.inference_mode()
    def adapt(
        self,
        x: Float32[np.ndarray, "N D"],
        pool: Float32[np.ndarray, "M D"],
        support: Bool[np.ndarray, "N M"],
        clips: Sequence[Clip] = (),
        *,
        alone: Float[np.ndarray, "N K"] | None = None,
        shrink: float | None = None,
    ) -> StyledAnswers:
        """Answers given each clip's support among the clips of `pool`; `shrink` replaces the model's own.

        `x` is enough: neither the clips nor their answers `alone` are read.
        """
        config = self.config if shrink is None else replace(self.config, shrink=shrink)
        z, marked = self.standardised(torch.from_numpy(pool)), torch.from_numpy(support)
        posteriors = self.posteriors(z)
        styles = offsets(z, posteriors, marked, self.deltas, config).numpy()
        trusted = trust(posteriors, marked, config.caution).numpy()
        return StyledAnswers(self._answered(x, styles, trusted), styles, trusted)

    def probabilities(
        self, clips: Sequence[Clip], styles: Float32[np.ndarray, "N D"], trust: Float32[np.ndarray, " N"]
    ) -> Float[np.ndarray, "N K"]:
        """Probabilities of clips given a style for each, and its weight; NaN where a clip has no embedding."""
        return self._answered(self.embed(clips), styles, trust)

    @torch.inference_mode()
    def _answered(
        self, x: Float32[np.ndarray, "N D"], styles: Float32[np.ndarray, "N D"], trust: Float32[np.ndarray, " N"]
    ) -> Float[np.ndarray, "N K"]:
        answered = self(*map(torch.from_numpy, (x, styles, trust))).softmax(-1).double().numpy()
        answered[~np.isfinite(x).any(axis=1)] = np.nan
        return answered


def offsets(
    z: Float[Tensor, "M D"],
    posteriors: Float[Tensor, "M K"],
    support: Bool[Tensor, "N M"],
    deltas: Float[Tensor, "K D"],
    config: StyleSetConfig,
) -> Float[Tensor, "N D"]:
    """The rule of this file, with posteriors from anywhere: in training they come from other groups."""
    marked = support.to(z.dtype)
    n = marked.sum(1, keepdim=True)  # [N 1]
    weights = marked / n.clamp(min=1)
    mixes = weights @ posteriors  # [N K]
    if config.passes:
        mixes = _refined_mixes(posteriors, marked, config)
    return n / (n + config.shrink).clamp(min=1e-6) * (weights @ z - mixes @ deltas)


def trust(posteriors: Float[Tensor, "M K"], support: Bool[Tensor, "N M"], caution: float) -> Float[Tensor, " N"]:
    """Weight from 0 to 1 of what each support says: how evenly emotions seem to be mixed in it, 0 without support.

    A mean posterior of one emotion alone comes from a support of that emotion, or from a person who always sounds like
    it; nothing tells these apart, and only the second is style.
    """
    marked = support.to(posteriors.dtype)
    n = marked.sum(1)
    mixes = marked @ posteriors / n.clamp(min=1)[:, None]
    evenness = torch.special.entr(mixes).sum(1) / math.log(posteriors.shape[1])
    # Rounding may leave an even mix a little above 1.
    return torch.where(n > 0, evenness.clamp(0, 1) ** caution, 0.0)


def opinion_pool(
    alone: Float[np.ndarray, "N K"], given: Float[np.ndarray, "N K"], trust: Float[np.ndarray, " N"]
) -> Float[np.ndarray, "N K"]:
    """Probabilities whose logarithms are weighted means of those given a style and those of clips alone."""
    weight = trust[:, None].astype(np.float64)
    logits = weight * np.log(np.maximum(given, SMALLEST)) + (1 - weight) * np.log(np.maximum(alone, SMALLEST))
    raised = np.exp(logits)
    return np.where(weight > 0, raised / raised.sum(axis=1, keepdims=True), alone)


def _refined_mixes(
    posteriors: Float[Tensor, "M K"], marked: Float[Tensor, "N M"], config: StyleSetConfig
) -> Float[Tensor, "N K"]:
    """Mean posteriors of each support after the mix was estimated from them, and they from the mix, some times."""
    n, n_emotions = marked.sum(1, keepdim=True), posteriors.shape[1]
    responsibilities = marked[..., None] * posteriors  # [N M K]
    for _ in range(config.passes):
        counts = responsibilities.sum(1)  # [N K]
        prior = (counts + config.mix_prior) / (n + n_emotions * config.mix_prior).clamp(min=1e-6)
        joint = posteriors * prior[:, None]
        responsibilities = marked[..., None] * joint / joint.sum(-1, keepdim=True).clamp(min=1e-12)
    return responsibilities.sum(1) / n.clamp(min=1)


def _mean(steps: Float32[np.ndarray, "T D"]) -> Float32[np.ndarray, " D"]:
    measured = np.isfinite(steps)
    count = measured.sum(axis=0)
    total = np.where(measured, steps, 0).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
