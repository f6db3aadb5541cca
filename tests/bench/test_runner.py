import errno
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from cimeu.bench.cells import CellResult
from cimeu.bench.comparison import Bench, Cell, open_bench, read_cell, write_cell
from cimeu.bench.runner import CellWork, _held, _Processes, failures_text, run_bench
from cimeu.cluster import LOST, Machines, WorkerLost
from cimeu.errors import FeatureError, RecipeError
from cimeu.reports.bench_report import write_bench

EMOTIONS = ("anger", "neutral")
BENCH = Bench(
    name="little bench",
    emotions=EMOTIONS,
    rows=("full", "without-er", "without-rfa"),
    folds=("de/ch", "en"),
    seeds=(0, 1),
    absent={"without-rfa": "one stream: nothing to align or fuse"},
    fingerprint="abc",
)


def result(cell: Cell) -> CellResult:
    """Four test clips in the fold's culture and one validation clip; the reference is right more often."""
    right = {"full": 4, "without-er": 3}.get(cell.row, 2)
    rows = []
    for clip in range(5):
        part, emotion = ("validation" if clip == 4 else "test"), clip % 2
        said = emotion if clip < right else 1 - emotion
        rows.append(
            {"clip_id": f"{cell.fold}/{clip}", "part": part, "emotion": EMOTIONS[emotion], "corpus": "little"}
            | {"speaker": f"{cell.fold}-{clip // 2}", "culture": cell.fold, "gender": "", "problem": ""}
            | {f"fused.{name}": float(number == said) for number, name in enumerate(EMOTIONS)}
        )
    return CellResult(pd.DataFrame(rows), parameters=7, updates=3, wall_s=0.5, figures={"validation_uar": 0.9})


class Counting:
    def __init__(self) -> None:
        self.cells: list[Cell] = []

    def __call__(self, cell: Cell) -> CellResult:
        self.cells.append(cell)
        return result(cell)


def test_absent_rows_are_never_run(tmp_path: Path) -> None:
    run = Counting()
    report = run_bench(BENCH, run, tmp_path)
    assert report.done == len(run.cells) == 8
    assert {cell.row for cell in run.cells} == {"full", "without-er"}


def test_a_second_run_keeps_every_cell(tmp_path: Path) -> None:
    run_bench(BENCH, Counting(), tmp_path)
    run = Counting()
    report = run_bench(BENCH, run, tmp_path)
    assert (report.done, report.kept, run.cells) == (0, 8, [])


def test_shards_share_all_cells_and_none_twice(tmp_path: Path) -> None:
    seen: list[Cell] = []
    for part in (1, 2, 3):
        run = Counting()
        run_bench(BENCH, run, tmp_path, machines=Machines((part, 3)))
        seen += run.cells
    assert sorted(seen) == sorted(BENCH.cells())


def test_the_rows_of_a_fold_and_seed_stay_on_one_machine() -> None:
    shards = [{(cell.fold, cell.seed) for cell in BENCH.cells((part, 3))} for part in (1, 2, 3)]
    assert sum(map(len, shards)) == len(set().union(*shards)) == 4


def test_a_worker_process_leaves_the_same_cell(tmp_path: Path) -> None:
    bench = replace(BENCH, rows=("full",), folds=("en",), seeds=(0,), absent={})
    run_bench(bench, result, tmp_path / "here")
    report = run_bench(bench, partial(read_cell, bench, folder=tmp_path / "here"), tmp_path / "there", workers=2)
    assert (report.done, report.kept) == (1, 0)
    here, there = (read_cell(bench, Cell("full", "en", 0), tmp_path / name) for name in ("here", "there"))
    assert here is not None
    assert there is not None
    pd.testing.assert_frame_equal(here.predictions, there.predictions)


def test_a_damaged_cell_is_run_again(tmp_path: Path) -> None:
    run_bench(BENCH, Counting(), tmp_path)
    path = tmp_path / Cell("full", "en", 1).stem.with_suffix(".parquet")
    path.write_bytes(path.read_bytes()[:-9])
    run = Counting()
    run_bench(BENCH, run, tmp_path)
    assert run.cells == [Cell("full", "en", 1)]


def test_a_cell_without_its_figures_is_run_again(tmp_path: Path) -> None:
    """The figures are written last: a kill between both files leaves an unfinished cell."""
    run_bench(BENCH, Counting(), tmp_path)
    (tmp_path / Cell("full", "de/ch", 0).stem.with_suffix(".json")).unlink()
    assert run_bench(BENCH, result, tmp_path).done == 1


def test_a_cell_of_another_recipe_does_not_count(tmp_path: Path) -> None:
    cell = Cell("full", "en", 0)
    write_cell(BENCH, cell, result(cell), tmp_path)
    assert read_cell(BENCH, cell, tmp_path) is not None
    assert read_cell(replace(BENCH, fingerprint="other"), cell, tmp_path) is None


def test_a_cell_comes_back_as_it_was_written(tmp_path: Path) -> None:
    cell = Cell("full", "de/ch", 0)
    written = replace(result(cell), figures={"validation_uar": 0.5, "silent": np.nan})
    write_cell(BENCH, cell, written, tmp_path)
    read = read_cell(BENCH, cell, tmp_path)
    assert read is not None
    pd.testing.assert_frame_equal(read.predictions, written.predictions, check_dtype=False)
    assert (read.parameters, read.updates, read.wall_s, read.figures["validation_uar"]) == (7, 3, 0.5, 0.5)
    assert np.isnan(read.figures["silent"])
    assert not list(tmp_path.rglob("*.partial"))


def test_a_cell_that_fails_is_reported_and_the_others_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def run(cell: Cell) -> CellResult:
        if cell == Cell("full", "en", 0):
            raise FeatureError("none of 3 clips has features\n\nhint: extract")
        return result(cell)

    report = run_bench(BENCH, run, tmp_path)
    assert report.done == 7
    assert failures_text(report.failures) == "full, fold en, seed 0: none of 3 clips has features"
    assert "full, fold en, seed 0 failed" in caplog.text


def test_an_error_that_nobody_foresaw_fails_its_cell_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def run(cell: Cell) -> CellResult:
        return result(cell) if cell.row == "full" else 1 / 0  # type: ignore[return-value]

    report = run_bench(BENCH, run, tmp_path)
    assert (report.done, len(report.failures)) == (4, 4)
    assert set(report.failures.values()) == {"unexpected ZeroDivisionError: division by zero"}
    assert "return result(cell) if cell.row" in caplog.text  # the log has the place


def test_a_full_disk_stops_a_bench(tmp_path: Path) -> None:
    def run(cell: Cell) -> CellResult:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run_bench(BENCH, run, tmp_path)


def test_what_is_compared_is_fixed_before_the_first_cell(tmp_path: Path) -> None:
    run_bench(BENCH, result, tmp_path)
    with pytest.raises(RecipeError, match="holds a bench with other reference: 'full', not 'without-er'"):
        run_bench(replace(BENCH, reference="without-er"), result, tmp_path)


def test_a_bench_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    open_bench(BENCH, tmp_path)
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "comparisons": []}))
    assert open_bench(BENCH, tmp_path) == BENCH


def test_a_reference_that_is_not_run_is_an_error() -> None:
    with pytest.raises(RecipeError, match="reference `coral` is not run\n\nhint: rows are full, without-er"):
        replace(BENCH, reference="coral")


def test_a_row_that_reads_a_journal_needs_the_row_that_writes_it() -> None:
    with pytest.raises(RecipeError, match="row `random-style` needs row `full`"):
        replace(BENCH, rows=("plain", "random-style"), reference="plain", absent={})


def test_the_reference_must_not_be_absent() -> None:
    with pytest.raises(RecipeError, match="reference `full` is n/a: because"):
        replace(BENCH, absent={"full": "because"})


def test_shards_are_counted_from_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no shard 0 of 4\n\nhint: shards are counted from 1"):
        run_bench(BENCH, result, tmp_path, machines=Machines((0, 4)))


def test_rows_that_read_the_journal_of_another_come_after_it_seed_by_seed() -> None:
    bench = replace(BENCH, rows=("random-style", "full", "majority"), absent={})
    rows = ["majority", "majority", "full", "full", "random-style", "random-style"]
    assert [(cell.seed, cell.row) for cell in bench.cells()] == [(seed, row) for seed in (0, 1) for row in rows]


def test_a_row_that_reads_a_journal_starts_when_that_one_is_done_and_not_before(tmp_path: Path) -> None:
    bench = replace(BENCH, rows=("full", "without-er", "random-style"), absent={})
    run = Counting()
    run_bench(bench, run, tmp_path, machines=Machines((1, 4)))
    assert [cell.row for cell in run.cells] == ["full", "without-er", "random-style"]


def test_a_row_whose_journal_could_not_be_written_fails_with_it(tmp_path: Path) -> None:
    bench = replace(BENCH, rows=("full", "random-style"), absent={}, folds=("en",), seeds=(0,))

    def run(cell: Cell) -> CellResult:
        assert cell.row == "full", "random-style is not tried"
        raise FeatureError("none of 3 clips has features\n\nhint: extract")

    failures = run_bench(bench, run, tmp_path).failures
    assert failures[Cell("random-style", "en", 0)] == "full, fold en, seed 0 failed"


def _hold(folder: Path, cell: Cell, held: Event, finish: Event) -> None:
    """Another process: takes a cell, says so, and finishes it when told."""
    with _held(folder, cell, wait_for_others=False) as got:
        assert got
        held.set()
        finish.wait(20)
        write_cell(BENCH, cell, result(cell), folder)


def test_a_cell_that_another_process_works_on_is_left_for_last_and_not_run_twice(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, finish, theirs = context.Event(), context.Event(), Cell("full", "de/ch", 0)
    other = context.Process(target=_hold, args=(tmp_path, theirs, held, finish))
    other.start()
    assert held.wait(60)
    ours: list[Cell] = []

    def run(cell: Cell) -> CellResult:
        ours.append(cell)
        if len(ours) == 7:
            finish.set()
        return result(cell)

    report = run_bench(BENCH, run, tmp_path)
    other.join()
    assert theirs not in ours
    assert (report.done, report.kept) == (7, 1)


def test_a_setting_that_did_not_exist_when_a_bench_was_begun_changes_nothing(tmp_path: Path) -> None:
    begun = replace(BENCH, settings={"training.epochs": 3})
    open_bench(begun, tmp_path)
    now = replace(BENCH, fingerprint="newer", settings={"training.epochs": 3, "model.new": 1})
    assert open_bench(now, tmp_path, {"model.new": 1}).fingerprint == "abc"
    with pytest.raises(RecipeError, match=r"other `model\.new`: 0, not 1"):
        open_bench(now, tmp_path, {"model.new": 0})
    with pytest.raises(RecipeError, match=r"other `training\.epochs`: 3, not 4"):
        open_bench(replace(begun, settings={"training.epochs": 4}), tmp_path)


def test_the_figures_of_a_cell_are_plain_json(tmp_path: Path) -> None:
    cell = Cell("full", "en", 0)
    write_cell(BENCH, cell, result(cell), tmp_path)
    said = json.loads((tmp_path / cell.stem.with_suffix(".json")).read_text())
    assert (said["row"], said["fold"], said["seed"], said["selection"]) == ("full", "en", 0, "validation")


@pytest.mark.long
def test_a_worker_of_a_cluster_that_is_killed_costs_no_cell(cluster: Callable[[], int], tmp_path: Path) -> None:
    run_bench(BENCH, result, tmp_path / "here")
    killed: list[int] = []

    def slow(cell: Cell) -> CellResult | None:
        time.sleep(0.2)
        return read_cell(BENCH, cell, tmp_path / "here")

    def kill_one(step: str, completed: int, total: int) -> None:
        if completed == 3:
            killed.append(cluster())

    report = run_bench(BENCH, slow, tmp_path / "there", workers=2, machines=Machines(ray="auto"), progress=kill_one)
    assert (killed, report.done, report.failures) == ([2], 8, {})
    there, here = tables(tmp_path / "there"), tables(tmp_path / "here")
    measured = {"timing.csv", "bench.html"}  # they hold the seconds of the processor
    assert there.keys() == here.keys()
    assert [name for name in here if there[name] != here[name] and name not in measured] == []


@pytest.mark.long
def test_a_cell_that_kills_its_workers_fails_alone(cluster: Callable[[], int], tmp_path: Path) -> None:
    run_bench(BENCH, result, tmp_path / "here")

    def deadly(cell: Cell) -> CellResult | None:
        if cell == Cell("without-er", "en", 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return read_cell(BENCH, cell, tmp_path / "here")

    report = run_bench(BENCH, deadly, tmp_path / "there", machines=Machines(ray="auto"))
    assert report.failures == {Cell("without-er", "en", 1): LOST}
    assert report.done == 7


@dataclass(frozen=True)
class Deadly:
    """A cell that always kills its process, and one that does so at its first try."""

    folder: Path

    def __call__(self, cell: Cell) -> CellResult:
        first_try = self.folder / "tried"
        if cell == Cell("without-er", "en", 1) or (cell == Cell("full", "en", 0) and not first_try.exists()):
            first_try.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return result(cell)


@pytest.mark.long
def test_a_process_of_this_machine_that_is_killed_costs_its_own_cell_at_most(tmp_path: Path) -> None:
    report = run_bench(BENCH, Deadly(tmp_path), tmp_path / "bench", workers=2)
    assert report.failures == {Cell("without-er", "en", 1): LOST}
    assert report.done == 7
    again = run_bench(BENCH, result, tmp_path / "bench")
    assert (again.done, again.kept) == (1, 7)


@pytest.mark.long
def test_a_process_that_is_killed_while_it_has_no_cell_costs_none(tmp_path: Path) -> None:
    with _Processes(2, CellWork(BENCH, result, tmp_path)) as pool:
        other = pool.submit(time.sleep, 3)
        idle = pool.submit(os.getpid).result()
        os.kill(idle, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while not pool._idle[-1]._broken and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not other.done()
        assert pool.submit(os.getpid).result() != idle
        assert other.result() is None
        assert (len(pool._idle), len(pool._all)) == (2, 2)
    with pytest.raises((RuntimeError, WorkerLost)):  # nothing begins after a shutdown
        pool.submit(os.getpid)


def hold(folder: Path) -> None:
    """A bench that waits with its processes."""
    with _Processes(2, CellWork(BENCH, result, folder)) as pool:
        pids = [pid for each in pool._all for pid in each._processes]
        (folder / "pids.json").write_text(json.dumps(pids))
        time.sleep(600)


@pytest.mark.long
def test_processes_end_with_the_bench_that_started_them(tmp_path: Path) -> None:
    bench = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path,))
    bench.start()
    deadline = time.monotonic() + 120
    while not (written := tmp_path / "pids.json").exists() or not written.stat().st_size:
        assert bench.is_alive(), "the bench ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = [psutil.Process(pid) for pid in json.loads(written.read_text())]
    bench.kill()
    bench.join()
    assert psutil.wait_procs(workers, timeout=60)[1] == []


def test_parts_leave_the_tables_of_the_whole(tmp_path: Path) -> None:
    run_bench(BENCH, result, tmp_path / "whole")
    left = [run_bench(BENCH, result, tmp_path / "parts", machines=Machines((part, 3))).elsewhere for part in (3, 1, 2)]
    assert left == [6, 2, 0]  # four pairs of fold and seed with two rows each, in three parts
    assert tables(tmp_path / "parts") == tables(tmp_path / "whole")


def tables(folder: Path) -> dict[str, bytes]:
    write_bench(folder)
    written = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".md", ".csv", ".tex", ".html")
    }
    assert "comparison.md" in written
    return written
