"""Batches across clips give each clip its own vectors, and an error its own reason."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cimeu.encoders.base import Window
from cimeu.encoders.encoding import encode
from cimeu.encoders.hog import Hog
from cimeu.features.batched_encoding import Computing, Finished
from cimeu.features.sources import Piece
from cimeu.pyramid import DIRECTIONS


@dataclass(frozen=True)
class Network(Hog):
    """Stands for a network: the mean of a window's pixels and of its first frame; refuses black windows."""

    name: ClassVar[str] = "network"
    width: ClassVar[int] = 2
    window: ClassVar[Window] = Window(4, 2)
    heavy: ClassVar[bool] = True
    batch_size: ClassVar[int] = 5
    sizes: list[int] = field(default_factory=list)

    def prepare(self, source: np.ndarray) -> np.ndarray:
        return source

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        if not windows.any(axis=(1, 2, 3, 4)).all():
            raise ValueError("black")
        self.sizes.append(len(windows))
        return np.stack([windows.mean(axis=(1, 2, 3, 4)), windows[:, 0].mean(axis=(1, 2, 3))], axis=1).astype(
            np.float32
        )


def crops(seed: int, n_frames: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 255, (n_frames, 2, 2, 3), np.uint8)


def pieces(clip: np.ndarray, size: int = 4) -> list[Piece]:
    return [Piece(0, DIRECTIONS, clip[start : start + size], len(clip), 1.5) for start in range(0, len(clip), size)]


def test_clips_that_arrive_at_once_get_their_own_vectors() -> None:
    encoder, clips = Network(), [crops(seed) for seed in range(3)]
    computing = Computing([encoder])
    found: list[Finished] = []
    for turn in zip(*map(pieces, clips), strict=True):
        for number, piece in enumerate(turn):
            found += computing.take(number, piece)
    found += computing.flush()

    assert encoder.sizes == [5, 5, 5, 3]
    assert computing.done == computing.expected == 18
    assert {(one.clip, one.direction) for one in found} == {(i, d) for i in range(3) for d in DIRECTIONS}
    for one in found:
        assert one.features is not None
        assert one.duration_s == 1.5
        np.testing.assert_allclose(one.features, encode(encoder, clips[one.clip], one.direction))


def test_an_error_in_a_batch_is_the_reason_of_its_clip_alone() -> None:
    clips, computing = [crops(0), np.zeros((9, 2, 2, 3), np.uint8), crops(2)], Computing([Network()])
    found = [one for i, clip in enumerate(clips) for piece in pieces(clip) for one in computing.take(i, piece)]
    found += computing.flush()

    assert {(one.clip, one.problem) for one in found} == {(0, ""), (1, "ValueError: black"), (2, "")}
    assert len(found) == 6


def test_a_clip_that_comes_again_is_computed_from_its_first_frame() -> None:
    computing, clip = Computing([Network()]), crops(0)
    assert not list(computing.take(0, pieces(clip)[0]))
    computing.forget(0)
    found = [one for piece in pieces(clip) for one in computing.take(0, piece)]
    found += computing.flush()
    assert len(found) == 2
    assert np.array_equal(found[0].features, encode(Network(), clip, found[0].direction))


def test_windows_are_told_after_every_batch() -> None:
    told: list[tuple[int, int, int]] = []
    computing = Computing([Network()], tell=lambda *numbers: told.append(numbers))
    for piece in pieces(crops(0)):
        list(computing.take(0, piece))
    list(computing.flush())
    assert told == [(5, 6, 1), (6, 6, 1)]
