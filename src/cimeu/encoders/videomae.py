"""Frozen video features: one vector per window of 16 frames from VideoMAE V2 (Wang et al., CVPR 2023).

The network is `transformers.VideoMAEModel`; what lives here is the way from the published files to it. Official files
keep one `qkv` matrix without bias beside `q_bias` and `v_bias`; wrappers and prefixes of the names are taken off, as
`cimeu.encoders.tensors` does. The architecture is read off the tensors, loading is strict, and a layer norm of 1e-6 is
used throughout, as the official code does.

Pixels as in the official extraction: RGB / 255, bilinear stretch to the input size, no mean or deviation unless
`normalise="imagenet"`.

Axes: B clips or N windows, H and W pixels, D width of the features.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from cimeu.devices import Placement
from cimeu.encoders.base import Window
from cimeu.encoders.engines import ENGINES, Computation, Engine, choose_library, compiled, usual_batch_size
from cimeu.encoders.inputs import check_choices, picture_input
from cimeu.encoders.tensors import part_with, read_tensors
from cimeu.encoders.weights import find_weights, sha256_of, verify
from cimeu.errors import CheckpointError
from cimeu.media.faces import DEFAULT_DETECTOR
from cimeu.media.video import FRAME_RATE_HZ
from cimeu.reading import is_there

SIDE = 224
FRAMES = 16
TUBELET = 2
LAYER_NORM_EPS = 1e-6
"""As in the official code; the default of transformers is 1e-12."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class VideoMAESize:
    """Numbers that fix the architecture."""

    width: int
    depth: int
    heads: int
    feed_forward: int
    patch: int


SIZES: dict[str, VideoMAESize] = {
    "small": VideoMAESize(384, 12, 6, 1536, 16),
    "base": VideoMAESize(768, 12, 12, 3072, 16),
    "large": VideoMAESize(1024, 24, 16, 4096, 16),
    "huge": VideoMAESize(1280, 32, 16, 5120, 16),
    "giant": VideoMAESize(1408, 40, 16, 6144, 14),
}
"""The published sizes (docs/MODEL_ZOO.md and modeling_finetune of the official repository)."""

_HEAD = "head."
_RENAMED = {
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "attn.q_bias": "attention.attention.query.bias",
    "attn.v_bias": "attention.attention.value.bias",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


class VideoMAEV2(nn.Module):
    """A frozen VideoMAE V2: sixteen frames to tokens, and to one vector."""

    def __init__(self, size: VideoMAESize, image_size: int, *, fc_norm: bool, token_norm: bool) -> None:
        super().__init__()
        from transformers import VideoMAEConfig, VideoMAEModel

        self.size = size
        self.image_size = image_size
        self.tokens_of = VideoMAEModel(
            VideoMAEConfig(
                image_size=image_size,
                patch_size=size.patch,
                num_frames=FRAMES,
                tubelet_size=TUBELET,
                hidden_size=size.width,
                num_hidden_layers=size.depth,
                num_attention_heads=size.heads,
                intermediate_size=size.feed_forward,
                layer_norm_eps=LAYER_NORM_EPS,
                use_mean_pooling=not token_norm,
            )
        )
        self.fc_norm = nn.LayerNorm(size.width, eps=LAYER_NORM_EPS) if fc_norm else nn.Identity()

    def tokens(self, clip: Float[Tensor, "B 3 16 H W"]) -> Float[Tensor, "B N D"]:
        """Tokens of the last block, time-major, before pooling; pixels in 0..1."""
        return self.tokens_of(clip.transpose(1, 2)).last_hidden_state

    def forward(self, clip: Float[Tensor, "B 3 16 H W"]) -> Float[Tensor, "B D"]:
        """Features of a clip: `fc_norm` of the mean over tokens; pixels in 0..1."""
        return self.fc_norm(self.tokens(clip).mean(1))


def load_videomae_v2(
    path: Path | str, *, heads: int | None = None, image_size: int = SIDE, size: VideoMAESize | None = None
) -> VideoMAEV2:
    """Load a published VideoMAE V2 file as a frozen module in evaluation mode.

    Args:
        path: an official `.pth` (fine-tuned, distilled or pre-trained) or a hub export (`.safetensors`).
        heads: attention heads; needed only where the width is not a published one.
        image_size: side of the input, pixels.
        size: the architecture the file must have; None: read off its tensors.

    Returns:
        A module: float `[B, 3, 16, H, W]` in 0..1 to `[B, D]`. A file without `fc_norm` gives the mean of the tokens,
        after the encoder's own `norm` where the file has one (pre-training does).

    Raises:
        CheckpointError: the file is not a set of tensors, is not VideoMAE V2, lacks or adds a tensor, or has another
            size; the message names the first tensor that differs.
    """
    path = Path(path)
    hint = "give the path of a VideoMAE V2 `.pth` or `.safetensors` file"
    if not is_there(path, CheckpointError, hint):
        raise CheckpointError(f"no file `{path}`\n\nhint: {hint}")
    tensors = _encoder_tensors(read_tensors(path))
    size = size or _size_of(tensors, path, heads)
    _check_shapes(tensors, size, path)
    fc_norm, token_norm = "fc_norm.weight" in tensors, "norm.weight" in tensors
    # Without memory at first: random weights for a billion parameters would be drawn only to be replaced.
    with torch.device("meta"):
        module = VideoMAEV2(size, image_size, fc_norm=fc_norm, token_norm=token_norm)
    module.load_state_dict(_renamed(tensors), strict=True, assign=True)
    return module.requires_grad_(False).eval()


def _encoder_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official names without wrapping prefixes, without head and decoder, in single precision."""
    encoder = part_with(tensors, "patch_embed.proj.weight")
    return {name: tensor.float() for name, tensor in encoder.items() if not name.startswith(_HEAD)}


def _size_of(tensors: Mapping[str, Tensor], path: Path, heads: int | None) -> VideoMAESize:
    needed = ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight")
    for name in needed:
        if name not in tensors:
            raise CheckpointError(f"`{path}` has no tensor `{name}`\n\nhint: give an official VideoMAE V2 file")
    width, patch = tensors[needed[0]].shape[0], tensors[needed[0]].shape[-1]
    depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    heads = heads or next((size.heads for size in SIZES.values() if size.width == width), None)
    if heads is None or width % heads:
        raise CheckpointError(
            f"`{path}` is {width} wide, which fits {'no published size' if heads is None else f'no {heads} heads'}"
            f"\n\nhint: pass heads=..., a divisor of {width}"
        )
    return VideoMAESize(width, depth, heads, tensors[needed[2]].shape[0], patch)


def _expected_shapes(size: VideoMAESize) -> dict[str, tuple[int, ...]]:
    width, hidden = size.width, size.feed_forward
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (width, 3, TUBELET, size.patch, size.patch),
        "patch_embed.proj.bias": (width,),
    }
    block: dict[str, tuple[int, ...]] = {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "attn.q_bias": (width,),
        "attn.v_bias": (width,),  # keys have none: it would add the same to every score of a query
        "attn.qkv.weight": (3 * width, width),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "mlp.fc1.weight": (hidden, width),
        "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (width, hidden),
        "mlp.fc2.bias": (width,),
    }
    return shapes | {f"blocks.{i}.{name}": shape for i in range(size.depth) for name, shape in block.items()}


def _check_shapes(tensors: Mapping[str, Tensor], size: VideoMAESize, path: Path) -> None:
    expected = _expected_shapes(size)
    for norm in ("norm", "fc_norm"):
        if f"{norm}.weight" in tensors:
            expected |= {f"{norm}.weight": (size.width,), f"{norm}.bias": (size.width,)}
    for name, shape in expected.items():
        actual = tuple(tensors[name].shape) if name in tensors else None
        if actual != shape:
            raise CheckpointError(
                f"`{path}` does not fit: tensor `{name}` is {_shape(actual)} in the file, {_shape(shape)} in the model"
                f"\n\nhint: take the file of this size, or the size of this file"
            )
    for name in tensors:
        if name not in expected:
            raise CheckpointError(
                f"`{path}` does not fit: tensor `{name}` has no place in the model"
                f"\n\nhint: give an unmodified VideoMAE V2 file"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else " x ".join(map(str, shape))


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official names to those of `VideoMAEV2`; the joint `qkv` is split in three."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith("fc_norm."):
            renamed[name] = tensor
        elif name.startswith("norm."):
            renamed["tokens_of.layernorm." + name.removeprefix("norm.")] = tensor
        elif name.endswith("attn.qkv.weight"):
            block = name.split(".")[1]
            for part, weight in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[f"tokens_of.encoder.layer.{block}.attention.attention.{part}.weight"] = weight.contiguous()
        else:
            for official, ours in _RENAMED.items():
                name = name.replace(official, ours)
            renamed["tokens_of." + name.replace("blocks.", "encoder.layer.")] = tensor
    return renamed


class FromPixels(nn.Module):
    """A network that takes pixels as decoded, 0..255 and channels last, and scales and normalises them itself."""

    def __init__(self, network: VideoMAEV2, normalise: Literal["none", "imagenet"]) -> None:
        super().__init__()
        self.network = network
        imagenet = normalise == "imagenet"
        self.mean = nn.Buffer(torch.tensor(IMAGENET_MEAN if imagenet else (0.0,) * 3))
        self.deviation = nn.Buffer(torch.tensor(IMAGENET_DEVIATION if imagenet else (1.0,) * 3))

    def scaled(self, frames: Float[Tensor, "N 16 H W 3"]) -> Float[Tensor, "N 3 16 H W"]:
        """Pixels as the network wants them."""
        return ((frames / 255 - self.mean) / self.deviation).permute(0, 4, 1, 2, 3)

    def forward(self, frames: Float[Tensor, "N 16 H W 3"]) -> Float[Tensor, "N D"]:
        return self.network(self.scaled(frames))


@dataclass(eq=False)
class VideoMAEEncoder:
    """VideoMAE V2 as an encoder of 16-frame windows every 4 frames.

    Needs weights: `weights` is a file, or None for the weights folder (`cimeu.encoders.weights`). They are read when
    the first window is encoded; their checksum and the precision are part of the preprocessing, hence of every stored
    feature. `device`, `engine`, `batch_size` (0: what suits the device) and `fuse` say how it is computed
    (`cimeu.devices`, `cimeu.encoders.engines`) and are not.

    Raises:
        WeightsMissing: no file where one is looked for.
        CheckpointError: the file is not the published one (where its checksum is known), or has another size.
        RecipeError: an unknown size, source, normalisation, detector, precision, device or engine.
        FingerprintMismatch: another version of the detector is installed.
    """

    size: str = "giant"
    _: KW_ONLY
    source: Literal["face", "frame"] = "face"
    normalise: Literal["none", "imagenet"] = "none"
    weights: Path | str | None = None
    detector: str = DEFAULT_DETECTOR
    rate_hz: float | int = FRAME_RATE_HZ
    precision: str = "auto"
    device: str = "auto"
    engine: Engine = "auto"
    batch_size: int = 0
    fuse: bool = False

    version: ClassVar[str] = "1"
    window: ClassVar[Window] = Window(FRAMES, 4)
    kind: ClassVar[Literal["steps"]] = "steps"
    optional: ClassVar[tuple[int, ...]] = ()
    heavy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.name = f"videomae-v2-{self.size}"
        check_choices(
            self.name,
            {
                "size": (self.size, tuple(SIZES)),
                "normalise": (self.normalise, ("none", "imagenet")),
                "engine": (self.engine, ENGINES),
            },
        )
        input_settings = picture_input(self.name, source=self.source, detector=self.detector, rate_hz=self.rate_hz)
        # OpenVINO computes on the processor: asked for by name, it decides the device.
        device = "cpu" if (self.engine, self.device) == ("openvino", "auto") else self.device
        placement = Placement.choose(device, self.precision)
        self.width = SIZES[self.size].width
        self.batch_size = self.batch_size or usual_batch_size(placement.device)
        path = find_weights(self.name, self.weights)
        if self.weights is None:
            verify(self.name, path)
        checksum = sha256_of(path)
        # The device is chosen again where it computes: another machine of a cluster may have a card when this has none.
        self._computed = _Computed(
            path,
            checksum,
            SIZES[self.size],
            self.normalise,
            device,
            placement.precision,
            self.engine,
            self.batch_size,
            self.fuse,
        )
        self.preprocessing: Mapping[str, object] = {
            "side": SIDE,
            "resampling": "bilinear",
            **input_settings,
            "pixels": f"RGB / 255, bilinear stretch to {SIDE} x {SIDE}",
            "normalise": self.normalise,
            "precision": placement.precision,
            "weights_sha256": checksum,
        }

    def prepare(self, source: UInt8[np.ndarray, "F S S 3"]) -> UInt8[np.ndarray, "F S S 3"]:
        """Crops as they are: the scaling costs nothing beside the network, and bytes are small to keep."""
        return source

    def __call__(self, windows: UInt8[np.ndarray, "N 16 S S 3"]) -> Float32[np.ndarray, "N D"]:
        """One vector per window. A batch that is not full is filled up, so that its vectors do not depend on it."""
        vectors = np.zeros((len(windows), self.width), np.float32)
        compute = _computation(self._computed)
        for start in range(0, len(windows), self.batch_size):
            batch = self.frames(windows[start : start + self.batch_size])
            # Libraries choose other algorithms, with other rounding, for other shapes.
            absent = self.batch_size - len(batch)
            filled = torch.cat([batch, batch[-1:].expand(absent, *batch.shape[1:])]) if absent else batch
            vectors[start : start + len(batch)] = compute(filled)[: len(batch)]
        return vectors

    def frames(self, windows: UInt8[np.ndarray, "N 16 S S 3"]) -> Float[Tensor, "N 16 224 224 3"]:
        """Crops in 0..255, stretched to the input size where they have another."""
        frames = torch.from_numpy(np.array(windows, np.float32))
        if frames.shape[2:4] == (SIDE, SIDE):
            return frames
        flat = frames.flatten(0, 1).permute(0, 3, 1, 2)
        stretched = F.interpolate(flat, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        return stretched.permute(0, 2, 3, 1).unflatten(0, windows.shape[:2]).contiguous()


@dataclass(frozen=True)
class _Computed:
    """Everything that makes a network another one once it is read and compiled."""

    path: Path
    checksum: str
    size: VideoMAESize
    normalise: Literal["none", "imagenet"]
    device: str
    precision: str
    engine: Engine
    batch_size: int
    fuse: bool


@lru_cache(maxsize=2)
def _computation(how: _Computed) -> Computation:
    """The frozen network, read once for every encoder that computes it alike; encoders travel without it."""
    placement = Placement.choose(how.device, how.precision)
    choose_library(how.engine, placement.device)  # says what is not installed before the weights are read
    network = FromPixels(load_videomae_v2(how.path, size=how.size), how.normalise)
    example = torch.zeros(how.batch_size, FRAMES, SIDE, SIDE, 3)
    return compiled(network, example, placement, engine=how.engine, fuse=how.fuse)
