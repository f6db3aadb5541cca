"""What counts as speech by the rule on levels and by Silero VAD: real clips, and sounds that are none.

    CIMEU_DATA=... python benchmarks/voice_activity.py [--clips 200] [--probability 0.5]

Clips of the speech corpora are drawn with a fixed seed. A clip is heard if its middle two seconds are; a quiet one is
20 dB below its level, a noisy one has white noise 5 dB below it. Sounds that are no speech are two seconds long.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cimeu.corpora.manifest import read_manifest
from cimeu.inference.voice_activity import why_not_heard
from cimeu.media.audio import RATE_HZ, read_sound
from cimeu.timeline.settings import TimelineSettings

SECONDS = 2


def middle(samples: np.ndarray) -> np.ndarray:
    """Two seconds around the middle."""
    start = max(0, (len(samples) - SECONDS * RATE_HZ) // 2)
    return samples[start : start + SECONDS * RATE_HZ]


def no_speech(generator: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Ten of each kind of generated sound."""
    times_s = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    sounds: dict[str, list[np.ndarray]] = {"tremolo": [], "noise bursts": [], "hum": [], "chords": []}
    for _ in range(10):
        low_hz, rate_hz = generator.uniform(100, 400), generator.uniform(2, 6)
        envelope = (1 + np.sin(2 * np.pi * rate_hz * times_s)) / 2
        tone = np.sin(2 * np.pi * low_hz * times_s)
        steps = np.repeat(generator.choice([1, 1.25, 1.5, 2], 8), len(times_s) // 8)
        sounds["tremolo"].append(0.1 * tone * envelope)
        sounds["noise bursts"].append(generator.normal(0, 0.1, len(times_s)) * (envelope > 0.5))
        sounds["hum"].append(0.05 * np.sin(2 * np.pi * 50 * times_s) + generator.normal(0, 0.002, len(times_s)))
        sounds["chords"].append(0.1 * np.sin(2 * np.pi * low_hz * np.cumsum(steps) / RATE_HZ))
    return sounds


def row(name: str, sounds: Sequence[np.ndarray], rules: Sequence[TimelineSettings]) -> None:
    """Print how many are heard by each rule, and the time that each takes."""
    cells = []
    for rule in rules:
        began = time.process_time()
        heard = sum(not why_not_heard(sound.astype(np.float32), rule) for sound in sounds)
        cells.append(f"{heard} of {len(sounds)} ({1000 * (time.process_time() - began) / len(sounds):.1f} ms)")
    print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--probability", type=float, default=0.5)
    arguments = parser.parse_args()
    data = Path(os.environ["CIMEU_DATA"])
    generator = np.random.default_rng(0)
    manifest = read_manifest(data / "speech" / "manifest.csv")
    clips = [manifest.clips()[index] for index in generator.permutation(len(manifest))[: arguments.clips]]
    speech = [middle(read_sound(clip.path)) for clip in clips]
    levels = [np.sqrt(np.mean(np.square(sound))) for sound in speech]
    rules = TimelineSettings(), TimelineSettings(speech_probability=arguments.probability)
    print(f"| heard, of | rule on levels | Silero VAD at {arguments.probability:g} |\n|---|---|---|")
    row("video clips", [middle(read_sound(path)) for path in sorted((data / "video").glob("*.mp4"))], rules)
    row("speech", speech, rules)
    row("speech, 20 dB quieter", [sound / 10 for sound in speech], rules)
    noisy = zip(speech, levels, strict=True)
    row("speech in noise", [s + generator.normal(0, 10 ** (-5 / 20) * level, len(s)) for s, level in noisy], rules)
    for name, sounds in no_speech(generator).items():
        row(f"{name} (no speech)", sounds, rules)


if __name__ == "__main__":
    main()
