"""A model of the Hugging Face hub on this machine: where it lies, what its files say, and its frozen network.

Nothing is fetched. What the files hold (not what they are called) identifies a model.

Axes: B clips or frames, T tokens, D width.
"""

import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from cimeu.devices import Placement
from cimeu.encoders.presets import NORMALISATIONS, PRESETS, Kind, Preset
from cimeu.encoders.weights import sha256_of
from cimeu.errors import CheckpointError, RecipeError, WeightsMissing, first_line

TENSORS = ("*.safetensors", "pytorch_model*.bin")
"""The second only as plain tensors: transformers runs no code from it."""
PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
"""Files that say how frames are prepared; the last holds those settings under the name of each processor."""
_INNER = ("video_processor", "image_processor", "feature_extractor")
_READS = {"hub-sound": "sound", "hub-picture": "single frames", "hub-video": "video"}


@dataclass(frozen=True)
class HubModel:
    """What the files of a model say, without its tensors."""

    folder: Path
    architecture: str
    """`model_type` of its configuration."""
    kind: Kind
    """Encoder that can compute it."""
    depth: int
    """Layers of the part that is used."""
    width: int
    """Width of its hidden states."""
    config: Any
    """Configuration of the part that is used."""
    processor: dict[str, Any]
    """How frames are prepared; empty where no file says so."""
    content_sha256: str
    """Over the content of the files that shape the numbers, in the order of their paths."""

    def normalisation(self, preset: Preset | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of RGB in 0..1.

        Raises:
            CheckpointError: the model's files name none, or others than its preset.
        """
        expected = None if preset is None else NORMALISATIONS[preset.normalisation]
        settings = self.processor
        if settings and not settings.get("do_normalize", True):
            used: Any = NORMALISATIONS["none"]
        elif "image_mean" in settings and "image_std" in settings:
            used = tuple(settings["image_mean"]), tuple(settings["image_std"])
        else:
            used = expected
        if used is None:
            raise CheckpointError(
                f"`{self.folder}` does not say how frames are normalised for it"
                "\n\nhint: its preprocessor_config.json (image_mean, image_std) belongs to the model; copy it too"
            )
        if preset is not None and used != expected:
            raise CheckpointError(
                f"`{self.folder}` normalises frames by {used}, {preset.model} by {expected}"
                f"\n\nhint: copy its preprocessor_config.json again, or use the encoder `{preset.kind}`"
            )
        return used

    def side(self) -> int:
        """Side of the input in pixels: the processor's crop, which may be far below what the positions would allow."""
        for name in ("crop_size", "size") if self.processor.get("do_center_crop", True) else ("size",):
            size = self.processor.get(name)
            if isinstance(size, dict):
                size = size.get("height", size.get("shortest_edge"))
            if isinstance(size, int):
                return size
        if hasattr(self.config, "num_patches") and not hasattr(self.config, "image_size"):  # SigLIP 2 of any resolution
            return round(self.config.num_patches**0.5) * self.config.patch_size
        return first_number(self.config, "image_size", "crop_size")

    def check_layer(self, layer: int) -> None:
        """Refuse a layer that the model does not have.

        Raises:
            RecipeError: outside 0 (before the first layer) to the last, or the same from the end.
        """
        if not -self.depth - 1 <= layer <= self.depth:
            raise RecipeError(f"layer {layer} of `{self.folder.name}`\n\nhint: 0 (before the first) to {self.depth}")


def find_model(weights: Path | str, revision: str | None = None) -> Path:
    """Folder of a model: a path, or the name of one in the hub's cache.

    Raises:
        WeightsMissing: neither is there, or the folder holds no model.
    """
    folder = Path(weights).expanduser()
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        at = "" if revision is None else f" --revision {revision}"
        try:
            folder = Path(snapshot_download(str(weights), revision=revision, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError) as error:
            raise WeightsMissing(
                f"no folder `{weights}`, and no model of that name in the hub's cache"
                "\n\nhint: give a folder with config.json and model.safetensors, or fill the cache where there is a "
                f"network with `hf download {weights}{at}` (read the model's licence first)"
            ) from error
    for needed in (("config.json",), TENSORS):
        if not any(path for pattern in needed for path in folder.glob(pattern)):
            raise WeightsMissing(f"`{folder}` holds no `{needed[0]}`\n\nhint: copy the whole folder of the model")
    return folder


def open_model(kind: Kind, weights: Path | str | None, preset_name: str | None) -> HubModel:
    """What the files of a model say.

    Args:
        kind: the encoder that is to compute it.
        weights: its folder, or its name on the hub; None: that of the preset.
        preset_name: a key of `PRESETS`, whose model it must be; None: any model.

    Raises:
        WeightsMissing: no such model on this machine.
        CheckpointError: the files cannot be read, or are those of a model that this encoder cannot compute.
    """
    preset = None if preset_name is None else PRESETS[preset_name]
    if weights is None:
        if preset is None:
            raise WeightsMissing("no model is named\n\nhint: weights=FOLDER, or a name in the hub's cache")
        folder = find_model(preset.model, preset.revision)
    else:
        folder = find_model(weights)
    model = _read(folder)
    if model.kind != kind:
        raise CheckpointError(
            f"`{folder}` is a model of {_READS[model.kind]} (`{model.architecture}`), and {kind} computes models of "
            f"{_READS[kind]}\n\nhint: use the encoder `{model.kind}`"
        )
    if preset is not None:
        for what in ("architecture", "depth", "width"):
            if getattr(model, what) != getattr(preset, what):
                raise CheckpointError(
                    f"`{folder}` is not {preset.model}: {what} {getattr(model, what)}, expected {getattr(preset, what)}"
                    f"\n\nhint: use the encoder `{kind}` for a model of your own"
                )
    return model


def _read(folder: Path) -> HubModel:
    from transformers import AutoConfig

    try:
        whole = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(folder, error) from error
    config = getattr(whole, "vision_config", whole)
    processor_file = next((folder / name for name in PROCESSORS if (folder / name).is_file()), None)
    files = [path for pattern in ("config.json", *TENSORS) for path in folder.glob(pattern)]
    if processor_file is not None:
        files.append(processor_file)
    contents = "".join(sha256_of(path) for path in sorted(files))
    return HubModel(
        folder,
        whole.model_type,
        _kind_of(config),
        _depth_of(config),
        first_number(config, "hidden_size", "d_model"),
        config,
        _processor_of(processor_file),
        hashlib.sha256(contents.encode()).hexdigest(),
    )


def _kind_of(config: Any) -> Kind:
    """Encoder that can compute a model; sound where nothing in its configuration is about images."""
    if any(hasattr(config, name) for name in ("tubelet_size", "num_frames", "frames_per_clip")):
        return "hub-video"
    # The audio spectrogram transformer has patches too, of a spectrogram.
    if hasattr(config, "image_size") or (hasattr(config, "patch_size") and not hasattr(config, "num_mel_bins")):
        return "hub-picture"
    return "hub-sound"


def _depth_of(config: Any) -> int:
    if hasattr(config, "num_spatial_layers"):  # VideoPrism: space first, then time
        return config.num_spatial_layers + config.num_temporal_layers
    return first_number(config, "num_hidden_layers", "encoder_layers", "encoder_num_hidden_layers")


def _processor_of(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _unreadable(path, error) from error
    if not isinstance(settings, dict):
        raise _unreadable(path, ValueError("it holds no settings"))
    return next((settings[name] for name in _INNER if isinstance(settings.get(name), dict)), settings)


def first_number(config: Any, *names: str) -> int:
    """First of some settings that is a number.

    Raises:
        CheckpointError: none is.
    """
    for name in names:
        if isinstance(getattr(config, name, None), int):
            return getattr(config, name)
    raise CheckpointError(
        f"a `{config.model_type}` model has no `{names[0]}`\n\nhint: give an encoder of sound, frames or video"
    )


Network = Callable[..., Float32[Tensor, "B T D"]]
"""Inputs by name to the tokens of one layer, in the memory of the processor."""


@lru_cache(maxsize=2)
def frozen_network(folder: Path, content_sha256: str, depth: int, layer: int, placement: Placement) -> Network:
    """The frozen network up to one layer, read once for every encoder that has it.

    Args:
        folder: of the model.
        content_sha256: of its files; another content is another network.
        depth: layers of the part that is used.
        layer: hidden state to give back: 0 is before the first layer, -1 the last.
        placement: device and precision.

    Raises:
        CheckpointError: the files cannot be read as a model.
    """
    from transformers import AutoModel

    try:
        whole = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(folder, error) from error
    part = _cut(_encoder_of(whole), depth, layer % (depth + 1))
    part = placement.place(part.requires_grad_(False).eval())
    accepted = inspect.signature(part.forward).parameters
    constants = {name: True for name in ("interpolate_pos_encoding", "skip_predictor") if name in accepted}

    def compute(**inputs: Tensor) -> Float32[Tensor, "B T D"]:
        renamed = {
            name: tensor.to(placement.device, placement.dtype if tensor.is_floating_point() else None)
            for name, tensor in inputs.items()
        }
        with placement.arithmetic():
            states = part(**renamed, **constants, output_hidden_states=True).hidden_states
        # Above the cut there is at most one layer more, so the place of a layer from the front still holds.
        return states[layer % (depth + 1)].float().cpu()

    return compute


def _encoder_of(whole: Any) -> nn.Module:
    """The part that sees or hears: of a pair with text, or in front of a decoder."""
    if hasattr(whole.config, "vision_config"):
        return whole.vision_model if hasattr(whole, "vision_model") else whole.video_model.vision_model
    return whole.get_encoder() if getattr(whole.config, "is_encoder_decoder", False) else whole


def _cut(network: nn.Module, depth: int, layer: int) -> nn.Module:
    """Leave out what comes after a layer: at half of the depth, half of the time.

    One layer more than needed is kept, because transformers normalises the last hidden state of some models.
    """
    stacks = {
        name: stack
        for name, stack in network.named_modules()
        # A predictor (V-JEPA 2) and the convolutions in front (wav2vec 2.0) can be as many as the layers.
        if isinstance(stack, nn.ModuleList) and len(stack) == depth and "predictor" not in name and "conv" not in name
    }
    if len(stacks) == 1 and layer < depth:
        ((name, stack),) = stacks.items()
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, stack[: layer + 1])
    return network


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    reason = first_line(error)
    return CheckpointError(f"`{path}` cannot be read as a model: {reason}\n\nhint: copy its whole folder again")
