"""Is this like anything the model was trained on?

A network gives an answer for any input. So a run keeps, in `familiarity.safetensors`, what its training clips are like
in several views: the emotion primitives (mean of E at level H), and the mean features of each stream. E alone is not
enough: it is normalised inside, and maps what it never saw among what it knows.

In each view the training clips, standardised, are one Gaussian: its principal directions with their variances, and one
variance for all others (probabilistic PCA, Tipping & Bishop, JRSS B 1999). The distance of a clip is its Mahalanobis
length divided by the root of the width, about 1 for a training clip. It counts as unlike the training clips beyond
what 99 % of the *validation* clips stay within: they come from the same corpora, and their speakers are not in the fit.

Axes: N clips, D width of a view, K principal directions.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from safetensors.numpy import load_file, save_file

from cimeu.atomic import STATE, whole
from cimeu.batching.dataset import ClipDataset
from cimeu.errors import CheckpointError
from cimeu.model.config import ModelConfig
from cimeu.model.rivals.rival import RivalConfig
from cimeu.reading import blaming, require_regular

FILE = "familiarity.safetensors"
QUANTILE = 0.99
DIRECTIONS = 8
MOST_CLIPS = 1000
"""So many training clips, evenly spread, describe them all."""
LARGEST_BYTES = 2**28
FEWEST_CLIPS = 8
"""With fewer clips of either kind a view is left out."""
PRIMITIVES = "primitives"
Views = Mapping[str, Float32[np.ndarray, "N _"]]


@dataclass(frozen=True)
class View:
    """The training clips as one Gaussian, and the distance beyond which a clip is unlike them."""

    mean: Float32[np.ndarray, " D"]
    deviation: Float32[np.ndarray, " D"]
    directions: Float32[np.ndarray, "K D"]
    variances: Float32[np.ndarray, " K"]
    rest: Float32[np.ndarray, ""]
    """Variance of each other direction."""
    limit: Float32[np.ndarray, ""]

    @classmethod
    def of(cls, train: Float32[np.ndarray, "N D"], held_out: Float32[np.ndarray, "M D"]) -> "View":
        """Fit to training clips, with the limit from held-out ones; both without NaN."""
        mean, deviation = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-3)
        standard = ((train - mean) / deviation).astype(np.float64)
        _, scales, directions = np.linalg.svd(standard, full_matrices=False)
        variances = scales**2 / len(standard)
        # Fewer directions than clips by far, or each clip would lie on one of its own and none would be unlike.
        count = min(DIRECTIONS, len(train) // 4, train.shape[1] - 1)
        # One variance for all other directions (Tipping & Bishop, eq. 3.6): single ones cannot be estimated from few
        # clips.
        rest = max(float(variances[count:].sum()) / (train.shape[1] - count), 1e-6)
        view = cls(
            mean=mean,
            deviation=deviation,
            directions=directions[:count].astype(np.float32),
            variances=np.maximum(variances[:count], rest).astype(np.float32),
            rest=np.array(rest, np.float32),
            limit=np.array(1, np.float32),
        )
        # "higher" and one step up: of a few clips, the farthest itself is still within
        limit = np.float32(np.quantile(view.distances(held_out), QUANTILE, method="higher"))
        return replace(view, limit=np.array(np.nextafter(limit, np.float32(np.inf))))

    def distances(self, rows: Float32[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
        """About 1 for a training clip; NaN for rows that are."""
        standard = (rows.astype(np.float64) - self.mean) / self.deviation
        along = standard @ self.directions.T
        # What the principal directions leave of the squared length; rounding may take it below zero.
        aside = np.maximum((standard**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.sqrt(((along**2 / self.variances).sum(axis=1) + aside / self.rest) / rows.shape[1])


@dataclass(frozen=True)
class Familiarity:
    """Views of the training clips, by name."""

    views: dict[str, View]

    @classmethod
    def of(cls, train: Views, held_out: Mapping[str, Float32[np.ndarray, "M _"]]) -> "Familiarity":
        """Fit each view to the rows that have it."""
        views = {}
        for name in train:
            finite = [rows[np.isfinite(rows).all(axis=1)] for rows in (train[name], held_out[name])]
            if min(map(len, finite)) >= FEWEST_CLIPS and train[name].shape[1] > 1:
                views[name] = View.of(*finite)
        return cls(views)

    def ood_scores(self, views: Views) -> Float[np.ndarray, " N"]:
        """Largest distance over its limit among the views a row has: above 1, it is unlike the training clips."""
        distances = [
            self.views[name].distances(rows) / self.views[name].limit
            for name, rows in views.items()
            if name in self.views
        ]
        if not distances:
            return np.full(len(next(iter(views.values()))), np.nan)
        stacked = np.stack(distances)
        # The view that is most unlike decides: a foreign voice is not excused by a familiar face.
        return np.where(np.isfinite(stacked).any(axis=0), np.fmax.reduce(stacked), np.nan)

    def save(self, folder: Path) -> Path:
        """Write the file into the folder of a run."""
        tensors = {
            f"{name}.{field.name}": np.array(getattr(view, field.name), order="C")
            for name, view in self.views.items()
            for field in fields(View)
        }
        with whole(folder / FILE, STATE) as partial:
            save_file(tensors, partial)
        return folder / FILE

    @classmethod
    def load(cls, folder: Path) -> "Familiarity | None":
        """Read the file of a run; None where it has none, as runs of earlier versions.

        Raises:
            CheckpointError: the file is damaged.
        """
        path, hint = folder / FILE, "`cimeu evaluate` writes it again"
        if not os.path.lexists(path):
            return None
        require_regular(path, CheckpointError, hint, at_most=LARGEST_BYTES)
        with blaming(path, CheckpointError, hint):
            tensors = load_file(path)
            names = dict.fromkeys(name.split(".", 1)[0] for name in tensors)
            views = {name: {part.name: tensors[f"{name}.{part.name}"] for part in fields(View)} for name in names}
        for name, parts in views.items():
            if reason := _wrong_in(parts):
                raise CheckpointError(f"`{path}` is damaged: {reason} of the view `{name}`\n\nhint: {hint}")
        return cls({name: View(**parts) for name, parts in views.items()})


def _wrong_in(parts: Mapping[str, np.ndarray]) -> str:
    """What no fit gives; empty where everything may be right."""
    for name, values in parts.items():
        if values.dtype != np.float32 or not np.isfinite(values).all():
            return f"{name} that are not finite float32 numbers"
        if name in ("deviation", "variances", "rest", "limit") and (values <= 0).any():
            return f"{name} of 0 or less"
    width = parts["mean"].shape
    count = parts["variances"].shape
    if len(width) != 1 or parts["deviation"].shape != width or parts["directions"].shape != (*count, *width):
        return "the shapes"
    return "the shapes" if parts["rest"].shape or parts["limit"].shape else ""


def views_of(
    config: ModelConfig | RivalConfig, dataset: ClipDataset, primitives: Float32[np.ndarray, "N C"]
) -> dict[str, Float32[np.ndarray, "N _"]]:
    """Every view of the clips of a dataset, their emotion primitives among them; NaN where a clip lacks it."""
    streams = {"first": dataset.first_features, "second": dataset.second_features}
    widths = {"first": config.first.width, "second": config.second.width if config.second else 0}
    return {PRIMITIVES: primitives} | {
        name: np.stack([mean_step(row, widths[name]) for row in rows]) for name, rows in streams.items() if widths[name]
    }


def mean_step(features: Float32[np.ndarray, "T D"] | None, width: int) -> Float32[np.ndarray, " D"]:
    """Mean over the steps of a clip; dimensions that were never measurable are 0, all are NaN without the stream."""
    if features is None:
        return np.full(width, np.nan, np.float32)
    finite = np.isfinite(features)
    return (np.where(finite, features, 0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)).astype(np.float32)
