"""One reading of a clip serves every encoder, and a long clip is read like a short one."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest

from cimeu.encoders.hog import Hog
from cimeu.encoders.registry import build_encoder
from cimeu.errors import MediaError
from cimeu.features import sources
from cimeu.features.sources import Request, read_pieces
from cimeu.media.video import frames
from cimeu.pyramid import DIRECTIONS

from ..media.whole_clips import CropSettings, read_clip


@dataclass(frozen=True)
class Pixels(Hog):
    """The crops themselves, with a constant beside them that says what was prepared together."""

    name: ClassVar[str] = "pixels"

    def prepare(self, source: np.ndarray) -> np.ndarray:
        if self.rate_hz == 5.0:
            raise ValueError("cannot see this")
        return source


FACE, FRAME = Pixels(), Pixels(source="frame")


def pieces_of(path: Path, *encoders: object, **settings: float) -> dict[int, np.ndarray]:
    """All frames of each encoder, in the order of its pieces."""
    found: dict[int, list[np.ndarray]] = defaultdict(list)
    for piece in read_pieces(path, [Request(i, e, DIRECTIONS) for i, e in enumerate(encoders)], **settings):  # type: ignore[arg-type]
        assert piece.frames is not None, piece.problem
        found[piece.place].append(piece.frames)
        assert sum(map(len, found[piece.place])) <= piece.n_frames
    return {place: np.concatenate(parts) for place, parts in found.items()}


@pytest.fixture(scope="module")
def clip(trial_data: Path) -> Path:
    return sorted((trial_data / "video").glob("01-*.mp4"))[0]


def test_faces_and_whole_frames_come_from_one_decoding(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    monkeypatch.setattr(sources, "frames", lambda *words, **settings: decoded.append(1) or frames(*words, **settings))

    both = pieces_of(clip, FACE, FRAME, start_s=1.0, end_s=1.4)

    assert len(decoded) == 1
    regions: tuple[Literal["face", "frame"], ...] = ("face", "frame")
    for place, region in enumerate(regions):
        alone = read_clip(clip, start_s=1.0, end_s=1.4, want={"crops"}, crop=CropSettings(region=region))
        assert np.array_equal(both[place], alone.crops)


def test_a_clip_too_long_to_keep_gives_the_same_pixels(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = pieces_of(clip, FACE, FRAME, start_s=0.8, end_s=1.6)
    monkeypatch.setattr(sources, "KEPT_BYTES", 300_000)
    monkeypatch.setattr(sources, "PIECE_FRAMES", 3)

    again = pieces_of(clip, FACE, FRAME, start_s=0.8, end_s=1.6)

    assert len(kept[0]) == 20
    assert all(np.array_equal(kept[place], again[place]) for place in (0, 1))


def test_another_rate_is_another_decoding(clip: Path) -> None:
    found = pieces_of(clip, FACE, Pixels(rate_hz=12.5), end_s=0.4)
    assert (len(found[0]), len(found[1])) == (10, 5)


def test_an_encoder_that_cannot_prepare_stops_no_other(clip: Path) -> None:
    requests = [Request(0, Pixels(rate_hz=5), ("forward",)), Request(1, FRAME, ("forward",))]
    found = list(read_pieces(clip, requests, end_s=0.4))
    assert {(piece.place, piece.problem) for piece in found} == {(0, "ValueError: cannot see this"), (1, "")}


def test_sound_is_prepared_for_each_direction(clip: Path) -> None:
    encoder = build_encoder("spectral")
    forward, backward = read_pieces(clip, [Request(0, encoder, DIRECTIONS)])
    samples = read_clip(clip, want={"sound"}).samples
    assert samples is not None
    assert (forward.directions, backward.directions) == (("forward",), ("backward",))
    assert np.array_equal(forward.frames, encoder.prepare(samples))
    assert np.array_equal(backward.frames, encoder.prepare(np.ascontiguousarray(samples[::-1])))
    assert forward.duration_s == len(samples) / 16_000


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"none\.mp4` does not exist"):
        list(read_pieces(tmp_path / "none.mp4", [Request(0, FACE, DIRECTIONS)]))
