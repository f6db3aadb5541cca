"""Pictures by time stamp: the right one, upright, one in memory at a time."""

import tracemalloc
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cimeu.errors import MediaError
from cimeu.media.audio import read_sound
from cimeu.media.video import Frame, frames, probe, resized, write_video


def grey(value: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def values(pictures: Sequence[Frame]) -> list[int]:
    """The grey level of each picture, in steps of 10."""
    return [round(float(picture.pixels.mean()) / 10) for picture in pictures]


def encode(
    path: Path, pictures: list[np.ndarray], times_ms: list[int], *, rotation_deg: float = 0, mirrored: bool = False
) -> Path:
    """H.264 with these pictures at these times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5", "g": "10"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation_deg or mirrored:
            stream.set_display_rotation(rotation_deg, hflip=mirrored)
        for pixels, time_ms in zip(pictures, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 s at 25 pictures a second; the grey level counts quarter seconds in tens."""
    path = tmp_path_factory.mktemp("video") / "counting.mp4"
    levels = [index // 6 * 10 for index in range(125)]
    return encode(path, [grey(level) for level in levels], [40 * index for index in range(125)])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_picture_stays_on_screen_until_the_next_one(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"uneven.{suffix}", [grey(10 * k) for k in (1, 2, 3, 4)], [0, 40, 240, 280])
    assert values(list(frames(path, rate_hz=25)))[:8] == [1, 2, 2, 2, 2, 2, 3, 4]


def test_without_a_rate_every_picture_comes_at_its_own_time(tmp_path: Path) -> None:
    path = encode(tmp_path / "uneven.mp4", [grey(10 * k) for k in (1, 2, 3, 4)], [0, 40, 240, 280])
    assert [round(picture.time_s, 3) for picture in frames(path, rate_hz=None)] == [0.0, 0.04, 0.24, 0.28]


def test_times_are_multiples_of_the_rate(counting: Path) -> None:
    times = [picture.time_s for picture in frames(counting, rate_hz=10, start_s=1.0, end_s=1.5)]
    assert times == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.4])


def test_a_higher_rate_repeats_pictures(counting: Path) -> None:
    assert len(list(frames(counting, rate_hz=100))) == 500


@pytest.mark.parametrize("rate_hz", [24.0, 25.0, 29.97, 30.0])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_reading_at_the_rate_of_the_file_gives_each_picture_once(tmp_path: Path, suffix: str, rate_hz: float) -> None:
    path = tmp_path / f"video.{suffix}"
    times_ms = [round(1000 * index / rate_hz) for index in range(24)]
    encode(path, [grey(10 * index) for index in range(24)], times_ms)
    assert values(list(frames(path, rate_hz=rate_hz)))[:24] == list(range(24))


def test_a_start_within_the_video_gives_what_is_on_screen_there(counting: Path) -> None:
    whole = values(list(frames(counting)))
    assert values(list(frames(counting, start_s=3.24, end_s=4.04))) == whole[81:101]


def test_a_start_between_pictures_gives_the_earlier_one(counting: Path) -> None:
    assert values([next(frames(counting, start_s=2.39))]) == [9]
    assert values([next(frames(counting, start_s=2.41))]) == [10]


def test_a_start_after_the_end_is_an_error(counting: Path) -> None:
    with pytest.raises(MediaError, match="no picture that can be decoded after 9 s"):
        list(frames(counting, start_s=9.0))


def test_max_side_bounds_the_longer_side_and_keeps_the_shape(counting: Path) -> None:
    assert next(frames(counting, max_side=32)).pixels.shape == (24, 32, 3)


def test_no_picture_is_enlarged(counting: Path) -> None:
    assert next(frames(counting, max_side=1000)).pixels.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("rotation_deg", "mirrored", "corner"),
    [
        (0, False, "top left"),
        (90, False, "bottom left"),
        (180, False, "bottom right"),
        (270, False, "top right"),
        (0, True, "top right"),
    ],
)
def test_pictures_are_turned_upright(tmp_path: Path, rotation_deg: int, mirrored: bool, corner: str) -> None:
    pixels = grey(0)
    pixels[:16, :16] = 255
    path = encode(tmp_path / "turned.mp4", [pixels] * 3, [0, 40, 80], rotation_deg=rotation_deg, mirrored=mirrored)
    seen = next(frames(path)).pixels
    corners = {
        "top left": seen[:12, :12],
        "top right": seen[:12, -12:],
        "bottom left": seen[-12:, :12],
        "bottom right": seen[-12:, -12:],
    }
    assert max(corners, key=lambda name: corners[name].mean()) == corner
    info = probe(path)
    assert (info.height, info.width) == seen.shape[:2]
    assert info.rotation_deg == rotation_deg or mirrored


def test_turned_pictures_keep_max_side(tmp_path: Path) -> None:
    path = encode(tmp_path / "turned.mp4", [grey(0)] * 3, [0, 40, 80], rotation_deg=90)
    assert next(frames(path, max_side=32)).pixels.shape == (32, 24, 3)


def test_wide_pixels_become_square(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(0), format="rgb24")))
        container.mux(stream.encode(None))
    assert next(frames(path)).pixels.shape == (48, 128, 3)
    assert (probe(path).width, probe(path).height) == (128, 48)


def test_colours_survive(tmp_path: Path) -> None:
    pixels = grey(0)
    pixels[:] = (200, 40, 90)
    write_video(tmp_path / "red.mp4", [pixels] * 3, rate_hz=25, crf="1")
    assert next(frames(tmp_path / "red.mp4")).pixels.mean(axis=(0, 1)) == pytest.approx([200, 40, 90], abs=4)


def test_one_picture_is_in_memory_at_a_time(tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", (grey(k % 250, 240, 320) for k in range(200)), rate_hz=25, preset="ultrafast")
    tracemalloc.start()
    for _ in frames(tmp_path / "long.mp4"):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 240 * 320 * 3


def test_probe_tells_what_a_file_holds(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [grey(9)] * 50, rate_hz=25, samples=np.zeros(32_000, np.float32))
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.rotation_deg, info.has_video, info.has_sound) == (64, 48, 0, True, True)
    assert info.rate_hz == pytest.approx(25)
    assert info.duration_s == pytest.approx(2, abs=0.1)


def test_odd_sizes_are_written_with_a_repeated_edge(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", [grey(90, 49, 65)] * 2, rate_hz=25)
    assert next(frames(tmp_path / "odd.mp4")).pixels.shape == (50, 66, 3)


def test_written_sound_stays_with_its_picture(tmp_path: Path) -> None:
    samples = np.zeros(32_000, np.float32)
    samples[16_000:] = 0.5 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)
    write_video(tmp_path / "a.mp4", [grey(0)] * 25 + [grey(200)] * 25, rate_hz=25, samples=samples)
    flash_s = next(picture.time_s for picture in frames(tmp_path / "a.mp4") if picture.pixels.mean() > 100)
    sound = read_sound(tmp_path / "a.mp4")
    assert flash_s == pytest.approx(1.0)
    assert np.flatnonzero(np.abs(sound) > 0.1)[0] / 16_000 == pytest.approx(1.0, abs=0.005)


def test_resized_keeps_the_mean(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    small = resized(noise, 8, 8)
    assert small.shape == (8, 8, 3)
    assert small.mean() == pytest.approx(noise.mean(), abs=3)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 12 images, grey levels 1 to 12 in tens, with numbers of different lengths."""
    folder = tmp_path / "EP02_01f"
    folder.mkdir()
    for index in range(12):
        save_image(folder / f"img{index + 1}.jpg", grey(10 * (index + 1)))
    (folder / "Thumbs.db").write_bytes(b"x")
    return folder


def save_image(path: Path, pixels: np.ndarray) -> None:
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def test_a_folder_of_images_is_a_clip_in_the_order_of_its_numbers(images: Path) -> None:
    assert values(list(frames(images))) == list(range(1, 13))


def test_images_follow_each_other_at_the_rate_given(images: Path) -> None:
    assert values(list(frames(images, rate_hz=25, images_rate_hz=50))) == [1, 3, 5, 7, 9, 11]


def test_images_are_held_where_more_pictures_are_asked_for(images: Path) -> None:
    assert values(list(frames(images, rate_hz=50)))[:5] == [1, 1, 2, 2, 3]


def test_a_stretch_of_a_folder_of_images(images: Path) -> None:
    found = list(frames(images, rate_hz=None, start_s=0.08, end_s=0.2))
    assert values(found) == [3, 4, 5]
    assert [frame.time_s for frame in found] == pytest.approx([0.08, 0.12, 0.16])


def test_a_folder_of_images_has_a_length_and_no_sound(images: Path) -> None:
    info = probe(images)
    assert (info.duration_s, info.width, info.height, info.has_video, info.has_sound) == (0.48, 64, 48, True, False)


def test_a_damaged_image_leaves_the_one_before_it_on_screen(images: Path) -> None:
    (images / "img2.jpg").write_bytes(b"broken")
    assert values(list(frames(images)))[:4] == [1, 1, 3, 4]


def test_an_image_of_another_size_takes_that_of_the_first(images: Path) -> None:
    save_image(images / "img2.jpg", grey(20, 96, 128))
    assert {frame.pixels.shape for frame in frames(images, max_side=32)} == {(24, 32, 3)}


def test_a_start_after_the_last_image_is_an_error(images: Path) -> None:
    with pytest.raises(MediaError, match="has no picture after 3 s"):
        list(frames(images, start_s=3))


def test_images_that_cannot_be_decoded_are_an_error(images: Path) -> None:
    for path in images.glob("*.jpg"):
        path.write_bytes(b"broken")
    with pytest.raises(MediaError, match="none of the images"):
        list(frames(images))
