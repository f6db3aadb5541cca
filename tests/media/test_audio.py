"""Sound: one channel, -1..1, in time with the picture."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cimeu.errors import MediaError
from cimeu.media.audio import (
    LEVEL_DBFS,
    at_level,
    is_silent,
    read_sound,
    stream_sound,
    trim_silence,
    write_sound,
)


def tone(duration_s: float, rate_hz: int = 16_000, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * 440 * np.arange(int(duration_s * rate_hz)) / rate_hz)).astype(np.float32)


def encode(
    path: Path,
    channels: np.ndarray,
    *,
    codec: str,
    rate_hz: int,
    layout: str,
    start_s: float = 0.0,
    pause: tuple[int, float] | None = None,
) -> Path:
    """Channels [C, N] in -1..1; `pause`: after this sample the time stamps jump by these seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        if pause or start_s:  # a picture at 0 fixes time zero
            video = container.add_stream("mpeg4", rate=25)
            video.height, video.width = 48, 64
            for _ in range(50):
                container.mux(video.encode(av.VideoFrame(64, 48, "yuv420p")))
        for first in range(0, channels.shape[1], 1024):
            part = channels[:, first : first + 1024]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part, np.float32), format="fltp", layout=layout)
            late_s = start_s + (pause[1] if pause and first >= pause[0] else 0.0)
            frame.sample_rate, frame.pts, frame.time_base = (
                rate_hz,
                first + round(late_s * rate_hz),
                Fraction(1, rate_hz),
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if pause or start_s:
            container.mux(video.encode(None))
    return path


@pytest.mark.parametrize(
    ("suffix", "codec", "rate_hz"),
    [("wav", "pcm_s16le", 44_100), ("flac", "flac", 48_000), ("mp3", "libmp3lame", 44_100), ("mp4", "aac", 48_000)],
)
def test_every_format_gives_the_same_tone_at_16_khz(tmp_path: Path, suffix: str, codec: str, rate_hz: int) -> None:
    path = encode(tmp_path / f"a.{suffix}", tone(1, rate_hz)[None], codec=codec, rate_hz=rate_hz, layout="mono")
    heard = read_sound(path)
    assert len(heard) == pytest.approx(16_000, abs=1700)
    assert heard[4000:12_000] == pytest.approx(tone(1)[4000:12_000], abs=0.07)


@pytest.mark.parametrize(("codec", "suffix"), [("pcm_f32le", "wav"), ("pcm_s16le", "wav"), ("aac", "mp4")])
@pytest.mark.parametrize("layout", ["stereo", "5.1"])
def test_equal_channels_mix_down_to_one_of_them(tmp_path: Path, layout: str, codec: str, suffix: str) -> None:
    channels = np.tile(tone(1, 48_000, 0.5), ({"stereo": 2, "5.1": 6}[layout], 1))
    heard = read_sound(encode(tmp_path / f"a.{suffix}", channels, codec=codec, rate_hz=48_000, layout=layout))
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.08)


def test_start_and_end_cut_exactly(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", np.linspace(-0.5, 0.5, 80_000, dtype=np.float32))
    whole = read_sound(tmp_path / "a.wav")
    assert np.array_equal(read_sound(tmp_path / "a.wav", start_s=3.25, end_s=4.5), whole[52_000:72_000])


def test_an_end_after_the_file_gives_what_there_is(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", tone(1))
    assert len(read_sound(tmp_path / "a.wav", start_s=0.5, end_s=9.0)) == 8000


def test_a_start_after_the_end_is_an_error(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", tone(1))
    with pytest.raises(MediaError, match="no sound that can be decoded after 9 s"):
        read_sound(tmp_path / "a.wav", start_s=9.0)


def test_blocks_together_are_the_whole(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.flac", tone(2.3))
    blocks = list(stream_sound(tmp_path / "a.flac", block_s=0.5))
    assert [len(block) for block in blocks] == [8000] * 4 + [4800]
    assert np.array_equal(np.concatenate(blocks), read_sound(tmp_path / "a.flac"))


def test_sound_that_starts_late_is_preceded_by_silence(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", tone(1)[None], codec="pcm_s16le", rate_hz=16_000, layout="mono", start_s=0.5)
    heard = read_sound(path)
    assert not heard[:7900].any()
    assert len(heard) == pytest.approx(24_000, abs=16)


def test_sound_that_pauses_keeps_its_pause(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "a.mkv",
        tone(1.024)[None],
        codec="pcm_s16le",
        rate_hz=16_000,
        layout="mono",
        pause=(8192, 0.5),
    )
    heard = read_sound(path)
    assert len(heard) == pytest.approx(16_384 + 8000, abs=32)
    assert not heard[8300:16_100].any()
    assert heard[16_300:].any()


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_written_sound_is_read_back(tmp_path: Path, suffix: str) -> None:
    samples = tone(1.5)
    write_sound(tmp_path / f"a{suffix}", samples)
    assert read_sound(tmp_path / f"a{suffix}") == pytest.approx(samples, abs=1e-4)


def test_only_wav_and_flac_are_written(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"cannot be written as `a\.mp3`"):
        write_sound(tmp_path / "a.mp3", tone(1))


@pytest.mark.parametrize("samples", [np.zeros(16_000, np.float32), np.zeros(0, np.float32), tone(1, amplitude=1e-4)])
def test_nothing_zeros_and_codec_noise_are_silent(samples: np.ndarray) -> None:
    assert is_silent(samples)


def test_one_quiet_word_is_not_silent() -> None:
    samples = np.zeros(160_000, np.float32)
    samples[80_000:84_000] = tone(0.25, amplitude=0.003)
    assert not is_silent(samples)


def test_silence_at_both_ends_is_trimmed_and_inside_stays() -> None:
    samples = np.concatenate([np.zeros(4000), tone(0.5), np.zeros(8000), tone(0.5), np.zeros(6000)]).astype(np.float32)
    first, last = trim_silence(samples, 16_000)
    assert first == pytest.approx(4000, abs=400)
    assert last == pytest.approx(4000 + 24_000, abs=400)


def test_frames_31_db_down_stay_and_33_db_down_go() -> None:
    for level_db, kept in ((-31, 8000), (-33, 0)):
        quiet = tone(0.5) * np.float32(10 ** (level_db / 20))
        samples = np.concatenate([quiet, tone(2.0)])
        assert trim_silence(samples, 16_000) == (8000 - kept, 40_000)


def test_silence_has_nothing_to_keep() -> None:
    assert trim_silence(np.zeros(16_000, np.float32), 16_000) == (0, 0)


@pytest.mark.parametrize("amplitude", [0.001, 0.1, 1.0])
def test_every_clip_is_brought_to_one_level(amplitude: float) -> None:
    samples = at_level(tone(1, amplitude=amplitude))
    assert 20 * np.log10(np.sqrt(np.mean(samples**2))) == pytest.approx(LEVEL_DBFS, abs=0.01)


def test_raising_the_level_never_clips() -> None:
    samples = np.zeros(16_000, np.float32)
    samples[100] = 0.5
    assert np.abs(at_level(samples)).max() == pytest.approx(1.0)


def test_silence_keeps_its_level() -> None:
    assert not at_level(np.zeros(100, np.float32)).any()
