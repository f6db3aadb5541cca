"""A recording is what decodes as one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from cimeu.errors import MediaError
from cimeu.media.audio import write_sound
from cimeu.media.video import probe, write_video
from cimeu.server.recording import MAX_PIXELS, TooLong, check


def test_a_video_is_known_by_its_content(clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "notes.txt")
    found = check(tmp_path / "notes.txt", 60.0)
    assert (found.media_type, found.has_video) == ("video/mp4", True)
    assert found.duration_s == pytest.approx(probe(clip).duration_s, abs=0.1)


def test_sound_alone_is_a_recording(tmp_path: Path) -> None:
    write_sound(tmp_path / "voice.wav", np.zeros(16_000, np.float32))
    found = check(tmp_path / "voice.wav", 60.0)
    assert (found.media_type, found.has_video, found.duration_s) == ("audio/wav", False, 1.0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"just words", id="text"),
        pytest.param(b"%PDF-1.7\n", id="document"),
        pytest.param(b"\x1aE\xdf\xa3" + bytes(64), id="header only"),
        pytest.param(b"#EXTM3U\n#EXTINF:1,\nCLIP\n#EXT-X-ENDLIST\n", id="playlist"),
        pytest.param(b"ffconcat version 1.0\nfile 'CLIP'\n", id="list of files"),
    ],
)
def test_anything_else_is_refused_whatever_its_name(content: bytes, clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "clip.mp4")
    (tmp_path / "film.mp4").write_bytes(content.replace(b"CLIP", b"clip.mp4"))
    with pytest.raises(MediaError, match=r"`.*film.mp4` is not a video or sound file \(.+\)\n\nhint: give a recording"):
        check(tmp_path / "film.mp4", 60.0)


def test_a_picture_is_no_recording(tmp_path: Path) -> None:
    imsave(tmp_path / "face.png", np.zeros((64, 64, 3), np.uint8), check_contrast=False)
    with pytest.raises(MediaError, match="is not a video or sound file"):
        check(tmp_path / "face.png", 60.0)


def test_a_recording_is_measured_and_not_asked(tmp_path: Path) -> None:
    """The header of a wav file may claim any length."""
    write_sound(tmp_path / "long.wav", np.zeros(16_000 * 3, np.float32))
    content = bytearray((tmp_path / "long.wav").read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = (0xFFFFFFFF).to_bytes(4, "little")
    (tmp_path / "long.wav").write_bytes(content)
    assert check(tmp_path / "long.wav", 60.0).duration_s == 3.0


def test_a_long_recording_is_refused(clip: Path) -> None:
    with pytest.raises(TooLong, match=r"is longer than 1.5 s\n\nhint: cut it"):
        check(clip, 1.5)


def test_pictures_of_any_size_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PIXELS > 7680 * 4320
    monkeypatch.setattr("cimeu.server.recording.MAX_PIXELS", 64 * 48 - 1)
    write_video(tmp_path / "large.mp4", [np.zeros((48, 64, 3), np.uint8)] * 5, rate_hz=25)
    with pytest.raises(MediaError, match="has pictures of 64 x 48\n\nhint: scale it"):
        check(tmp_path / "large.mp4", 60.0)
