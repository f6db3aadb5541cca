"""Writes tests/fixtures/voiceprint.npz: what Resemblyzer makes of the samples in moonshine_states.npz.

    pip install torch==2.13.0 librosa==0.11.0 scipy numpy && pip install --no-deps resemblyzer==0.1.4
    python tests/parity/make_voiceprint.py

Run once, by hand; the tests need neither package.
"""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import scipy.ndimage

# Imported by its module, and not used for what is done here.
sys.modules["webrtcvad"] = ModuleType("webrtcvad")
sys.modules["scipy.ndimage.morphology"] = scipy.ndimage

if __name__ == "__main__":
    from resemblyzer import VoiceEncoder

    fixtures = Path(__file__).parents[1] / "fixtures"
    with np.load(fixtures / "moonshine_states.npz") as file:
        samples = file["samples"].astype(np.float32)
    embedding, stretches, _ = VoiceEncoder("cpu").embed_utterance(samples, return_partials=True)
    np.savez_compressed(fixtures / "voiceprint.npz", embedding=embedding, stretches=stretches)
