"""Frames by time stamp: the right one, upright, one in memory at a time."""

import gc
import os
import tracemalloc
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cimeu.errors import MediaError
from cimeu.media.audio import read_sound
from cimeu.media.video import Frame, frames, probe, resized, write_video


def retimed(path: Path, *, track: int, scale: int) -> Path:
    """Two seconds of video and sound; one track claims `scale` ticks a second, so that each lasts long."""
    samples = (0.1 * np.sin(np.arange(32_000) / 9)).astype(np.float32)
    write_video(path, [grey(index) for index in range(50)], rate_hz=25, samples=samples)
    content = bytearray(path.read_bytes())
    # The media header of a track (ISO/IEC 14496-12, `mdhd`): version, two times, then the time scale.
    at = [index for index in range(len(content)) if content[index : index + 4] == b"mdhd"][track] + 16
    content[at : at + 4] = scale.to_bytes(4, "big")
    path.write_bytes(content)
    return path


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
    """5 s at 25 frames per second; the grey level counts quarter seconds in tens."""
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
    assert brightest_corner(seen) == corner
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


def test_a_track_with_a_wrong_time_scale_does_not_last_for_hours(tmp_path: Path) -> None:
    path = retimed(tmp_path / "a.mp4", track=0, scale=1)  # each of 50 frames claims 512 s
    assert probe(path).duration_s == pytest.approx(2, abs=0.1)
    assert 50 <= len(list(frames(path))) < 25 * 15


def test_a_slide_that_stays_for_minutes_is_held(tmp_path: Path) -> None:
    path = encode(tmp_path / "slides.mp4", [grey(10), grey(20), grey(30)], [0, 180_000, 181_000])
    assert values(list(frames(path, rate_hz=0.1))) == [1] * 18 + [2]


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "avi"])
def test_sound_that_outlasts_the_video_breaks_nothing_off(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("mpeg4", rate=25), container.add_stream("mp3", rate=16_000, layout="mono")
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        for _ in range(25):
            container.mux(video.encode(av.VideoFrame.from_ndarray(grey(90), format="rgb24")))
        for first in range(0, 64_000, 1152):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, first, Fraction(1, 16_000)
            container.mux(sound.encode(frame))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    info = probe(path)
    assert (info.video_s, info.duration_s) == (pytest.approx(1, abs=0.1), pytest.approx(4, abs=0.2))
    assert 25 <= len(list(frames(path))) <= 27  # AVI counts the frames of its encoder delay too
    assert "breaks off" not in caplog.text


ORIENTATIONS = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"}
ORIENTATIONS |= {5: "top left", 6: "top right", 7: "bottom right", 8: "bottom left"}


def camera_jpeg(path: Path, orientation: int) -> bytes:
    """64 x 48 with a white corner (top left as stored), and EXIF as cameras write it."""
    pixels = grey(0)
    pixels[:16, :16] = 255
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", orientation
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    return path.read_bytes()


def brightest_corner(pixels: np.ndarray) -> str:
    corners = {
        "top left": pixels[:12, :12],
        "top right": pixels[:12, -12:],
        "bottom left": pixels[-12:, :12],
        "bottom right": pixels[-12:, -12:],
    }
    return max(corners, key=lambda name: corners[name].mean())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_says(tmp_path: Path, orientation: int) -> None:
    camera_jpeg(tmp_path / "a.jpg", orientation)
    pixels = next(frames(tmp_path / "a.jpg", rate_hz=None)).pixels
    assert pixels.shape == ((48, 64, 3) if orientation < 5 else (64, 48, 3))
    assert brightest_corner(pixels) == ORIENTATIONS[orientation]
    assert next(frames(tmp_path)).pixels.shape == pixels.shape


@pytest.mark.parametrize("orientation", [1, 6])
def test_motion_jpeg_of_cameras_is_read(tmp_path: Path, orientation: int) -> None:
    jpeg = camera_jpeg(tmp_path / "a.jpg", orientation)
    with av.open(str(tmp_path / "cam.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for index in range(5):
            packet = av.Packet(jpeg)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 10)
            container.mux(packet)
    seen = list(frames(tmp_path / "cam.avi"))
    assert len(seen) in (12, 13)
    assert brightest_corner(seen[0].pixels) == ORIENTATIONS[orientation]


@pytest.mark.parametrize(("width", "height", "colours"), [(1280, 720, "itu709"), (640, 480, "itu601")])
def test_colours_of_untagged_video_are_those_of_its_size(tmp_path: Path, width: int, height: int, colours: str) -> None:
    pixels = np.full((height, width, 3), (200, 40, 90), np.uint8)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p", dst_colorspace=colours)
        frame.colorspace = 2  # unspecified
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    write_video(tmp_path / "ours.mp4", [pixels], rate_hz=25, crf="1", preset="ultrafast")
    for name in ("a.mp4", "ours.mp4"):
        seen = next(frames(tmp_path / name, max_side=64)).pixels
        assert seen.mean(axis=(0, 1)) == pytest.approx([200, 40, 90], abs=3), name


def test_decoded_frames_leave_the_memory_one_by_one(counting: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        seen = islice(frames(counting), 9, 60, 25)  # counting all objects takes long: three times is enough
        most = max(sum(type(each) is av.VideoFrame for each in gc.get_objects()) for _ in seen)
    finally:
        gc.enable()
    assert most <= 6


def test_pixels_that_claim_to_be_a_thousand_times_as_wide_as_high_are_square(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(250, 1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(0), format="rgb24")))
        container.mux(stream.encode(None))
    assert next(frames(tmp_path / "a.mkv")).pixels.shape == (48, 64, 3)


def test_whatever_a_decoder_raises_is_a_fault_of_the_file(counting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("cimeu.media.video.FrameConverter.__call__", out_of_memory)
    with pytest.raises(MediaError, match=r"counting\.mp4` cannot be decoded \(it asks for more memory than there is\)"):
        next(frames(counting))


def test_a_file_that_lacks_memory_while_it_is_opened_is_not_called_unknown(
    counting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("cimeu.media.container.av.open", out_of_memory)
    with pytest.raises(MediaError, match=r"counting\.mp4` cannot be decoded \(it asks for more memory than there is\)"):
        probe(counting)


def test_a_pipe_or_a_device_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    for path, kind in ((tmp_path / "a.mp4", "pipe"), (Path("/dev/zero"), "device")):
        for read in (probe, read_sound, lambda path: next(frames(path))):
            with pytest.raises(MediaError, match=rf"` is a {kind}, not a regular file"):
                read(path)


def test_a_name_that_cannot_exist_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"cannot be read \(File name too long\)"):
        probe(tmp_path / ("a" * 300))
    with pytest.raises(MediaError, match=r"cannot be read \(embedded null byte\)"):
        probe(tmp_path / "a\0b")


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_recording_whose_clock_begins_at_an_hour_is_as_long_as_it_is(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = encode(tmp_path / f"a.{suffix}", [grey(90)] * 50, [3_600_000 + 40 * index for index in range(50)])
    assert probe(path).duration_s == pytest.approx(2.0, abs=0.05)
    assert len(list(frames(path))) == 50
    assert "breaks off" not in caplog.text


def test_a_length_that_is_guessed_from_the_bit_rate_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.aac"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 16_000)).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        # A loud beginning: the rest would be guessed to be as large.
        for first in range(0, 160_000, 1024):
            part = np.zeros((1, 1024), np.float32) if first >= 14_000 else noise[:, first : first + 1024]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, first, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(path).duration_s == pytest.approx(10.0, abs=0.2)
