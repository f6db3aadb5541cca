"""What runs keep beside their predictions: journals, faults, primitives, probes, and the baselines of their bench.

Axes: N clips, C width of the primitives.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from cimeu.csv_files import read_csv
from cimeu.errors import RecipeError
from cimeu.experiments.run_folder import AGAIN, Json, Run, read_rows
from cimeu.pyramid import DIRECTIONS
from cimeu.reading import read_arrays
from cimeu.training.faults import read_faults


def journals(runs: Sequence[Run]) -> list[Json]:
    """One curve per number and training run, over epochs; text and constant bookkeeping are left out."""
    curves: dict[str, list[Json]] = {}
    for run in runs:
        for direction in DIRECTIONS:
            path = run.folder / direction / "journal.csv"
            if not path.is_file():
                continue
            table = read_csv(path).frame.apply(pd.to_numeric, errors="coerce")  # text becomes NaN
            if "epoch" not in table:
                continue
            for column in table.columns.drop("epoch"):
                measured = table[["epoch", column]].dropna().astype({column: float})
                if len(measured):
                    points = {"epochs": measured["epoch"].tolist(), "values": measured[column].tolist()}
                    curve = {"run": run.name, "direction": direction, **points}
                    curves.setdefault(str(column), []).append(curve)
    return [{"name": name, "curves": of_name} for name, of_name in curves.items()]


def faults(runs: Sequence[Run]) -> list[Json]:
    """Parts with little or no effect in the last epoch of each network, as lines; without runs that measured none."""
    return [
        {"run": run.name, "direction": direction, "lines": [str(fault) for fault in found]}
        for run in runs
        for direction in DIRECTIONS
        if (found := read_faults(run.folder / direction, emotions=len(run.emotions))) is not None
    ]


def projections(runs: Sequence[Run], group: str) -> Json | None:
    """Pooled E and S of the first run that keeps them, on their two main axes (principal components)."""
    for run in runs:
        path = run.folder / "projections.npz"
        if not path.is_file():
            continue
        arrays = read_arrays(path, RecipeError, AGAIN)
        if "clip_id" not in arrays:
            raise RecipeError(f"`{path}` is damaged: it names no clips\n\nhint: {AGAIN}")
        clip_ids = [str(clip) for clip in arrays["clip_id"]]
        vectors = {
            name: arrays[f"{name}_primitives"] for name in ("emotion", "style") if f"{name}_primitives" in arrays
        }
        labels = run.predictions.drop_duplicates("clip_id").set_index("clip_id")
        labels = labels[["emotion", *([group] if group else [])]].reindex(clip_ids).fillna("")
        return {
            "run": run.name,
            "emotions": labels["emotion"].tolist(),
            "groups": labels[group].tolist() if group else [""] * len(labels),
            "points": {name: _two_axes(values) for name, values in vectors.items()},
        }
    return None


def probes(runs: Sequence[Run]) -> Json | None:
    """What probes read from E and S, in percent; mean over runs of each cell."""
    tables = [pd.DataFrame(rows) for run in runs if (rows := read_rows(run.folder / "probes.json"))]
    if not tables:
        return None
    together = pd.concat(tables)
    keys = [key for key in ("version", "target", "representation", "probe") if key in together]
    figures = [name for name in ("accuracy", "low", "high", "chance", "score") if name in together]
    together[figures] = 100 * together[figures].apply(pd.to_numeric)
    rows = together.groupby(keys, sort=False)[figures].mean().reset_index()
    return {"n_runs": len(tables), "rows": rows.to_dict("records")}


def baselines(runs: Sequence[Run]) -> list[Json] | None:
    """Other rows of the bench that the runs belong to, in percent, as it wrote them, or None. Raises ManifestError."""
    path = runs[0].folder.parent / "baselines.csv"
    # Text as it was printed: pandas would take `n/a`, or a method called `NA`, for a number that is missing.
    return read_csv(path).frame.to_dict("records") if path.is_file() else None


def _two_axes(vectors: Shaped[np.ndarray, "N C"]) -> list[list[float]]:
    finite = np.isfinite(vectors).all(axis=1)
    points = np.full((len(vectors), 2), np.nan)
    if finite.any():
        centred = vectors[finite].astype(float) - vectors[finite].mean(axis=0, dtype=float)
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
        points[finite, : min(2, left.shape[1])] = (left * sizes)[:, :2]
    return np.round(points, 4).tolist()
