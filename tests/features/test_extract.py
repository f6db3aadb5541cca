import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import psutil
import pytest

from cimeu.cluster import Machines
from cimeu.corpora.manifest import Manifest, build_manifest, read_manifest
from cimeu.encoders.base import Encoder
from cimeu.encoders.description import describe
from cimeu.encoders.encoding import encode
from cimeu.encoders.registry import build_encoder
from cimeu.encoders.spectral import Spectral
from cimeu.errors import FeatureError, FingerprintMismatch, RecipeError
from cimeu.features.extract import Extraction, extract
from cimeu.features.store import FeatureStore, key_of
from cimeu.media.audio import write_sound
from cimeu.media.video import write_video

from ..media.whole_clips import read_clip

SPECTRAL, PROSODY = build_encoder("spectral"), build_encoder("prosody")


def sounds(folder: Path, count: int, duration_s: float = 0.6) -> Manifest:
    """Short noises, all different."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        noise = np.random.default_rng(index).normal(0, 0.1, round(duration_s * 16_000)).astype(np.float32)
        write_sound(folder / f"{index:03}.flac", noise)
    return manifest_of(folder)


def manifest_of(folder: Path) -> Manifest:
    paths = sorted(path.name for path in folder.iterdir())
    return build_manifest(pd.DataFrame({"path": paths, "emotion": "anger"}), folder)


def contents(folder: Path) -> dict[str, tuple[str, bytes | None, str, float]]:
    """Every row of the stores of a folder, in full."""
    return {
        f"{store.name} {key}": (
            row.clip_id, None if row.features is None else row.features.tobytes(), row.problem, row.duration_s
        )
        for store in sorted(folder.iterdir())
        for key, row in FeatureStore.open(store).rows()
    }  # fmt: skip


def run(manifest: Manifest, folder: Path, encoders: Sequence[Encoder] = (SPECTRAL,), **settings: object) -> Extraction:
    return extract(manifest, encoders, folder, **settings)  # type: ignore[arg-type]


def reasons(extraction: Extraction) -> dict[tuple[str, str], str]:
    return {(clip_id, stream): reason for clip_id, stream, reason in extraction.failures.itertuples(index=False)}


def test_every_clip_has_a_row_in_every_direction(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 3)

    done = run(manifest, tmp_path / "features", [SPECTRAL, PROSODY], second=["prosody"])

    assert (done.done, done.kept, len(done.failures)) == (3, 0, 0)
    spectral, prosody = (FeatureStore.open(tmp_path / "features" / name) for name in ("spectral", "prosody"))
    assert (len(spectral), len(prosody)) == (6, 3)
    for clip in manifest.clips():
        source = read_clip(clip.path, want={"sound"}).samples
        for direction in ("forward", "backward"):
            row = spectral.get(key_of(clip, spectral.description, direction))
            assert (row.clip_id, row.direction) == (clip.clip_id, direction)
            assert source is not None
            assert row.features is not None
            assert np.array_equal(row.features, encode(SPECTRAL, source, direction))


def test_what_is_there_is_not_computed_again(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 4)
    first = manifest.select(manifest.table["clip_id"].tolist()[:2])
    run(first, tmp_path / "features")
    before = contents(tmp_path / "features")

    done = run(manifest, tmp_path / "features")

    assert (done.done, done.kept) == (2, 2)
    assert before.items() <= contents(tmp_path / "features").items()


def test_a_changed_file_is_computed_again(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 2)
    run(manifest, tmp_path / "features")
    write_sound(tmp_path / "clips" / "000.flac", np.random.default_rng(9).normal(0, 0.1, 8000).astype(np.float32))

    assert run(manifest, tmp_path / "features").done == 1


def test_only_the_direction_that_is_missing_is_computed(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 2)
    run(manifest, tmp_path / "features", directions=("forward",))

    done = run(manifest, tmp_path / "features")

    assert done.done == 2
    assert len(FeatureStore.open(tmp_path / "features" / "spectral")) == 4


def test_the_same_file_twice_is_one_row_for_both(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 1)
    (tmp_path / "clips" / "copy.flac").write_bytes((tmp_path / "clips" / "000.flac").read_bytes())
    manifest = manifest_of(tmp_path / "clips")

    done = run(manifest, tmp_path / "features", directions=("forward",))

    store = FeatureStore.open(tmp_path / "features" / "spectral")
    assert (done.done, done.kept, len(store)) == (1, 1, 1)
    assert all(key_of(clip, store.description, "forward") in store for clip in manifest.clips())


def test_broken_clips_say_why_and_stop_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    sounds(folder, 2)
    (folder / "empty.flac").write_bytes(b"")
    (folder / "text.flac").write_text("not sound at all")
    write_sound(folder / "silent.wav", np.zeros(8000, np.float32))
    black = [np.zeros((64, 64, 3), np.uint8)] * 20
    write_video(folder / "mute.mp4", black, rate_hz=25.0)
    manifest = manifest_of(folder)
    (folder / "001.flac").unlink()
    manifest.table.loc[manifest.table["clip_id"] == "000", "problem"] = ""

    done = run(manifest, tmp_path / "features", [SPECTRAL, PROSODY, build_encoder("hog")])

    said = reasons(done)
    assert said.pop(("empty", "sound")) == said.pop(("empty", "video"))
    assert "text.flac" in said[("text", "sound")]
    assert "001.flac" in said[("001", "sound")]
    assert said[("silent", "sound")] == "silent sound"
    assert said[("mute", "sound")] == "no sound track"
    assert said[("mute", "video")] == "no face"
    assert said[("000", "video")] == "no picture"
    assert ("000", "sound") not in said
    assert not done.failures.duplicated().any()
    again = run(manifest, tmp_path / "features", [SPECTRAL, PROSODY, build_encoder("hog")])
    assert again.done == 0
    assert again.failures.equals(done.failures)


def test_a_clip_ruled_out_by_the_manifest_is_reported_and_left_alone(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 2)
    manifest.table.loc[0, "problem"] = "two faces"

    done = run(manifest, tmp_path / "features")

    assert (done.done, reasons(done)) == (1, {("000", "manifest"): "two faces"})


@dataclass(frozen=True)
class Faulty(Spectral):
    """Fails on clips whose first frame is loud enough."""

    name: ClassVar[str] = "faulty"
    fault: str = "nan"

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        if self.fault == "error":
            raise ValueError("cannot see this\nsecond line")
        return np.full((len(windows), 640), np.nan, np.float32)


def test_vectors_that_are_not_finite_become_a_reason(tmp_path: Path) -> None:
    done = run(sounds(tmp_path / "clips", 1), tmp_path / "features", [Faulty(), PROSODY])

    assert reasons(done)[("000", "sound")].startswith(
        "features of clip `000` are not finite: nan in step 0, dimension 0"
    )
    assert len(FeatureStore.open(tmp_path / "features" / "prosody")) == 2


def test_an_unforeseen_error_becomes_a_reason(tmp_path: Path) -> None:
    done = run(sounds(tmp_path / "clips", 2), tmp_path / "features", [Faulty(fault="error")])

    assert reasons(done)[("001", "sound")] == "ValueError: cannot see this"


def test_shards_share_the_work_without_overlap(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 5)

    done = [run(manifest, tmp_path / "features", machines=Machines((number, 2))).done for number in (1, 2)]

    assert done == [3, 2]
    assert run(manifest, tmp_path / "features").kept == 5


def test_progress_is_told_for_every_clip(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    run(sounds(tmp_path / "clips", 3), tmp_path / "features", progress=lambda *step: told.append(step))

    assert told == [("extract", 1, 3), ("extract", 2, 3), ("extract", 3, 3)]


def test_encoders_with_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"two encoders are called `spectral`\n\nhint: extract them into two folders"):
        run(sounds(tmp_path / "clips", 1), tmp_path, [SPECTRAL, build_encoder("spectral", trim=False)])


def test_an_unknown_second_stream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"second stream `hog` is not among the encoders\n\nhint: one of spectral"):
        run(sounds(tmp_path / "clips", 1), tmp_path / "features", second=["hog"])


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0)])
def test_an_impossible_shard_is_refused(tmp_path: Path, shard: tuple[int, int]) -> None:
    with pytest.raises(RecipeError, match=rf"no shard {shard[0]} of {shard[1]}\n\nhint: shards are counted from 1"):
        run(sounds(tmp_path / "clips", 1), tmp_path / "features", machines=Machines(shard))


def test_other_preprocessing_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 1)
    run(manifest, tmp_path / "features")

    with pytest.raises(FingerprintMismatch, match=r"preprocessing\.trim: True -> False"):
        run(manifest, tmp_path / "features", [build_encoder("spectral", trim=False)])


def test_a_video_gives_picture_and_sound_the_same_stretch(trial_data: Path, tmp_path: Path) -> None:
    path = sorted((trial_data / "video").glob("01-*.mp4"))[0]
    table = pd.DataFrame({"path": [path.name], "emotion": "neutral", "start_s": 1.0, "end_s": 2.0})
    manifest = build_manifest(table, path.parent)
    whole = build_encoder("filterbank")

    done = run(manifest, tmp_path, [build_encoder("hog"), whole], directions=("forward",))

    hog, filterbank = (next(FeatureStore.open(tmp_path / name).rows())[1] for name in ("hog", "filterbank"))
    assert len(done.failures) == 0
    assert (hog.duration_s, filterbank.duration_s) == (1.0, 1.0)
    assert hog.features is not None
    assert hog.features.shape == (3, 1536)


# Processes

SCRIPT = """
import os, sys
from pathlib import Path
import numpy as np
from cimeu.corpora.manifest import read_manifest
from cimeu.encoders.spectral import Spectral
from cimeu.features.extract import extract

class Deadly(Spectral):
    name = "spectral"
    def __call__(self, windows):
        if len(windows) < 8:
            os._exit(7)
        return super().__call__(windows)

if __name__ == "__main__":
    manifest, folder, workers, encoder = sys.argv[1:]
    encoders = [Deadly() if encoder == "deadly" else Spectral()]
    done = extract(read_manifest(Path(manifest)), encoders, Path(folder), workers=int(workers))
    print(done.done, done.kept, done.failures.to_dict("list"))
"""


def command(tmp_path: Path, manifest: Manifest, workers: int, encoder: str = "plain") -> list[str]:
    script, listed = tmp_path / "script.py", tmp_path / "manifest.csv"
    script.write_text(SCRIPT)
    manifest.table.assign(path=[str(manifest.root / path) for path in manifest.table["path"]]).to_csv(
        listed, index=False
    )
    return [sys.executable, str(script), str(listed), str(tmp_path / "features"), str(workers), encoder]


@pytest.mark.long
def test_a_run_killed_at_random_ten_times_ends_with_the_rows_of_an_undisturbed_one(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 60, duration_s=3.0)
    started_s = time.perf_counter()
    run(manifest, tmp_path / "undisturbed")
    took_s, moments = time.perf_counter() - started_s, random.Random(0)
    kept, killed = [0], 0
    for _ in range(10):
        child = os.fork()
        if not child:
            run(manifest, tmp_path / "features")
            os._exit(0)
        time.sleep(moments.uniform(0, took_s / 4))
        os.kill(child, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        store = tmp_path / "features" / "spectral"
        kept.append(len(FeatureStore.open(store)) if (store / "encoder.json").is_file() else 0)

    run(manifest, tmp_path / "features")

    assert kept == sorted(kept)
    assert kept[-1] > 0
    assert killed > 3
    assert contents(tmp_path / "features") == contents(tmp_path / "undisturbed")


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that nobody reaps does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_processes_give_the_rows_of_one_process_and_die_with_it(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 12)
    run(manifest, tmp_path / "alone")
    process = subprocess.Popen(command(tmp_path, manifest, 2), stdout=subprocess.DEVNULL)
    workers: dict[int, psutil.Process] = {}
    while process.poll() is None:
        try:
            workers |= {child.pid: child for child in psutil.Process(process.pid).children(recursive=True)}
        except psutil.NoSuchProcess:
            break
        if workers and len(list((tmp_path / "features" / "spectral").glob("journal-*"))):
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)
    process.wait()
    deadline = time.monotonic() + 60
    while any(map(alive, workers.values())) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert workers
    assert not any(map(alive, workers.values()))
    assert len(FeatureStore.open(tmp_path / "features" / "spectral")) > 0
    run(manifest, tmp_path / "features")
    assert contents(tmp_path / "features") == contents(tmp_path / "alone")


@pytest.mark.long
def test_a_clip_that_kills_its_process_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    sounds(tmp_path / "clips", 5)
    write_sound(tmp_path / "clips" / "zz short.wav", np.sin(np.arange(4000, dtype=np.float32)))
    manifest = manifest_of(tmp_path / "clips")

    done = subprocess.run(command(tmp_path, manifest, 1, "deadly"), capture_output=True, text=True, check=True)

    assert done.stdout.startswith(
        "6 0 {'clip_id': ['zz short'], 'stream': ['sound'], 'reason': ['the process that read it died"
    )
    assert len(FeatureStore.open(tmp_path / "features" / "spectral")) == 12


def test_a_script_that_does_not_guard_its_entry_is_told_so(tmp_path: Path) -> None:
    script = command(tmp_path, sounds(tmp_path / "clips", 1), 1)
    Path(script[1]).write_text(SCRIPT.replace('if __name__ == "__main__":', "if True:"))

    failed = subprocess.run(script, capture_output=True, text=True)

    assert "RecipeError: worker processes could not start\n\nhint: guard the script" in failed.stderr
    assert not list((tmp_path / "features" / "spectral").glob("rows-*"))


def test_a_disk_that_is_full_ends_the_run_with_one_error(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 20)
    limited = ["bash", "-c", 'ulimit -f 400; exec "$@"', "limited", *command(tmp_path, manifest, 0)]

    failed = subprocess.run(limited, capture_output=True, text=True)

    assert failed.stderr.count("cimeu.errors.FeatureError: ") == 1
    assert "cannot write features to" in failed.stderr
    kept = len(FeatureStore.open(tmp_path / "features" / "spectral"))
    assert 0 < kept < 40
    assert run(manifest, tmp_path / "features").failures.empty


def test_real_speech_is_extracted_without_a_failure(trial_data: Path, tmp_path: Path) -> None:
    manifest = read_manifest(trial_data / "speech" / "manifest.csv")
    manifest = manifest.select(manifest.table["clip_id"].tolist()[::100])

    done = run(manifest, tmp_path, [SPECTRAL, PROSODY], second=["prosody"])

    assert (done.done, len(done.failures)) == (16, 0)
    store = FeatureStore.open(tmp_path / "spectral", describe(SPECTRAL))
    steps = [store.get(key_of(clip, store.description, "forward")).features for clip in manifest.clips()]
    assert all(features is not None and len(features) > 8 for features in steps)


def test_a_damaged_store_stops_the_run_by_name(tmp_path: Path) -> None:
    manifest = sounds(tmp_path / "clips", 1)
    run(manifest, tmp_path / "features")
    (shard,) = (tmp_path / "features" / "spectral").glob("rows-*")
    shard.write_bytes(b"ARROW1 or not")

    with pytest.raises(FeatureError, match=rf"`{shard}` is damaged"):
        run(manifest, tmp_path / "features")
