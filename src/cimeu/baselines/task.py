"""What a method of domain generalisation may know before its first update.

Axes: G training groups, K emotions.
"""

from dataclasses import dataclass, field

from jaxtyping import Int
from torch import Tensor

from cimeu.training.optim import OptimiserConfig


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a method is built for: everything it may know before the first update."""

    emotions: int
    """Number of emotions K."""
    first: int
    """Features of a step of the first stream."""
    second: int | None = None
    """Features of a step of the second stream; None where the setting has one stream."""
    counts: Int[Tensor, "G K"]
    """Training clips of each group (the domains) and emotion."""
    updates: int = 1
    """Updates that the budget allows; schedules run over them."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """Optimiser and schedule, the same for every row of a table."""
    settings: dict[str, float] = field(default_factory=dict)
    """What the user changed of the method's own settings, by name."""

    @property
    def groups(self) -> int:
        """Number of training groups G."""
        return len(self.counts)
