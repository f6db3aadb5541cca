"""Test-set access log: a method that was improved by looking at its test set has no test set left.

Axes: none; one line of a CSV per access.
"""

import datetime
from collections.abc import Sequence
from pathlib import Path

from cimeu.csv_files import csv_text
from cimeu.errors import OutputError

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
    """Append an access; the file gets its heading with the first one, and no line is ever changed.

    Raises:
        OutputError: the file is something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    check_log(path)
    day = date or datetime.datetime.now(tz=datetime.UTC).date()
    listed = (" ".join(rows), " ".join(folds), " ".join(map(str, seeds)))
    with path.open("a", newline="", encoding="utf-8") as file:
        heading = [COLUMNS] if file.tell() == 0 else []
        # One write, so that lines of several processes do not mix.
        file.write(csv_text([*heading, [day.isoformat(), method_version, recipe, *listed, note]]))


def check_log(path: Path) -> None:
    """Refuse to append to a file that is not such a log. Raises OutputError."""
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            heading = file.readline(1000)
        if heading and heading.strip() != ",".join(COLUMNS):
            raise OutputError(f"`{path}` is not a log of `cimeu bench`\n\nhint: name another file with --looks")
