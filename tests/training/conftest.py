"""A small corpus of vectors that carry an emotion, on disk as real stores and a real manifest."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cimeu.batching.dataset import ClipDataset
from cimeu.corpora.manifest import read_manifest
from cimeu.features.store import FeatureStore, Row, key_of
from cimeu.labels import LabelSpace
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.pyramid import Direction

EMOTIONS = ("anger", "happiness")
WIDTHS = {"alpha": 12, "beta": 5}
Corpus = Callable[..., ClipDataset]


def description(name: str) -> dict[str, object]:
    return {
        "name": name,
        "version": "1",
        "width": WIDTHS[name],
        "window": {"length": 16, "stride": 4},
        "source": "sound",
        "kind": "steps",
        "optional": [],
        "preprocessing": {},
    }


def write_corpus(
    folder: Path, *, n_clips: int = 24, signal: float = 1.5, holes: bool = False, longest: int = 30, seed: int = 0
) -> None:
    """Clips of 6 to 30 (`longest`) steps whose emotion moves every dimension; with holes, some streams are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    lines = ["path,emotion,speaker,culture"]
    for clip in range(n_clips):
        (folder / f"{clip:03}.wav").write_text(f"clip {clip}")
        lines.append(f"{clip:03}.wav,{EMOTIONS[clip % 2]},s{clip % 6},{'xy'[clip % 3 == 0]}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    clips = read_manifest(folder / "manifest.csv").clips()
    directions = generator.normal(size=(2, 2, 12))
    for stream, name in enumerate(("alpha", "beta")):
        with FeatureStore.open(folder / name, description(name), writable=True) as store:
            for index, clip in enumerate(clips):
                missing = holes and index % 5 == 1 + stream
                for direction in ("forward", "backward") if name == "alpha" else ("forward",):
                    n_steps = 6 + (7 * index) % (longest - 5)
                    features = generator.normal(size=(n_steps, WIDTHS[name]))
                    features += signal * directions[stream, index % 2, : WIDTHS[name]]
                    row = Row(clip.clip_id, None if missing else features.astype(np.float32), "no sound" * missing, 1.0)
                    store.add(key_of(clip, description(name), direction), row)


def open_corpus(
    folder: Path, *, direction: Direction = "forward", second: bool = True, style_column: str | None = None
) -> ClipDataset:
    return ClipDataset(
        read_manifest(folder / "manifest.csv"),
        LabelSpace("two", EMOTIONS),
        first=FeatureStore.open(folder / "alpha"),
        second=FeatureStore.open(folder / "beta") if second else None,
        direction=direction,
        style_column=style_column,
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    def make(
        name: str = "corpus", *, direction: Direction = "forward", second: bool = True, **options: object
    ) -> ClipDataset:
        style_column = options.pop("style_column", None)
        if not (tmp_path / name).exists():
            write_corpus(tmp_path / name, **options)  # type: ignore[arg-type]
        return open_corpus(tmp_path / name, direction=direction, second=second, style_column=style_column)

    return make


def network_of(*, second: bool = True, **options: object) -> ModelConfig:
    streams = {"first": StreamConfig(width=12), "second": StreamConfig(width=5) if second else None}
    return ModelConfig(**{"emotions": EMOTIONS, "size": "tiny", "styles": 2, **streams, **options})


@pytest.fixture
def network() -> Callable[..., ModelConfig]:
    return network_of
