"""Everything about how a network is trained, and nothing about the network."""

from dataclasses import dataclass, field
from typing import Literal

from cimeu.batching.augment import AugmentationConfig
from cimeu.errors import RecipeError
from cimeu.training.objective import LossWeights
from cimeu.training.optim import OptimiserConfig


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained; defaults fit the sizes tiny and small."""

    epochs: int = 20
    """Epochs planned; the schedules of learning rate and reversal stretch over all of them."""
    batch_size: int = 128
    patience: int = 5
    """Epochs without a better validation UAR before training stops (selection `validation`); 0 never stops."""
    seed: int = 0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"
    """Where Lightning Fabric runs it: `auto`, `cpu`, `cuda`..."""
    devices: int = 1
    """Processes on each node, one for each GPU; they share every batch of `batch_size`."""
    nodes: int = 1
    """Machines that train together."""
    selection: Literal["validation", "last", "average", "oracle"] = "validation"
    """Weights that are kept: of the epoch with the best UAR on the validation clips (the earlier one at a tie), of the
    last, or the mean over the second half of the epochs. `oracle`: the validation clips are the test clips."""
    style_labels: str = "pseudo"
    """`pseudo`: clusters of style primitives; `random`: the control; `off`; or a column such as `culture`."""
    style_sizes: tuple[int, ...] = ()
    """Cluster sizes of `random` labels, those of the pseudo run; empty: equal ones."""
    adversary_steps: int = 5
    """Updates of the two adversaries on every batch before they judge it; 0 leaves them one step behind (published
    practice of gradient reversal)."""
    balance: Literal["off", "loss", "sampling"] = "off"
    """Make up for rare emotions by their weight in the class error, or by drawing them more often."""
    label_smoothing: float = 0.0
    """Share of the target spread over all emotions."""
    weights: LossWeights = field(default_factory=LossWeights)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    tensorboard: bool = False
    """Write TensorBoard events beside the journal."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "style_sizes", tuple(self.style_sizes))
        for name, least in (
            ("epochs", 1),
            ("batch_size", 1),
            ("patience", 0),
            ("seed", 0),
            ("devices", 1),
            ("nodes", 1),
        ):
            if getattr(self, name) < least:
                raise RecipeError(f"training `{name}` is {getattr(self, name)}\n\nhint: {least} or more")
        if not 0 <= self.label_smoothing < 1:
            raise RecipeError(f"label_smoothing is {self.label_smoothing}\n\nhint: a share, 0 to below 1")
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
