"""Seconds of speech that each encoder of sound encodes in a second, on one core.

    python benchmarks/speech_encoding.py [CLIP]

Processor time is counted, and encoders take turns, so that a busy machine slows all of them alike; the last column is
the speed against that of the first row in the same run. Without a clip, three seconds of synthetic syllables are
encoded: the time does not depend on what is said. Encoders whose weights are not on this machine are left out.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import torch

from cimeu.encoders.base import SOUND_RATE_HZ, Encoder
from cimeu.encoders.encoding import encode
from cimeu.encoders.registry import build_encoder
from cimeu.errors import WeightsMissing
from cimeu.media.clips import SoundSettings, read_clip_sound

ROWS: Mapping[str, tuple[str, dict[str, object]]] = {
    "moonshine": ("moonshine", {"device": "cpu"}),
    "moonshine, all six layers": ("moonshine", {"device": "cpu", "layer": 6}),
    "voiceprint": ("voiceprint", {"device": "cpu"}),
    "functionals": ("functionals", {}),
    "spectral": ("spectral", {}),
}


def syllables(seconds: float) -> np.ndarray:
    """A buzz that comes and goes three times a second, as float32 samples."""
    time_s = np.arange(round(seconds * SOUND_RATE_HZ)) / SOUND_RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 140 * harmonic * time_s) / harmonic for harmonic in range(1, 9))
    return (0.1 * buzz * np.clip(np.sin(2 * np.pi * 3 * time_s), 0, 1)).astype(np.float32)


def here() -> dict[str, Encoder]:
    """Encoders whose weights are on this machine, by row."""
    encoders = {}
    for row, (name, settings) in ROWS.items():
        try:
            encoders[row] = build_encoder(name, **settings)
        except WeightsMissing as error:
            print(f"{row}: {str(error).splitlines()[0]}")
    return encoders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    samples = syllables(3.0)
    if given.clip is not None:
        read, problem = read_clip_sound(given.clip, 0.0, None, SoundSettings())
        if read is None:
            parser.error(f"{given.clip}: {problem}")
        samples = read
    seconds, encoders = len(samples) / SOUND_RATE_HZ, here()
    times_s: dict[str, list[float]] = {row: [] for row in encoders}
    for _ in range(given.rounds + 1):
        for row, encoder in encoders.items():
            start_s = process_time()
            encode(encoder, samples, "forward")
            times_s[row].append(process_time() - start_s)
    # The first round loads weights.
    speeds = {row: seconds / median(times[1:]) for row, times in times_s.items()}
    first = next(iter(speeds.values()))
    print(f"{seconds:.1f} s of sound, one core, median of {given.rounds} rounds")
    print(f"{'encoder':28s} {'seconds a second':>16s} {'against the first':>17s}")
    for row, speed in speeds.items():
        print(f"{row:28s} {speed:16.0f} {speed / first:17.2f}")


if __name__ == "__main__":
    main()
