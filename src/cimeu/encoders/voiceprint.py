"""A print of a voice: 256 numbers that are alike for clips of one speaker, by a small speaker encoder.

Mel energies (not their logarithm) of stretches of 1.6 s go through three LSTM layers; the stretches of a clip are
averaged. The network was trained to tell speakers apart, so what it gives is biometric: it identifies a person. It is
in no recipe of this project. Beside other features it helps on unseen speakers of a culture that was trained on, and
not on cultures that were not.

Source: Wan et al., Generalized End-to-End Loss for Speaker Verification, ICASSP 2018; weights of C. Jemine's
Resemblyzer (Apache-2.0), inside the wheel of PyPI's `resemblyzer`.

Axes: N samples, F mel frames (10 ms), P stretches, D width (256).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn import functional as F

from cimeu.devices import Placement, choose_device
from cimeu.encoders.base import FRAME_SAMPLES, SHIFT_SAMPLES, SOUND_RATE_HZ, Window
from cimeu.encoders.inputs import check_fp32, sound_input
from cimeu.encoders.tensors import frozen
from cimeu.encoders.weights import find_weights, sha256_of
from cimeu.errors import CheckpointError

BINS, WIDTH, LAYERS = 40, 256, 3
STRETCH_FRAMES, STRETCH_SHIFT_FRAMES = 160, 77
"""1.6 s, 1.3 a second."""
LEAST_COVERAGE = 0.75
"""A last stretch of which less is sound is left out, unless it is the only one."""
LEVEL_DBFS = -30.0
"""The mel energies are linear, so the level matters: this is the one that the network was trained on."""


class SpeakerNetwork(nn.Module):
    """Mel frames to an embedding of length 1 without negative numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BINS, WIDTH, LAYERS, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, mel: Float32[Tensor, "P F 40"]) -> Float32[Tensor, "P D"]:
        _, (hidden, _) = self.lstm(mel)
        return F.normalize(F.relu(self.linear(hidden[-1])), dim=1)


def voiceprint_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of `SpeakerNetwork` from `pretrained.pt` of the package.

    Raises:
        CheckpointError: it is another file, or damaged.
    """
    try:
        # Tensors only: a pickle may otherwise run code.
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        return {name: state[name] for name in SpeakerNetwork().state_dict()}
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise CheckpointError(f"`{path}` holds no speaker encoder ({error})\n\nhint: fetch it again") from error


@lru_cache
def _mel_filters() -> Float32[np.ndarray, "201 40"]:
    from transformers.audio_utils import mel_filter_bank

    filters: np.ndarray = mel_filter_bank(
        FRAME_SAMPLES // 2 + 1, BINS, 0.0, SOUND_RATE_HZ / 2, SOUND_RATE_HZ, norm="slaney", mel_scale="slaney"
    )
    return filters.astype(np.float32)


def mel_energies(samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "F 40"]:
    """Frames of 25 ms centred on every 10 ms, zeros beyond the ends, as librosa makes them."""
    padded = np.pad(samples, FRAME_SAMPLES // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME_SAMPLES)[::SHIFT_SAMPLES]
    # The periodic Hann window: one sample longer than the symmetric one, without its last.
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME_SAMPLES + 1)[:-1])) ** 2
    return power.astype(np.float32) @ _mel_filters()


@lru_cache(maxsize=2)
def _frozen(path: Path, changed_ns: int, device: torch.device) -> SpeakerNetwork:
    return frozen(SpeakerNetwork(), path, "speaker encoder", "voiceprint").to(device)


@dataclass(kw_only=True, eq=False)
class Voiceprint:
    """The embedding of a whole clip: one step.

    Raises:
        WeightsMissing: the weights are not on this machine.
        CheckpointError: they are not these weights.
        RecipeError: an unknown device or precision.
    """

    weights: Path | str | None = None
    trim: bool = True
    precision: str = "fp32"
    device: str = "auto"

    name: ClassVar[str] = "voiceprint"
    version: ClassVar[str] = "1"
    width: ClassVar[int] = WIDTH
    window: ClassVar[Window | None] = None
    source: ClassVar[Literal["sound"]] = "sound"
    kind: ClassVar[Literal["steps"]] = "steps"
    optional: ClassVar[tuple[int, ...]] = ()
    heavy: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fp32(self.name, self.precision)
        self._path = find_weights(self.name, self.weights)
        self._device = choose_device(self.device)
        self.preprocessing: Mapping[str, object] = {
            **sound_input(trim=self.trim, level=False),
            "level_dbfs": LEVEL_DBFS,
            "weights_sha256": sha256_of(self._path),
        }

    def prepare(self, source: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
        """Samples without their mean, at the level that the network knows."""
        centred = source - np.float32(source.mean(dtype=np.float64))
        rms = float(np.sqrt(np.mean(np.square(centred, dtype=np.float64))))
        return centred * np.float32(10 ** (LEVEL_DBFS / 20) / max(rms, 1e-9))

    def __call__(self, windows: Float32[np.ndarray, "1 N"]) -> Float32[np.ndarray, "1 D"]:
        """The whole clip to its embedding."""
        stretches = torch.from_numpy(np.stack(list(_stretches(windows[0]))))  # [P, F, 40]
        network: Any = _frozen(self._path, self._path.stat().st_mtime_ns, self._device)
        with Placement(self._device, "fp32").arithmetic():
            embedding = network(stretches.to(self._device)).mean(dim=0, keepdim=True)
        # A silent network's zeros stay zeros.
        return F.normalize(embedding, dim=1).cpu().numpy()


def _stretches(samples: Float32[np.ndarray, " N"]) -> list[Float32[np.ndarray, "F 40"]]:
    """Overlapping mel frames of 1.6 s; the last one is padded with silence or left out."""
    n_frames = -(-(len(samples) + 1) // SHIFT_SAMPLES)
    starts = list(range(0, max(1, n_frames - STRETCH_FRAMES + STRETCH_SHIFT_FRAMES + 1), STRETCH_SHIFT_FRAMES))
    covered = (len(samples) / SHIFT_SAMPLES - starts[-1]) / STRETCH_FRAMES
    if len(starts) > 1 and covered < LEAST_COVERAGE:
        starts.pop()
    missing = (starts[-1] + STRETCH_FRAMES) * SHIFT_SAMPLES - len(samples)
    mel = mel_energies(np.pad(samples, (0, max(0, missing))))
    return [mel[start : start + STRETCH_FRAMES] for start in starts]
