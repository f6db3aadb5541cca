"""Every look at the outer table, written down: a method improved by looking at its test set has no test set left.

Axes: none; one line of a CSV per look.
"""

import csv
import datetime
from collections.abc import Sequence
from pathlib import Path

COLUMNS = ("date", "method_version", "recipe", "rows", "folds", "seeds", "note")


def log_look(
    path: Path,
    *,
    method_version: str,
    recipe: str,
    rows: Sequence[str],
    folds: Sequence[str],
    seeds: Sequence[int],
    note: str = "",
    date: datetime.date | None = None,
) -> None:
    """Append a look; the file gets its heading with the first one, and no line is ever changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    day = date or datetime.datetime.now(tz=datetime.UTC).date()
    listed = (" ".join(rows), " ".join(folds), " ".join(map(str, seeds)))
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        writer.writerow([day.isoformat(), method_version, recipe, *listed, note])
