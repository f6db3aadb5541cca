"""Work on a Ray cluster of this machine: two workers, one of which dies in the middle; and work in parts."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimeu.cluster import Event, Machines, on_ray, part_of
from cimeu.corpora.manifest import Manifest, build_manifest
from cimeu.encoders.registry import build_encoder
from cimeu.errors import RecipeError
from cimeu.features.extract import extract
from cimeu.features.store import FeatureStore
from cimeu.media.audio import write_sound

SPECTRAL = build_encoder("spectral")


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


@given(st.lists(st.integers()), st.integers(1, 9))
def test_every_item_is_in_one_part(items: list[int], count: int) -> None:
    parts = [part_of(items, (number, count)) for number in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == sorted(items)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_without_a_cluster_it_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(RecipeError, match=r"no Ray cluster runs here\n\nhint: `ray start --head`"):
        extract(sounds(tmp_path / "clips", 1), [SPECTRAL], tmp_path / "features", machines=Machines(ray="auto"))


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense", "127.0.0.1:port"])
def test_a_cluster_that_nobody_runs_is_named_at_once(address: str) -> None:
    with pytest.raises(RecipeError, match=rf"no Ray cluster runs at `{address}`\n\nhint: `ray start --head`"):
        list(on_ray([1], lambda number: [number], address))


@pytest.mark.long
def test_a_task_that_kills_its_workers_costs_no_other(cluster: Callable[[], int]) -> None:
    def deadly(number: int) -> list[int]:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return [number**2]

    said = list(on_ray(range(8), deadly, "auto", 2))
    assert sorted(number for number, event in said if event is Event.LOST) == [3]
    assert sorted(number for number, event in said if event is Event.DONE) == [0, 1, 2, 4, 5, 6, 7]
    assert {number: square for number, square in said if isinstance(square, int)} == {
        number: number**2 for number in (0, 1, 2, 4, 5, 6, 7)
    }


@pytest.mark.long
def test_an_error_of_a_task_is_that_of_the_caller(cluster: Callable[[], int]) -> None:
    with pytest.raises(ZeroDivisionError):
        list(on_ray([1, 0], lambda number: [1 // number], "auto", 1))


@pytest.mark.long
def test_a_worker_that_dies_loses_and_doubles_nothing(cluster: Callable[[], int], tmp_path: Path) -> None:
    manifest, killed = sounds(tmp_path / "clips", 24), []

    def kill_one(step: str, completed: int, total: int) -> None:
        if completed == 5:
            killed.append(cluster())

    done = extract(
        manifest, [SPECTRAL], tmp_path / "features", workers=2, machines=Machines(ray="auto"), progress=kill_one
    )

    assert killed == [2]
    assert (done.done, done.kept, len(done.failures)) == (24, 0, 0)
    extract(manifest, [SPECTRAL], tmp_path / "undisturbed")
    assert rows(tmp_path / "features") == rows(tmp_path / "undisturbed")
