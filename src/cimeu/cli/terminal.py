"""What every command shares: options, lines and bars on stderr."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cimeu.errors import RecipeError
from cimeu.progress import Progress

PARTLY = 3
"""Exit status of a command that did some of its work (0: all, 1: an error, 2: wrong usage, or findings of an audit)."""

Output = Annotated[Path, typer.Option("--output", "-o", help="Where the result goes.")]
Workers = Annotated[int, typer.Option(help="Processes that decode and encode; 0 takes one for each core.")]

Device = Annotated[
    str,
    typer.Option(help="What computes networks: auto (the first CUDA device, else the processor), cpu, cuda, cuda:1."),
]

LabelMap = Annotated[
    list[str] | None,
    typer.Option("--label-map", help="label=emotion, such as Wut=anger or 0=happiness; repeat for each."),
]
AllowUnknownLabels = Annotated[
    bool, typer.Option("--allow-unknown-labels", help="Keep labels that no label space has, as they are.")
]


def say(line: str) -> None:
    """One line for the person, on stderr."""
    print(line, file=sys.stderr)


def parse_shard(text: str) -> tuple[int, int]:
    """`2/8` -> (2, 8).

    Raises:
        RecipeError: not of that form, or outside 1..N.
    """
    part, separator, whole = text.partition("/")
    if not (separator and part.isdigit() and whole.isdigit() and 1 <= int(part) <= int(whole)):
        raise RecipeError(f"shard `{text}` is not i/N\n\nhint: write 2/8 for the second of eight parts")
    return int(part), int(whole)


def pairs(texts: Iterable[str], such_as: str = "0=happiness or test=test.csv") -> dict[str, str]:
    """`["0=happiness"]` -> {"0": "happiness"}.

    Raises:
        RecipeError: one that lacks the equals sign or a side of it; the hint shows `such_as`.
    """
    found = [text.partition("=") for text in texts]
    for name, sign, value in found:
        if not (name and sign and value):
            raise RecipeError(f"`{name}{sign}{value}` is not name=value\n\nhint: such as {such_as}")
    return {name: value for name, _, value in found}


def finish(done: int, total: int, what: str, reasons: Path) -> None:
    """Say how much of the work was done; where it is not all, exit status 3.

    Args:
        done: how many were done.
        total: how many there were.
        what: past participle with its noun, as in `timelines written`.
        reasons: the table that says why the others failed.
    """
    if done == total:
        say(f"{done:,} of {total:,} {what}")
        return
    say(f"{done:,} of {total:,} {what}, {total - done:,} failed: {reasons}")
    raise typer.Exit(PARTLY)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars with pace and time left on stderr, one for each step that reports; nothing until one does."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn
    from rich.progress import Progress as Bars
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Pace(ProgressColumn):
        def render(self, task: Task) -> Text:
            pace = task.finished_speed or task.speed
            return Text("" if pace is None else f"{pace:.3g}/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Pace(), TimeLeft())
    bars = Bars(*columns, console=Console(stderr=True))
    tasks: dict[str, TaskID] = {}

    def show(step: str, completed: int, total: int) -> None:
        if not tasks:
            bars.start()
        if step not in tasks:
            tasks[step] = bars.add_task(step, total=total)
        bars.update(tasks[step], completed=completed, total=total)

    try:
        yield show
    finally:
        if tasks:
            bars.stop()
