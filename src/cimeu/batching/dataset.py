"""Clips of a manifest beside their stored features: no randomness, no transformation.

A clip that cannot be used keeps its place, so that predictions of a published test set never shrink; `usable` says
which clips have at least one stream.

Axes: N clips, T steps of a clip as stored, D channels.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64

from cimeu.corpora.continuous import Scales, continuous_of
from cimeu.corpora.manifest import Clip, Manifest
from cimeu.corpora.votes import shares_of
from cimeu.errors import FeatureError, ManifestError
from cimeu.features.store import FeatureStore, key_of
from cimeu.labels import LabelSpace
from cimeu.pyramid import Direction

DEVIATION_FLOOR = 1e-3
Targets = Literal["classes", "shares"]
"""What a clip is learned as: its emotion, or the share of each emotion in its votes."""
Moves = tuple[Float32[np.ndarray, "N D"] | None, Float32[np.ndarray, "N D2"] | None]
"""What is subtracted from every step of each clip, in each stream."""


@dataclass(frozen=True)
class Sample:
    """One clip as stored; `emotion` and `style` are -1 where unknown, `index` is its place in the dataset."""

    clip_id: str
    first: Float32[np.ndarray, "T D"] | None
    second: Float32[np.ndarray, "T2 D2"] | None
    emotion: int
    style: int
    index: int
    shares: Float32[np.ndarray, " K"] | None = None
    """Share of each emotion, where shares are what is learned."""
    continuous: Float32[np.ndarray, " V"] | None = None
    """Continuous labels from -1 to 1, where a recipe has any; NaN where the clip has none."""


@dataclass(frozen=True)
class Statistics:
    """Mean and deviation of every dimension over the training clips of a fold."""

    mean: Float32[np.ndarray, " D"]
    deviation: Float32[np.ndarray, " D"]

    @classmethod
    def of(cls, features: Iterable[Float32[np.ndarray, "_ D"]]) -> "Statistics":
        """Over all steps of all clips, NaN (not measurable) left out; deviations are at least 1e-3.

        Raises FeatureError without a single clip.
        """
        count, total, squares = 0.0, 0.0, 0.0
        shift: np.ndarray | None = None
        for clip in features:
            values = clip.astype(np.float64)
            if shift is None:  # near the mean, so that the squares do not cancel
                shift = np.nan_to_num(values).mean(0)
            # Shifted by the first clip's mean: the difference of two large sums would lose the variance.
            values = values - shift
            present = ~np.isnan(values)
            values = np.where(present, values, 0.0)
            count, total, squares = count + present.sum(0), total + values.sum(0), squares + np.square(values).sum(0)
        if shift is None:
            raise FeatureError("no training clip has features\n\nhint: extract features first (`cimeu extract`)")
        count = np.maximum(count, 1)
        mean = total / count  # per dimension: some are not measurable in every step
        deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
        return cls((shift + mean).astype(np.float32), np.maximum(deviation, DEVIATION_FLOOR).astype(np.float32))

    @classmethod
    def of_filterbanks(cls, features: Iterable[Float32[np.ndarray, "_ D"]]) -> "Statistics":
        """One mean for all bins and twice their deviation, the scale that AST reads."""
        clips = list(features)
        one = cls.of(clip.reshape(-1, 1) for clip in clips)
        width = clips[0].shape[1]
        return cls(one.mean.repeat(width), (2 * one.deviation).repeat(width))

    @classmethod
    def identity(cls, width: int) -> "Statistics":
        """For features that are used as they are, such as tokens of a frozen encoder."""
        return cls(np.zeros(width, np.float32), np.ones(width, np.float32))

    def apply(self, features: Float32[np.ndarray, "*rest D"]) -> Float32[np.ndarray, "*rest D"]:
        """Standardise; what was not measurable becomes the mean, 0."""
        return np.nan_to_num((features - self.mean) / self.deviation)


class ClipDataset:
    """The clips of a manifest, each with its first and second stream as stored for one direction."""

    def __init__(
        self,
        manifest: Manifest,
        labels: LabelSpace,
        *,
        first: FeatureStore | None,
        second: FeatureStore | None,
        direction: Direction,
        style_column: str | None = None,
        targets: Targets = "classes",
        continuous: Scales | None = None,
    ) -> None:
        """Look every clip up; features are views of the store's files. `shares`: votes are what is learned;
        `continuous`: columns that are learned beside the emotion, with their scales.

        The second stream is never reversed. A clip without features, or with a problem, has no stream and is not in
        `usable`. Raises UnknownLabel, ManifestError for a column that is not there, FeatureError for a damaged store.
        """
        self.manifest, self.labels, self.direction = manifest, labels, direction
        self.first, self.second = first, second
        self.clips = manifest.clips()
        self.clip_ids = tuple(clip.clip_id for clip in self.clips)
        self.emotions = np.array([labels.index(c.emotion) if c.emotion else -1 for c in self.clips], np.int64)
        self.shares = shares_of(manifest.table, labels) if targets == "shares" else None
        self.scales = dict(continuous or {})
        self.continuous = continuous_of(manifest.table, self.scales) if self.scales else None
        self.style_column = style_column
        self.style_names, self.styles = self._number(style_column)
        self.first_features = _rows(first, self.clips, direction)
        self.second_features = _rows(second, self.clips, "forward")
        self.present = np.array(
            [[row is not None for row in rows] for rows in (self.first_features, self.second_features)]
        ).T
        self.usable = np.flatnonzero(self.present.any(1))
        self._drawn: Callable[[int], Moves] | None = None

    @property
    def streams(self) -> tuple[Sequence[np.ndarray | None], Sequence[np.ndarray | None]]:
        """Steps of every clip in the first and in the second stream."""
        return self.first_features, self.second_features

    def less(self, moves: Moves) -> "ClipDataset":
        """The same clips with every step moved."""
        changed = copy.copy(self)
        changed.first_features, changed.second_features = map(_moved, self.streams, moves)
        changed._drawn = None
        return changed

    def in_episodes(self, drawn: Callable[[int], Moves]) -> "ClipDataset":
        """The same clips, which are moved otherwise in each epoch."""
        changed = copy.copy(self)
        changed._drawn = drawn
        return changed

    def episode(self, number: int) -> "ClipDataset":
        """The clips as they are read in one epoch."""
        return self if self._drawn is None else self.less(self._drawn(number))

    @property
    def shares_windows(self) -> bool:
        """Whether step t of both streams is the same window of the clip."""
        if self.first is None or self.second is None:
            return False
        windows = [store.description["window"] for store in (self.first, self.second)]
        return windows[0] is not None and windows[0] == windows[1]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Sample:
        return Sample(
            self.clip_ids[index],
            self.first_features[index],
            self.second_features[index],
            int(self.emotions[index]),
            int(self.styles[index]),
            index,
            None if self.shares is None else self.shares[index],
            None if self.continuous is None else self.continuous[index],
        )

    def groups(self, column: str) -> list[str]:
        """A column of the manifest, one value per clip, empty where unknown. Raises ManifestError."""
        if column not in self.manifest.table.columns:
            raise ManifestError(
                f"no column `{column}` in the manifest\n\nhint: columns are {', '.join(self.manifest.table.columns)}"
            )
        return [str(value) for value in self.manifest.table[column]]

    def statistics(self) -> tuple[Statistics | None, Statistics | None]:
        """Mean and deviation of each stream over these clips: call it on training clips alone."""
        return _statistics(self.first, self.first_features), _statistics(self.second, self.second_features)

    def _number(self, column: str | None) -> tuple[tuple[str, ...], Int64[np.ndarray, " N"]]:
        if column is None:
            return (), np.full(len(self.clips), -1, np.int64)
        values = self.groups(column)
        names = tuple(sorted({value for value in values if value}))
        return names, np.array([names.index(value) if value else -1 for value in values], np.int64)


def _moved(steps: Sequence[np.ndarray | None], moves: np.ndarray | None) -> list[np.ndarray | None]:
    if moves is None:
        return list(steps)
    return [None if clip is None else clip - move for clip, move in zip(steps, moves, strict=True)]


def _rows(
    store: FeatureStore | None, clips: Sequence[Clip], direction: Direction
) -> list[Float32[np.ndarray, "_ _"] | None]:
    if store is None:
        return [None] * len(clips)
    keys = [None if clip.problem else key_of(clip, store.description, direction) for clip in clips]
    return [store.get(key).features if key is not None and key in store else None for key in keys]


def _statistics(store: FeatureStore | None, rows: list[np.ndarray | None]) -> Statistics | None:
    if store is None:
        return None
    present = [features for features in rows if features is not None]
    kind, width = store.description["kind"], store.description["width"]
    if kind == "tokens":
        assert isinstance(width, int)
        return Statistics.identity(width)
    if kind == "filterbank":
        return Statistics.of_filterbanks(present)
    return Statistics.of(present)
