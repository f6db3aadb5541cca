"""What probes read from the primitives of a bench's runs, as a table in percent."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from cimeu.tables import Table

EXPECTED = {
    ("emotion", "emotion"): "high",
    ("emotion", "group"): "low",
    ("style", "emotion"): "low",
    ("style", "group"): "high",
}
"""Whether a target should be readable from a representation."""


def probes_in_percent(tables: Mapping[str, Sequence[Sequence[Mapping[str, object]]]], name: str) -> Table:
    """What probes read, in percent, mean over the runs of each row; `tables` holds each run's `probe_table` by row."""
    keys = ["row", "version", "target", "representation", "probe"]
    rows = [{"row": row, **line} for row, runs in tables.items() for run in runs for line in run]
    probes = pd.DataFrame(rows)
    figures = probes[["accuracy", "chance", "score"]].apply(pd.to_numeric)
    means = pd.concat([probes[keys], figures], axis=1).groupby(keys, sort=False)
    lines = []
    for key, mean in zip(means.groups, means.mean().itertuples(index=False), strict=True):
        expected = EXPECTED.get((key[3], key[2]), "")
        lines.append((*map(str, key), *("n/a" if math.isnan(x) else f"{100 * x:.1f}" for x in mean), expected))
    runs = " ".join(f"{row} {len(rows_of)}" for row, rows_of in tables.items())
    notes = (
        "Balanced accuracy of classifiers trained on frozen primitives, on unseen speakers; score: share of what raw "
        f"features say beyond chance, n/a where they say nothing. Mean over runs: {runs}.",
    )
    return Table(f"{name}: probes, percent", (*keys, "accuracy", "chance", "score", "expected"), tuple(lines), notes)
