"""Diarisation error rate of voices told apart by their prints, on speech cut together with known truth.

    CIMEU_DATA=... python benchmarks/diarisation.py [--recordings 8]

Each recording has 16 clips of one corpus at one level, by people drawn with a fixed seed, in random order with pauses
of 0.2 to 0.6 s: turns of two to three seconds, of acted emotion, which is harder than a conversation. The number of
voices is given. Without diarisation all of it is one voice. No collar; `pyannote.metrics` counts.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pyannote.core import Annotation
from pyannote.core import Segment as Stretch
from pyannote.metrics.diarization import DiarizationErrorRate

from cimeu.corpora.manifest import Clip, read_manifest
from cimeu.inference.model_store import STARTER
from cimeu.inference.recogniser import Recogniser
from cimeu.media.audio import RATE_HZ, read_sound, write_sound
from cimeu.timeline.result import Timeline
from cimeu.timeline.settings import TimelineSettings

TURNS, FEWEST_CLIPS, RMS = 16, 4, 0.05
Turn = tuple[float, float, str]


def recording(clips: Sequence[Clip], voices: int, generator: np.random.Generator, path: Path) -> list[Turn]:
    """Write one recording; who speaks from when to when."""
    by_speaker: dict[str, list[Clip]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.speaker, []).append(clip)
    speakers = sorted(name for name, own in by_speaker.items() if len(own) >= FEWEST_CLIPS)
    chosen = generator.choice(speakers, voices, replace=False)
    turns: list[Turn] = []
    parts, time_s = [], 0.0
    for speaker in generator.permutation(np.resize(chosen, TURNS)).tolist():
        samples = read_sound(by_speaker[speaker][generator.integers(len(by_speaker[speaker]))].path)
        pause = np.zeros(int(generator.uniform(0.2, 0.6) * RATE_HZ), np.float32)
        parts += [samples * (RMS / np.sqrt(np.mean(np.square(samples)))), pause]
        turns.append((time_s, time_s + len(samples) / RATE_HZ, speaker))
        time_s += (len(samples) + len(pause)) / RATE_HZ
    write_sound(path, np.concatenate(parts).astype(np.float32))
    return turns


def annotation(turns: Sequence[Turn]) -> Annotation:
    """Turns as `pyannote.metrics` reads them."""
    result = Annotation()
    for start_s, end_s, name in turns:
        result[Stretch(start_s, end_s)] = name
    return result


def heard(timeline: Timeline) -> list[Turn]:
    """When which lane answers, window by window."""
    assert timeline.series is not None
    answered = [window for window in timeline.series if window.scores is not None]
    return [(window.start_s, window.end_s, window.person) for window in answered]


def main() -> None:
    """Cut together, read, count, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=8)
    arguments = parser.parse_args()
    root = Path(os.environ["CIMEU_DATA"]) / "speech"
    manifest = read_manifest(root / "manifest.csv")
    corpora = manifest.table["corpus"].to_numpy()
    print("| corpus | voices | diarisation error rate | of which confusion | all one voice |\n|---|---|---|---|---|")
    for corpus in dict.fromkeys(corpora.tolist()):
        clips = [clip for clip, of in zip(manifest.clips(), corpora, strict=True) if of == corpus]
        for voices in (2, 3):
            generator, told_apart, one_voice = np.random.default_rng(0), DiarizationErrorRate(), DiarizationErrorRate()
            recogniser = Recogniser.from_pretrained(STARTER, settings=TimelineSettings(voices=voices), style="none")
            with tempfile.TemporaryDirectory() as folder:
                for number in range(arguments.recordings):
                    path = Path(folder, f"{number}.wav")
                    truth = annotation(recording(clips, voices, generator, path))
                    turns = heard(recogniser(path))
                    told_apart(truth, annotation(turns))
                    one_voice(truth, annotation([(start_s, end_s, "one") for start_s, end_s, _ in turns]))
            confusion = told_apart["confusion"] / told_apart["total"]
            print(f"| {corpus} | {voices} | {abs(told_apart):.1%} | {confusion:.1%} | {abs(one_voice):.1%} |")


if __name__ == "__main__":
    main()
