"""Extraction on a Ray cluster of this machine: two workers, one of which dies in the middle."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import ray

from cimeu.corpora.manifest import Manifest, build_manifest
from cimeu.encoders.registry import build_encoder
from cimeu.errors import RecipeError
from cimeu.features.extract import extract
from cimeu.features.store import FeatureStore
from cimeu.media.audio import write_sound

SPECTRAL = build_encoder("spectral")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80_000_000)
    yield
    ray.shutdown()


def sounds(folder: Path, count: int) -> Manifest:
    folder.mkdir()
    names = [f"{index:02}.flac" for index in range(count)]
    for index, name in enumerate(names):
        noise = np.random.default_rng(index).normal(0, 0.1, 16_000).astype(np.float32)
        write_sound(folder / name, noise)
    return build_manifest(pd.DataFrame({"path": names, "emotion": "anger"}), folder)


def rows(folder: Path) -> dict[str, bytes]:
    store = FeatureStore.open(folder / "spectral")
    found = [(key, row.features.tobytes()) for key, row in store.rows() if row.features is not None]
    assert len(found) == len(dict(found)) == len(store)
    return dict(found)


@pytest.mark.long
def test_a_worker_that_dies_loses_and_doubles_nothing(cluster: None, tmp_path: Path) -> None:
    manifest, killed = sounds(tmp_path / "clips", 24), []

    def kill_one(step: str, completed: int, total: int) -> None:
        if completed == 5:
            processes = psutil.Process().children(recursive=True)
            workers = [each for each in processes if each.name().startswith("ray::_Worker")]
            killed.append(len(workers))
            os.kill(workers[0].pid, signal.SIGKILL)

    done = extract(manifest, [SPECTRAL], tmp_path / "features", workers=2, on="ray", progress=kill_one)

    assert killed == [2]
    assert (done.done, done.kept, len(done.failures)) == (24, 0, 0)
    extract(manifest, [SPECTRAL], tmp_path / "undisturbed")
    assert rows(tmp_path / "features") == rows(tmp_path / "undisturbed")


def test_without_a_cluster_it_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(RecipeError, match=r"no Ray cluster runs here\n\nhint: `ray start --head`"):
        extract(sounds(tmp_path / "clips", 1), [SPECTRAL], tmp_path / "features", on="ray")
