"""Tiny ensembles with random weights, and short recordings: what is tested here is the plumbing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cimeu.encoders.base import Encoder
from cimeu.encoders.description import describe
from cimeu.encoders.registry import build_encoder
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.media.audio import write_sound
from cimeu.media.video import write_video
from cimeu.model.checkpoint import Specifications, save_checkpoint
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.network import CiMEU
from cimeu.pyramid import DIRECTIONS

EMOTIONS = ("anger", "happiness", "sadness")
RunMaker = Callable[..., Path]
FORWARD = {"mu": 1.0, "directions": ("forward",)}
"""Settings of an ensemble of one direction, for facts that do not depend on the directions."""


class Anybody:
    """Everybody looks the same to it; counts its looks."""

    name, same_above = "anybody", 0.5

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        self.looks += 1
        return np.ones(3)


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> RunMaker:
    """A run folder with random weights for a first and perhaps a second encoder."""
    made: dict[tuple, Path] = {}

    def make(
        first: str = "hog",
        second: str | None = "spectral",
        *,
        synthetic: bool = True,
        weights: Path | None = None,
        scales: tuple[tuple[str, tuple[float, float]], ...] = (),
        **ensemble: object,
    ) -> Path:
        key = (first, second, synthetic, weights, scales, *sorted(ensemble.items()))
        if key not in made:
            encoders = [build_encoder(first, **({"weights": weights} if weights else {}))]
            encoders += [build_encoder(second)] if second else []
            made[key] = _write_run(tmp_path_factory.mktemp("run"), encoders, synthetic, ensemble, dict(scales))
        return made[key]

    return make


def _write_run(folder: Path, encoders: list[Encoder], synthetic: bool, ensemble: dict, scales: dict) -> Path:
    first, second = encoders[0], encoders[1] if len(encoders) > 1 else None
    statistics = [
        {"mean": [0.0] * each.width, "deviation": [1.0] * each.width} if each else {} for each in (first, second)
    ]
    settings = EnsembleSettings(**ensemble)
    settings.save(folder)
    for number, direction in enumerate(settings.directions):
        torch.manual_seed(number)
        config = ModelConfig(
            emotions=EMOTIONS,
            first=StreamConfig(width=first.width, encoder=first.name),
            second=StreamConfig(width=second.width, encoder=second.name) if second else None,
            direction=direction,
            size="tiny",
            continuous=tuple(scales),
        )
        specifications = Specifications(
            emotions=EMOTIONS,
            first_encoder=describe(first),
            second_encoder=describe(second) if second else {},
            first_statistics=statistics[0],
            second_statistics=statistics[1],
            direction=direction,
            synthetic=synthetic,
            continuous=scales,
        )
        save_checkpoint(CiMEU(config, specifications), folder / direction)
    assert set(settings.directions) <= set(DIRECTIONS)
    return folder


LIGHT = ((224, 180, 150), (60, 40, 30))
"""Skin and hair of the usual drawn person,"""
DARK = ((150, 100, 70), (20, 16, 14))
"""and of another one."""


def face_at(
    pixels: np.ndarray, x: int, y: int, radius: int, mouth: float = 0.0, colours: tuple[tuple[int, ...], ...] = LIGHT
) -> None:
    """Draw a plain face that the embedded detector finds; `mouth` opens it."""
    skin, hair = colours
    reach = 2 * radius
    top, left = max(0, y - reach), max(0, x - reach)
    pixels = pixels[top : y + reach, left : x + reach]  # a view: nothing is drawn further away
    rows, columns = np.ogrid[top : top + pixels.shape[0], left : left + pixels.shape[1]]

    def ellipse(dx: float, dy: float, width: float, height: float) -> np.ndarray:
        return ((columns - x - dx * radius) / (width * radius)) ** 2 + (
            (rows - y - dy * radius) / (height * radius)
        ) ** 2 < 1

    pixels[ellipse(0, 0, 0.8, 1.05)] = skin
    pixels[ellipse(0, -0.75, 0.82, 0.45)] = hair
    pixels[ellipse(0, -0.05, 0.72, 0.75)] = skin
    for side in (-1, 1):
        pixels[ellipse(0.32 * side, -0.12, 0.17, 0.09)] = (245, 245, 245)
        pixels[ellipse(0.32 * side, -0.12, 0.08, 0.09)] = (40, 30, 30)
        pixels[ellipse(0.32 * side, -0.32, 0.2, 0.04)] = hair
    pixels[ellipse(0, 0.18, 0.08, 0.16)] = tuple(int(0.85 * part) for part in skin)
    pixels[ellipse(0, 0.55, 0.3, 0.08 + 0.1 * mouth)] = (150, 60, 60)


def pictures(
    duration_s: float,
    faces: dict[int, tuple[float, float]],
    *,
    radius: int = 60,
    rate_hz: float = 25.0,
    colours: tuple[tuple[int, ...], ...] = LIGHT,
):
    """Frames of 320 x 240 with faces at these places (x), each during (from, to) seconds."""
    for index in range(round(duration_s * rate_hz)):
        time_s = index / rate_hz
        pixels = np.full((240, 320, 3), 90, np.uint8)
        pixels[:, ::16] = 100
        for x, (start_s, end_s) in faces.items():
            if start_s <= time_s < end_s:
                face_at(pixels, x, 125, radius, mouth=0.5 + 0.5 * np.sin(8 * time_s), colours=colours)
        yield pixels


def voice(duration_s: float, *, from_s: float = 0.0, to_s: float = 1e9) -> np.ndarray:
    """A buzzing tone in syllables, silent outside (from, to) seconds; a little noise throughout."""
    time_s = np.arange(round(duration_s * 16_000)) / 16_000
    buzz = sum(np.sin(2 * np.pi * 140 * harmonic * time_s) / harmonic for harmonic in range(1, 9))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time_s), 0, 1)
    noise = 1e-3 * np.random.default_rng(0).standard_normal(len(time_s))
    return (0.1 * buzz * syllables * ((time_s >= from_s) & (time_s < to_s)) + noise).astype(np.float32)


@pytest.fixture(scope="session")
def recordings(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Short recordings by name."""
    return once("recordings", _record)


def _record(folder: Path) -> None:
    write_video(folder / "one.mp4", pictures(4.0, {160: (0, 9)}), rate_hz=25, samples=voice(4.0))
    write_video(folder / "mute.mp4", pictures(1.2, {160: (0, 9)}), rate_hz=25)
    write_video(folder / "two.mp4", pictures(3.0, {90: (0, 9), 230: (0, 9)}, radius=48), rate_hz=25, samples=voice(3.0))
    write_video(folder / "leaves.mp4", pictures(8.0, {160: (0, 3)}), rate_hz=25, samples=voice(8.0))
    write_video(folder / "small.mp4", pictures(1.2, {160: (0, 9)}, radius=18), rate_hz=25)
    write_video(folder / "empty.mp4", pictures(2.4, {}), rate_hz=25, samples=np.zeros(38_400, np.float32))
    write_sound(folder / "speech.wav", voice(5.0, to_s=2.5))
