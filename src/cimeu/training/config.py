"""Everything about how a network is trained, and nothing about the network."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from cimeu.batching.augment import AugmentationConfig
from cimeu.errors import RecipeError
from cimeu.ranges import Within, check_values
from cimeu.training.objective import LossWeights
from cimeu.training.optim import OptimiserConfig

CHOOSING = ("validation", "oracle")
"""Selections that compare epochs on the validation clips."""
UAR, CCC, UAR_CCC = ("uar", "ccc", "uar_ccc")
"""Figures of the validation clips by which epochs may be compared."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained; defaults fit the sizes tiny and small."""

    epochs: Annotated[int, Within(1)] = 20
    """Epochs planned; the schedules of learning rate and reversal stretch over all of them."""
    batch_size: Annotated[int, Within(1)] = 128
    patience: Annotated[int, Within(0)] = 5
    """Epochs without a better `criterion` before training stops (selection `validation`); 0 never stops."""
    seed: Annotated[int, Within(0, 2**31 - 1)] = 0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"
    """Where Lightning Fabric runs it: `auto`, `cpu`, `cuda`..."""
    devices: Annotated[int, Within(1)] = 1
    """Processes on each node, one for each GPU; they share every batch of `batch_size`."""
    nodes: Annotated[int, Within(1)] = 1
    """Machines that train together."""
    selection: Literal["validation", "last", "average", "oracle"] = "validation"
    """Weights that are kept: of the epoch with the best `criterion` on the validation clips (the earlier one at a tie),
    of the last, or the mean over the second half of the epochs. `oracle`: the validation clips are the test clips."""
    criterion: Literal["uar", "ccc", "uar_ccc"] = "uar"
    """Figure of the validation clips that compares epochs: `uar`; where continuous labels are learned, also `ccc`, the
    mean CCC over them, or `uar_ccc`, the mean of both (columns `validation.*` of the journal)."""
    style_labels: str = "pseudo"
    """`pseudo`: clusters of style primitives; `random`: the control; `off`; or a column such as `culture`."""
    style_sizes: tuple[Annotated[int, Within(0)], ...] = ()
    """Cluster sizes of `random` labels, those of the pseudo run; empty: equal ones."""
    adversary_steps: Annotated[int, Within(0, 1000)] = 5
    """Updates of the two adversaries on every batch before they judge it; 0 leaves them one step behind (published
    practice of gradient reversal)."""
    balance: Literal["off", "loss", "sampling"] = "off"
    """Make up for rare emotions by their weight in the class error, or by drawing them more often."""
    equal_groups: bool = True
    """Every batch has as many clips of each training group (`folds.group`), as those of the domain methods do; false:
    every clip once an epoch (published)."""
    supports: bool = False
    """Learn from clips less the style in drawn supports (`cimeu.training.episodes`), and keep the rule of it for
    `cimeu predict --style`; a bench sets it for models that answer given support sets."""
    label_smoothing: Annotated[float, Within(0, 1, below=True)] = 0.0
    """Share of the target spread over all emotions."""
    weights: LossWeights = field(default_factory=LossWeights)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    tensorboard: bool = False
    """Write TensorBoard events beside the journal."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "style_sizes", tuple(self.style_sizes))
        check_values(self, "training")
        if self.processes > self.batch_size:
            raise RecipeError(
                f"{self.processes} processes share batches of {self.batch_size}\n\nhint: fewer devices, a larger batch"
            )
        if self.processes > 1 and self.augmentation.mixup:
            raise RecipeError(
                f"mixup on {self.processes} processes: each would mix its own share of a batch\n\n"
                "hint: training.augmentation.mixup=0, or one process"
            )

    @property
    def processes(self) -> int:
        """How many processes share a batch."""
        return self.devices * self.nodes
