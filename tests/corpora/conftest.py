"""Miniature corpora: one really encoded recording, linked to wherever a layout wants a file."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from cimeu.media.audio import RATE_HZ, write_sound
from cimeu.media.video import write_video

Fill = Callable[[Path, Iterable[str]], Path]


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By kind: a video with sound, a sound file, an image."""
    folder = tmp_path_factory.mktemp("recordings")
    samples = (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ // 5) / RATE_HZ)).astype(np.float32)
    write_sound(folder / "one.wav", samples)
    write_video(folder / "one.mp4", [np.full((48, 64, 3), 90, np.uint8)] * 5, rate_hz=25, samples=samples)
    (folder / "one.jpg").write_bytes(b"stands for an image: the adapters look at names only")
    return {"video": folder / "one.mp4", "sound": folder / "one.wav", "image": folder / "one.jpg"}


@pytest.fixture
def fill(recordings: dict[str, Path]) -> Fill:
    """Make the files of a tree, by their suffixes."""

    def fill(root: Path, paths: Iterable[str]) -> Path:
        for path in paths:
            kind = {".wav": "sound", ".flac": "sound", ".jpg": "image"}.get(Path(path).suffix, "video")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            os.link(recordings[kind], root / path)
        return root

    return fill
