"""Writes tests/fixtures/moonshine_states.npz: what ONNX Runtime makes of the published encoder.

    pip install onnxruntime==1.32.0 numpy && python tests/parity/make_moonshine.py encoder_model.ort

Run once, by hand; the tests need no runtime. Its activations are int8, so it differs a little from any float network.
"""

import sys
from pathlib import Path

import numpy as np


def tone(seconds: float = 2.0) -> np.ndarray:
    """A buzz in syllables, with a little noise."""
    time_s = np.arange(round(seconds * 16_000)) / 16_000
    buzz = sum(np.sin(2 * np.pi * 140 * harmonic * time_s) / harmonic for harmonic in range(1, 9))
    noise = 1e-3 * np.random.default_rng(0).standard_normal(len(time_s))
    return (0.1 * buzz * np.clip(np.sin(2 * np.pi * 3 * time_s), 0, 1) + noise).astype(np.float32)


if __name__ == "__main__":
    import onnxruntime

    session = onnxruntime.InferenceSession(sys.argv[1])
    samples = tone()[None]
    (states,) = session.run(None, {"input_values": samples, "attention_mask": np.ones(samples.shape, np.int64)})
    path = Path(__file__).parents[1] / "fixtures" / "moonshine_states.npz"
    np.savez_compressed(path, samples=samples[0].astype(np.float16), states=states[0].astype(np.float16))
