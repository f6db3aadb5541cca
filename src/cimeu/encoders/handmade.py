"""Sixty-seven numbers about one utterance, for baselines that fit in a spreadsheet.

| dimensions | what |
|---|---|
| 0 to 19 | means of 20 cepstra (cosine transform of the log-mel filterbank) |
| 20 to 39 | their deviations |
| 40 to 59 | deviations of their change from frame to frame |
| 60, 61, 62 | log pitch of the voiced frames: mean, deviation, mean size of its change |
| 63, 64 | voicing: mean, share of voiced frames |
| 65, 66 | log energy: mean, deviation |

An utterance without a voiced frame (62: without two in a row) has NaN in dimensions 60 to 62.

Axes: N samples or clips, F frames (10 ms), C channels of a frame.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.fft
from jaxtyping import Float32

from cimeu.encoders.base import Window
from cimeu.encoders.pitch import track_pitch
from cimeu.encoders.spectral import SpeechWindows, log_mel

CEPSTRA = 20


@dataclass(frozen=True)
class Handmade(SpeechWindows):
    """Functionals of cepstra, pitch, voicing and energy over the whole clip: one step, D = 67."""

    name: ClassVar[str] = "handmade"
    width: ClassVar[int] = 3 * CEPSTRA + 7
    window: ClassVar[Window | None] = None
    optional: ClassVar[tuple[int, ...]] = (60, 61, 62)

    def prepare(self, source: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "F 23"]:
        """Cepstra, then log pitch, voicing and log energy of each frame."""
        cepstra = scipy.fft.dct(log_mel(source), axis=1, norm="ortho")[:, :CEPSTRA]
        return np.concatenate([cepstra, track_pitch(source)], axis=1)

    def __call__(self, windows: Float32[np.ndarray, "N F 23"]) -> Float32[np.ndarray, "N 67"]:
        """The functionals of each clip."""
        return np.stack([_functionals(frames) for frames in windows])


def _functionals(frames: Float32[np.ndarray, "F 23"]) -> Float32[np.ndarray, " 67"]:
    cepstra, (log_pitch, voicing, energy) = frames[:, :CEPSTRA], frames[:, CEPSTRA:].T
    change = np.diff(cepstra, axis=0) if len(cepstra) > 1 else np.zeros((1, CEPSTRA))
    voiced = np.isfinite(log_pitch)
    # From voiced frame to voiced frame: NaN across a pause is no step.
    steps = np.abs(np.diff(log_pitch))
    steps = steps[np.isfinite(steps)]
    pitch = [log_pitch[voiced].mean(), log_pitch[voiced].std()] if voiced.any() else [np.nan, np.nan]
    others = [
        *pitch,
        steps.mean() if len(steps) else np.nan,
        voicing.mean(),
        voiced.mean(),
        energy.mean(),
        energy.std(),
    ]
    return np.concatenate([cepstra.mean(0), cepstra.std(0), change.std(0), others]).astype(np.float32)
