"""How probably somebody speaks, 31 times a second, by a small recurrent network.

Short-time spectra of 512 samples (and the 64 before them) go through four convolutions and an LSTM that remembers the
speech so far. It tells speech from tones and noise, which a rule on the level cannot, but not whose speech it is.

Source: Silero VAD (MIT), weights inside the wheel of PyPI's `silero-vad`.

Axes: N samples, F frames of 32 ms, C channels.
"""

import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn import functional as F

from cimeu.encoders.tensors import frozen
from cimeu.encoders.weights import find_weights
from cimeu.errors import CheckpointError

NAME = "silero-vad"
SPEECH_FRAME_SAMPLES = 512
"""32 ms at 16 kHz: the one length that the network was trained with."""
CONTEXT_SAMPLES = 64
"""Samples of the frame before that are read with each frame."""
SPECTRUM, HOP = 256, 128
BINS = SPECTRUM // 2 + 1
WIDTH = 128
FIRST = 2
"""Place in the archive of the first tensor of the network for 16 kHz; the others follow in the order of their names in
`SpeechNetwork`, and after them those for 8 kHz."""


class SpeechNetwork(nn.Module):
    """Frames of samples to logits of speech."""

    def __init__(self) -> None:
        super().__init__()
        # Real and imaginary parts of a windowed Fourier transform, as a convolution.
        self.spectrum = nn.Conv1d(1, 2 * BINS, SPECTRUM, HOP, bias=False)
        self.convolution1 = nn.Conv1d(BINS, 128, 3, padding=1)
        self.convolution2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.convolution3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.convolution4 = nn.Conv1d(64, WIDTH, 3, padding=1)
        self.memory = nn.LSTMCell(WIDTH, WIDTH)
        self.output = nn.Conv1d(WIDTH, 1, 1)

    def forward(self, frames: Float32[Tensor, "F 576"]) -> Float32[Tensor, " F"]:
        padded = F.pad(frames[:, None], (0, CONTEXT_SAMPLES), mode="reflect")  # [F, 1, 640]: four spectra
        parts = self.spectrum(padded)  # [F, 258, 4]
        x = (parts[:, :BINS].square() + parts[:, BINS:].square()).sqrt()  # [F, 129, 4]
        for convolution in (self.convolution1, self.convolution2, self.convolution3, self.convolution4):
            x = F.relu(convolution(x))
        steps = x.squeeze(-1)  # [F, C]
        hidden = cell = steps.new_zeros(1, WIDTH)
        states = []
        for step in steps.split(1):
            hidden, cell = self.memory(step, (hidden, cell))
            states.append(hidden)
        return self.output(F.relu(torch.cat(states))[..., None]).flatten()


def silero_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of `SpeechNetwork` from the TorchScript archive of the package.

    Such an archive is a zip with the numbers of each tensor in a file of its own. They are read by their place, which
    is known because the checksum of the archive is; the pickle beside them, which could run code, is not.

    Raises:
        CheckpointError: it is another file, or damaged.
    """
    expected = SpeechNetwork().state_dict()
    try:
        with zipfile.ZipFile(path) as archive:
            (root,) = {name.split("/")[0] for name in archive.namelist()}
            content = [archive.read(f"{root}/data/{place}") for place in range(FIRST, FIRST + len(expected))]
        named = zip(expected.items(), content, strict=True)
        return {name: torch.from_numpy(np.frombuffer(raw, "<f4").reshape(x.shape).copy()) for (name, x), raw in named}
    except (zipfile.BadZipFile, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"`{path}` holds no speech detector ({error})\n\nhint: fetch it again") from error


def speech_probabilities(samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " F"]:
    """Probability of speech in every whole frame of 32 ms of sound at 16 kHz; the network hears nothing before it.

    Raises:
        WeightsMissing: the weights are not on this machine.
        CheckpointError: they are not these weights.
    """
    n_frames = len(samples) // SPEECH_FRAME_SAMPLES
    if not n_frames:
        return np.zeros(0, np.float32)
    path = find_weights(NAME)
    network = _frozen(path, path.stat().st_mtime_ns)
    with_context = np.pad(samples[: n_frames * SPEECH_FRAME_SAMPLES], (CONTEXT_SAMPLES, 0))
    frames = np.lib.stride_tricks.sliding_window_view(with_context, CONTEXT_SAMPLES + SPEECH_FRAME_SAMPLES)
    with torch.inference_mode():
        return network(torch.from_numpy(frames[::SPEECH_FRAME_SAMPLES].copy())).sigmoid().numpy()


@lru_cache(maxsize=2)
def _frozen(path: Path, changed_ns: int) -> SpeechNetwork:
    return frozen(SpeechNetwork(), path, "speech detector", NAME)
