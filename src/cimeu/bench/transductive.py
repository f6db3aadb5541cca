"""Standardise every group by its own clips, unlabelled: what a deployment may do that has recordings but no labels.

Mean and deviation of a group come from all its clips. For a training group these are training clips; for the held-out
group they are test clips, whose labels are not looked at. Every row of a table reads the same clips. Tokens of a frozen
encoder stay as they are.

Axes: D features.
"""

import copy
from collections.abc import Mapping

from cimeu.batching.dataset import ClipDataset, Statistics

ByGroup = Mapping[str, tuple[Statistics | None, Statistics | None]]


def group_statistics(dataset: ClipDataset, column: str) -> dict[str, tuple[Statistics | None, Statistics | None]]:
    """Mean and deviation of both streams in each group of the dataset; None for a stream that no clip of it has."""
    groups = dataset.groups(column)
    statistics = {}
    for group in sorted(set(groups)):
        members = copy.copy(dataset)
        rows = [row for row, name in enumerate(groups) if name == group]
        members.first_features = [dataset.first_features[row] for row in rows]
        members.second_features = [dataset.second_features[row] for row in rows]
        for name in ("first", "second"):
            if all(steps is None for steps in getattr(members, f"{name}_features")):
                setattr(members, name, None)
        statistics[group] = members.statistics()
    return statistics


def by_group(dataset: ClipDataset, column: str, statistics: ByGroup) -> ClipDataset:
    """The same clips, each standardised by its group."""
    changed = copy.copy(dataset)
    groups = dataset.groups(column)
    for stream, name in enumerate(("first_features", "second_features")):
        rows = []
        for steps, group in zip(getattr(dataset, name), groups, strict=True):
            own_statistics = statistics[group][stream]
            rows.append(steps if steps is None or own_statistics is None else own_statistics.apply(steps))
        setattr(changed, name, rows)
    return changed
