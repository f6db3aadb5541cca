"""What is compared, and where its cells lie: every row on every fold with every seed.

    bench.json                             what is compared, what is n/a; fixed before the first cell is run
    bench.lock                             one byte for each cell that a process is working on (`sharing`)
    cells/<row>/<fold>/<seed>.parquet      what the cell said of each validation and test clip
    cells/<row>/<fold>/<seed>.json         figures, costs, and the checksum of the table; written last

Files get a temporary name and are then renamed. A cell counts as done only if its JSON belongs to this bench and its
table has the checksum; anything else is run again.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from cimeu.atomic import STATE, write_whole
from cimeu.bench.cells import CellResult
from cimeu.bench.rows import REFERENCE, row_named
from cimeu.cluster import part_of
from cimeu.csv_files import read_csv
from cimeu.errors import RecipeError
from cimeu.evaluation.predictions import PROBABILITY
from cimeu.reading import blaming, is_there, read_json

FOLDS = "folds.csv"
"""Clips and speakers of every part of every fold."""
BENCH_AGAIN = "copy the folder again, or begin another bench"
COSTS = ("baseline", "method", "cimeu")
"""Kinds of rows, the cheapest first."""


@dataclass(frozen=True, order=True)
class Cell:
    """One run of a comparison."""

    row: str
    fold: str
    seed: int

    @property
    def stem(self) -> Path:
        """Its files below the bench's folder, without suffix."""
        return Path("cells") / quote(self.row, safe="") / quote(self.fold, safe="") / str(self.seed)

    @property
    def lock(self) -> str:
        """What a process that works on the cell holds: seeds of simple models share one run."""
        return self.stem.parent.as_posix() if row_named(self.row).kind == "baseline" else self.stem.as_posix()

    @property
    def after(self) -> "Cell | None":
        """The cell whose run this one reads, of the same fold and seed."""
        row = row_named(self.row).after
        return Cell(row, self.fold, self.seed) if row else None

    def __str__(self) -> str:
        return f"{self.row}, fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is compared; fixed before the first cell is run."""

    name: str
    """Heading of the tables."""
    emotions: tuple[str, ...]
    """Emotions in the order of the label space."""
    rows: tuple[str, ...]
    """Rows in the order of the table."""
    folds: tuple[str, ...]
    """Names of the folds."""
    seeds: tuple[int, ...]
    """Seeds of each row and fold."""
    group: str = "culture"
    """Column whose groups are averaged without weights."""
    reference: str = REFERENCE
    """Row that the others are compared with."""
    absent: dict[str, str] = field(default_factory=dict)
    """Rows that cannot differ in this setting, with the reason; printed as n/a."""
    fingerprint: str = ""
    """Identity of recipe, manifest and features; cells of another one do not count."""
    synthetic: bool = False
    """Whether the clips are made by a program; every table then says so."""
    protocol: str = ""
    """Name in `cimeu.bench.protocols.PROTOCOLS`; empty: the folds of the recipe."""
    selection: str = ""
    """Name of the rule of selection; empty: the recipe's."""
    tune: int = 0
    """Configurations tried for each row and fold inside the training groups; 0: the recipe's settings."""
    supports: tuple[str, ...] = ()
    """Support sets under which test clips are answered too: names of `cimeu.bench.style_offset.SupportProtocol`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the recipe by dotted key, and digests of the clips and encoders."""

    def __post_init__(self) -> None:
        if self.reference not in self.rows:
            raise RecipeError(f"reference `{self.reference}` is not run\n\nhint: rows are {', '.join(self.rows)}")
        for row in map(row_named, self.rows):
            if row.after and row.name not in self.absent and row.after not in self.rows:
                raise RecipeError(f"row `{row.name}` needs row `{row.after}`\n\nhint: add it to the rows")
        if self.reference in self.absent:
            raise RecipeError(
                f"reference `{self.reference}` is n/a: {self.absent[self.reference]}\n\nhint: choose another row"
            )

    def cells(self, shard: tuple[int, int] = (1, 1)) -> list[Cell]:
        """Cells that can be run; part (i, n) of n takes every n-th pair of fold and seed, with all its rows.

        Seed after seed, so that a complete seed is there soon; the cheapest rows first, and a row that reads the run
        of another after it.
        """
        running = [row_named(row) for row in self.rows if row not in self.absent]
        # The reference before other rows of its kind: differences can then be read from the first seed on.
        running.sort(key=lambda row: (bool(row.after), COSTS.index(row.kind), row.name != self.reference))
        pairs = part_of([(fold, seed) for seed in self.seeds for fold in self.folds], shard)
        seeds = dict.fromkeys(seed for _, seed in pairs)
        return [Cell(row.name, fold, seed) for turn in seeds for row in running for fold, seed in pairs if seed == turn]

    def compared(self) -> list[str]:
        """Rows tested against the reference: all others that can be run. Holm's p-values are over all of them."""
        return [row for row in self.rows if row != self.reference and row not in self.absent]


def open_bench(bench: Bench, folder: Path, defaults: Mapping[str, Any] | None = None) -> Bench:
    """Write what is compared, or check that the folder's bench is this one; returns the bench that its cells belong to.

    `defaults` are values of settings by dotted key: a setting that did not exist when the folder was begun changes
    nothing while it has its default.

    Raises:
        RecipeError: the folder holds another bench; names what differs.
    """
    path = folder / "bench.json"
    if not path.is_file():
        write_whole(path, json.dumps(asdict(bench), indent=2), STATE)
        return bench
    stored = read_bench(folder)
    # Through JSON, as the stored ones: tuples have become lists.
    requested: Bench = replace(bench, settings=json.loads(json.dumps(bench.settings)))
    # Single settings are compared where the folder keeps them, so that the message can name the one that differs;
    # folders of version 0.1 hold a fingerprint alone.
    if stored.settings:
        requested = replace(requested, fingerprint=stored.fingerprint)
        stored_settings, here = {**(defaults or {}), **stored.settings}, requested.settings
        for name in here:
            if name not in stored_settings or stored_settings[name] != here[name]:
                raise _differs(folder, f"other `{name}`", stored_settings.get(name, "nothing"), here[name])
    requested = replace(requested, settings=stored.settings)
    for name in (entry.name for entry in fields(bench)):
        if getattr(stored, name) != getattr(requested, name):
            raise _differs(folder, f"other {name}", getattr(stored, name), getattr(requested, name))
    return stored


def read_bench(folder: Path) -> Bench:
    """What a folder compares. Raises RecipeError where there is no bench."""
    path = folder / "bench.json"
    if not is_there(path, RecipeError, "name the folder of a bench"):
        raise RecipeError(f"no bench in `{folder}`\n\nhint: run one first")
    stored = read_json(path, RecipeError, BENCH_AGAIN)
    names = {entry.name for entry in fields(Bench)}  # earlier versions wrote more
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    with blaming(path, RecipeError, BENCH_AGAIN):
        return Bench(**{key: value for key, value in plain.items() if key in names})


def read_folds(folder: Path) -> pd.DataFrame:
    """Table of the folds of a bench, as it wrote it."""
    table = read_csv(folder / FOLDS).frame.reset_index(drop=True)
    return table.astype({"clips": int, "speakers": int})


def write_cell(bench: Bench, cell: Cell, result: CellResult, folder: Path) -> None:
    """Keep a cell: the table first, then its figures with the checksum of the table."""
    missing = {PROBABILITY + emotion for emotion in bench.emotions} - set(result.predictions.columns)
    assert not missing, f"predictions without {sorted(missing)}"
    stem = folder / cell.stem
    # The figures hold the checksum of these bytes: a pair that does not belong together is no cell.
    table = result.predictions.to_parquet(index=False)
    write_whole(stem.with_suffix(".parquet"), table, STATE)
    record = {
        **asdict(cell),
        "fingerprint": bench.fingerprint,
        "checksum": _checksum(table),
        "parameters": result.parameters,
        "updates": result.updates,
        "wall_s": round(result.wall_s, 3),
        "cpu_s": round(result.cpu_s, 3),
        "selection": result.selection,
        "figures": {key: value if math.isfinite(value) else None for key, value in result.figures.items()},
    }
    write_whole(stem.with_suffix(".json"), json.dumps(record, indent=2), STATE)


def read_cell(bench: Bench, cell: Cell, folder: Path) -> CellResult | None:
    """A finished cell of this bench; None where it is missing, damaged, or of another fingerprint."""
    stem = folder / cell.stem
    try:
        record = json.loads(stem.with_suffix(".json").read_bytes())
        table = stem.with_suffix(".parquet").read_bytes()
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("fingerprint") != bench.fingerprint:
        return None
    if record.get("checksum") != _checksum(table):
        return None
    return CellResult(
        pd.read_parquet(stem.with_suffix(".parquet")),
        parameters=record["parameters"],
        updates=record["updates"],
        wall_s=record["wall_s"],
        cpu_s=record.get("cpu_s", math.nan),
        selection=record["selection"],
        figures={key: math.nan if value is None else value for key, value in record["figures"].items()},
    )


def finished(bench: Bench, folder: Path, row: str, seeds: Sequence[int]) -> dict[tuple[str, int], CellResult]:
    """Finished cells of a row by fold and seed."""
    cells = {(fold, seed): read_cell(bench, Cell(row, fold, seed), folder) for fold in bench.folds for seed in seeds}
    return {key: result for key, result in cells.items() if result is not None}


def fingerprint_of(*parts: object) -> str:
    """Sixteen hexadecimal digits of JSON-ready parts (recipe tree, clip ids, encoder fingerprints)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _differs(folder: Path, difference: str, stored: object, requested: object) -> RecipeError:
    return RecipeError(
        f"`{folder}` holds a bench with {difference}: {stored!r}, not {requested!r}\n\n"
        "hint: choose another folder; what is compared is fixed before the first cell"
    )


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
