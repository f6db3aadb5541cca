"""Labels that are numbers: columns such as `valence`, `arousal` and `dominance`, each on the scale of its corpus.

Networks learn them scaled to -1..1; whatever people read is on the corpus's own scale. A clip without a value (an empty
cell) is ignored in that dimension and keeps its emotion.

Axes: N clips, V dimensions.
"""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from cimeu.csv_files import decimal_points
from cimeu.errors import ManifestError, RecipeError

Scales: TypeAlias = Mapping[str, tuple[float | int, float | int]]
"""Ends of the scale of each dimension, as in {"valence": (1, 7)}."""


def continuous_of(table: pd.DataFrame, scales: Scales) -> Float32[np.ndarray, "N V"]:
    """Values of each dimension scaled to -1..1; NaN where a cell is empty.

    Raises:
        ManifestError: no such column, or a cell that is no number on its scale.
    """
    columns = []
    for name, (low, high) in scales.items():
        if name not in table.columns:
            raise ManifestError(
                f"the recipe learns `{name}`, and the manifest has no such column\n\n"
                "hint: add the column, or leave the dimension out of data.continuous"
            )
        cells = decimal_points(table[name])
        values = pd.to_numeric(cells.where(cells != "", None), errors="coerce").to_numpy(float)
        wrong = (cells != "").to_numpy() & ~((values >= low) & (values <= high))
        if wrong.any():
            row = int(wrong.argmax())
            raise ManifestError(
                f"`{name}` of clip `{table['clip_id'].iloc[row]}` is `{str(table[name].iloc[row]).strip()}`\n\n"
                f"hint: a number from {low:g} to {high:g} as in data.continuous, with a decimal point, or an empty cell"
            )
        columns.append(values)
    return scaled(np.stack(columns, axis=1), scales)


def scaled(values: Float[np.ndarray, "N V"], scales: Scales) -> Float32[np.ndarray, "N V"]:
    """From the scales of a corpus to -1..1.

    >>> scaled(np.array([[1.0], [4.0], [7.0]]), {"valence": (1, 7)}).ravel().tolist()
    [-1.0, 0.0, 1.0]
    """
    low, high = np.array(list(scales.values()), float).T
    return ((2 * values - low - high) / (high - low)).astype(np.float32)


def native(values: Float32[np.ndarray, "N V"], scales: Scales) -> Float32[np.ndarray, "N V"]:
    """From -1..1 to the scales of a corpus; what lies beyond an end becomes that end, NaN stays.

    >>> native(np.array([[-2.0], [0.5]], np.float32), {"valence": (1, 7)}).ravel().tolist()
    [1.0, 5.5]
    """
    low, high = np.array(list(scales.values()), float).T
    return (low + (high - low) * (np.clip(values, -1, 1) + 1) / 2).astype(np.float32)


def check_scales(scales: Scales) -> None:
    """Refuse a scale whose ends are not two finite numbers in order. Raises RecipeError."""
    for name, ends in scales.items():
        if len(ends) != 2 or not np.isfinite(ends).all() or ends[0] >= ends[1]:
            raise RecipeError(
                f"the scale of `{name}` is {list(ends)}\n\nhint: its lowest and its highest value, as in [-1, 1]"
            )
