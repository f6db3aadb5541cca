"""What other packages add by entry points: nothing of theirs is imported until it is named.

Whatever their code raises becomes one short error that names the package, so that it never reads as a fault of ours
and never stops what other names do.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from cimeu.errors import CimeuError, RecipeError


def offered(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name."""
    return {point.name: point for point in entry_points(group=group)}


def load(point: EntryPoint) -> object:
    """Import what an entry point names.

    Raises:
        RecipeError: its package fails to import, whatever it raises; other names keep working.
    """
    try:
        return point.load()
    except Exception as error:
        raise RecipeError(
            f"{_named(point)} cannot be imported ({type(error).__name__}: {error})\n\n"
            f"hint: `python -c 'import {point.module}'` shows where it fails"
        ) from error


@contextmanager
def failures_of(point: EntryPoint) -> Iterator[None]:
    """Run code of another package: what it raises names the package and the line.

    Raises:
        RecipeError: in place of any error that is not ours.
    """
    try:
        yield
    except CimeuError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if _is_of(point, frame.filename)]
        frame = (own or frames)[-1]  # their line that led to it, rather than one inside torch
        raise RecipeError(
            f"{_named(point)} failed ({type(error).__name__}: {error})\n\n"
            f"hint: it happened at {frame.filename}:{frame.lineno}"
        ) from error


def _is_of(point: EntryPoint, filename: str) -> bool:
    """Whether a file belongs to the module, or the folder of modules, that the entry point names."""
    top, path = point.module.split(".")[0], Path(filename)
    return path.stem == top or top in path.parts


def _named(point: EntryPoint) -> str:
    return f"`{point.name}` of the package `{point.dist.name if point.dist else point.value}`"
