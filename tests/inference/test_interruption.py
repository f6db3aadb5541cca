"""A folder whose recognition is killed, at any moment, and started again."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cimeu.atomic import ROOM
from cimeu.inference.batch import predict_files
from cimeu.inference.recogniser import Recogniser

from .conftest import RunMaker

FORMATS = (".csv", ".vtt")


@pytest.fixture(scope="module")
def recogniser(make_run: RunMaker) -> Recogniser:
    return Recogniser.from_pretrained(make_run())


@pytest.fixture(scope="module")
def folder(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    for name in ("mute.mp4", "small.mp4", "speech.wav"):
        shutil.copy(recordings / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def whole(recogniser: Recogniser, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """What comes out when nothing interrupts, and how long that takes."""
    output, started_s = tmp_path_factory.mktemp("whole"), time.perf_counter()
    predict_files([folder], output, recogniser, formats=FORMATS)
    return output, time.perf_counter() - started_s


def content(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.glob("*.*") if path.name != ROOM}


def killed(work: Callable[[], object], *, after_s: float = 0.0, at_write: int = 0) -> None:
    """Do the work in a child that is killed after a time, or just before it gives a file its name."""
    child = os.fork()
    if child == 0:
        if at_write:
            link, left = os.link, iter(range(at_write - 1, -1, -1))

            def give_its_name(partial: Path, path: Path) -> None:
                if next(left) == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                link(partial, path)

            os.link = give_its_name  # type: ignore[assignment]
        work()
        os._exit(0)
    if not at_write:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.8])
def test_killed_at_some_moment_it_goes_on_to_the_same_bytes(
    recogniser: Recogniser, folder: Path, whole: tuple[Path, float], tmp_path: Path, share: float
) -> None:
    work = lambda: predict_files([folder], tmp_path, recogniser, formats=FORMATS)  # noqa: E731
    killed(work, after_s=share * whole[1])
    work()
    assert content(tmp_path) == content(whole[0])


@pytest.mark.parametrize("write", [1, 3, 5, 10])
def test_killed_while_it_writes_it_keeps_what_is_finished_and_does_the_rest(
    recogniser: Recogniser, folder: Path, whole: tuple[Path, float], tmp_path: Path, write: int
) -> None:
    """Nine files are written, three for each recording, then the table of failures."""
    work = lambda: predict_files([folder], tmp_path, recogniser, formats=FORMATS)  # noqa: E731
    killed(work, at_write=write)
    sealed = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert len(sealed) == (write - 1) // 3
    work()
    assert {path: path.stat().st_mtime_ns for path in sealed} == sealed
    assert content(tmp_path) == content(whole[0])
