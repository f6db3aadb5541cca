"""Small stores with whatever rows a test wants, on disk and real."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from cimeu.corpora.manifest import Manifest, read_manifest
from cimeu.features.store import FeatureStore, Row, key_of
from cimeu.pyramid import Direction

Rows = Mapping[Direction, list[np.ndarray | None]]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Four clips; the last file is missing."""
    for clip in range(3):
        (tmp_path / f"{clip}.wav").write_text(f"clip {clip}")
    lines = ["path,emotion,culture", "0.wav,anger,b", "1.wav,happy,a", "2.wav,anger,", "3.wav,happy,a"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    return read_manifest(tmp_path / "manifest.csv")


@pytest.fixture
def store(tmp_path: Path, manifest: Manifest) -> Callable[..., FeatureStore]:
    def make(name: str, rows: Rows, **described: object) -> FeatureStore:
        width = next(row.shape[1] for clips in rows.values() for row in clips if row is not None)
        description: dict[str, object] = {
            "name": name, "version": "1", "width": width, "window": {"length": 16, "stride": 4}, "source": "sound",
            "kind": "steps", "optional": [], "preprocessing": {}, **described,
        }  # fmt: skip
        with FeatureStore.open(tmp_path / name, description, writable=True) as writer:
            for direction, clips in rows.items():
                for clip, row in zip(manifest.clips(), clips, strict=False):
                    key = key_of(clip, description, direction)
                    writer.add(key, Row(clip.clip_id, row, "" if row is not None else "no sound", 1.0, direction))
        return FeatureStore.open(tmp_path / name)

    return make
