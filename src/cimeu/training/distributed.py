"""One training shared by several processes, on one machine or many, with the result of a single one.

Each process reads its share of a batch and runs the network on it. Then all of them hold what the losses read of the
whole batch, compute the same objective (batch statistics, adversaries and means over real steps included), and take
the mean of their gradients. No loss knows about processes, so none can depend on their number.

The first process alone validates, clusters styles and writes files; what it finds, or the error it meets, reaches all.

Axes: B clips of the whole batch, b clips of this process.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor, nn

from cimeu.batching.collate import Batch
from cimeu.errors import RecipeError
from cimeu.model.network import Output
from cimeu.pyramid import Stream
from cimeu.training.config import TrainingConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Result = TypeVar("Result")


def fabric_of(config: TrainingConfig) -> "Fabric":
    """The processes of a training, started where torchrun or Slurm has not started them. Raises RecipeError."""
    return _fabric(config.accelerator, config.devices, config.nodes, config.precision)


@cache
def _fabric(accelerator: str, devices: int, nodes: int, precision: Any) -> "Fabric":
    from lightning_fabric import Fabric

    if devices * nodes == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)
    from datetime import timedelta

    from lightning_fabric.strategies import DDPStrategy

    patient = DDPStrategy(timeout=timedelta(days=7))  # while the first process extracts features or scores a run
    try:
        fabric = Fabric(
            accelerator=accelerator, devices=devices, num_nodes=nodes, precision=precision, strategy=patient
        )
        fabric.launch()
    except (RuntimeError, ValueError) as error:  # among them every misconfiguration Lightning knows
        raise RecipeError(
            f"training on {devices} devices of {nodes} nodes cannot start: {error}\n\n"
            "hint: `devices` counts those of each node, and torchrun or Slurm must start as many processes"
        ) from error
    return fabric


def first_only(config: TrainingConfig, work: Callable[[], Result]) -> Result:
    """Do something in the first process alone; every process gets its result, or raises its error."""
    if config.processes == 1:
        return work()
    fabric = fabric_of(config)
    outcome: tuple[Any, Exception | None] | None = None
    if fabric.is_global_zero:
        try:
            outcome = (work(), None)
        except Exception as error:
            outcome = (None, error)
    result, raised = fabric.broadcast(outcome)
    if raised is not None:
        raise raised
    return result


def one_after_the_other(config: TrainingConfig, work: Callable[[], Result]) -> Result:
    """Let every process do something that two must not do at once, the first one first."""
    if config.processes == 1:
        return work()
    fabric = fabric_of(config)
    for rank in range(fabric.world_size):
        if rank == fabric.global_rank:
            result = work()
        fabric.barrier()
    return result


def is_first(config: TrainingConfig) -> bool:
    """Whether this is the process that writes and prints."""
    return config.processes == 1 or fabric_of(config).is_global_zero


def share_of(indices: Int64[np.ndarray, " B"], fabric: "Fabric") -> Int64[np.ndarray, " b"]:
    """The clips of a batch that this process reads."""
    return np.array_split(indices, fabric.world_size)[fabric.global_rank]


def together(output: Output, batch: Batch, fabric: "Fabric") -> tuple[Output, Batch]:
    """Outputs and labels of the whole batch from those of this process's share, with gradients.

    Features of the batch, which no loss reads, stay where they are. What a share's heads said of styles is left out,
    because they read batch statistics: they must read those of the whole batch.
    """
    if fabric.world_size == 1:
        return output, batch
    output = replace(output, style_logits=None, style_adversary=None, emotion_adversary=None)
    batch = replace(batch, first=_without_features(batch.first), second=_without_features(batch.second))
    tensors = list(_tensors((output, batch)))
    gathered: dict[int, Tensor] = {}
    for kinds, dtype in ((True, torch.float32), (False, torch.int64)):
        places = [place for place, tensor in enumerate(tensors) if tensor.is_floating_point() == kinds]
        widths = [tensors[place].shape[1:].numel() for place in places]
        rows = [
            tensors[p].to(dtype).reshape(-1, width) if width else None for p, width in zip(places, widths, strict=True)
        ]
        whole = _Gather.apply(torch.cat([row for row in rows if row is not None], dim=1), fabric)  # type: ignore[no-untyped-call]
        for place, part in zip(places, whole.split(widths, dim=1), strict=True):
            gathered[place] = part.to(tensors[place].dtype).reshape(len(whole), *tensors[place].shape[1:])
    return _rebuilt((output, batch), iter(gathered[place] for place in range(len(tensors))))


def average_gradients(parameters: Iterable[nn.Parameter], fabric: "Fabric") -> None:
    """Mean of the gradients of all processes; a parameter that none of them used keeps none."""
    if fabric.world_size == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    used = torch.tensor([parameter.grad is not None for parameter in trained], device=fabric.device)
    gradients = [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in trained]
    summed = fabric.all_reduce(torch.cat([used.float(), *gradients]), reduce_op="sum")
    assert isinstance(summed, Tensor)
    anywhere, *means = (summed / fabric.world_size).split([len(trained), *(p.numel() for p in trained)])
    for parameter, mean, present in zip(trained, means, anywhere.tolist(), strict=True):
        parameter.grad = mean.view_as(parameter) if present else None


class _Gather(torch.autograd.Function):
    """Rows of all processes; each row's gradient goes back to its own.

    Every process computes the same loss of all rows, so the gradient here is whole already and no process has to ask
    another; it is multiplied because the mean over processes is taken afterwards.
    """

    @staticmethod
    def forward(context: Any, rows: Tensor, fabric: "Fabric") -> Tensor:
        counts = [int(count) for count in _of_all(torch.tensor(len(rows), device=rows.device), fabric)]
        whole = _of_all(F.pad(rows, (0, 0, 0, max(counts) - len(rows))), fabric)  # collectives want one size
        start = sum(counts[: fabric.global_rank])
        context.mine, context.processes = slice(start, start + len(rows)), fabric.world_size
        return torch.cat([part[:count] for part, count in zip(whole, counts, strict=True)])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][context.mine] * context.processes, None


def _of_all(tensor: Tensor, fabric: "Fabric") -> list[Tensor]:
    received = [torch.empty_like(tensor) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(received, tensor)
    return received


def _without_features(stream: Stream | None) -> Stream | None:
    return None if stream is None else replace(stream, features=stream.features[..., :0])


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    for part in _parts(value):
        yield from _tensors(part)


def _rebuilt(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The same structure around other tensors."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, tuple):
        return tuple(_rebuilt(part, tensors) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _rebuilt(getattr(value, field.name), tensors) for field in fields(value)})
    return value


def _parts(value: Any) -> Sequence[Any]:
    if isinstance(value, tuple):
        return value
    return [getattr(value, field.name) for field in fields(value)] if is_dataclass(value) else ()
