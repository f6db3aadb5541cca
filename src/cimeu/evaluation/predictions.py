"""What a model said of clips: the table of a run's predictions, and the one type that every figure is made from.

Axes: A answers to each clip (seeds, or seeds and folds), N clips, K emotions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from cimeu.batching.dataset import ClipDataset
from cimeu.evaluation.metrics import UNUSED, Metric, confusion, predicted_labels, recalls, uar
from cimeu.evaluation.uncertainty import N_RESAMPLES, Estimates, bootstrap, speaker_names

DESCRIBED = ("clip_id", "emotion", "corpus", "speaker", "culture", "gender", "problem")
STREAMS = ("has_first", "has_second")
"""Columns that say which streams a clip has."""
PROBABILITY = "fused."
"""Start of the names of the columns that hold probabilities in a run folder's predictions.csv."""
PREDICTED = "predicted."
"""Start of the names of the columns that hold predicted continuous labels, such as `predicted.valence`."""
UNKNOWN = "unknown"
"""Group of clips whose group is not known."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers to some clips, with what is known of the clips."""

    emotions: tuple[str, ...]
    """In the order of the probabilities."""
    clips: pd.DataFrame
    """One row per clip: `clip_id`, `emotion`, `corpus`, `speaker`, and whatever else is known."""
    groups: tuple[str, ...]
    """The group of each clip; figures are averaged over groups without weights."""
    predicted: Int[np.ndarray, "A N"]
    """Index of each predicted emotion; `UNUSED` where a clip could not be used, which is wrong."""
    probabilities: Float[np.ndarray, "A N K"] | None = None
    """None where a system gives labels alone."""

    @classmethod
    def of(
        cls, answers: Sequence[pd.DataFrame], emotions: Sequence[str], group: str = "", kind: str = "fused"
    ) -> "Predictions":
        """Build from tables that hold the same clips in one order, such as those of several seeds.

        Args:
            answers: tables with the columns `<kind>.<emotion>` and those that describe a clip.
            emotions: in the order wanted.
            group: column of the groups; empty: all clips are one group.
            kind: `forward`, `backward` or `fused`.
        """
        first = answers[0].reset_index(drop=True)
        for other in answers[1:]:
            assert list(other["clip_id"]) == list(first["clip_id"]), "answers are on other clips"
        columns = [f"{kind}.{emotion}" for emotion in emotions]
        probabilities = np.stack([table[columns].to_numpy(float) for table in answers])
        groups = [str(name) or UNKNOWN for name in first[group]] if group else ["all clips"] * len(first)
        return cls(tuple(emotions), first, tuple(groups), predicted_labels(probabilities), probabilities)

    @cached_property
    def truth(self) -> Int[np.ndarray, " N"]:
        """Index of the emotion of each clip."""
        index = {emotion: number for number, emotion in enumerate(self.emotions)}
        return np.array([index[emotion] for emotion in self.clips["emotion"]], np.int64)

    @cached_property
    def speakers(self) -> tuple[str, ...]:
        """Names that tell speakers of several corpora apart; empty where the speaker is unknown."""
        return tuple(speaker_names(self.clips["corpus"], self.clips["speaker"]))

    @property
    def group_names(self) -> list[str]:
        """Every group once, in alphabetical order."""
        return sorted(set(self.groups))

    @property
    def unused(self) -> Bool[np.ndarray, " N"]:
        """Clips that no answer could use."""
        return (self.predicted == UNUSED).all(axis=0)

    @property
    def chance(self) -> float:
        """UAR of always predicting one emotion."""
        return chance_of(self.groups, self.clips["emotion"])

    def take(self, chosen: Bool[np.ndarray, " N"]) -> "Predictions":
        """The chosen clips with their answers."""
        return replace(
            self,
            clips=self.clips[chosen].reset_index(drop=True),
            groups=tuple(name for name, kept in zip(self.groups, chosen, strict=True) if kept),
            predicted=self.predicted[:, chosen],
            probabilities=None if self.probabilities is None else self.probabilities[:, chosen],
        )

    def of_group(self, group: str) -> "Predictions":
        """The clips of one group."""
        return self.take(np.array([name == group for name in self.groups]))

    def estimates(
        self, *, resamples: int = N_RESAMPLES, seed: int = 0, kept: Bool[np.ndarray, " N"] | None = None
    ) -> dict[Metric, Estimates]:
        """Every metric with its interval, for the mean over groups and for each group; see `bootstrap`."""
        return bootstrap(
            self.truth,
            self.predicted,
            self.speakers,
            self.groups,
            n_classes=len(self.emotions),
            n_resamples=resamples,
            seed=seed,
            kept=kept,
        )

    def recalls(self) -> Float[np.ndarray, " K"]:
        """Recall of each emotion over all clips, mean over answers; NaN where an emotion has no clip."""
        return np.mean([recalls(self.truth, answer, len(self.emotions)) for answer in self.predicted], axis=0)

    def confusion(self) -> Int[np.ndarray, "K columns"]:
        """Answers by true and predicted emotion, summed over answers; the last column is clips of no use."""
        return np.sum([confusion(self.truth, answer, len(self.emotions)) for answer in self.predicted], axis=0)


def chance_of(groups: Iterable[str], emotions: Iterable[str]) -> float:
    """UAR of always predicting one emotion: the mean over groups of 1 / (number of emotions that a group has).

    >>> chance_of(["de", "de", "en", "en"], ["anger", "neutral", "anger", "anger"])
    0.75
    """
    present: dict[str, set[str]] = {}
    for group, emotion in zip(groups, emotions, strict=True):
        present.setdefault(group, set()).add(emotion)
    return float(np.mean([1 / len(emotions_of_group) for emotions_of_group in present.values()]))


def part_table(clips: ClipDataset, part: str, probabilities: Float[np.ndarray, "N K"], *, group: str) -> pd.DataFrame:
    """Rows of one part: what is known of each clip, which streams it has, and its probabilities."""
    columns = list(dict.fromkeys([*DESCRIBED, group, *(["acted"] if "acted" in clips.manifest.table else [])]))
    table = clips.manifest.table[columns].reset_index(drop=True)
    table.insert(1, "part", part)
    table[list(STREAMS)] = clips.present
    for emotion, column in zip(clips.labels.emotions, probabilities.T, strict=True):
        table[PROBABILITY + emotion] = column
    return table


def with_condition(table: pd.DataFrame) -> pd.DataFrame:
    """Untouched clips have the empty condition; a table without any condition has no such column."""
    return table.fillna({"condition": ""}) if "condition" in table else table


def uar_of(predictions: pd.DataFrame, part: str) -> float:
    """UAR of the clips of a part that have an emotion; one that could not be used is wrong."""
    clips = predictions[(predictions["part"] == part) & (predictions["emotion"] != "")]
    columns = [column for column in clips.columns if column.startswith(PROBABILITY)]
    emotions = [column.removeprefix(PROBABILITY) for column in columns]
    truth = np.array([emotions.index(emotion) for emotion in clips["emotion"]], np.int64)
    return uar(truth, predicted_labels(clips[columns].to_numpy(float)))
