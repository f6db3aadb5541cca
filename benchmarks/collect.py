"""How long and how much memory `cimeu collect` takes for a large study, on generated results.

    python benchmarks/collect.py [--recordings 1000] [--minutes 10]

Each recording has one person, a window every half second, a segment of four seconds, and six events in two conditions.
The results are written with the writers of `predict`, which is not measured; `collect` runs in a process of its own.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import Header, ScoredWindow, Segment

EMOTIONS = ("anger", "happiness", "neutral", "sadness", "fear", "disgust", "surprise")
HOP_S, SEGMENT_S = 0.5, 4.0
EVENTS = 6


def main() -> None:
    """Generate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder)
        generate(study, arguments.recordings, 60 * arguments.minutes)
        tables = ["--participants", str(study / "participants.csv"), "--events", str(study / "events.csv")]
        command = ["-m", "cimeu", "collect", str(study / "results"), "-o", str(study / "out"), *tables]
        started_s = time.perf_counter()
        subprocess.run([sys.executable, *command, "--baseline", "rest"], check=True, stdout=subprocess.DEVNULL)
        wall_s, used = time.perf_counter() - started_s, resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{arguments.recordings:,} recordings of {arguments.minutes:g} min")
        print(f"{wall_s:.1f} s on the clock, {used.ru_utime + used.ru_stime:.1f} s of processor time")
        print(f"{used.ru_maxrss / 2**20:.2f} GiB of memory at most")


def generate(study: Path, recordings: int, duration_s: float) -> None:
    """Results of so many recordings, and tables of participants and events."""
    generator = np.random.default_rng(0)
    people, events = ["file,participant,age"], ["file,start,end,condition"]
    step_s = duration_s / EVENTS
    for number in range(recordings):
        name = f"r{number:05}"
        timeline(name, duration_s, generator, study / "results")
        people.append(f"{name}.mp4,p{number:05},{20 + number % 50}")
        events += [
            f"{name}.mp4,{n * step_s:g},{(n + 1) * step_s:g},{'rest' if n % 2 else 'task'}" for n in range(EVENTS)
        ]
    (study / "participants.csv").write_text("\n".join(people) + "\n")
    (study / "events.csv").write_text("\n".join(events) + "\n")


def timeline(name: str, duration_s: float, generator: np.random.Generator, results: Path) -> None:
    """Write the series and the segments of one recording."""
    n_windows = round(duration_s / HOP_S)
    scores = generator.dirichlet(np.ones(len(EMOTIONS)), n_windows).round(4)
    series = [
        ScoredWindow("person 1", n * HOP_S, (n + 1) * HOP_S, tuple(row), "both", "", 0.5)
        for n, row in enumerate(scores.tolist())
    ]
    segments = []
    per_segment = round(SEGMENT_S / HOP_S)
    for first in range(0, n_windows, per_segment):
        mean = scores[first : first + per_segment].mean(axis=0)
        named = dict(zip(EMOTIONS, mean.round(4).tolist(), strict=True))
        label = max(named, key=named.__getitem__)
        span = first * HOP_S, min(first + per_segment, n_windows) * HOP_S
        segments.append(Segment("person 1", *span, label, named[label], named, False, "both", ""))
    header = Header(f"{name}.mp4", "00", duration_s, "cimeu-0", EMOTIONS, {}, {"hop_s": HOP_S}, False, "0", "")
    made = Timeline(header, tuple(segments), Path(f"{name}.mp4"), series=tuple(series))
    for suffix in (".series.parquet", ".csv"):
        made.save(results / f"{name}{suffix}")


if __name__ == "__main__":
    main()
