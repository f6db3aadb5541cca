"""The audio spectrogram transformer (AST, Interspeech 2021): a filterbank to one token per patch of 16 x 16.

One module serves twice: inside the network, trained with it, and as the frozen encoder `ast`. Tensors have the names of
`transformers.ASTModel`, LayerNorm the epsilon of the original (1e-6); three file layouts are read: the released
checkpoints (`module.v.*`), the Hugging Face hub's, and an image transformer (DeiT-distilled), whose patch kernel is
summed over colours. Position embeddings of another length are cut in the middle or stretched, time first.

Axes: B clips, T filterbank frames of 10 ms, F mel bins, N patches (frequency-major: 12 x 25 for 256 frames), D width.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from cimeu.devices import Placement
from cimeu.encoders.base import SOUND_RATE_HZ, Window
from cimeu.encoders.inputs import sound_input
from cimeu.encoders.tensors import part_with, read_tensors
from cimeu.encoders.transformer import MLP, SelfAttention
from cimeu.encoders.weights import find_weights, sha256_of
from cimeu.errors import CheckpointError, WeightsMissing
from cimeu.media.fbank import fbank, middle_segments

PATCH = 16
STRIDE = 10
BINS = 128
FRAMES = 256
EPS = 1e-6
DEVIATION_OF_WEIGHTS = 0.02
"""Of weights that are not read from a file."""
DEIT_HEAD_WIDTH = 64
MEAN, DEVIATION = -6.04, 3.45
"""Of the filterbank, as released; the input is (x - mean) / (2 deviations), the AST's own convention."""

_UNUSED = ("classifier.", "mlp_head.", "head.", "head_dist.")
_KERNELS = ("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight")
"""The patch kernel in the released layouts and in the hub's."""
_OFFICIAL_NAMES = {
    "dist_token": "embeddings.distillation_token",
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "blocks": "layers",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "norm": "layernorm",
}
_HUB_NAMES = {
    "encoder.layer": "layers",
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def grid(frames: int, bins: int) -> tuple[int, int]:
    """Patches along frequency and time.

    >>> grid(256, 128)
    (12, 25)
    """
    return (bins - PATCH) // STRIDE + 1, (frames - PATCH) // STRIDE + 1


class _Embeddings(nn.Module):
    """The tokens of class and distillation and one for each patch, with their positions."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_embeddings = nn.Sequential(OrderedDict(projection=nn.Conv2d(1, width, PATCH, STRIDE)))
        self.position_embeddings = nn.Parameter(torch.zeros(1, AST.EXTRA_TOKENS + tokens, width))

    def forward(self, filterbank: Float[Tensor, "B T F"]) -> Float[Tensor, "B N D"]:
        patches = self.patch_embeddings(filterbank.transpose(1, 2)[:, None])  # [B, D, 12, 25]
        extra = [token.expand(len(patches), -1, -1) for token in (self.cls_token, self.distillation_token)]
        return torch.cat((*extra, patches.flatten(2).transpose(1, 2)), dim=1) + self.position_embeddings


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads, bias=True)
        self.layernorm_before = nn.LayerNorm(width, eps=EPS)
        self.layernorm_after = nn.LayerNorm(width, eps=EPS)
        self.mlp = MLP(width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.mlp(self.layernorm_after(x))


class _Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.embeddings = _Embeddings(width, tokens)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.layernorm = nn.LayerNorm(width, eps=EPS)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                assert module.bias is not None
                nn.init.normal_(module.weight, std=DEVIATION_OF_WEIGHTS)
                nn.init.zeros_(module.bias)
        for name in ("cls_token", "distillation_token", "position_embeddings"):
            nn.init.trunc_normal_(getattr(self.embeddings, name), std=DEVIATION_OF_WEIGHTS)

    def forward(self, filterbank: Float[Tensor, "B T F"]) -> Float[Tensor, "B N D"]:
        x = self.embeddings(filterbank)
        for layer in self.layers:
            x = layer(x)
        return self.layernorm(x)


class AST(nn.Module):
    """Filterbank `[B, T, F]` to tokens `[B, 2 + N, D]` after the final norm: class, distillation, then patches."""

    EXTRA_TOKENS = 2

    def __init__(self, *, width: int, layers: int, heads: int, n_frames: int = FRAMES, n_bins: int = BINS) -> None:
        super().__init__()
        self.width, self.n_frames, self.n_bins = width, n_frames, n_bins
        self.tokens = grid(n_frames, n_bins)[0] * grid(n_frames, n_bins)[1]
        self.transformer = _Transformer(width, layers, heads, self.tokens)

    def forward(self, filterbank: Float[Tensor, "B T F"]) -> Float[Tensor, "B N D"]:
        assert filterbank.shape[1:] == (self.n_frames, self.n_bins), f"filterbank of shape {list(filterbank.shape)}"
        return self.transformer(filterbank)


def load_ast(path: Path, *, heads: int | None = None, n_frames: int = FRAMES) -> AST:
    """Read AST weights.

    Args:
        path: `.pth` or `.bin` (tensors only), `.safetensors`, or a folder of the hub with one of them.
        heads: attention heads; None: one per 64 channels, as in every released model.
        n_frames: filterbank frames the module will receive; positions are adapted.

    Returns:
        Filterbank `[B, n_frames, 128]` to tokens `[B, 2 + N, D]` after the final norm.

    Raises:
        WeightsMissing: no such file.
        CheckpointError: the file cannot be read as tensors, or the first differing tensor.
    """
    path = Path(path)
    # Classifier heads and counters of the release have no place in the encoder.
    tensors = {name: tensor for name, tensor in _named(_read(path)).items() if not name.startswith(_UNUSED)}
    kernel, positions = (
        _tensor(tensors, f"embeddings.{name}", path)
        for name in ("patch_embeddings.projection.weight", "position_embeddings")
    )
    width, depth = (
        kernel.shape[0],
        1 + max((int(name.split(".")[1]) for name in tensors if name.startswith("layers.")), default=-1),
    )
    if heads is None and width % DEIT_HEAD_WIDTH:
        raise CheckpointError(
            f"`{path}` is {width} wide, which does not say how many attention heads it has\n\nhint: pass `heads`"
        )
    # A spectrogram repeated in three colours and a kernel per colour give the sum of the kernels on one channel.
    coloured = kernel.shape[1] == 3
    tensors["embeddings.patch_embeddings.projection.weight"] = kernel.sum(dim=1, keepdim=True) if coloured else kernel
    tensors["embeddings.position_embeddings"] = resized(positions, n_frames, path, square=coloured)
    module = AST(width=width, layers=depth, heads=heads or width // DEIT_HEAD_WIDTH, n_frames=n_frames)
    _check(tensors, module.transformer.state_dict(), path)
    module.transformer.load_state_dict(tensors, strict=True)
    return module


@dataclass(kw_only=True, eq=False)
class AstTokens:
    """The frozen encoder `ast`: the sound of a clip as 300 tokens, one per patch of the middle 8 x 32 frames.

    Raises:
        WeightsMissing: no weights where they are looked for; random ones are never used.
        CheckpointError: the weights do not fit.
        RecipeError: an unknown device or precision.
    """

    weights: Path | str | None = None
    heads: int | None = None
    trim: bool = False
    level: bool = False
    precision: str = "auto"
    device: str = "auto"

    name: ClassVar[str] = "ast"
    version: ClassVar[str] = "1"
    window: ClassVar[Window | None] = None
    source: ClassVar[Literal["sound"]] = "sound"
    kind: ClassVar[Literal["tokens"]] = "tokens"
    optional: ClassVar[tuple[int, ...]] = ()
    heavy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._path = find_weights(self.name, self.weights)
        self._precision = Placement.choose(self.device, self.precision).precision
        self.preprocessing: Mapping[str, object] = {
            **sound_input(trim=self.trim, level=self.level),
            "frames": FRAMES,
            "mean": MEAN,
            "deviation": DEVIATION,
            "heads": self.heads,
            "weights_sha256": sha256_of(self._path),
        }
        # Stores of version 0.1 do not name the precision and were computed in fp32: they keep their fingerprint.
        if self._precision != "fp32":
            self.preprocessing = {**self.preprocessing, "precision": self._precision}

    @cached_property
    def module(self) -> AST:
        """The frozen network, read once."""
        return self.placement.place(load_ast(self._path, heads=self.heads).eval())

    @property
    def placement(self) -> Placement:
        """Device and precision, where it computes."""
        return Placement.choose(self.device, self._precision)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "module"}

    @property
    def width(self) -> int:
        """Width of a token."""
        return self.module.width

    def prepare(self, source: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "T F"]:
        """Log-mel filterbank."""
        return fbank(source, SOUND_RATE_HZ, n_bins=BINS).numpy()

    def __call__(self, windows: Float32[np.ndarray, "1 T F"]) -> Float32[np.ndarray, "N D"]:
        """The whole clip to its tokens, without class and distillation token."""
        filterbank = middle_segments(torch.from_numpy(np.array(windows[0])))
        # Twice the deviation, as AST was trained: inputs have deviation 0.5.
        inputs = ((filterbank - MEAN) / (2 * DEVIATION))[None]
        placement = self.placement
        with placement.arithmetic():
            tokens = self.module(inputs.to(placement.device, placement.dtype))
        return tokens[0, AST.EXTRA_TOKENS :].float().cpu().numpy()


def resized(positions: Float[Tensor, "1 P D"], n_frames: int, path: Path, *, square: bool) -> Float[Tensor, "1 Q D"]:
    """Position embeddings for another grid, time first, then frequency: the middle if shorter, bilinear if longer.

    Raises:
        CheckpointError: the positions do not form a grid.
    """
    extra, patches = positions[:, : AST.EXTRA_TOKENS], positions[:, AST.EXTRA_TOKENS :]
    rows, columns = grid(n_frames, BINS)
    # DeiT was trained on square images; AudioSet files have the twelve rows of 128 mel bins.
    old_rows = round(patches.shape[1] ** 0.5) if square else rows
    if patches.shape[1] == 0 or patches.shape[1] % old_rows:
        raise CheckpointError(
            f"`{path}` holds {positions.shape[1]} `position_embeddings`, which form no grid of {old_rows} rows\n\n"
            "hint: expected is a distilled model (class and distillation token), 128 mel bins, patch 16, stride 10"
        )
    # Frequency-major, as patches are flattened by the convolution.
    image = patches.transpose(1, 2).unflatten(2, (old_rows, -1))  # [1, D, frequency, time]
    image = _fitted(_fitted(image, 3, columns), 2, rows)
    return torch.cat((extra, image.flatten(2).transpose(1, 2)), dim=1)


def _fitted(image: Tensor, axis: int, length: int) -> Tensor:
    # As the released code does it: the middle where the grid is shorter, interpolated where it is longer.
    old = image.shape[axis]
    if length <= old:
        return image.narrow(axis, old // 2 - length // 2, length)
    size = [length if i == axis else image.shape[i] for i in (2, 3)]
    return F.interpolate(image, size=size, mode="bilinear")


def _read(path: Path) -> dict[str, Tensor]:
    if path.is_dir():
        inside = [path / name for name in ("model.safetensors", "pytorch_model.bin") if (path / name).is_file()]
        path = inside[0] if inside else path / "model.safetensors"
    if not path.is_file():
        raise WeightsMissing(
            f"no AST weights at `{path}`\n\n"
            "hint: fetch audioset_10_10_0.4593.pth (github.com/YuanGongND/ast) or model.safetensors of "
            "MIT/ast-finetuned-audioset-10-10-0.4593 (huggingface.co) and give its path"
        )
    return read_tensors(path)


def _named(content: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names of the module, from any of the three layouts."""
    named: dict[str, Tensor] = {}
    for name, value in part_with(content, *_KERNELS).items():
        if ".attn.qkv." in name:  # the releases keep queries, keys and values in one matrix, in this order
            prefix, suffix = name.replace("blocks", "layers").split(".attn.qkv.")
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                named[f"{prefix}.attention.{letter}_proj.{suffix}"] = part
            continue
        names = _OFFICIAL_NAMES if re.match(r"(cls_|dist_|pos_|patch_embed\.|blocks\.|norm\.)", name) else _HUB_NAMES
        for old, new in names.items():
            name = re.sub(rf"(^|(?<=\.)){re.escape(old)}(?=\.|$)", new, name)
        named[name] = value
    return named


def _tensor(tensors: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    if name not in tensors:
        raise CheckpointError(
            f"`{path}` does not fit: tensor `{name}` is missing\n\n"
            "hint: expected are the layouts of the AST release, the hub's ASTModel, or DeiT-distilled"
        )
    return tensors[name]


def _check(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in expected.items():
        shape = list(_tensor(tensors, name, path).shape)
        if shape != list(tensor.shape):
            raise CheckpointError(
                f"`{path}` does not fit: tensor `{name}` is {shape}, expected {list(tensor.shape)}\n\n"
                "hint: patch 16 x 16, one channel (or three colours of DeiT), MLP four times the width"
            )
    extra = next((name for name in tensors if name not in expected), None)
    if extra is not None:
        raise CheckpointError(
            f"`{path}` does not fit: tensor `{extra}` is not part of an AST\n\nhint: give an AST or DeiT-distilled file"
        )
