"""Sound: one channel, -1..1, in time with the picture."""

import struct
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

from .test_video import retimed


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


def test_samples_that_are_no_numbers_are_silent(tmp_path: Path) -> None:
    samples = tone(1)
    samples[4000:4100], samples[6000] = np.nan, np.inf
    heard = read_sound(encode(tmp_path / "a.wav", samples[None], codec="pcm_f32le", rate_hz=16_000, layout="mono"))
    assert (heard[4000:4100] == 0).all()
    assert heard == pytest.approx(np.nan_to_num(samples, posinf=0.0), abs=1e-6)


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


SPEECH_LIKE = np.concatenate([np.zeros(4000), tone(0.5), np.zeros(8000), tone(0.5), np.zeros(6000)]).astype(np.float32)
OFFSETS = {
    "constant": np.float32(0.05),
    "drifting": np.linspace(-0.02, 0.03, len(SPEECH_LIKE), dtype=np.float32),
}


@pytest.mark.parametrize("offset", OFFSETS.values(), ids=OFFSETS.keys())
def test_an_offset_that_nobody_hears_changes_no_measure_of_level(offset: np.ndarray) -> None:
    samples = SPEECH_LIKE + offset
    assert is_silent(np.zeros_like(SPEECH_LIKE) + offset)
    assert trim_silence(samples, 16_000) == trim_silence(SPEECH_LIKE, 16_000)
    gains = [np.diff(at_level(each)).std() / np.diff(each).std() for each in (samples, SPEECH_LIKE)]
    assert gains[0] == pytest.approx(gains[1], rel=0.01)


def test_a_levelled_sound_has_no_offset() -> None:
    assert at_level(tone(1) + np.float32(0.2)) == pytest.approx(at_level(tone(1)), abs=1e-4)
    assert np.abs(at_level(np.full(16_000, 0.3, np.float32))).max() < 1e-6


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("pcm_s16le", "wav"), ("pcm_u8", "wav"), ("pcm_f32le", "wav"), ("flac", "flac"), ("aac", "mp4")],
)
@pytest.mark.parametrize("strength", [1.0, 0.7])
def test_channels_of_opposite_phase_do_not_cancel(tmp_path: Path, codec: str, suffix: str, strength: float) -> None:
    voice = tone(1, 16_000, 0.4)
    path = encode(
        tmp_path / f"a.{suffix}", np.stack([voice, -strength * voice]), codec=codec, rate_hz=16_000, layout="stereo"
    )
    assert np.abs(read_sound(path)[4000:12_000]).max() == pytest.approx(0.4 * (1 + strength) / 2, abs=0.03)


def test_a_channel_that_opposes_two_others_is_turned(tmp_path: Path) -> None:
    voice = tone(1, 16_000, 0.4)
    channels = np.stack([voice, -voice, voice, voice])
    path = encode(tmp_path / "a.wav", channels, codec="pcm_s16le", rate_hz=16_000, layout="4.0")
    assert np.abs(read_sound(path)[4000:12_000]).max() == pytest.approx(0.4, abs=0.03)


def test_unrelated_channels_are_mixed_as_they_are(tmp_path: Path) -> None:
    left, right = tone(1, 16_000, 0.4), (0.3 * np.sin(np.arange(16_000) / 3)).astype(np.float32)
    path = encode(tmp_path / "a.wav", np.stack([left, right]), codec="pcm_f32le", rate_hz=16_000, layout="stereo")
    assert read_sound(path) == pytest.approx((left + right) / 2, abs=1e-5)


def test_opposite_phase_from_the_middle_on_is_noticed(tmp_path: Path) -> None:
    voice = tone(4, 16_000, 0.4)
    other = voice * np.where(np.arange(64_000) < 16_000, 1, -1)
    path = encode(tmp_path / "a.wav", np.stack([voice, other]), codec="pcm_s16le", rate_hz=16_000, layout="stereo")
    assert np.abs(read_sound(path)[-8000:]).max() == pytest.approx(0.4, abs=0.02)


def wav(path: Path, *, channels: int = 1, rate_hz: int = 16_000, n: int = 4000) -> Path:
    """A WAV whose header may claim anything."""
    data = np.repeat((3000 * np.sin(np.arange(n) / 5)).astype("<i2")[:, None], channels, axis=1).tobytes()
    size = 2 * channels
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate_hz, rate_hz * size % 2**32, size, 16)
    chunks = form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


@pytest.mark.parametrize("rate_hz", [1, 100, 7_000_000])
def test_a_rate_that_no_recording_has_is_a_fault_of_the_file(tmp_path: Path, rate_hz: int) -> None:
    with pytest.raises(MediaError, match=rf"a\.wav` claims a sampling rate of {rate_hz} Hz\n\nhint: 2000 to 768000 Hz"):
        read_sound(wav(tmp_path / "a.wav", rate_hz=rate_hz))


@pytest.mark.parametrize("rate_hz", [0, 2_000_000_000, 4_000_000_000])
def test_a_rate_that_ffmpeg_refuses_is_a_fault_of_the_file(tmp_path: Path, rate_hz: int) -> None:
    with pytest.raises(MediaError):
        read_sound(wav(tmp_path / "a.wav", rate_hz=rate_hz))


def test_a_track_of_many_channels_apart_from_each_other_is_mixed(tmp_path: Path) -> None:
    path, voice = tmp_path / "a.wv", (16_000 * tone(0.5)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("wavpack", rate=16_000, layout="24c")
        packed = av.AudioFrame.from_ndarray(np.repeat(voice, 24)[None], format="s16", layout="24c")
        packed.sample_rate = 16_000
        apart = av.AudioResampler(format="s16p", layout="24c", rate=16_000, frame_size=1024)
        for frame in (*apart.resample(packed), *apart.resample(None)):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    heard = read_sound(path)
    assert np.corrcoef(heard, voice[: len(heard)])[0, 1] > 0.99


def test_many_channels_are_mixed_and_too_many_are_refused(tmp_path: Path) -> None:
    assert np.abs(read_sound(wav(tmp_path / "a.wav", channels=16))).max() == pytest.approx(3000 / 32768, rel=0.02)
    with pytest.raises(MediaError, match=r"has 64 channels\n\nhint: up to 63"):
        read_sound(wav(tmp_path / "a.wav", channels=64))


def test_broken_time_stamps_make_no_hours_of_silence(tmp_path: Path) -> None:
    path = retimed(tmp_path / "a.mp4", track=1, scale=4)
    assert 1000 < len(read_sound(path)) < 35_000
