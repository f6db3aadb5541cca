"""How long recognition takes per minute of recording, and where the time goes.

    python benchmarks/realtime.py RUN RECORDING

RUN is a run folder, RECORDING a video or sound file. Stages come from a profiled run, and none calls another; the
real-time factor comes from a run of its own, without the profiler.
"""

import argparse
import cProfile
import pstats
import resource
import time
from pathlib import Path

from cimeu.inference.recogniser import Recogniser
from cimeu.media.video import probe

STAGES = {
    "decode and scale pictures": ("media/video.py", "frames"),
    "detect faces": ("media/faces.py", "__call__"),
    "cut out and steady faces": ("media/crops.py", "stretched"),
    "prepare pictures": ("inference/tracks.py", "_prepare"),
    "decode sound": ("media/audio.py", "stream_sound"),
    "encode sound": ("inference/reader.py", "_voice"),
    "models and fusion": ("inference/recogniser.py", "_answer"),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("recording", type=Path)
    arguments = parser.parse_args()
    recogniser = Recogniser.from_pretrained(arguments.run)
    info = probe(arguments.recording)
    started_s = time.perf_counter()
    recogniser(arguments.recording)
    wall_s = time.perf_counter() - started_s
    profile = cProfile.Profile()
    profile.runcall(recogniser, arguments.recording)
    entries = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total_s = sum(own_s for _, _, own_s, _, _ in entries.values())
    print(f"{arguments.recording.name}: {info.duration_s:.1f} s, {info.width} x {info.height}, {info.rate_hz:.2f} Hz")
    print(f"{60 * wall_s / info.duration_s:.1f} s per minute, real-time factor {wall_s / info.duration_s:.3f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    for stage, (file, function) in STAGES.items():
        spent_s = sum(
            entry[3]
            for (path, _, name), entry in entries.items()
            if path.endswith(f"cimeu/{file}") and name == function
        )
        print(f"{stage:<28}{spent_s:7.2f} s {100 * spent_s / total_s:5.1f} % (profiled)")


if __name__ == "__main__":
    main()
