"""Files that are broken, odd or misleading; each is made here from really encoded media."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from skimage.data import astronaut

from cimeu.errors import MediaError
from cimeu.media.audio import RATE_HZ, is_silent, read_sound, write_sound
from cimeu.media.video import frames, probe, write_video

from ..media.whole_clips import read_clip


def tone(duration_s: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(int(duration_s * rate_hz)) / rate_hz)).astype(np.float32)


def busy(count: int) -> list[np.ndarray]:
    """Pictures that take many bytes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(count)]


def encode(
    path: Path,
    pictures: list[np.ndarray],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    first_pts: int = 0,
    sounds: list[np.ndarray] | None = None,
    container_options: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
) -> Path:
    """25 frames per second and mono 16 kHz tracks."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        container.metadata.update(tags or {})
        video = container.add_stream(codec, rate=25, options={"g": "5"})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = pixel_format
        tracks = [container.add_stream("aac", rate=RATE_HZ, layout="mono") for _ in sounds or []]
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = first_pts + index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for track, samples in zip(tracks, sounds or [], strict=True):
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
            container.mux(track.encode(frame))
            container.mux(track.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    """Only the first part of a file's bytes."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


@pytest.mark.parametrize("read", [probe, read_sound, read_clip, lambda path: list(frames(path))])
def test_an_empty_file_says_so(tmp_path: Path, read: object) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(MediaError, match=r"a\.mp4` is empty \(0 bytes\)"):
        read(tmp_path / "a.mp4")  # type: ignore[operator]


@pytest.mark.parametrize("read", [probe, read_sound, read_clip, lambda path: list(frames(path))])
def test_text_is_no_media(tmp_path: Path, read: object) -> None:
    (tmp_path / "a.mp4").write_text("path,emotion\n" * 500)
    with pytest.raises(MediaError, match=r"a\.mp4` is not a video or sound file that can be opened"):
        read(tmp_path / "a.mp4")  # type: ignore[operator]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="is a folder"):
        probe(tmp_path)


def test_an_mp4_cut_off_before_its_index_cannot_be_opened(tmp_path: Path) -> None:
    path = cut(encode(tmp_path / "a.mp4", busy(50)), 0.6)
    with pytest.raises(MediaError, match="cannot be repaired here"):
        probe(path)


@pytest.mark.parametrize(("suffix", "options"), [("mp4", {"movflags": "faststart"}), ("mkv", {}), ("ts", {})])
def test_a_truncated_video_gives_what_it_holds_and_a_warning(
    tmp_path: Path, suffix: str, options: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    path = cut(encode(tmp_path / f"a.{suffix}", busy(50), container_options=options), 0.6)
    with caplog.at_level(logging.WARNING):
        count = len(list(frames(path)))
    assert 20 < count < 45
    assert suffix == "ts" or "breaks off after" in caplog.text or "damaged" in caplog.text


def test_damage_in_the_middle_costs_a_few_pictures_only(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", busy(50))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    path.write_bytes(data)
    times = [picture.time_s for picture in frames(path)]
    assert len(times) == 50


def test_a_file_with_nothing_to_decode_is_an_error(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", busy(10), container_options={"movflags": "faststart"})
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start])
    with pytest.raises(MediaError, match="no picture that can be decoded after 0 s"):
        list(frames(path))


@pytest.mark.parametrize(("codec", "left"), [(b"V_MPEG4/ISO/AVC", (False, True)), (b"A_AAC", (True, False))])
def test_a_track_of_an_unknown_format_is_named_and_the_other_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, codec: bytes, left: tuple[bool, bool]
) -> None:
    path = encode(tmp_path / "a.mkv", busy(10), sounds=[tone(0.4)])
    path.write_bytes(path.read_bytes().replace(codec, codec[:3] + b"?" * (len(codec) - 3)))
    info = probe(path)
    assert (info.has_video, info.has_sound) == left
    assert "a track whose format cannot be decoded is left out" in caplog.text


def test_a_file_of_unknown_formats_only_says_so(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", busy(10))
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_NOBODY/KNO/WS"))
    with pytest.raises(MediaError, match=r"holds a format that cannot be decoded \(video\)"):
        probe(path)


def test_truncated_sound_gives_what_it_holds(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", tone(2))
    assert len(read_sound(cut(tmp_path / "a.wav", 0.5))) == pytest.approx(RATE_HZ, abs=100)


def test_one_picture_is_a_clip(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", [np.ascontiguousarray(astronaut()[:256, 96:352])])
    crops = read_clip(path, want={"crops"}).crops
    assert crops is not None
    assert len(crops) == 1


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", busy(10), sounds=[tone(0.4)]).rename(tmp_path / "a.wav")
    assert len(list(frames(path))) == 10
    assert not is_silent(read_sound(path))


def test_a_colon_or_accents_in_the_name_do_not_matter(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", busy(3)).rename(tmp_path / "concat:süß 笑 %d.mp4")
    assert len(list(frames(path))) == 3


def test_a_playlist_reaches_nothing_beyond_this_machine(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError):
        list(frames(tmp_path / "a.mp4"))


def test_tags_that_are_no_text_do_not_matter(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", busy(3), tags={"title": "QQQQ"})
    path.write_bytes(path.read_bytes().replace(b"QQQQ", b"\xff\xfe\xe9\xff"))
    assert probe(path).has_video


@pytest.mark.parametrize(("suffix", "first_pts"), [("mkv", 250), ("ts", 250), ("mp4", 250), ("nut", -10)])
def test_time_stamps_that_start_elsewhere_count_from_zero(tmp_path: Path, suffix: str, first_pts: int) -> None:
    pictures = [np.full((48, 64, 3), 20 * index, np.uint8) for index in range(10)]
    codec = "mpeg4" if suffix == "nut" else "libx264"
    path = encode(tmp_path / f"a.{suffix}", pictures, codec=codec, first_pts=first_pts)
    seen = list(frames(path, rate_hz=25))
    assert seen[0].time_s == 0.0
    assert seen[0].pixels.mean() == pytest.approx(0, abs=6)
    assert len(seen) == 10


def test_a_missing_duration_is_measured(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", busy(50), container_options={"live": "1"})
    with av.open(str(path)) as container:
        assert container.duration is None
    assert probe(path).duration_s == pytest.approx(2.0, abs=0.05)
    assert len(list(frames(path))) == 50


@pytest.mark.parametrize(
    ("pixel_format", "codec"), [("yuv420p10le", "libx264"), ("yuv444p", "libx264"), ("gray", "ffv1"), ("bgra", "ffv1")]
)
def test_every_pixel_format_becomes_rgb(tmp_path: Path, pixel_format: str, codec: str) -> None:
    path = encode(tmp_path / "a.mkv", [np.full((48, 64, 3), 120, np.uint8)] * 3, codec=codec, pixel_format=pixel_format)
    pixels = next(frames(path)).pixels
    assert pixels.dtype == np.uint8
    assert pixels.mean() == pytest.approx(120, abs=3)


@pytest.mark.parametrize("size", [(49, 65), (1, 1), (2, 2), (7, 333)])
def test_odd_sizes_keep_their_size(tmp_path: Path, size: tuple[int, int]) -> None:
    path = encode(tmp_path / "a.mkv", [np.full((*size, 3), 120, np.uint8)] * 3, codec="ffv1", pixel_format="yuv444p")
    assert next(frames(path)).pixels.shape == (*size, 3)


def test_pictures_that_change_size_keep_the_first_one(tmp_path: Path) -> None:
    parts = [encode(tmp_path / f"{side}.ts", [np.full((side, side, 3), 90, np.uint8)] * 10) for side in (64, 96)]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    assert {picture.pixels.shape for picture in frames(tmp_path / "a.ts", rate_hz=None)} == {(64, 64, 3)}


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="has no sound track"):
        read_sound(encode(tmp_path / "a.mp4", busy(3)))


def test_a_sound_file_has_no_picture(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", tone(1))
    with pytest.raises(MediaError, match="has no picture, only sound"):
        list(frames(tmp_path / "a.wav"))


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp3"), "w") as container:
        sound = container.add_stream("libmp3lame", rate=RATE_HZ, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(tone(1)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with av.open(str(tmp_path / "a.mp3")) as container:
        assert len(container.streams.video) == 1
    assert not probe(tmp_path / "a.mp3").has_video
    assert not is_silent(read_sound(tmp_path / "a.mp3"))


def test_silent_sound_is_told_from_none(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", busy(25), sounds=[np.zeros(RATE_HZ, np.float32)])
    assert read_clip(path, want={"sound"}).problems == {"sound": "silent sound"}


def test_of_two_tracks_the_default_one_is_heard(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", busy(25), sounds=[tone(1), np.zeros(RATE_HZ, np.float32)])
    assert not is_silent(read_sound(path))


def test_telephone_sound_is_brought_to_16_khz(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", tone(1, 8000), rate_hz=8000)
    heard = read_sound(tmp_path / "a.wav")
    assert len(heard) == RATE_HZ
    assert heard[4000:12_000] == pytest.approx(tone(1)[4000:12_000], abs=0.02)


def test_a_jump_of_hours_in_the_time_stamps_adds_no_hours_of_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        for index in range(20):
            frame = av.AudioFrame.from_ndarray(tone(0.05)[None], format="flt", layout="mono")
            frame.pts = index * 800 + (RATE_HZ * 36_000 if index > 9 else 0)
            frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert len(read_sound(path)) == pytest.approx(RATE_HZ, abs=50)


def test_a_silent_picture_file_is_written_and_read_without_sound(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", busy(2), rate_hz=25)
    assert not probe(tmp_path / "a.mp4").has_sound


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n"),
        ("a.mp4", "ffconcat version 1.0\nfile other.ts\n"),
        ("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 31\n"),
    ],
)
def test_a_playlist_shows_no_other_file_of_this_machine(tmp_path: Path, name: str, text: str) -> None:
    encode(tmp_path / "other.ts", busy(10))
    (tmp_path / name).write_text(text)
    with pytest.raises(MediaError, match="a playlist, or a format that is not read"):
        probe(tmp_path / name)


def test_a_name_with_a_pattern_is_one_image(tmp_path: Path) -> None:
    for name, grey in (("a%d.jpg", 0), ("a7.jpg", 200)):
        encode(tmp_path / "a.mkv", [np.full((48, 64, 3), grey, np.uint8)], codec="mjpeg", pixel_format="yuvj420p")
        with av.open(str(tmp_path / "a.mkv")) as container:
            (tmp_path / name).write_bytes(bytes(next(container.demux(video=0))))
    assert [picture.pixels.mean() < 10 for picture in frames(tmp_path / "a%d.jpg", rate_hz=None)] == [True]


def test_a_year_between_two_pictures_is_no_year_of_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.nut"), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        for index in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 30 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index + (31_536_000 * 25 if index > 2 else 0), Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    assert [round(picture.pixels.mean() / 30) for picture in frames(tmp_path / "a.nut")] == [0, 1, 2, 3, 4, 5]


def test_a_picture_of_any_claimed_size_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mkv", busy(3))
    assert len(list(frames(path))) == 3
    monkeypatch.setattr("cimeu.media.container.MOST_PIXELS", 48 * 64 - 1)
    with pytest.raises(MediaError, match="no picture that can be decoded"):
        next(frames(path))
