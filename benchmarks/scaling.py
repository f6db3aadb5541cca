"""Whether time and memory grow with the number of clips as they should: time in proportion, memory hardly at all.

    python benchmarks/scaling.py FOLDER                        # 50, 100, 200 and 400 clips
    python benchmarks/scaling.py FOLDER --clips 100 1000 10000

Clips are SYNTHETIC: drawn ones under new names, each with some bytes of its own that no reader looks at, so that every
clip is another one to the store. Extraction (hog forward and backward, filterbank) and training (size tiny, two epochs
of each direction, scored) run in a fresh process each, on one core, so that peak memory is their own; processor time is
printed, which a busy machine does not stretch, imports left out.

    ms/more   processor time of each clip more than in the line before: level where time is linear
    peak      resident memory with the pages of the mapped store, which the system can take back at any time
    own       what only this process can hold; sampled
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd

SPEAKERS, EPOCHS = 3, 2
STAGES = ("extract", "train")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for clips, features and runs; emptied of the last two")
    parser.add_argument("--clips", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        print(json.dumps(measured(arguments.stage, arguments.folder, arguments.clips[0])))
        return
    draw(arguments.folder, max(arguments.clips))
    print(f"{'stage':<9}{'clips':>7}{'CPU s':>9}{'ms/clip':>9}{'ms/more':>9}{'peak MiB':>10}{'own MiB':>9}")
    for stage in STAGES:
        clips_before, cpu_before_s = 0, 0.0
        for n_clips in sorted(arguments.clips):
            if stage == STAGES[0]:
                shutil.rmtree(work_of(arguments.folder, n_clips), ignore_errors=True)
            found = in_a_fresh_process(stage, arguments.folder, n_clips)
            cpu_s = found["cpu_s"]
            more_ms = 1000 * (cpu_s - cpu_before_s) / (n_clips - clips_before)
            figures = f"{cpu_s:>9.1f}{1000 * cpu_s / n_clips:>9.1f}{more_ms:>9.1f}"
            print(f"{stage:<9}{n_clips:>7}{figures}{found['peak_mib']:>10.0f}{found['own_mib']:>9.0f}", flush=True)
            clips_before, cpu_before_s = n_clips, cpu_s


def in_a_fresh_process(stage: str, folder: Path, n_clips: int) -> dict[str, float]:
    """What a stage took, imports left out of its time."""
    command = [sys.executable, __file__, str(folder), "--stage", stage, "--clips", str(n_clips)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measured(stage: str, folder: Path, n_clips: int) -> dict[str, float]:
    """Run one stage in this process."""
    import lightning_fabric  # noqa: F401
    import sklearn.model_selection  # noqa: F401

    from cimeu.corpora.manifest import Manifest, read_manifest
    from cimeu.encoders.registry import build_encoder
    from cimeu.experiments.recipe import recipe_from
    from cimeu.experiments.run import run_recipe
    from cimeu.features.extract import extract

    work = work_of(folder, n_clips)
    manifest = read_manifest(folder / "copies" / "manifest.csv")
    chosen: Manifest = manifest.select(list(manifest.table["clip_id"][:n_clips]))
    table = work / "manifest.csv"
    recipe = recipe_from(
        {
            "name": "scaling",
            "data": {"manifest": table, "root": manifest.root, "features": work / "features"},
            "streams": {"first": {"encoder": "hog"}, "second": {"encoder": "filterbank"}},
            "folds": {"protocol": "leave-one-group-out", "group": "culture"},
            "fold": "west",
            "model": {"size": "tiny"},
            "training": {"epochs": EPOCHS, "batch_size": 32, "patience": 0},
            "evaluation": {"probes": False},
            "output": work / "runs",
        }
    )
    encoders = [build_encoder(name) for name in ("hog", "filterbank")]
    highest = [0.0]
    threading.Thread(target=watch_own_memory, args=(highest,), daemon=True).start()
    started_s = time.process_time()
    if stage == "extract":
        work.mkdir(parents=True)
        chosen.table.to_csv(table, index=False)
        extract(chosen, encoders, work / "features", second=["filterbank"])
    else:
        run_recipe(recipe)
    cpu_s = time.process_time() - started_s
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": cpu_s, "peak_mib": peak_mib, "own_mib": highest[0]}


def watch_own_memory(highest: list[float]) -> None:
    """Keep the most anonymous memory this process ever had, in MiB (Linux)."""
    while True:
        status = Path("/proc/self/status").read_text()
        own_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:"))
        highest[0] = max(highest[0], own_kib / 1024)
        time.sleep(0.02)


def work_of(folder: Path, n_clips: int) -> Path:
    """Where the features and runs of so many clips go."""
    return folder / f"with-{n_clips}"


def draw(folder: Path, n_clips: int) -> None:
    """Drawn clips and their copies, in an order that keeps every number of them balanced."""
    from cimeu.corpora.manifest import build_manifest, write_manifest
    from cimeu.corpora.toy.corpus import ToyConfig, make_toy

    drawn = make_toy(ToyConfig(speakers_per_culture=SPEAKERS, takes=1), folder / "drawn")
    copies = folder / "copies"
    copies.mkdir(exist_ok=True)
    rows = []
    for number in range(n_clips):
        row = drawn.table.iloc[number % len(drawn)]
        path = f"{row['clip_id'].replace('/', '_')}_{number:06d}.mp4"
        if not (copies / path).exists():
            note = f"copy {number}".encode()
            padding = (8 + len(note)).to_bytes(4, "big") + b"free" + note  # an mp4 box that every reader skips
            (copies / path).write_bytes((drawn.root / row["path"]).read_bytes() + padding)
        rows.append({**row.drop(["clip_id", "start_s", "end_s"]), "path": path})
    write_manifest(build_manifest(pd.DataFrame(rows), copies), copies / "manifest.csv")


if __name__ == "__main__":
    main()
