"""A bench: every row on every fold with every seed, a cell each, that may stop anywhere and be shared by machines.

    bench.json                             what is compared, the comparisons listed beforehand, what is n/a
    cells/<row>/<fold>/<seed>.parquet      what the cell said of each validation and test clip
    cells/<row>/<fold>/<seed>.json         figures, costs, and the checksum of the table; written last

Files get a temporary name and are then renamed. A cell counts as done only if its JSON belongs to this bench and its
table has the checksum; anything else is run again.
"""

import hashlib
import json
import logging
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import torch

from cimeu.errors import CimeuError, RecipeError
from cimeu.generalisation.cells import PROBABILITY, CellResult
from cimeu.generalisation.rows import REFERENCE, row_named
from cimeu.progress import Progress, silent

logger = logging.getLogger(__name__)


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
    comparisons: tuple[str, ...] = ()
    """Rows whose difference from the reference is tested, listed beforehand; empty: all others."""
    absent: dict[str, str] = field(default_factory=dict)
    """Rows that cannot differ in this setting, with the reason; printed as n/a."""
    fingerprint: str = ""
    """Identity of recipe, manifest and features; cells of another one do not count."""
    synthetic: bool = False
    """Whether the clips are made by a program; every table then says so."""

    def __post_init__(self) -> None:
        for name in (*self.comparisons, self.reference):
            if name not in self.rows:
                raise RecipeError(f"row `{name}` is compared but not run\n\nhint: rows are {', '.join(self.rows)}")
        if self.reference in self.absent:
            raise RecipeError(
                f"reference `{self.reference}` is n/a: {self.absent[self.reference]}\n\nhint: choose another row"
            )

    def cells(self) -> list[Cell]:
        """All cells that can be run; rows that read the journal of another come after it."""
        running = [row for row in self.rows if row not in self.absent]
        cells = [Cell(row, fold, seed) for seed in self.seeds for fold in self.folds for row in running]
        return sorted(cells, key=lambda cell: bool(row_named(cell.row).after))

    def compared(self) -> list[str]:
        """Rows tested against the reference."""
        chosen = self.comparisons or self.rows
        return [row for row in chosen if row != self.reference and row not in self.absent]


@dataclass(frozen=True)
class BenchReport:
    """How many cells were run now, how many were there already, and which failed and why."""

    done: int
    kept: int
    failures: dict[Cell, str]


def run_bench(
    bench: Bench,
    run_cell: Callable[[Cell], CellResult],
    folder: Path,
    *,
    shard: tuple[int, int] = (1, 1),
    workers: int = 1,
    progress: Progress = silent,
) -> BenchReport:
    """Run the cells that are not there yet; part `shard` = (i, n) of n takes every n-th cell.

    With several `workers`, processes of one thread each take one cell after the other; `run_cell` is then sent to them.

    A cell that fails for a reason of its own (`CimeuError`) is logged and reported, and the others are run.

    Raises:
        RecipeError: the folder holds another bench, or the shard is none.
    """
    part, parts = shard
    if not 1 <= part <= parts:
        raise RecipeError(f"shard {part}/{parts}\n\nhint: parts are counted from 1, as in 1/4 to 4/4")
    open_bench(bench, folder)
    cells = bench.cells()[part - 1 :: parts]
    waiting = [cell for cell in cells if read_cell(bench, cell, folder) is None]
    kept = len(cells) - len(waiting)
    failures: dict[Cell, str] = {}
    for number, (cell, result) in enumerate(_results(run_cell, waiting, workers)):
        progress("bench", kept + number, len(cells))
        if isinstance(result, CimeuError):
            logger.warning("%s failed: %s", cell, result)
            failures[cell] = str(result)
        else:
            write_cell(bench, cell, result, folder)
    progress("bench", len(cells), len(cells))
    return BenchReport(len(waiting) - len(failures), kept, failures)


def _results(
    run_cell: Callable[[Cell], CellResult], cells: Sequence[Cell], workers: int
) -> Iterator[tuple[Cell, CellResult | CimeuError]]:
    """Each cell with what came of it, as they are finished; rows that read another's journal wait for all others."""
    if workers == 1:
        yield from ((cell, _tried(run_cell, cell)) for cell in cells)
        return
    for later in (False, True):
        now = [cell for cell in cells if bool(row_named(cell.row).after) is later]
        if not now:
            continue
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(workers, len(now)), context, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            pending = {pool.submit(_tried, run_cell, cell): cell for cell in now}
            for future in as_completed(pending):
                yield pending[future], future.result()


def _tried(run_cell: Callable[[Cell], CellResult], cell: Cell) -> CellResult | CimeuError:
    try:
        return run_cell(cell)
    except CimeuError as error:
        return error


def open_bench(bench: Bench, folder: Path) -> None:
    """Write what is compared, or check that the folder's bench is this one.

    Raises:
        RecipeError: the folder holds another bench; names what differs.
    """
    path = folder / "bench.json"
    if not path.is_file():
        _write(path, json.dumps(asdict(bench), indent=2).encode())
        return
    found = read_bench(folder)
    differing = [each.name for each in fields(bench) if getattr(found, each.name) != getattr(bench, each.name)]
    if differing:
        name = differing[0]
        raise RecipeError(
            f"`{folder}` holds a bench with other {name}: {getattr(found, name)!r}, not {getattr(bench, name)!r}\n\n"
            "hint: choose another folder; what is compared is fixed before the first cell"
        )


def read_bench(folder: Path) -> Bench:
    """What a folder compares. Raises RecipeError where there is no bench."""
    path = folder / "bench.json"
    if not path.is_file():
        raise RecipeError(f"no bench in `{folder}`\n\nhint: run one first")
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    return Bench(**plain)


def write_cell(bench: Bench, cell: Cell, result: CellResult, folder: Path) -> None:
    """Keep a cell: the table first, then its figures with the checksum of the table."""
    missing = {PROBABILITY + emotion for emotion in bench.emotions} - set(result.predictions.columns)
    assert not missing, f"predictions without {sorted(missing)}"
    stem = folder / cell.stem
    table = result.predictions.to_parquet(index=False)
    _write(stem.with_suffix(".parquet"), table)
    said = {
        **asdict(cell),
        "fingerprint": bench.fingerprint,
        "checksum": _checksum(table),
        "parameters": result.parameters,
        "updates": result.updates,
        "wall_s": round(result.wall_s, 3),
        "selection": result.selection,
        "figures": {key: value if math.isfinite(value) else None for key, value in result.figures.items()},
    }
    _write(stem.with_suffix(".json"), json.dumps(said, indent=2).encode())


def read_cell(bench: Bench, cell: Cell, folder: Path) -> CellResult | None:
    """A finished cell of this bench; None where it is missing, damaged, or of another fingerprint."""
    stem = folder / cell.stem
    try:
        said = json.loads(stem.with_suffix(".json").read_bytes())
        table = stem.with_suffix(".parquet").read_bytes()
    except (FileNotFoundError, ValueError):
        return None
    if said.get("fingerprint") != bench.fingerprint or said.get("checksum") != _checksum(table):
        return None
    return CellResult(
        pd.read_parquet(stem.with_suffix(".parquet")),
        parameters=said["parameters"],
        updates=said["updates"],
        wall_s=said["wall_s"],
        selection=said["selection"],
        figures={key: math.nan if value is None else value for key, value in said["figures"].items()},
    )


def fingerprint_of(*parts: object) -> str:
    """Sixteen hexadecimal digits of JSON-ready parts (recipe tree, clip ids, encoder fingerprints)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def failures_text(failures: dict[Cell, str]) -> str:
    """One line per failed cell."""
    return "\n".join(f"{cell}: {reason.splitlines()[0]}" for cell, reason in failures.items())


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def finished(bench: Bench, folder: Path, row: str, seeds: Sequence[int]) -> dict[tuple[str, int], CellResult]:
    """Finished cells of a row by fold and seed."""
    found = {(fold, seed): read_cell(bench, Cell(row, fold, seed), folder) for fold in bench.folds for seed in seeds}
    return {key: result for key, result in found.items() if result is not None}
