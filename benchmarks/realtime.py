"""Time and memory of recognition against the length of the recording, and where the time goes.

    python benchmarks/realtime.py RUN CLIPS [--seconds 10 60 300]

RUN is a run folder, or `voice` for the model that ships. CLIPS is a folder of videos of one encoding, whose packets are
copied one after another until the recording is as long as asked for, nothing encoded again; or of FLAC files, which are
joined to one. Each length runs in a process of its own. On a machine that is busy the clock says little: processor
time, and what the stage of its own thread takes of it, bound the speed of an idle one. The last column is what the
series adds: the processor time of writing it in all its formats, in percent of that of recognition.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np

from cimeu.inference.batch import SERIES
from cimeu.inference.model_store import model_named
from cimeu.inference.recogniser import Recogniser
from cimeu.media.audio import RATE_HZ, read_sound, write_sound
from cimeu.timeline.formats import to_json
from cimeu.timeline.result import Timeline
from long_file import chain, length_of, where_computed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 60.0, 300.0])
    parser.add_argument("--recording", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.recording:
        measure(arguments.run, arguments.recording)
        return
    heads = (
        "length s",
        "clock s",
        "processor s",
        "faster than real time",
        "processor s a minute",
        "memory MB",
        "series %",
    )
    print("".join(f"{head:>22}" for head in heads))
    for seconds in arguments.seconds:
        with tempfile.TemporaryDirectory() as folder:
            videos, sounds = (sorted(arguments.clips.glob(pattern)) for pattern in ("*.mp4", "*.flac"))
            recording = Path(folder) / ("recording.mp4" if videos else "recording.flac")
            length_s = repeat(videos, recording, seconds) if videos else repeat_sound(sounds, recording, seconds)
            command = [
                sys.executable,
                __file__,
                str(arguments.run),
                str(arguments.clips),
                "--recording",
                str(recording),
            ]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(said.splitlines()[-1])
        row = (length_s, found["wall_s"], found["cpu_s"], length_s / found["wall_s"], 60 * found["cpu_s"] / length_s)
        print(
            "".join(f"{value:22.2f}" for value in row) + f"{found['memory_mb']:22.0f}{found['series_percent']:22.2f}",
            flush=True,
        )
    print(found["computed"])
    for stage, stage_s in sorted(found["stages"].items(), key=lambda one: -one[1]):
        print(f"{stage_s:9.2f} s on the clock  {stage}")


def repeat(clips: list[Path], target: Path, seconds: float) -> float:
    """Clips over and over until they are this long."""
    parts: list[Path] = []
    length_s = 0.0
    for clip in cycle(clips):
        parts.append(clip)
        length_s += length_of(clip)
        if length_s >= seconds:
            break
    return chain(parts, target)


def repeat_sound(clips: list[Path], target: Path, seconds: float) -> float:
    """The sound of clips over and over until it is this long, with half a second of near silence between them."""
    pause = (1e-4 * np.random.default_rng(0).standard_normal(RATE_HZ // 2)).astype(np.float32)
    parts: list[np.ndarray] = []
    for clip in cycle(clips):
        parts += [read_sound(clip), pause]
        length_s = sum(map(len, parts)) / RATE_HZ
        if length_s >= seconds:
            break
    write_sound(target, np.concatenate(parts))
    return length_s


def measure(run: Path, recording: Path) -> None:
    """Recognise one recording and print what it took."""
    recogniser = Recogniser.from_pretrained(model_named(str(run)))
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    timeline = recogniser(recording)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    stages = dict(recogniser.stopwatch.seconds)
    print(
        json.dumps(
            {
                "wall_s": wall_s,
                "cpu_s": cpu_s,
                "memory_mb": memory_mb,
                "series_percent": 100 * series_s(timeline) / cpu_s,
                "stages": stages,
                "computed": where_computed(recogniser),
            }
        )
    )


def series_s(timeline: Timeline) -> float:
    """Processor time of writing the series: its own files, and its part of the `.json`."""
    with tempfile.TemporaryDirectory() as folder:
        started_s = time.process_time()
        to_json(replace(timeline, series=None), Path("a.json"))
        without_s = time.process_time()
        to_json(timeline, Path("a.json"))
        for suffix in SERIES:
            timeline.save(Path(folder) / f"a{suffix}")
        return time.process_time() - without_s - (without_s - started_s)


if __name__ == "__main__":
    main()
