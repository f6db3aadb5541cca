"""What every command shares: options, lines and progress on stderr."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimeu.errors import CimeuError, RecipeError
from cimeu.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console

NOTHING, PARTLY = 1, 3
"""Exit status of a command that did nothing (an error too) or some of its work; 0: all, 2: wrong usage, or findings."""

Output = Annotated[Path, typer.Option("--output", "-o", help="Where the result goes.")]
Workers = Annotated[int, typer.Option(help="Processes that decode and encode; 0 takes one for each core.", min=0)]

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


Ray = Annotated[
    str,
    typer.Option(
        help="Running Ray cluster that sees the same files, as HOST:6379 or auto: its workers do the work.",
        metavar="ADDRESS",
    ),
]
Shard = Annotated[
    str, typer.Option(help="Part i of N, as in 2/8, for job arrays that share the output.", metavar="i/N")
]


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
    parts = [text.partition("=") for text in texts]
    for name, sign, value in parts:
        if not (name and sign and value):
            raise RecipeError(f"`{name}{sign}{value}` is not name=value\n\nhint: such as {such_as}")
    return {name: value for name, _, value in parts}


def finish(done: int, total: int, what: str, reasons: Path | str = "") -> None:
    """Say how much of the work was done; where it is not all, end with exit status 3, and with 1 where it is nothing.

    Args:
        done: how many were done.
        total: how many there were.
        what: past participle with its noun, as in `timelines written`.
        reasons: the table, or tables, that say why the others failed; empty where that was said already.
    """
    if done == total:
        say(f"{done:,} of {total:,} {what}")
        return
    say(f"{done:,} of {total:,} {what}, {total - done:,} failed{f': {reasons}' if reasons else ''}")
    raise typer.Exit(PARTLY if done else NOTHING)


def each_of(names: Sequence[str], work: Callable[[str], None], what: str) -> None:
    """Do some work for each name: one that fails stops no other, and is counted. A single one fails as it is.

    Raises:
        CimeuError: of the work, where there is one name.
    """
    done = 0
    for name in names:
        try:
            work(name)
        except CimeuError as error:
            if len(names) == 1:
                raise
            say(f"error: {name}: {error}")
        else:
            done += 1
    if done < len(names):
        finish(done, len(names), what)


def complete_recipe(incomplete: str) -> list[str]:
    """Recipes of the package for the completion of a shell, which adds files itself."""
    from cimeu.recipes import shipped_names

    return [name for name in shipped_names() if name.startswith(incomplete)]


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Progress on stderr: bars in a terminal, a line now and then in a log; nothing until a step reports."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield ProgressLines(say)
        return
    with _bars(console) as show:
        yield show


class ProgressLines:
    """Lines such as `extract: 120 of 3,000, 2.1/s, 0:22:51 left`; soon at first, then a minute apart.

    Args:
        write: takes a line.
        clock: seconds.
    """

    FIRST_S, MOST_S = 2.0, 60.0

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._wait_s = self.FIRST_S
        self._last_s = clock()
        self._begun: dict[str, tuple[float, int]] = {}
        self._unfinished: set[str] = set()
        """Steps that had a line: their end is worth one too."""

    def __call__(self, step: str, completed: int, total: int) -> None:
        now_s = self._clock()
        started_s, already = self._begun.setdefault(step, (now_s, completed))
        if completed == total and step in self._unfinished:
            self._unfinished.discard(step)
        elif now_s - self._last_s >= self._wait_s:
            self._wait_s = min(2 * self._wait_s, self.MOST_S)
            self._unfinished.add(step)
        else:
            return
        self._last_s = now_s
        words = [f"{step}: {completed:,} of {total:,}"]
        if completed > already and now_s > started_s:
            pace = (completed - already) / (now_s - started_s)
            words.append(f"{pace:.3g}/s")
            if completed < total:
                words.append(f"{timedelta(seconds=round((total - completed) / pace))} left")
        self._write(", ".join(words))


@contextmanager
def _bars(console: "Console") -> Iterator[Progress]:
    """Bars with pace and time left, one for each step."""
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn
    from rich.progress import Progress as Bars
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Pace(ProgressColumn):
        def render(self, task: Task) -> Text:
            pace = task.finished_speed or task.speed
            return Text("" if pace is None else f"{pace:.3g}/s")

    name = TextColumn("{task.description}", markup=False)  # a file may be called `[/b].mp4`
    bars = Bars(name, BarColumn(), MofNCompleteColumn(), Pace(), TimeLeft(), console=console)
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
