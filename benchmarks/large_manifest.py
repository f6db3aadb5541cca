"""Time and memory of preparing, dividing and auditing a table of MSP-Podcast's size, on generated rows.

    python benchmarks/large_manifest.py [--rows 300000]

The rows have no recordings: what is measured is everything that reads the table alone. Each step runs in this process,
in order, and memory is the most that the process ever took.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from cimeu.corpora.adapters.msppodcast import from_msppodcast
from cimeu.corpora.audit.audit import audit
from cimeu.corpora.folds import FoldsConfig, make_folds
from cimeu.corpora.manifest import read_manifest, write_manifest

PARTS = {"Train": 0.6, "Development": 0.12, "Test1": 0.2, "Test2": 0.07, "Test3": 0.01}
SPEAKERS = 3000


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        generate(root, arguments.rows)
        with measured("prepare"):
            write_manifest(from_msppodcast(root, check_counts=False), root / "msp.csv")
        with measured("read"):
            manifest = read_manifest(root / "msp.csv")
        labelled = manifest.select(list(manifest.table["clip_id"][manifest.table["emotion"] != ""]))
        labelled.table["problem"] = ""  # as if the recordings were there
        with measured("official folds"):
            make_folds(labelled, FoldsConfig(protocol="official", group="corpus", allow_shared_speakers=True))
        with measured("speaker-independent folds"):
            make_folds(labelled, FoldsConfig(group="corpus"))
        with measured("audit"):
            report = audit(manifest)
    print(f"{len(report.findings)} findings, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


@contextmanager
def measured(step: str) -> Iterator[None]:
    """Print what a step took."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    yield
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    print(f"{step}: {wall_s:.1f} s on the clock, {cpu_s:.1f} s of the processor", flush=True)


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
