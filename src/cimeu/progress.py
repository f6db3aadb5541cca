"""How long work tells where it is: one hook for the command line, pages and tests."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the name of the step, the units completed and the units in total."""


def silent(step: str, completed: int, total: int) -> None:
    """Tell nothing."""
