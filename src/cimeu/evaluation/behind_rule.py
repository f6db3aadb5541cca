"""A trained model that answers each clip again after subtracting the style in its support (trained with
`training.supports`).

    clips ─┬────────────────────── network ─ answer alone ──────┐
           └─ less the style ───── network ─ answer given it ───┴─ weighted by the trust in the support

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
    """A classifier with the rule that its networks were trained behind; vectors of all directions lie side by side."""

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
        parts = [rule.embed([clip.first.get(way) for clip in clips], second) for way, rule in self.rules.items()]
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
        parts = self._apart(pool)
        styles = [rule.styles(parts[way], support, shrink) for way, rule in self.rules.items()]
        # As in a bench: the first direction says how far a support is trusted.
        first = next(iter(self.rules))
        trusted = self.rules[first].trust(parts[first], support)
        moved = np.concatenate(styles, axis=1)
        return StyledAnswers(self.probabilities(clips, moved, trusted, alone=alone), moved, trusted)

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
            rows = range(start, min(start + BATCH, len(clips)))
            part = [clips[row] for row in rows]
            less = {way: self._less(part, styles[start : rows.stop], way) for way in self.rules}
            unstyled = self.classifier.answer(part).probabilities if alone is None else alone[start : rows.stop]
            answers.append(opinion_pool(unstyled, self._answer_apart(less), trust[start : rows.stop]))
        return np.concatenate(answers)

    def _less(self, clips: Sequence[Clip], styles: Float32[np.ndarray, "N D"], way: Direction) -> list[Clip]:
        """Clips less their styles, as the network of one direction reads them."""
        rule, moved = self.rules[way], []
        for clip, style in zip(clips, self._apart(styles)[way], strict=True):
            first = rule.less(clip.first.get(way), 0, style)
            moved.append(Clip({} if first is None else {way: first}, rule.less(clip.second, 1, style)))
        return moved

    def _answer_apart(self, clips: Mapping[Direction, Sequence[Clip]]) -> Float[np.ndarray, "N K"]:
        # Each direction has a style of its own, in the second stream too.
        if isinstance(self.classifier, Ensemble):
            return self.classifier.answer_apart(clips).probabilities
        (only,) = clips.values()
        return self.classifier.answer(only).probabilities

    def _apart(self, x: Float32[np.ndarray, "N D"]) -> dict[Direction, Float32[np.ndarray, "N _"]]:
        ends = np.cumsum([0, *(sum(rule.config.widths) for rule in self.rules.values())])
        return {way: x[:, start:stop] for way, (start, stop) in zip(self.rules, pairwise(ends), strict=True)}


def read_rules(folder: Path, classifier: Classifier, directions: Sequence[Direction]) -> dict[Direction, SupportRule]:
    """The rule beside each network of a run folder; none of a model that was trained without supports.

    Raises:
        CheckpointError: a rule is damaged, is there for one direction only, or is of another model.
    """
    with_rule = [way for way in directions if (folder / way / FOLDER).exists()]
    if not with_rule:
        return {}
    for way in directions:
        if way not in with_rule:
            raise CheckpointError(
                f"`{folder}` has a rule of style in `{with_rule[0]}/{FOLDER}` and none in `{way}/{FOLDER}`\n\n"
                f"hint: {COPY_AGAIN}"
            )
    rules = {way: SupportRule.from_pretrained(folder / way / FOLDER) for way in directions}
    specifications = classifier.specifications
    widths = [getattr(specifications, f"{stream}_encoder").get("width", 0) for stream in ("first", "second")]
    for way, rule in rules.items():
        stored_widths = rule.config.widths
        expected = {
            "emotions are": (rule.config.emotions, specifications.emotions),
            "direction is": (rule.config.direction, way),
            # A stream that no training clip had has no style.
            "widths are": (stored_widths, tuple(w and width for w, width in zip(stored_widths, widths, strict=True))),
        }
        for what, (stored, right) in expected.items():
            if stored != right:
                raise CheckpointError(
                    f"`{folder / way / FOLDER}` is not the rule of this model: its {what} {stored}, expected: {right}"
                    f"\n\nhint: {COPY_AGAIN}"
                )
    return rules


def rule_files(directions: Sequence[Direction]) -> list[str]:
    """Names of the files of a rule, below a run folder."""
    return [f"{way}/{FOLDER}/{name}" for way in directions for name in (CONFIG_FILE, WEIGHTS_FILE)]
