"""Every way to train on several groups at once, by name; other packages add theirs.

A method has the shape of DomainBed's algorithms: built from a `Task`, it learns by `update(batches) -> named floats`,
one batch per training group, and predicts a batch by `logits(batch)`. A package that declares

    [project.entry-points."cimeu.methods"]
    my-method = "my_package:MyMethod"

gets a row beside the others.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from cimeu.baselines.coral import CORAL
from cimeu.baselines.dann import DANN
from cimeu.baselines.erm import ERM
from cimeu.baselines.erm_balanced import BalancedERM
from cimeu.baselines.groupdro import GroupDRO
from cimeu.baselines.logit_adjustment import LogitAdjustment
from cimeu.baselines.mixstyle import MixStyle
from cimeu.baselines.task import Task
from cimeu.batching.collate import Batch
from cimeu.errors import RecipeError, guess
from cimeu.plugins import load as load_plugin
from cimeu.plugins import offered

ENTRY_POINTS = "cimeu.methods"


@runtime_checkable
class Method(Protocol):
    """What `fit` asks of a method; any `nn.Module` that has these is one."""

    def update(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Learn from one batch per training group."""

    def logits(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Scores of the emotions."""


Builder = Callable[[Task], nn.Module]

METHODS: dict[str, type[ERM]] = {
    method.name: method for method in (ERM, BalancedERM, LogitAdjustment, CORAL, DANN, GroupDRO, MixStyle)
}


def known_methods() -> dict[str, Builder | None]:
    """Names of all methods; None stands for one of another package, not loaded yet."""
    return {**dict.fromkeys(offered(ENTRY_POINTS)), **METHODS}


def method_named(name: str) -> Builder:
    """The builder of a method, ours or another package's.

    Raises:
        RecipeError: no such method, or it cannot be imported, or it does not have the shape of one.
    """
    if name in METHODS:
        return METHODS[name]
    others = offered(ENTRY_POINTS)
    if name in others:
        return _checked(name, load_plugin(others[name]))
    raise RecipeError(f"unknown method `{name}`\n\nhint: {guess(name, list(known_methods()))}")


def _checked(name: str, builder: object) -> Builder:
    if callable(builder) and all(callable(getattr(builder, part, None)) for part in ("update", "logits")):
        return builder
    raise RecipeError(
        f"method `{name}` of another package lacks `update` or `logits`\n\n"
        "hint: an nn.Module built from a Task, with update(batches) and logits(batch)"
    )
