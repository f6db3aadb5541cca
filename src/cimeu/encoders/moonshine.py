"""Moonshine tiny, a small English speech recogniser whose middle layers carry emotion across languages.

The encoder reads the waveform: three convolutions (stride 64, 3 and 2: 41.7 states a second), then six transformer
layers with rotary positions. Of the layers 0 to 6, the third is the best for emotion in cultures that were held out and
the last one of the worst, as usual for encoders trained to write down words.

Source: Jeffries et al., Moonshine: Speech Recognition for Live Transcription and Voice Commands, 2024 (arXiv
2410.15608). Weights: MIT, inside the wheel of PyPI's `moonshine-voice`, as int8 matrices with scale and zero point. Its
model card holds the recogniser unfit for classification "to infer human attributes"; what is made here of its states
stands under the limits of use in every model card of this project.

Axes: B clips, N samples, T hidden states, S steps, D width (288), H heads, E channels of a head.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from cimeu.devices import Placement, choose_device
from cimeu.encoders.base import SOUND_RATE_HZ, Window
from cimeu.encoders.inputs import check_fp32, sound_input
from cimeu.encoders.ort import read_graph
from cimeu.encoders.transformer import MLP, SelfAttention, Turn
from cimeu.encoders.weights import find_weights, sha256_of
from cimeu.errors import CheckpointError, RecipeError

WIDTH, LAYERS = 288, 6
SAMPLES_PER_STATE = 64 * 3 * 2
SHORTEST_SAMPLES = SOUND_RATE_HZ // 4
"""Shorter sound is zero-padded: the convolutions need 0.06 s, and one state says little."""
LONGEST_S, CONTEXT_S = 30.0, 4.0
"""Longer sound is encoded in stretches of this length, each with so much of its neighbours on either side."""
HEADS = 8
ROTATED, BASE = 32, 10_000.0
"""Channels of each head (of 36) that hold positions, and the base of their wavelengths."""
MATRIX_INPUTS = {"MatMulIntegerToFloat": (1, 3, 5), "DynamicQuantizeMatMul": (1, 2, 3)}
"""Which inputs of a quantised product are its matrix, the matrix's scale and its zero point."""


def moonshine_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of `transformers.MoonshineEncoder` from `encoder_model.ort` of the package.

    Raises:
        CheckpointError: it is another file, or damaged.
    """
    graph = read_graph(path)
    tensors = {name: array for name, array in graph.tensors.items() if name.endswith((".weight", ".bias"))}
    for number in (1, 2, 3):  # stored as floats already, under the name of an optimiser's pass
        tensors[f"conv{number}.weight"] = graph.tensors.get(f"conv{number}.weight_add_tensor", np.zeros(0))
    for node in graph.nodes:
        if node.operation in MATRIX_INPUTS:
            named = [node.inputs[place] for place in MATRIX_INPUTS[node.operation]]
            matrix, scale, zero = (graph.tensors[name].astype(np.float32) for name in named)
            name = node.name.removeprefix("/").split("/MatMul")[0].replace("/", ".")
            # ONNX multiplies from the right, torch stores the transpose.
            tensors[f"{name}.weight"] = ((matrix - zero) * scale).T
        # Group norm was exported as instance norm, a product and a sum; their constants are its weight and bias.
        elif node.name.startswith("/groupnorm/") and node.operation in ("Mul", "Add"):
            kind = "weight" if node.operation == "Mul" else "bias"
            tensors[f"groupnorm.{kind}"] = graph.tensors[node.inputs[1]].reshape(-1)
    converted = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in tensors.items()}
    _check(converted, Network(LAYERS).state_dict(), path)
    return converted


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = SelfAttention(WIDTH, HEADS, bias=False)
        self.mlp = MLP(WIDTH)
        self.input_layernorm = nn.LayerNorm(WIDTH, bias=False)
        self.post_attention_layernorm = nn.LayerNorm(WIDTH, bias=False)

    def forward(self, x: Float[Tensor, "B T D"], turned: Turn) -> Float[Tensor, "B T D"]:
        x = x + self.self_attn(self.input_layernorm(x), turned)
        return x + self.mlp(self.post_attention_layernorm(x))


class Network(nn.Module):
    """Samples `[B, N]` to states `[B, T, D]`: the encoder cut to its first layers, with random weights."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, WIDTH, kernel_size=127, stride=64, bias=False)
        self.conv2 = nn.Conv1d(WIDTH, 2 * WIDTH, kernel_size=7, stride=3)
        self.conv3 = nn.Conv1d(2 * WIDTH, WIDTH, kernel_size=3, stride=2)
        self.groupnorm = nn.GroupNorm(1, WIDTH)
        self.layers = nn.ModuleList(_Layer() for _ in range(layers))
        self.layer_norm: nn.Module = nn.LayerNorm(WIDTH, bias=False)

    def forward(self, samples: Float[Tensor, "B N"]) -> Float[Tensor, "B T D"]:
        x = self.groupnorm(torch.tanh(self.conv1(samples[:, None])))
        x = F.gelu(self.conv3(F.gelu(self.conv2(x)))).transpose(1, 2)
        turned = rotation(x.shape[1], x.device)
        for layer in self.layers:
            x = layer(x, turned)
        return self.layer_norm(x)


def rotation(n_states: int, device: torch.device) -> Turn:
    """Rotary positions: what turns each pair of channels of a head by an angle that grows with the place in time."""
    frequencies = 1 / BASE ** (torch.arange(0, ROTATED, 2, dtype=torch.float32, device=device) / ROTATED)
    angles = torch.arange(n_states, device=device)[:, None] * frequencies  # [T, 16]
    cosine, sine = angles.cos(), angles.sin()

    def turned(x: Float[Tensor, "B H T E"]) -> Float[Tensor, "B H T E"]:
        even, odd = x[..., :ROTATED:2], x[..., 1:ROTATED:2]
        pairs = torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), dim=-1)
        return torch.cat((pairs.flatten(-2), x[..., ROTATED:]), dim=-1)

    return turned


def _check(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in expected.items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            shape = list(tensors[name].shape) if name in tensors else "absent"
            raise CheckpointError(
                f"`{path}` is not the Moonshine tiny encoder: tensor `{name}` is {shape}, expected "
                f"{list(tensor.shape)}\n\nhint: cimeu weights fetch moonshine"
            )


@lru_cache(maxsize=2)
def _frozen(path: Path, changed_ns: int, layer: int, device: torch.device) -> nn.Module:
    """The convolutions and the first `layer` layers, read once; the final norm is left out of what it returns."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"`{path}` cannot be read ({error})\n\nhint: delete it, then cimeu weights fetch moonshine"
        ) from error
    network = Network(layer)
    expected = network.state_dict()
    _check(tensors, expected, path)
    network.load_state_dict({name: tensors[name] for name in expected})
    # The final norm belongs to the last layer; hidden states of earlier ones are read without it.
    network.layer_norm = nn.Identity()
    return network.requires_grad_(False).eval().to(device)


@dataclass(kw_only=True, eq=False)
class Moonshine:
    """Hidden states of a layer of the frozen encoder, averaged to steps.

    Group norm and attention see the whole clip, so a clip is encoded whole; one above `LONGEST_S` in stretches with
    context. `layer` counts from 0 (the convolutions alone) to 6, before the final norm; `pool` states are averaged to
    a step (4: 96 ms).

    Raises:
        WeightsMissing: the weights are not on this machine.
        CheckpointError: they are not these weights.
        RecipeError: a layer or pooling it cannot have, or an unknown device.
    """

    weights: Path | str | None = None
    layer: int = 3
    pool: int = 4
    trim: bool = True
    level: bool = True
    precision: str = "fp32"
    device: str = "auto"

    name: ClassVar[str] = "moonshine"
    version: ClassVar[str] = "1"
    width: ClassVar[int] = WIDTH
    window: ClassVar[Window | None] = None
    source: ClassVar[Literal["sound"]] = "sound"
    kind: ClassVar[Literal["steps"]] = "steps"
    optional: ClassVar[tuple[int, ...]] = ()
    heavy: ClassVar[bool] = False
    """Small enough that one thread per clip beats all threads on one clip."""

    def __post_init__(self) -> None:
        if not 0 <= self.layer <= LAYERS:
            raise RecipeError(f"layer {self.layer} of moonshine\n\nhint: 0 (the convolutions) to {LAYERS}; 3 is best")
        if self.pool < 1:
            raise RecipeError(f"pool is {self.pool}\n\nhint: 4 averages 96 ms, 1 keeps every state")
        check_fp32(self.name, self.precision)
        self._path = find_weights(self.name, self.weights)
        self._device = choose_device(self.device)
        self.preprocessing: Mapping[str, object] = {
            **sound_input(trim=self.trim, level=self.level),
            "layer": self.layer,
            "pool": self.pool,
            "weights_sha256": sha256_of(self._path),
        }

    @property
    def step_s(self) -> float:
        """Seconds of sound that a step stands for; what it holds depends on the whole clip."""
        return self.pool * SAMPLES_PER_STATE / SOUND_RATE_HZ

    def prepare(self, source: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
        """Samples as they are."""
        return source

    def __call__(self, windows: Float32[np.ndarray, "1 N"]) -> Float32[np.ndarray, "S D"]:
        """The whole clip to its steps."""
        states = self.states(windows[0])  # [T, D]
        # `ceil_mode`: the last step is a mean over fewer states, and nothing at the end of a clip is lost.
        return F.avg_pool1d(states.T[None], self.pool, ceil_mode=True)[0].T.contiguous().numpy()

    def states(self, samples: Float32[np.ndarray, " N"]) -> Float32[Tensor, "T D"]:
        """Hidden states of a clip of any length."""
        samples = np.pad(samples, (0, max(0, SHORTEST_SAMPLES - len(samples))))
        longest, context = (round(s * SOUND_RATE_HZ / SAMPLES_PER_STATE) for s in (LONGEST_S, CONTEXT_S))
        n_states = max(1, len(samples) // SAMPLES_PER_STATE)
        if n_states <= longest:
            return self._encode(samples)
        parts = []
        for start in range(0, n_states, longest):
            # Context on both sides: states near a border would otherwise differ from those inside.
            first, last = max(0, start - context), min(n_states, start + longest + context)
            encoded = self._encode(samples[first * SAMPLES_PER_STATE : last * SAMPLES_PER_STATE])
            parts.append(encoded[start - first : start - first + longest])
        return torch.cat(parts)

    def _encode(self, samples: Float32[np.ndarray, " n"]) -> Float32[Tensor, "_ D"]:
        network = _frozen(self._path, self._path.stat().st_mtime_ns, self.layer, self._device)
        with Placement(self._device, "fp32").arithmetic():
            inputs = torch.from_numpy(np.ascontiguousarray(samples))[None].to(self._device)
            return network(inputs)[0].float().cpu()
