"""What happens in a child stays there, and the next call finds a child again."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from cimeu.errors import MediaError
from cimeu.media.video import probe
from cimeu.server.isolated import Isolated, Lost
from cimeu.server.recording import checking


def child_of(isolated: Isolated) -> int:
    isolated.start()
    assert isolated._process is not None
    assert isolated._process.pid is not None
    return isolated._process.pid


def test_what_the_child_raises_on_purpose_is_raised_here(checker: Isolated) -> None:
    with pytest.raises(MediaError, match=r"`none\.mp4` does not exist"):
        checker("check", Path("none.mp4"), 60.0, silence_s=60)


def test_what_nobody_foresaw_is_one_failed_call(checker: Isolated, clip: Path) -> None:
    with pytest.raises(Lost, match="unexpected KeyError: 'peel'\n\nhint: this is a bug"):
        checker("peel", clip, silence_s=60)
    assert checker("check", clip, 60.0, silence_s=60).has_video


def test_a_child_that_crashes_is_replaced(checker: Isolated, clip: Path) -> None:
    os.kill(child_of(checker), signal.SIGSTOP)
    threading.Timer(0.2, os.kill, (child_of(checker), signal.SIGKILL)).start()
    with pytest.raises(Lost, match=r"ended early \(SIGKILL\)\n\nhint: the file may be damaged, or too large"):
        checker("check", clip, 60.0, silence_s=60)
    assert checker("check", clip, 60.0, silence_s=60).has_video


def test_a_child_that_stands_still_is_stopped(checker: Isolated, clip: Path) -> None:
    standing = child_of(checker)
    os.kill(standing, signal.SIGSTOP)
    with pytest.raises(Lost, match=r"ended early \(it made no progress\)"):
        checker("check", clip, 60.0, silence_s=0.1)
    assert child_of(checker) != standing


def test_a_call_can_wait_only_so_long_for_its_turn(checker: Isolated, clip: Path) -> None:
    with checker._turn, pytest.raises(TimeoutError):
        checker("check", clip, 60.0, silence_s=60, turn_s=0.05)


def test_a_child_that_cannot_begin_says_why() -> None:
    with pytest.raises(MediaError, match=r"`none\.mp4` does not exist"):
        Isolated(partial(probe, Path("none.mp4"))).start()


def test_a_child_that_dies_before_it_begins_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Lost, match="ended before it was ready\n\nhint: its log says why"):
        Isolated(partial(os._exit, 1)).start()


def test_a_call_that_needs_too_much_memory_fails_alone() -> None:
    build = partial(dict, fill="{0:>9000000000000000}".format, echo="{0}".format)  # 9 PB
    with closing(Isolated(build)) as isolated:
        child = child_of(isolated)
        with pytest.raises(Lost, match=r"reading it needs more memory than there is\n\nhint: cut it"):
            isolated("fill", "x", silence_s=60)
        assert isolated("echo", "x", silence_s=60) == "x"
        assert child_of(isolated) != child


def test_a_recording_that_needs_too_much_memory_is_not_read_in_part(clip: Path) -> None:
    message = "cannot be decoded .it asks for more memory than there is."
    with closing(Isolated(partial(checking, 2**20))) as checker, pytest.raises(MediaError, match=message):
        checker("check", clip, 60.0, silence_s=60)


def test_memory_is_bounded_beyond_what_is_held() -> None:
    program = """
from cimeu.server.isolated import bound_memory
held = bytearray(2**26)
bound_memory(2**25)
more = bytearray(2**24)
try:
    bytearray(2**26)
except MemoryError:
    print("bounded")
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "bounded\n"


def test_progress_comes_out_of_the_child(recogniser: Isolated, clip: Path) -> None:
    told: list[tuple[str, int, int]] = []
    recogniser("recognise", clip, progress=lambda *each: told.append(each), silence_s=60)
    name, completed_s, total_s = told[-1]
    assert (name, completed_s) == (clip.name, total_s)


def test_only_the_call_that_is_meant_is_interrupted(checker: Isolated, clip: Path) -> None:
    child = child_of(checker)
    checker.interrupt(clip)
    assert child_of(checker) == child
    os.kill(child, signal.SIGSTOP)
    threading.Timer(0.3, checker.interrupt, (Path("another"),)).start()
    threading.Timer(0.6, checker.interrupt, (clip,)).start()
    with pytest.raises(Lost, match="ended early"):
        checker("check", clip, 60.0, silence_s=60)
