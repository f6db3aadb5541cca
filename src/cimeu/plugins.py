"""What other packages add by entry points: nothing of theirs is imported until it is named."""

from importlib.metadata import EntryPoint, entry_points

from cimeu.errors import RecipeError


def offered(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name."""
    return {point.name: point for point in entry_points(group=group)}


def load(point: EntryPoint) -> object:
    """Import what an entry point names.

    Raises:
        RecipeError: its package fails to import, whatever it raises; other names go on working.
    """
    try:
        return point.load()
    except Exception as error:
        package = point.dist.name if point.dist else point.value
        raise RecipeError(
            f"`{point.name}` of the package `{package}` cannot be imported ({type(error).__name__}: {error})\n\n"
            f"hint: `python -c 'import {point.module}'` shows where it fails"
        ) from error
