"""Progress without a terminal, and how a command that did a part of its work ends."""

from pathlib import Path

import pytest
import typer

from cimeu.cli.terminal import ProgressLines, finish, progress_bars


def lines_of(seconds: int, total: int) -> list[tuple[float, str]]:
    """When each line of a job comes that does one of `total` a second."""
    now, lines = 0.0, []
    progress = ProgressLines(lambda line: lines.append((now, line)), clock=lambda: now)
    for done in range(seconds + 1):
        now = float(done)
        progress("extract", done, total)
    return lines


def test_a_log_gets_a_line_soon_and_then_a_minute_apart() -> None:
    lines = lines_of(300, 3000)
    assert [second for second, _ in lines] == [2, 6, 14, 30, 62, 122, 182, 242]
    assert lines[0][1] == "extract: 2 of 3,000, 1/s, 0:49:58 left"


def test_the_end_of_a_step_that_had_a_line_has_one_too() -> None:
    assert lines_of(10, 10)[-1] == (10, "extract: 10 of 10, 1/s")


def test_a_short_step_writes_nothing() -> None:
    assert lines_of(1, 1) == []


def test_a_pace_counts_what_was_done_here() -> None:
    now, lines = 0.0, []
    progress = ProgressLines(lines.append, clock=lambda: now)
    progress("bench", 90, 100)
    now = 5.0
    progress("bench", 95, 100)
    assert lines == ["bench: 95 of 100, 1/s, 0:00:05 left"]


def test_a_pipe_gets_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProgressLines, "FIRST_S", 0.0)
    with progress_bars() as progress:
        progress("files [/b]", 1, 2)
    assert capsys.readouterr() == ("", "files [/b]: 1 of 2\n")


def test_a_terminal_gets_bars_and_names_are_no_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress_bars() as progress:
        progress("files [/b]", 1, 2)
    assert "files [/b]" in capsys.readouterr().err


def test_work_done_in_part_ends_with_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    finish(9, 9, "timelines written", Path("failures.csv"))
    with pytest.raises(typer.Exit) as ended:
        finish(7, 9, "timelines written", Path("failures.csv"))
    assert ended.value.exit_code == 3
    assert capsys.readouterr().err == ("9 of 9 timelines written\n7 of 9 timelines written, 2 failed: failures.csv\n")


def test_work_of_which_nothing_was_done_ends_with_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        finish(0, 2, "runs scored")
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "0 of 2 runs scored, 2 failed\n"
    finish(0, 0, "timelines written")  # an empty part of a job array
