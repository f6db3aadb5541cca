"""A network in a folder: `model.safetensors` and `config.json`, nothing that could run code.

Beside the weights travels a small `Specifications` object, as in pyannote.audio: labels, encoders, statistics,
direction. Every reader asks it instead of guessing. A folder may lie on disk or on the Hugging Face hub.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cimeu.atomic import STATE, whole, write_whole
from cimeu.errors import CheckpointError, RecipeError, first_line
from cimeu.model.config import ModelConfig, model_config
from cimeu.pyramid import Direction
from cimeu.ranges import check_values, from_plain
from cimeu.reading import read_json, require_regular

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
FORMAT = 1
LARGEST_WEIGHT = 1e6
"""No weight or running statistic of standardised features comes near it; what is larger was not trained."""
STATISTICS = ("mean", "deviation")
"""Tensors of features as they are measured, in any unit."""
DEVIATION = STATISTICS[1]
POSITIVE = (DEVIATION, "sharpness", "gamma", "temperature")
"""Tensors that divide, or scale what decides."""
LARGEST_WEIGHTS_BYTES = 16 * 2**30
HINT = "point to a folder that `cimeu train` wrote, such as RUN/forward"
CIMEU = "cimeu"
"""Kind of the network of this project; folders that name no kind, as those of version 0.1, hold one."""

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)


_version = cache(version)


def versions() -> dict[str, str]:
    """Versions of what shapes the numbers."""
    return {name: _version(name) for name in ("cimeu", "torch", "transformers")}


@dataclass(frozen=True, kw_only=True)
class Specifications:
    """What a reader of a checkpoint has to know beside its weights; plain values only."""

    emotions: tuple[str, ...]
    """Classes in the order of the logits."""
    labels: str = ""
    """Name of the label space."""
    first_encoder: dict[str, Any] = field(default_factory=dict)
    """Description of the first stream's encoder (name, version, window, preprocessing, fingerprint)."""
    second_encoder: dict[str, Any] = field(default_factory=dict)
    """The same of the second stream; empty without one."""
    first_statistics: dict[str, list[float]] = field(default_factory=dict)
    """`mean` and `deviation` per dimension over the training clips; empty where features are used as they are."""
    second_statistics: dict[str, list[float]] = field(default_factory=dict)
    """The same of the second stream."""
    direction: Direction = "forward"
    """Whether the first stream was played backward."""
    shares_windows: bool = False
    """Both streams were cut in the same windows."""
    corpora: list[str] = field(default_factory=list)
    """Where the training clips came from."""
    synthetic: bool = False
    """Training clips were drawn by a program: no figure of this model says anything about people."""
    selection: str = ""
    """How the epoch was chosen: `validation`, `last` or `oracle`."""
    continuous: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Continuous labels in the order of the network's second head, each with the ends of its corpus's scale."""
    versions: dict[str, str] = field(default_factory=versions)
    """Versions of the packages that trained it."""

    def __post_init__(self) -> None:
        check_values(self)
        for stream in ("first", "second"):
            statistics = getattr(self, f"{stream}_statistics")
            if not statistics:
                continue
            sizes = {name: len(statistics.get(name, ())) for name in ("mean", "deviation")}
            if set(statistics) != set(sizes) or len(set(sizes.values())) > 1:
                raise RecipeError(
                    f"`{stream}_statistics` has {sizes['mean']} means and {sizes['deviation']} deviations\n\n"
                    "hint: as many of each"
                )
            if min(statistics["deviation"], default=1.0) <= 0:
                raise RecipeError(
                    f"`{stream}_statistics` has the deviation {min(statistics['deviation'])}\n\nhint: a number above 0"
                )


def save_checkpoint(model: nn.Module, folder: Path) -> None:
    """Write weights and configuration of a model; a reader never sees half a file."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # safetensors stores neither strides nor devices.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    values = {
        "format": FORMAT,
        "kind": getattr(model, "kind", CIMEU),
        "model": {**asdict(model.config), "emotions": list(model.config.emotions)},  # type: ignore[arg-type,call-overload,union-attr]
        "specifications": asdict(model.specifications),  # type: ignore[call-overload]
    }
    # Weights first: a folder with a configuration is taken for whole.
    with whole(folder / WEIGHTS_FILE, STATE) as partial:
        try:
            save_file(tensors, partial, metadata={"format": "pt"})
        except SafetensorError as error:
            raise CheckpointError(
                f"`{folder / WEIGHTS_FILE}` cannot be written ({error})\n\nhint: is the disk full?"
            ) from error
    write_whole(folder / CONFIG_FILE, json.dumps(values, indent=1, ensure_ascii=False) + "\n", STATE)


@dataclass(frozen=True)
class Weights:
    """Tensors and the file they came from."""

    tensors: Mapping[str, Tensor]
    path: Path

    def into(self, model: nn.Module) -> None:
        """Copy into a model.

        Raises:
            CheckpointError: names or shapes differ; the first differing tensor is named. Or a stream has no statistics.
        """
        check_tensors(self.tensors, model.state_dict(), self.path)
        specifications = getattr(model, "specifications", None)
        for stream in ("first", "second"):
            # Simple models keep the statistics of their vectors among their tensors.
            is_read = getattr(model.config, stream, None) is not None and DEVIATION not in self.tensors
            if (
                is_read
                and getattr(specifications, f"{stream}_encoder")
                and not getattr(specifications, f"{stream}_statistics")
            ):
                raise CheckpointError(
                    f"`{self.path.with_name(CONFIG_FILE)}` has no statistics of the {stream} stream\n\n"
                    "hint: take it from where it was made"
                )
        model.load_state_dict(dict(self.tensors), strict=True)


def read_checkpoint(source: str | Path, **download: Any) -> tuple[ModelConfig, Specifications, Weights]:
    """Read a network from a folder on disk, or fetch it from the hub.

    Args:
        source: folder, or hub id such as `name/model`.
        download: options of `huggingface_hub.hf_hub_download` (revision, token, cache_dir, local_files_only...).

    Raises:
        CheckpointError: a file is missing, damaged or not of this project.
    """
    config, specifications = read_config(source, CIMEU, model_config, **download)
    return config, specifications, read_weights(source, **download)


def kind_of(folder: Path) -> str:
    """What a folder holds: `cimeu`, `style-set`.

    Raises:
        CheckpointError: no configuration, or a damaged one.
    """
    values = read_json(_file(folder, CONFIG_FILE, {}), CheckpointError, HINT)
    return str(values.get("kind", CIMEU))


def read_config(
    source: str | Path, kind: str, build: Callable[[dict[str, Any]], Config], **download: Any
) -> tuple[Config, Specifications]:
    """What a folder says about its model of this kind; `build` makes the configuration from plain values.

    Raises:
        CheckpointError: the file is missing, damaged, or of another kind of model.
    """
    path = _file(source, CONFIG_FILE, download)
    values = read_json(path, CheckpointError, HINT)
    try:
        if (stored_kind := values.get("kind", CIMEU)) != kind:
            raise ValueError(f"kind `{stored_kind}`")
        config = build(values["model"])
        # A later version may have written more; what is unknown here is not needed to read the weights.
        names = {field.name for field in fields(Specifications)}
        specified = {name: value for name, value in values["specifications"].items() if name in names}
        if not specified["emotions"]:
            raise ValueError("no emotions")
    except RecipeError as error:
        raise CheckpointError(f"`{path}` describes a model that cannot be built: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = "a CiMEU network" if kind == CIMEU else f"a model of kind `{kind}`"
        raise CheckpointError(
            f"`{path}` is not the configuration of {what} ({type(error).__name__}: {error})\n\nhint: {HINT}"
        ) from error
    specifications = from_plain(Specifications, specified, path, CheckpointError)
    check_twins(config, specifications, path)
    return config, specifications


def check_twins(config: Any, specifications: Specifications, path: Path) -> None:
    """Compare what a checkpoint says twice: as the shape of its model (of any kind), and to its readers.

    Raises:
        CheckpointError: two values differ.
    """

    def differ(what: str, one: object, other: object) -> CheckpointError:
        return CheckpointError(
            f"`{path}` contradicts itself: {what} {one} and {other}\n\nhint: take it from where it was made"
        )

    # The order too: it is what gives a logit its name.
    if config.emotions != specifications.emotions:
        raise differ("the emotions are", list(config.emotions), list(specifications.emotions))
    direction = getattr(config, "direction", specifications.direction)
    if direction != specifications.direction:
        raise differ("the direction is", f"`{direction}`", f"`{specifications.direction}`")
    dimensions = getattr(config, "continuous", ())
    if tuple(specifications.continuous) != dimensions:
        raise differ("the continuous labels are", list(dimensions), list(specifications.continuous))
    for stream in ("first", "second"):
        shape = getattr(config, stream, None)
        described, statistics = (getattr(specifications, f"{stream}_{part}") for part in ("encoder", "statistics"))
        if shape is None:
            continue
        if described.get("width", shape.width) != shape.width:
            raise differ(f"the {stream} stream is", f"{shape.width} wide", described["width"])
        if statistics and len(statistics["mean"]) != shape.width:
            raise differ(f"the {stream} stream is", f"{shape.width} wide", f"has {len(statistics['mean'])} means")


def read_weights(source: str | Path, **download: Any) -> Weights:
    """Tensors of a folder on disk or on the hub.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    path = _file(source, WEIGHTS_FILE, download)
    hint = "it may have been cut while copying; compare its size with the original and copy it again"
    require_regular(path, CheckpointError, hint, at_most=LARGEST_WEIGHTS_BYTES)
    try:
        return Weights(load_file(path), path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"`{path}` is not a readable safetensors file ({error})\n\nhint: {hint}") from error


def read_model(
    build: Callable[..., Network],
    folder: Path | str,
    kind: str,
    config_from: Callable[[dict[str, Any]], Config],
) -> Network:
    """Read a model of this kind from a folder that `save_checkpoint` wrote, in evaluation mode.

    Raises:
        CheckpointError: a file is missing, damaged or does not fit; the first differing tensor is named.
    """
    model = build(*read_config(folder, kind, config_from))
    read_weights(folder).into(model)
    return model.eval()


def check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Compare names, shapes, types and sizes of values.

    Raises:
        CheckpointError: names the file and the first tensor that is missing, too many, of another shape or type, or
            that holds what no training leaves.
    """
    difference = None
    for name, tensor in expected.items():
        if name not in tensors:
            difference = f"tensor `{name}` {list(tensor.shape)} is missing"
        elif tensors[name].shape != tensor.shape:
            difference = f"tensor `{name}` is {list(tensors[name].shape)}, the model expects {list(tensor.shape)}"
        elif tensors[name].dtype != tensor.dtype:
            difference = f"tensor `{name}` is of {tensors[name].dtype}, the model expects {tensor.dtype}"
        elif not torch.isfinite(tensors[name]).all():
            difference = f"tensor `{name}` holds values that are not finite"
        elif tensor.numel() and name in POSITIVE and tensors[name].min() <= 0:
            difference = f"tensor `{name}` holds {float(tensors[name].min()):g}, it must be above 0"
        elif tensor.numel() and name not in STATISTICS and tensors[name].abs().max() > LARGEST_WEIGHT:
            largest = float(tensors[name].abs().max())
            difference = f"tensor `{name}` holds {largest:.3g}, trained ones stay within {LARGEST_WEIGHT:g}"
        if difference:
            break
    extra = next((name for name in tensors if name not in expected), None)
    if difference is None and extra is not None:
        difference = f"tensor `{extra}` {list(tensors[extra].shape)} is not part of the model"
    if difference is not None:
        raise CheckpointError(
            f"`{path}` does not fit: {difference}\n\n"
            "hint: weights and configuration belong together; take both from the same run and version"
        )


def _file(source: str | Path, name: str, download: Mapping[str, Any]) -> Path:
    folder = Path(source)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise CheckpointError(
                f"no `{name}` in `{folder}`\n\nhint: point to a folder that `cimeu train` wrote, such as RUN/forward"
            )
        return folder / name
    try:
        return Path(hf_hub_download(str(source), name, **download))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"`{source}` is neither a folder nor a model that can be fetched from the hub "
            f"({type(error).__name__}: {first_line(error)})\n\n"
            "hint: check the path; a hub id looks like `name/model` and needs a connection the first time"
        ) from error
