"""Time and memory of preparing, dividing and auditing a table of MSP-Podcast's size, on generated rows.

    python benchmarks/large_manifest.py [--rows 300000]

The rows have no recordings: what is measured is everything that reads the table alone. For folds and audit the clips
count as usable, and the audit has a generated look at each. All steps run in this process, in order; the last line has
their sum, and the most memory that the process ever took, Python and its libraries included.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from cimeu.corpora.adapters.msppodcast import from_msppodcast
from cimeu.corpora.audit.audit import checked
from cimeu.corpora.audit.cache import Look
from cimeu.corpora.folds import FoldsConfig, make_folds
from cimeu.corpora.manifest import Manifest, read_manifest, write_manifest
from cimeu.corpora.same_file import with_same_file

PARTS = {"Train": 0.6, "Development": 0.12, "Test1": 0.2, "Test2": 0.07, "Test3": 0.01}
SPEAKERS = 3000


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # In a process of its own, whose memory is not counted.
        generator = multiprocessing.get_context("spawn").Process(target=generate, args=(root, arguments.rows))
        generator.start()
        generator.join()
        measure(root)


def measure(root: Path) -> None:
    """Run each step on the corpus below `root` and print what it took."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    with step("prepare"):
        write_manifest(with_same_file(from_msppodcast(root, check_counts=False)), root / "msp.csv")
    with step("read"):
        manifest = read_manifest(root / "msp.csv")
    manifest = Manifest(manifest.table.assign(problem=""), manifest.root)  # as if the recordings were there
    labelled = manifest.select(list(manifest.table["clip_id"][manifest.table["emotion"] != ""]))
    with step("official folds"):
        make_folds(labelled, FoldsConfig(protocol="official", group="corpus", allow_shared_speakers=True))
    with step("speaker-independent folds"):
        make_folds(labelled, FoldsConfig(group="corpus"))
    with step("audit"):
        lengths_s = np.random.default_rng(1).gamma(4, 1.5, len(manifest))
        looks = [
            Look(clip_id, duration_s=length_s, sound="heard")
            for clip_id, length_s in zip(manifest.table["clip_id"], lengths_s.tolist(), strict=True)
        ]
        report = checked(manifest, looks)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(
        f"{len(manifest):,} rows: {wall_s:.1f} s on the clock, {cpu_s:.1f} s of the processor, {peak_gb:.2f} GB; "
        f"{len(report.findings)} findings"
    )


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print what a step took."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    yield
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    print(f"{name}: {wall_s:.1f} s on the clock, {cpu_s:.1f} s of the processor", flush=True)


def generate(root: Path, n_rows: int) -> None:
    """A consensus table and the votes behind it, without sound."""
    generator = np.random.default_rng(0)
    speakers = generator.integers(0, SPEAKERS, n_rows)
    parts = np.repeat(list(PARTS), np.round(np.array(list(PARTS.values())) * n_rows).astype(int))
    table = pd.DataFrame(
        {
            "FileName": [f"MSP-PODCAST_{row // 60:04d}_{row:07d}.wav" for row in range(len(parts))],
            "EmoClass": generator.choice(list("ASHUFDCNXO"), len(parts), p=[0.1] * 10),
            **{name: generator.uniform(1, 7, len(parts)).round(1) for name in ("EmoAct", "EmoVal", "EmoDom")},
            "SpkrID": np.where(generator.random(len(parts)) < 0.2, "Unknown", speakers[: len(parts)].astype(str)),
            "Gender": generator.choice(["Male", "Female"], len(parts)),
            "Split_Set": parts,
        }
    )
    (root / "Labels").mkdir()
    (root / "Audios").mkdir()
    table.to_csv(root / "Labels" / "labels_consensus.csv", index=False)
    votes = table["FileName"].repeat(5)
    names = generator.choice(["Angry", "Sad", "Happy", "Neutral", "Other"], len(votes))
    pd.DataFrame({"FileName": votes, "EmoClass_Major": names}).to_csv(
        root / "Labels" / "labels_detailed.csv", index=False
    )


if __name__ == "__main__":
    main()
