"""Whether the memory of an extraction stays level: from 10 clips to 1,000, and from 10 seconds to half an hour.

    python benchmarks/extraction_memory.py FOLDER
    python benchmarks/extraction_memory.py FOLDER --clips 10 100 --seconds 10 120 --workers 1

Clips are SYNTHETIC (drawn faces). Every run is a fresh process; what is measured is the most that it and its workers
hold together that nobody else does (unique set size), sampled; the network is left out: in its place stands the mean
of a window's pixels, as a heavy encoder of 224-pixel crops of faces, forward and backward.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import psutil

from cimeu.corpora.manifest import build_manifest, read_manifest, write_manifest
from cimeu.corpora.toy.corpus import ToyConfig, make_toy
from cimeu.encoders.base import Window
from cimeu.encoders.hog import Hog
from cimeu.features.extract import extract
from cimeu.media.video import frames, write_video


@dataclass(frozen=True)
class MeanPixel(Hog):
    """Stands for a network, which would add the same to every figure."""

    name: ClassVar[str] = "mean-pixel"
    width: ClassVar[int] = 3
    window: ClassVar[Window] = Window(16, 4)
    heavy: ClassVar[bool] = True

    @property
    def preprocessing(self) -> dict[str, object]:
        """That of the video networks."""
        return {"side": 224, "rate_hz": self.rate_hz, "detector": self.detector, "resampling": "bilinear"}

    def prepare(self, source: np.ndarray) -> np.ndarray:
        """Crops as they are."""
        return source

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Mean colour."""
        return windows[:, ::4, ::8, ::8].mean(axis=(1, 2, 3)).astype(np.float32)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for clips and features; emptied of the latter")
    parser.add_argument("--clips", type=int, nargs="*", default=[10, 1000])
    parser.add_argument("--seconds", type=int, nargs="*", default=[10, 1800])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=int, default=25, help="pictures a second, of the clips and to the encoder")
    parser.add_argument("--manifest", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.manifest:
        print(json.dumps(measured(arguments.manifest, arguments.folder, arguments.workers, arguments.rate)))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    drawn = make_toy(ToyConfig(cultures=("north",), speakers_per_culture=1, takes=1), arguments.folder / "drawn")
    source = drawn.root / drawn.table["path"].iloc[0]
    runs = [
        (f"{count} clips of 1 s", many(source, arguments.folder, count, arguments.rate)) for count in arguments.clips
    ]
    runs += [
        (f"1 clip of {seconds} s", long(source, arguments.folder, seconds, arguments.rate))
        for seconds in arguments.seconds
    ]
    print(f"{'':<22}{'windows':>8}{'wall s':>9}{'most MiB':>10}")
    for name, manifest in runs:
        command = [sys.executable, __file__, str(arguments.folder), "--manifest", str(manifest)]
        command += ["--workers", str(arguments.workers), "--rate", str(arguments.rate)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(f"{name:<22}{found['windows']:>8}{found['wall_s']:>9.0f}{found['most_mib']:>10.0f}", flush=True)


def measured(manifest: Path, folder: Path, workers: int, rate_hz: int) -> dict[str, float]:
    """One extraction in this process and its workers."""
    features = folder / "features"
    shutil.rmtree(features, ignore_errors=True)
    most = [0]
    threading.Thread(target=watch, args=(most,), daemon=True).start()
    started_s = time.perf_counter()
    done = extract(read_manifest(manifest), [MeanPixel(rate_hz=rate_hz)], features, workers=workers)
    assert done.failures.empty, done.failures
    return {"windows": done.windows, "wall_s": time.perf_counter() - started_s, "most_mib": most[0] / 2**20}


def watch(most: list[int]) -> None:
    """Keep the most memory this process and those below it ever held."""
    me = psutil.Process()
    while True:
        held = 0
        for process in (me, *me.children(recursive=True)):
            try:
                held += process.memory_full_info().uss
            except psutil.NoSuchProcess:
                continue
        most[0] = max(most[0], held)
        time.sleep(0.25)


def many(source: Path, folder: Path, count: int, rate_hz: int) -> Path:
    """A manifest of so many clips of one second that differ in bytes nobody looks at."""
    clips = folder / f"many-{rate_hz}"
    clips.mkdir(exist_ok=True)
    short = folder / f"short-{rate_hz}.mp4"
    if not short.is_file():
        write_video(short, pictures(source, rate_hz), rate_hz=rate_hz)
    content = short.read_bytes()
    names = [f"{number:06}.mp4" for number in range(count)]
    for name in names:
        if not (clips / name).is_file():
            (clips / name).write_bytes(content + (8 + len(name)).to_bytes(4, "big") + b"free" + name.encode())
    return listed(clips, names, folder / f"many-{count}.csv")


def long(source: Path, folder: Path, seconds: int, rate_hz: int) -> Path:
    """A manifest of one clip, the drawn one again and again."""
    path = folder / f"long-{seconds}-{rate_hz}.mp4"
    if not path.is_file():
        write_video(path, pictures(source, seconds * rate_hz), rate_hz=rate_hz, preset="ultrafast")
    return listed(folder, [path.name], folder / f"long-{seconds}.csv")


def pictures(source: Path, count: int) -> Iterator[np.ndarray]:
    """So many pictures of a clip, from the front again after its end."""
    return islice(cycle([picture.pixels for picture in frames(source)]), count)


def listed(root: Path, names: list[str], path: Path) -> Path:
    """The manifest of these files."""
    write_manifest(build_manifest(pd.DataFrame({"path": names, "emotion": "anger"}), root), path)
    return path


if __name__ == "__main__":
    main()
