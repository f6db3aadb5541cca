"""One clip: steady crops of the main face, samples, and the reason for what is missing."""

from pathlib import Path

import av
import numpy as np
import pytest
from skimage.data import astronaut

from cimeu.errors import MediaError
from cimeu.media.audio import RATE_HZ, write_sound
from cimeu.media.clips import SoundSettings
from cimeu.media.faces import Box
from cimeu.media.video import write_video

from .whole_clips import ClipMedia, CropSettings, read_clip


def tone(duration_s: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(int(duration_s * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def portrait(shift: int = 0) -> np.ndarray:
    """A face, 256 x 256, moved to the right by some pixels."""
    return np.ascontiguousarray(np.roll(astronaut(), shift, axis=1)[:256, 96:352])


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.2 s: a moving face; half a second of silence, then a tone."""
    path = tmp_path_factory.mktemp("clips") / "talking.mp4"
    samples = np.concatenate([np.zeros(8000, np.float32), tone(0.7)])
    write_video(path, [portrait(index) for index in range(30)], rate_hz=25, samples=samples, crf="18")
    return path


@pytest.fixture(scope="module")
def empty_room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of grey, without a sound track."""
    path = tmp_path_factory.mktemp("clips") / "room.mp4"
    write_video(path, [np.full((96, 128, 3), 90, np.uint8)] * 25, rate_hz=25)
    return path


@pytest.fixture(scope="module")
def read(talking: Path) -> ClipMedia:
    return read_clip(talking)


def test_a_clip_gives_a_crop_per_frame(read: ClipMedia) -> None:
    assert read.crops is not None
    assert read.crops.shape == (30, 64, 64, 3)
    assert read.face_share == 1.0
    assert read.problems == {}


def test_the_face_stands_still_in_its_crops(read: ClipMedia) -> None:
    assert read.crops is not None
    crops = read.crops[5:25].astype(float)
    still = np.abs(crops - crops.mean(axis=0)).mean()
    moving = np.stack([portrait(index)[::4, ::4] for index in range(5, 25)]).astype(float)
    assert still < 0.4 * np.abs(moving - moving.mean(axis=0)).mean()


def test_the_crop_keeps_one_size_when_the_box_breathes(talking: Path) -> None:
    class Breathing:
        name, version = "breathing", "1"
        count = 0

        def __call__(self, pixels: np.ndarray) -> list[Box]:
            self.count += 1
            grow = 10.0 * (self.count % 2)
            return [Box(85.0 - grow, 65.0 - grow, 90.0 + 2 * grow, 100.0 + 2 * grow, 1.0)]

    breathing = read_clip(talking, detector=Breathing(), want={"crops"})
    assert breathing.crops is not None
    eyes = breathing.crops[:, 20:44, 20:44].astype(float).mean(axis=(1, 2, 3))
    assert eyes.std() < 6


def test_the_large_face_wins_over_the_small_one(tmp_path: Path) -> None:
    class Two:
        name, version = "two", "1"

        def __call__(self, pixels: np.ndarray) -> list[Box]:
            return [Box(4.0, 4.0, 16.0, 16.0, 1.0), Box(60.0, 30.0, 50.0, 50.0, 1.0)]

    pixels = np.zeros((100, 128, 3), np.uint8)
    pixels[20:90, 50:120] = 200
    write_video(tmp_path / "two.mp4", [pixels] * 10, rate_hz=25)
    crops = read_clip(tmp_path / "two.mp4", detector=Two(), want={"crops"}).crops
    assert crops is not None
    assert crops.mean() > 180


def test_pictures_without_the_face_repeat_the_nearest_crop(tmp_path: Path) -> None:
    class Sometimes:
        name, version = "sometimes", "1"

        def __call__(self, pixels: np.ndarray) -> list[Box]:
            return [Box(20.0, 20.0, 40.0, 40.0, 1.0)] if pixels[0, 0, 0] < 128 else []

    pictures = [np.full((96, 128, 3), 20, np.uint8)] * 25 + [np.full((96, 128, 3), 220, np.uint8)] * 25
    write_video(tmp_path / "gone.mp4", pictures, rate_hz=25)
    clip = read_clip(tmp_path / "gone.mp4", detector=Sometimes(), want={"crops"})
    assert clip.crops is not None
    assert clip.face_share == 0.5
    assert np.array_equal(clip.crops[24], clip.crops[49])


def test_sound_is_trimmed_and_brought_to_a_level(read: ClipMedia) -> None:
    assert read.samples is not None
    assert len(read.samples) == pytest.approx(0.7 * RATE_HZ, abs=1600)
    assert np.sqrt(np.mean(read.samples**2)) == pytest.approx(10 ** (-26 / 20), rel=0.01)


def test_trimming_and_level_can_be_switched_off(talking: Path) -> None:
    samples = read_clip(talking, want={"sound"}, sound=SoundSettings(trim=False, level=False)).samples
    assert samples is not None
    assert len(samples) >= 1.2 * RATE_HZ
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.02)


def test_start_and_end_cut_picture_and_sound(talking: Path) -> None:
    clip = read_clip(talking, start_s=0.6, end_s=1.0, sound=SoundSettings(trim=False))
    assert clip.crops is not None
    assert clip.samples is not None
    assert (len(clip.crops), len(clip.samples)) == (10, 6400)


def test_whole_frames_are_stretched(talking: Path) -> None:
    crops = read_clip(talking, want={"crops"}, crop=CropSettings(region="frame", side=32)).crops
    assert crops is not None
    assert crops.shape == (30, 32, 32, 3)


def test_only_what_is_wanted_is_read(talking: Path) -> None:
    assert read_clip(talking, want={"sound"}).crops is None
    assert read_clip(talking, want={"crops"}).samples is None


def test_missing_streams_have_their_reason(empty_room: Path) -> None:
    clip = read_clip(empty_room)
    assert (clip.crops, clip.samples) == (None, None)
    assert clip.problems == {"video": "no face", "sound": "no sound track"}


def test_a_sound_file_has_no_picture(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", tone(1))
    clip = read_clip(tmp_path / "a.wav")
    assert clip.problems == {"video": "no picture"}
    assert clip.samples is not None


def test_silent_sound_is_a_problem(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", np.zeros(16_000, np.float32))
    assert read_clip(tmp_path / "a.wav", want={"sound"}).problems == {"sound": "silent sound"}


def test_sound_may_come_from_another_file(tmp_path: Path, empty_room: Path) -> None:
    write_sound(tmp_path / "a.wav", tone(1))
    clip = read_clip(empty_room, audio_path=tmp_path / "a.wav")
    assert clip.samples is not None
    assert "sound" not in clip.problems


def test_another_file_that_is_missing_is_a_problem_of_the_sound(tmp_path: Path, empty_room: Path) -> None:
    problems = read_clip(empty_room, audio_path=tmp_path / "none.wav", want={"sound"}).problems
    assert problems == {"sound": f"`{tmp_path / 'none.wav'}` does not exist"}


def test_a_clip_after_the_end_has_neither(talking: Path) -> None:
    clip = read_clip(talking, start_s=60)
    assert "no picture that can be decoded after 60 s" in clip.problems["video"]
    assert "no sound that can be decoded after 60 s" in clip.problems["sound"]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"none\.mp4` does not exist"):
        read_clip(tmp_path / "none.mp4")


@pytest.mark.long
def test_real_recordings_show_their_face_and_tell_their_silence(trial_data: Path) -> None:
    for path in sorted((trial_data / "video").glob("*.mp4")):
        clip = read_clip(path)
        assert clip.crops is not None, path.name
        assert clip.face_share == 1.0
        assert clip.problems.get("sound") == ("silent sound" if path.name.startswith("02-") else None), path.name


def test_a_folder_of_images_gives_crops_and_says_that_it_has_no_sound(tmp_path: Path) -> None:
    for index in range(3):
        with av.open(str(tmp_path / f"img{index + 9}.jpg"), "w", format="image2") as container:
            stream = container.add_stream("mjpeg", rate=25)
            stream.height, stream.width, stream.pix_fmt = 256, 256, "yuvj420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(portrait(), format="rgb24")))
            container.mux(stream.encode(None))
    media = read_clip(tmp_path)
    assert media.crops is not None
    assert media.crops.shape == (3, 64, 64, 3)
    assert (media.face_share, media.problems) == (1.0, {"sound": "no sound track"})
