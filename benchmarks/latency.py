"""How long a person waits: start of the command line, loading of a model, and the answer to one short clip.

    python benchmarks/latency.py RUN CLIP

RUN is a run folder, CLIP a recording of about three seconds. Starts are measured in processes of their own, once cold
and then the median of `STARTS`; processor time is printed beside the clock, for on a busy machine only it means much.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from cimeu.media.video import probe
from long_file import where_computed

STARTS = 3
CLIPS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("clip", type=Path)
    arguments = parser.parse_args()
    line = "from cimeu.cli.main import main; import sys; sys.argv = ['cimeu', '--help']; main()"
    told("cimeu --help", [started([sys.executable, "-c", line]) for _ in range(STARTS)])
    load = f"from cimeu.inference.recogniser import Recogniser; Recogniser.from_pretrained({str(arguments.run)!r})"
    told("import and load the model", [started([sys.executable, "-c", load]) for _ in range(STARTS)])

    from cimeu.inference.recogniser import Recogniser

    recogniser = Recogniser.from_pretrained(arguments.run)
    print(where_computed(recogniser))
    duration_s = probe(arguments.clip).duration_s
    times = []
    for _ in range(1 + CLIPS):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        recogniser(arguments.clip)
        times.append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
    told(f"first clip of {duration_s:.1f} s", times[:1])
    told(f"each further clip of {duration_s:.1f} s", times[1:])


def started(command: list[str]) -> tuple[float, float]:
    """Seconds on the clock and of the processor that a process takes."""
    before, wall_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def told(what: str, times: list[tuple[float, float]]) -> None:
    """One line."""
    wall_s, cpu_s = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{what:<32}{wall_s:7.2f} s on the clock {cpu_s:7.2f} s of processor time")


if __name__ == "__main__":
    main()
