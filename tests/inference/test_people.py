"""One lane for one person and two for two, whatever happens to the frames."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from cimeu.inference.recogniser import Recogniser
from cimeu.inference.windows import shows_nothing
from cimeu.media.audio import read_sound
from cimeu.media.video import frames, write_video

from .conftest import DARK, FORWARD, LIGHT, RunMaker, face_at, voice

Shots = Sequence[np.ndarray]
RATE_HZ = 25


@pytest.fixture(scope="module")
def recogniser(make_run: RunMaker) -> Recogniser:
    return Recogniser.from_pretrained(make_run(**FORWARD))


@pytest.fixture(scope="module")
def actor(trial_data: Path) -> tuple[Shots, np.ndarray]:
    """Frames and sound of one speaker; between 1 and 2.5 s they speak."""
    path = next((trial_data / "video").glob("01-01-08-02-*.mp4"))
    return [frame.pixels for frame in frames(path, max_side=320)], read_sound(path)


def during(shots: Shots, from_s: float, until_s: float, change: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    """The frames, changed from one time to another."""
    return [
        np.ascontiguousarray(change(pixels)) if from_s <= index / RATE_HZ < until_s else pixels
        for index, pixels in enumerate(shots)
    ]


def black(pixels: np.ndarray) -> np.ndarray:
    return np.zeros_like(pixels)


def mirrored(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, ::-1]


def covered(pixels: np.ndarray) -> np.ndarray:
    """Something of one colour before the face."""
    height, width = pixels.shape[:2]
    changed = pixels.copy()
    changed[height // 10 : height * 2 // 3, width // 3 : width * 2 // 3] = (180, 140, 120)
    return changed


def half_hidden(pixels: np.ndarray) -> np.ndarray:
    """A door before more than half of the face."""
    changed = pixels.copy()
    changed[:, pixels.shape[1] // 2 : pixels.shape[1] * 4 // 5] = (90, 120, 60)
    return changed


def under_a_hat(pixels: np.ndarray) -> np.ndarray:
    """Something before the upper third of the frame: forehead and eyes."""
    changed = pixels.copy()
    changed[: pixels.shape[0] // 3] = (90, 120, 60)
    return changed


def grey(pixels: np.ndarray) -> np.ndarray:
    """Without colour."""
    return np.repeat(pixels.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)


def brighter(pixels: np.ndarray) -> np.ndarray:
    """As after a change of exposure; what was bright is white."""
    return (pixels.astype(np.uint16) + 120).clip(0, 255).astype(np.uint8)


def moved(across: int, down: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: np.roll(pixels, (down, across), (0, 1))


def closer(pixels: np.ndarray) -> np.ndarray:
    """The middle, a third larger."""
    height, width = pixels.shape[:2]
    rows, columns = (np.linspace(0.1 * size, 0.85 * size, size).astype(int) for size in (height, width))
    return pixels[np.ix_(rows, columns)]


def lanes(recogniser: Recogniser, path: Path, shots: Shots, samples: np.ndarray | None = None) -> list[str]:
    write_video(path, shots, rate_hz=RATE_HZ, samples=samples, preset="ultrafast", crf="20")
    return list(recogniser.read(path).lanes)


@pytest.mark.parametrize(
    ("from_s", "until_s", "change"),
    [
        (1.2, 1.97, black),
        (1.0, 2.5, black),
        (0.0, 0.8, black),
        (2.4, 9.0, black),
        (1.2, 1.9, covered),
        (0.8, 1.6, half_hidden),
        (1.2, 2.0, mirrored),
        (1.3, 9.0, moved(60)),
        (1.2, 1.8, moved(-90, 8)),
        (1.3, 9.0, closer),
        (1.2, 2.0, lambda pixels: pixels // 2),
        (1.3, 9.0, brighter),
        (1.3, 9.0, grey),
        (1.2, 1.97, under_a_hat),
        (0.0, 3.0, black),
    ],
    ids=[
        *("dark", "dark for long", "dark at first", "dark in the end", "covered", "half hidden", "mirrored", "moved"),
        *("moved and back", "closer", "dimmed", "brighter", "without colour", "under a hat"),
        "dark but for the end",
    ],
)
def test_a_lone_speaker_has_one_lane(
    recogniser: Recogniser,
    actor: tuple[Shots, np.ndarray],
    tmp_path: Path,
    from_s: float,
    until_s: float,
    change: Callable[[np.ndarray], np.ndarray],
) -> None:
    shots, samples = actor
    assert lanes(recogniser, tmp_path / "a.mp4", during(shots, from_s, until_s, change), samples) == ["person 1"]


def test_a_lone_speaker_who_walks_about_has_one_lane(
    recogniser: Recogniser, actor: tuple[Shots, np.ndarray], tmp_path: Path
) -> None:
    walking = [np.roll(pixels, round(50 * np.sin(index / 8)), 1) for index, pixels in enumerate(actor[0])]
    assert lanes(recogniser, tmp_path / "a.mp4", walking, actor[1]) == ["person 1"]


def test_the_dark_stretch_of_a_lone_speaker_says_why_no_face_is_read(
    recogniser: Recogniser, actor: tuple[Shots, np.ndarray], tmp_path: Path
) -> None:
    write_video(tmp_path / "a.mp4", during(actor[0], 1.2, 1.97, black), rate_hz=RATE_HZ, samples=actor[1])
    reading = recogniser.read(tmp_path / "a.mp4")
    (lane,) = reading.lanes.values()
    reasons = {cell.reason for cell in lane.cells(reading.edges) if 1.3 < (cell.start_s + cell.end_s) / 2 < 1.9}
    assert reasons
    assert all("no face" in reason for reason in reasons)
    assert all("person" not in reason for _, reason in lane.basis.values())


def beside(left: Shots, right: Shots) -> list[np.ndarray]:
    return [np.concatenate([one, other], axis=1) for one, other in zip(left, right, strict=False)]


@pytest.mark.parametrize("change", [None, black, mirrored], ids=["as they are", "dark", "mirrored"])
def test_two_of_one_look_side_by_side_have_two_lanes(
    recogniser: Recogniser,
    actor: tuple[Shots, np.ndarray],
    tmp_path: Path,
    change: Callable[[np.ndarray], np.ndarray] | None,
) -> None:
    halves = [pixels[:, 70:250] for pixels in actor[0]]
    both = beside(halves, halves[::-1])
    both = both if change is None else during(both, 1.2, 1.9, change)
    found = lanes(recogniser, tmp_path / "a.mp4", both, actor[1])
    assert [name for name in found if name.startswith("person")] == ["person 1", "person 2"]


def drawn(
    n_frames: int, *people: tuple[tuple[tuple[int, ...], ...], Callable[[int], float | None]]
) -> Iterator[np.ndarray]:
    """Drawn people of these colours, at these places (None: gone) frame by frame; the last one is in front."""
    for index in range(n_frames):
        pixels = np.full((180, 320, 3), 90, np.uint8)
        pixels[:, ::16] = 100
        for colours, place in people:
            if (x := place(index)) is not None:
                face_at(pixels, round(x), 95, 40, mouth=0.5 + 0.5 * np.sin(index / 3), colours=colours)
        yield pixels


def test_one_person_after_another_at_the_same_place_are_two(recogniser: Recogniser, tmp_path: Path) -> None:
    first = (LIGHT, lambda index: 160.0 if index < 35 else None)
    second = (DARK, lambda index: 160.0 if index >= 35 else None)
    assert lanes(recogniser, tmp_path / "a.mp4", list(drawn(75, first, second)), voice(3.0)) == [
        "person 1",
        "person 2",
    ]


def test_people_shown_in_turn_keep_their_lanes(recogniser: Recogniser, tmp_path: Path) -> None:
    first = (LIGHT, lambda index: 160.0 if index // 30 % 2 == 0 else None)
    second = (DARK, lambda index: 160.0 if index // 30 % 2 == 1 else None)
    assert lanes(recogniser, tmp_path / "a.mp4", list(drawn(120, first, second)), voice(4.8)) == [
        "person 1",
        "person 2",
    ]


@pytest.mark.parametrize("colours", [(LIGHT, DARK), (LIGHT, LIGHT)], ids=["different", "alike"])
def test_two_who_cross_stay_two(
    recogniser: Recogniser, tmp_path: Path, colours: tuple[tuple[tuple[int, ...], ...], ...]
) -> None:
    first = (colours[0], lambda index: 60.0 + 2.7 * index)
    second = (colours[1], lambda index: 260.0 - 2.7 * index)
    found = lanes(recogniser, tmp_path / "a.mp4", list(drawn(75, first, second)), voice(3.0))
    assert [name for name in found if name.startswith("person")] == ["person 1", "person 2"]


def test_a_face_found_for_a_moment_beside_a_person_is_nobody(recogniser: Recogniser, tmp_path: Path) -> None:
    first = (LIGHT, lambda _: 80.0)
    second = (DARK, lambda index: 250.0 if 35 <= index < 40 else None)
    found = lanes(recogniser, tmp_path / "a.mp4", list(drawn(75, first, second)), voice(3.0))
    assert found == ["person 1"]


@pytest.mark.parametrize("size", [(180, 320), (720, 1280)])
def test_the_noise_of_a_television_shows_nothing_and_a_face_in_it_is_something(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert shows_nothing(frame)
    frame[: size[0] // 4] = np.linspace(90, 160, size[1], dtype=np.uint8)[:, None]
    assert not shows_nothing(frame)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_frame_of_one_colour_shows_nothing_and_one_small_thing_is_something(value: int) -> None:
    frame = np.full((240, 320, 3), value, np.uint8)
    assert shows_nothing(frame)
    frame[101:115, 201:215] = 255 - value if value != 128 else 255  # between the pixels of the coarse look
    assert not shows_nothing(frame)
