"""A little world of cultures whose clips are stored features, no files behind them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.folds import Fold, FoldsConfig, make_folds
from cimeu.corpora.manifest import COLUMNS, Manifest
from cimeu.encoders.description import IMPORTED
from cimeu.features.store import FeatureStore, Row, row_key
from cimeu.generalisation.cells import Parts
from cimeu.labels import LabelSpace

torch.set_num_threads(1)  # before fixtures of a wider scope, too

EMOTIONS = ("anger", "neutral", "sadness")
FIRST, SECOND, STEPS = 8, 3, 5


@dataclass(frozen=True)
class World:
    """Clips of three cultures with both streams, their folds, and one broken clip in each culture."""

    manifest: Manifest
    labels: LabelSpace
    first: FeatureStore
    second: FeatureStore
    folds: list[Fold]

    def parts(self, fold: Fold, manifest: Manifest | None = None) -> Parts:
        """The clips of a fold with their streams, played forward."""
        stores = {"first": self.first, "second": self.second}
        chosen = [(manifest or self.manifest).select(ids) for ids in (fold.train, fold.validation, fold.test)]
        return Parts(*(ClipDataset(clips, self.labels, **stores, direction="forward") for clips in chosen))


def description(name: str, width: int) -> dict[str, object]:
    window = {"length": 16, "stride": 4}
    return {
        "name": name,
        "version": IMPORTED,
        "width": width,
        "window": window,
        "source": "sound",
        "kind": "steps",
        "optional": [],
        "preprocessing": {},
    }


def build_world(folder: Path, spoiled: tuple[str, ...] = (), *, culture_strength: float = 2.0) -> World:
    """The same clips each time; features of the `spoiled` cultures are replaced by nonsense."""
    generator = np.random.default_rng(0)
    shift = generator.normal(0, culture_strength, (3, FIRST))
    felt = generator.normal(0, 1.5, (3, FIRST))
    spoken = generator.normal(0, 1.0, (3, SECOND))
    rows = []
    with (
        FeatureStore.open(folder / "first", description("first", FIRST), writable=True) as first,
        FeatureStore.open(folder / "second", description("second", SECOND), writable=True) as second,
    ):
        for culture in range(3):
            for speaker in range(6):
                for take in range(9):
                    emotion, clip_id = take % 3, f"c{culture}/s{speaker}/{take}"
                    broken = speaker == 0 and take == 8
                    steps = shift[culture] + felt[emotion] + generator.normal(0, 1, (STEPS, FIRST))
                    beside = spoken[emotion] + generator.normal(0, 1, (STEPS, SECOND))
                    if f"c{culture}" in spoiled:
                        steps, beside = 1e3 * steps[::-1], -beside
                    if not broken:
                        key = row_key(clip_id, IMPORTED, "forward")
                        first.add(key, Row(clip_id, steps.astype(np.float32), "", 1.0))
                        second.add(key, Row(clip_id, beside.astype(np.float32), "", 1.0))
                    rows.append(
                        dict.fromkeys(COLUMNS, "")
                        | {"clip_id": clip_id, "path": clip_id, "emotion": EMOTIONS[emotion], "corpus": "little"}
                        | {"speaker": f"c{culture}-s{speaker}", "culture": f"c{culture}", "gender": "f"}
                        | {"start_s": 0.0, "end_s": np.nan, "problem": "no sound" if broken else ""}
                    )
    manifest = Manifest(pd.DataFrame(rows), folder)
    stores = [FeatureStore.open(folder / name) for name in ("first", "second")]
    folds = make_folds(manifest, FoldsConfig(protocol="leave-one-group-out", validation_share=0.3))
    return World(manifest, LabelSpace("three", EMOTIONS), *stores, folds)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def spoil(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., World]:
    """Build the same world with the features of some cultures replaced by nonsense."""
    return cache(lambda *cultures: build_world(tmp_path_factory.mktemp("spoiled"), cultures))
