"""Writes tests/fixtures/speech_probabilities.npz: what Silero VAD says of the samples in moonshine_states.npz.

    pip install torch==2.13.0 numpy && pip install --no-deps silero-vad==6.2.3
    python tests/parity/make_silero.py

Run once, by hand; the tests do not need the package.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

FRAME_SAMPLES = 512

if __name__ == "__main__":
    spec = find_spec("silero_vad")
    assert spec is not None
    assert spec.origin is not None
    network = torch.jit.load(Path(spec.origin).parent / "data" / "silero_vad.jit").eval()
    fixtures = Path(__file__).parents[1] / "fixtures"
    with np.load(fixtures / "moonshine_states.npz") as file:
        frames = torch.from_numpy(file["samples"].astype(np.float32)).split(FRAME_SAMPLES)
    with torch.inference_mode():
        probabilities = [float(network(frame[None], 16_000)) for frame in frames if len(frame) == FRAME_SAMPLES]
    np.savez_compressed(fixtures / "speech_probabilities.npz", probabilities=np.float32(probabilities))
