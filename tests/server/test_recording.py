"""A recording is what decodes as one."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from skimage.io import imsave

from cimeu.errors import MediaError
from cimeu.media.audio import write_sound
from cimeu.media.video import probe
from cimeu.server.recording import TooLong, check


def test_a_video_is_known_by_its_content(clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "notes.txt")
    found = check(tmp_path / "notes.txt", 60.0)
    assert (found.media_type, found.has_video) == ("video/mp4", True)
    assert found.duration_s == pytest.approx(probe(clip).duration_s, abs=0.1)


def test_sound_alone_is_a_recording(tmp_path: Path) -> None:
    write_sound(tmp_path / "voice.wav", np.zeros(16_000, np.float32))
    found = check(tmp_path / "voice.wav", 60.0)
    assert (found.media_type, found.has_video, found.duration_s) == ("audio/wav", False, 1.0)


def test_what_no_browser_plays_is_a_recording_too(clip: Path, tmp_path: Path) -> None:
    """Whatever `predict` reads: here one damaged NUT file."""
    with av.open(str(clip)) as source, av.open(str(tmp_path / "a.nut"), "w") as copy:
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    content = bytearray((tmp_path / "a.nut").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 100] = bytes(100)
    (tmp_path / "a.nut").write_bytes(content)
    found = check(tmp_path / "a.nut", 60.0)
    assert (found.media_type, found.has_video) == ("application/octet-stream", True)
    assert found.duration_s == pytest.approx(probe(clip).duration_s, abs=0.2)


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
    with pytest.raises(MediaError, match=r"`.*film.mp4` is (empty|not a video or sound file).* \(.+\)\n\nhint: "):
        check(tmp_path / "film.mp4", 60.0)


def test_a_picture_is_no_recording(tmp_path: Path) -> None:
    imsave(tmp_path / "face.png", np.zeros((64, 64, 3), np.uint8), check_contrast=False)
    with pytest.raises(MediaError, match=r"`.*face.png` is an image, not a recording\n\nhint: give a recording"):
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
