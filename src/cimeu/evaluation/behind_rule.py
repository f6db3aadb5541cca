"""A trained model that answers each clip twice: as it is, and after the style in its support was subtracted (models
trained with `training.supports`).

    clips ─┬────────────────────── network ─ answer alone ──────┐
           └─ minus the style ──── network ─ answer given it ───┴─ weighted by the trust in the support

The rule lies beside each network (`cimeu.model.support_rule`). One network gives both answers: it was trained with
supports of every size, none included.

Axes: N clips, M clips in supports, D features of a step in all streams and directions, K emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Float32

from cimeu.errors import CheckpointError
from cimeu.evaluation.ensemble import Ensemble
from cimeu.model.checkpoint import CONFIG_FILE, WEIGHTS_FILE, Specifications
from cimeu.model.classifier import Answers, Classifier, Clip, StyledAnswers
from cimeu.model.style_set import opinion_pool
from cimeu.model.support_rule import FOLDER, SupportRule
from cimeu.pyramid import Direction

BATCH = 64
"""Clips that are answered at a time."""
COPY_AGAIN = "copy the run folder again from where it was made"


@dataclass(frozen=True)
class BehindRule:
    """A classifier with the rule that its networks were trained behind.

    Vectors `x`, pools and styles hold the features of all directions side by side, in the order of `rules`.
    """

    classifier: Classifier
    rules: Mapping[Direction, SupportRule]
    reads_steps: ClassVar[bool] = True

    @property
    def specifications(self) -> Specifications:
        """Those of the classifier."""
        return self.classifier.specifications

    def answer(self, clips: Sequence[Clip]) -> Answers:
        """Answers of the classifier about each clip alone."""
        return self.classifier.answer(clips)

    def embed(self, clips: Sequence[Clip]) -> Float32[np.ndarray, "N D"]:
        """What a style is read from: means over the steps of each stream, as each network reads it."""
        second = [clip.second for clip in clips]
        parts = [
            rule.embed([clip.first.get(direction) for clip in clips], second) for direction, rule in self.rules.items()
        ]
        return np.concatenate(parts, axis=1)

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
        """Answers given each clip's support among the rows of `pool`; `shrink` replaces the rule's own.

        Without `alone`, the answers without style, the networks are asked for them too.
        """
        pools = self._by_direction(pool)
        styles = np.concatenate(
            [rule.styles(pools[direction], support, shrink) for direction, rule in self.rules.items()], axis=1
        )
        # As in a bench: the first direction says how far a support is trusted.
        first = next(iter(self.rules))
        trust = self.rules[first].trust(pools[first], support)
        return StyledAnswers(self.probabilities(clips, styles, trust, alone=alone), styles, trust)

    def probabilities(
        self,
        clips: Sequence[Clip],
        styles: Float32[np.ndarray, "N D"],
        trust: Float32[np.ndarray, " N"],
        *,
        alone: Float[np.ndarray, "N K"] | None = None,
    ) -> Float[np.ndarray, "N K"]:
        """Probabilities of clips given a style for each, and its weight; NaN where the model says nothing."""
        assert len(clips) == len(styles), "the steps of every clip are read"
        answers = [np.zeros((0, len(self.specifications.emotions)))]
        for start in range(0, len(clips), BATCH):
            rows = slice(start, start + BATCH)
            batch = list(clips[rows])  # read from the disk once, where they are kept there
            as_they_are = self.classifier.answer(batch).probabilities if alone is None else alone[rows]
            given_style = self._answer_without_style(batch, styles[rows])
            answers.append(opinion_pool(as_they_are, given_style, trust[rows]))
        return np.concatenate(answers)

    def _answer_without_style(
        self, clips: Sequence[Clip], styles: Float32[np.ndarray, "N D"]
    ) -> Float[np.ndarray, "N K"]:
        # Each direction has a style of its own, in the second stream too, so each network gets clips of its own.
        inputs: dict[Direction, list[Clip]] = {}
        for direction, own_styles in self._by_direction(styles).items():
            rule, inputs[direction] = self.rules[direction], []
            for clip, style in zip(clips, own_styles, strict=True):
                first = rule.subtract(style, clip.first.get(direction), 0)
                second = rule.subtract(style, clip.second, 1)
                inputs[direction].append(Clip({} if first is None else {direction: first}, second))
        if isinstance(self.classifier, Ensemble):
            return self.classifier.answer_by_direction(inputs).probabilities
        (only_direction,) = inputs.values()
        return self.classifier.answer(only_direction).probabilities

    def _by_direction(self, x: Float32[np.ndarray, "N D"]) -> dict[Direction, Float32[np.ndarray, "N _"]]:
        """The columns of each direction."""
        ends = np.cumsum([0, *(sum(rule.config.widths) for rule in self.rules.values())])
        return {
            direction: x[:, start:stop] for direction, (start, stop) in zip(self.rules, pairwise(ends), strict=True)
        }


def read_rules(folder: Path, classifier: Classifier, directions: Sequence[Direction]) -> dict[Direction, SupportRule]:
    """The rule beside each network of a run folder; none of a model that was trained without supports.

    Raises:
        CheckpointError: a rule is damaged, is there for one direction only, or is of another model.
    """
    with_rule = [direction for direction in directions if (folder / direction / FOLDER).exists()]
    if not with_rule:
        return {}
    for direction in directions:
        if direction not in with_rule:
            raise CheckpointError(
                f"`{folder}` has a rule of style in `{with_rule[0]}/{FOLDER}` and none in `{direction}/{FOLDER}`\n\n"
                f"hint: {COPY_AGAIN}"
            )
    rules = {direction: SupportRule.from_pretrained(folder / direction / FOLDER) for direction in directions}
    specifications = classifier.specifications
    widths = [getattr(specifications, f"{stream}_encoder").get("width", 0) for stream in ("first", "second")]
    for direction, rule in rules.items():
        stored_widths = rule.config.widths
        expected = {
            "emotions are": (rule.config.emotions, specifications.emotions),
            "direction is": (rule.config.direction, direction),
            # A stream that no training clip had has no style.
            "widths are": (stored_widths, tuple(w and width for w, width in zip(stored_widths, widths, strict=True))),
        }
        for subject, (stored, required) in expected.items():
            if stored != required:
                raise CheckpointError(
                    f"`{folder / direction / FOLDER}` is not the rule of this model: its {subject} {stored}, "
                    f"expected: {required}\n\nhint: {COPY_AGAIN}"
                )
    return rules


def rule_files(directions: Sequence[Direction]) -> list[str]:
    """Names of the files of a rule, below a run folder."""
    return [f"{direction}/{FOLDER}/{name}" for direction in directions for name in (CONFIG_FILE, WEIGHTS_FILE)]
