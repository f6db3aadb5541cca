"""What happened in each epoch, as plain files: journal.jsonl and journal.csv, and TensorBoard where asked for.

A number that could not be had (no style label yet, no second stream) is null or an empty cell: absent, not 0.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cimeu.atomic import STATE, write_whole
from cimeu.csv_files import csv_text
from cimeu.errors import RecipeError
from cimeu.reading import blaming

Entry = dict[str, float | int | None]


def write_journal(folder: Path, entries: Sequence[Mapping[str, float | int | None]]) -> None:
    """Write all epochs anew, whole or not at all."""
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    write_whole(folder / "journal.jsonl", lines, STATE)
    columns = list(dict.fromkeys(name for entry in entries for name in entry))
    table = csv_text([columns, *([entry.get(name) for name in columns] for entry in entries)])
    write_whole(folder / "journal.csv", table, STATE)


def read_journal(folder: Path) -> list[Entry]:
    """Every epoch of a run, the first one first. Raises RecipeError where there is no journal."""
    path = folder / "journal.jsonl"
    if not path.is_file():
        raise RecipeError(f"no journal at `{path}`\n\nhint: train into this folder first")
    with blaming(path, RecipeError, "train again into another folder"):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_tensorboard(folder: Path, entries: Sequence[Mapping[str, float | int | None]]) -> None:
    """Write all epochs as TensorBoard scalars. Raises RecipeError without the package."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RecipeError("TensorBoard is not installed\n\nhint: pip install 'cimeu[tensorboard]'") from error
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(str(folder)) as writer:
        for entry in entries:
            for name, value in entry.items():
                if value is not None:
                    writer.add_scalar(name, value, int(entry["epoch"] or 0))
