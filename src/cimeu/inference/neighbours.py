"""Training clips that are near a segment, by what the network itself makes of them.

A run keeps the primitives of its training clips in `training_clips.npz`: means at level H of the first direction's E
(emotion) and S (style). Nearness is the cosine after each dimension was standardised over the training clips, so that
no dimension counts more for its scale.

Axes: N clips, C width of the primitives.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from cimeu.atomic import STATE, whole
from cimeu.errors import CheckpointError
from cimeu.reading import blaming, read_arrays
from cimeu.timeline.explanation import Neighbour

FILE = "training_clips.npz"
MOST_CLIPS = 4000
"""Of more clips, so many are kept, evenly spread."""
NAMES = ("clip_id", "emotion", "corpus", "culture")
PRIMITIVES = ("emotion_primitives", "style_primitives")
NEAREST = 5


@dataclass(frozen=True, kw_only=True)
class TrainingClips:
    """Who they are, and their primitives."""

    names: Mapping[str, tuple[str, ...]]
    """Columns of the manifest, by `NAMES`."""
    emotion: Float32[np.ndarray, "N C"]
    style: Float32[np.ndarray, "N C"] | None
    """None where the network has no style encoder."""

    @classmethod
    def of(
        cls, clips: pd.DataFrame, emotion: Float32[np.ndarray, "N C"], style: Float32[np.ndarray, "N C"] | None
    ) -> "TrainingClips":
        """Those rows of a manifest whose primitives are known; NaN are those of clips without a first stream."""
        rows = np.flatnonzero(np.isfinite(emotion).all(axis=1))
        rows = rows[:: max(1, -(-len(rows) // MOST_CLIPS))]
        table = clips.iloc[rows]
        return cls(
            names={name: tuple(str(value) for value in table[name]) for name in NAMES},
            emotion=emotion[rows],
            style=None if style is None else style[rows],
        )

    def save(self, folder: Path) -> Path:
        """Write the file into the folder of a run."""
        arrays: dict[str, Any] = {name: np.array(values, str) for name, values in self.names.items()}
        arrays["emotion_primitives"] = self.emotion.astype(np.float16)
        if self.style is not None:
            arrays["style_primitives"] = self.style.astype(np.float16)
        with whole(folder / FILE, STATE) as partial:
            np.savez_compressed(partial, **arrays)
        return folder / FILE

    @classmethod
    def load(cls, folder: Path) -> "TrainingClips | None":
        """Read the file of a run; None where it has none, as runs of earlier versions.

        Raises:
            CheckpointError: the file is damaged.
        """
        path, hint = folder / FILE, "`cimeu evaluate` writes it again"
        if not os.path.lexists(path):
            return None
        arrays = read_arrays(path, CheckpointError, hint)
        with blaming(path, CheckpointError, hint):
            primitives = {name: arrays[name].astype(np.float32) for name in PRIMITIVES if name in arrays}
            names = {name: tuple(str(value) for value in arrays[name]) for name in NAMES}
            emotion, style = primitives[PRIMITIVES[0]], primitives.get(PRIMITIVES[1])
        tables = [emotion] if style is None else [emotion, style]
        if any(table.ndim != 2 or not np.isfinite(table).all() for table in tables):
            raise CheckpointError(f"`{path}` is damaged: primitives that are not finite numbers\n\nhint: {hint}")
        if len({*map(len, tables), *map(len, names.values())}) > 1:
            raise CheckpointError(f"`{path}` is damaged: its columns differ in length\n\nhint: {hint}")
        return cls(names=names, emotion=emotion, style=style)

    def nearest(
        self, emotion: Float32[np.ndarray, " C"], style: Float32[np.ndarray, " C"] | None = None
    ) -> tuple[Neighbour, ...]:
        """The `NEAREST` clips, nearest first; none for primitives that are not finite."""
        training, query = self.emotion, emotion
        if style is not None and self.style is not None:
            training, query = np.hstack((training, self.style)), np.hstack((query, style))
        if not len(training) or not np.isfinite(query).all():
            return ()
        mean, deviation = training.mean(axis=0), np.maximum(training.std(axis=0), 1e-3)
        similarities = _unit((training - mean) / deviation) @ _unit(((query - mean) / deviation)[None])[0]
        best = np.argsort(-similarities, kind="stable")[:NEAREST]
        return tuple(
            Neighbour(**{name: self.names[name][row] for name in NAMES}, similarity=round(float(similarities[row]), 4))
            for row in best
        )


def _unit(rows: Float32[np.ndarray, "N C"]) -> Float32[np.ndarray, "N C"]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-6))
