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

    @property
    def waits_for_another(self) -> bool:
        """Whether its row reads what another row of the same fold and seed left."""
        return bool(row_named(self.row).after)

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
        for row in map(row_named, self.rows):
            if row.after and row.name not in self.absent and row.after not in self.rows:
                raise RecipeError(f"row `{row.name}` needs row `{row.after}`\n\nhint: add it to the rows")
        if self.reference in self.absent:
            raise RecipeError(
                f"reference `{self.reference}` is n/a: {self.absent[self.reference]}\n\nhint: choose another row"
            )

    def cells(self, shard: tuple[int, int] = (1, 1)) -> list[Cell]:
        """Cells that can be run; part (i, n) of n takes every n-th pair of fold and seed, with all its rows.

        Rows that read the journal of another come after it.
        """
        part, parts = shard
        running = [row for row in self.rows if row not in self.absent]
        pairs = [(fold, seed) for seed in self.seeds for fold in self.folds][part - 1 :: parts]
        return sorted(
            [Cell(row, fold, seed) for fold, seed in pairs for row in running], key=lambda cell: cell.waits_for_another
        )

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
    """Run the cells that are not there yet.

    A cell that fails for a reason of its own (`CimeuError`) is logged and reported, and the others are run.

    Args:
        bench: what is compared.
        run_cell: runs one cell; with several workers it is sent to processes, so it must be picklable.
        folder: of the bench.
        shard: (i, n), this machine's part of n.
        workers: processes, with one thread each; 1 runs everything here.
        progress: told after every cell.

    Raises:
        RecipeError: the folder holds another bench, or the shard is none.
    """
    part, parts = shard
    if not 1 <= part <= parts:
        raise RecipeError(f"shard {part}/{parts}\n\nhint: parts are counted from 1, as in 1/4 to 4/4")
    open_bench(bench, folder)
    cells = bench.cells(shard)
    missing = [cell for cell in cells if read_cell(bench, cell, folder) is None]
    kept = len(cells) - len(missing)
    failures: dict[Cell, str] = {}
    progress("bench", kept, len(cells))
    for number, (cell, reason) in enumerate(_outcomes(bench, run_cell, folder, missing, workers), start=kept + 1):
        if reason:
            logger.warning("%s failed: %s", cell, reason)
            failures[cell] = reason
        progress("bench", number, len(cells))
    return BenchReport(len(missing) - len(failures), kept, failures)


def _outcomes(
    bench: Bench, run_cell: Callable[[Cell], CellResult], folder: Path, cells: Sequence[Cell], workers: int
) -> Iterator[tuple[Cell, str]]:
    """Each cell as it ends, with the reason of its failure (empty: none); waiting cells start when the others ended."""
    if workers <= 1:
        yield from ((cell, _attempt(bench, run_cell, folder, cell)) for cell in cells)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        for waits in (False, True):
            turn = [cell for cell in cells if cell.waits_for_another == waits]
            futures = {pool.submit(_attempt, bench, run_cell, folder, cell): cell for cell in turn}
            try:
                yield from ((futures[future], future.result()) for future in as_completed(futures))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _attempt(bench: Bench, run_cell: Callable[[Cell], CellResult], folder: Path, cell: Cell) -> str:
    try:
        write_cell(bench, cell, run_cell(cell), folder)
    except CimeuError as error:
        return str(error)
    return ""


def _one_thread() -> None:
    torch.set_num_threads(1)


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
