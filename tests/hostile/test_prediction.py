"""A folder of thirty odd and broken recordings: each gets a timeline or a reason, and none takes much of anything."""

import json
import os
import resource
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from skimage.data import astronaut

from cimeu.inference.batch import predict_files
from cimeu.inference.recogniser import Recogniser
from cimeu.media.audio import RATE_HZ

FACE = np.ascontiguousarray(astronaut()[20:260:2, 140:300:2])  # 120 x 80
EMPTY = np.full((120, 160, 3), 90, np.uint8)
MOST_SECONDS, MOST_BYTES = 30.0, 600 * 2**20
"""Of the processor, and above what the process had; 3 s and 50 MB are usual."""


def scene(*, faces: int = 1) -> np.ndarray:
    """A face on grey, or many of them."""
    if faces == 0:
        return EMPTY
    if faces == 1:
        pixels = EMPTY.copy()
        pixels[:, 40:120] = FACE
        return pixels
    return np.tile(FACE, (4, faces // 4, 1))


def speech(duration_s: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * 220 * time_s) * np.clip(np.sin(2 * np.pi * 3 * time_s), 0, 1)).astype(np.float32)


def record(
    path: Path,
    pictures: Iterable[np.ndarray] = (),
    *,
    sounds: Iterable[np.ndarray] = (),
    codec: str = "mpeg4",
    pixel_format: str = "yuv420p",
    times: Callable[[int], int] = lambda index: 40 * index,
    layout: str = "mono",
    sound_rate_hz: int = RATE_HZ,
    sound_codec: str = "pcm_s16le",
    options: dict[str, str] | None = None,
    file_format: str | None = None,
) -> None:
    """Pictures at times in milliseconds, and sounds, one track each."""
    pictures = list(pictures)
    with av.open(str(path), "w", format=file_format, options=options or {}) as container:
        video = None
        if pictures:
            video = container.add_stream(codec, rate=25)
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = pixel_format
            video.codec_context.time_base = Fraction(1, 1000)
        tracks = [container.add_stream(sound_codec, rate=sound_rate_hz, layout=layout) for _ in sounds]
        for index, pixels in enumerate(pictures):
            assert video is not None
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = times(index), Fraction(1, 1000)
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        for track, samples in zip(tracks, sounds, strict=True):
            channels = track.codec_context.layout.nb_channels
            packed = np.repeat((samples * 32767).astype(np.int16), channels)[None]
            frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = sound_rate_hz, 0, Fraction(1, sound_rate_hz)
            for resampled in av.AudioResampler(format=track.codec_context.format or "s16", layout=layout).resample(
                frame
            ):
                container.mux(track.encode(resampled))
            container.mux(track.encode(None))


def turned(path: Path, degrees: int) -> None:
    """Set the display matrix in the header of an MP4 (ISO/IEC 14496-12, `tkhd`)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    one, matrix = 1 << 16, {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1)}[degrees]
    a, b, c, d = (value * one for value in matrix)
    for place, value in enumerate((a, b, 0, c, d, 0, 0, 0, 1 << 30)):
        data[start + 4 * place : start + 4 * place + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(data)


def without_times(path: Path, target: Path) -> None:
    """The bare stream: no container, no time stamps."""
    with av.open(str(path)) as container:
        target.write_bytes(b"".join(bytes(packet) for packet in container.demux(video=0)))


def spoilt(path: Path, target: Path, first: float, last: float) -> None:
    data = bytearray(path.read_bytes())
    first, last = round(first * len(data)), round(last * len(data))
    data[first:last] = np.random.default_rng(0).integers(0, 256, last - first, dtype=np.uint8).tobytes()
    target.write_bytes(data)


def make_all(folder: Path) -> None:
    """Every file, by name."""
    talk = [scene()] * 15
    whole, voice = folder / "whole.mkv", speech(0.6)
    record(whole, talk, sounds=[voice])
    (folder / "zero.mp4").touch()
    (folder / "text.mp4").write_text("a letter, not a film\n" * 50)
    (folder / "empty container.mkv").write_bytes(whole.read_bytes()[:300])
    (folder / "truncated.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / "wrong extension.wav").write_bytes(whole.read_bytes())
    spoilt(whole, folder / "corrupt tail.mkv", 0.7, 1.0)
    spoilt(whole, folder / "corrupt middle.mkv", 0.4, 0.6)
    record(folder / "audio only.mp4", sounds=[voice], sound_codec="aac")
    with av.open(str(folder / "cover.mp3"), "w") as container:
        sound, cover = (
            container.add_stream("libmp3lame", rate=RATE_HZ, layout="mono"),
            container.add_stream("mjpeg", rate=1),
        )
        cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(voice[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    record(folder / "variable rate.mkv", talk, times=lambda index: 20 * index + 4 * index**2)
    for degrees in (90, 180):
        record(folder / f"turned {degrees}.mp4", talk)
        turned(folder / f"turned {degrees}.mp4", degrees)
    record(folder / "one picture.mkv", talk[:1])
    record(folder / "two pictures.mkv", talk[:2])
    record(folder / "ten bits.mkv", talk, codec="ffv1", pixel_format="yuv420p10le")
    record(folder / "odd size.mkv", [scene()[:119, :157]] * 8, codec="ffv1", pixel_format="yuv444p")
    record(folder / "negative times.avi", talk, times=lambda index: 40 * index - 400, file_format="nut")
    record(folder / "two tracks.mkv", talk, sounds=[voice, 0 * voice])
    record(folder / "telephone.wav", sounds=[speech(0.6, 8000)], sound_rate_hz=8000)
    record(folder / "surround.mkv", talk, sounds=[voice], layout="5.1")
    record(folder / "huge.mkv", [np.zeros((4320, 7680, 3), np.uint8)] * 2, codec="mjpeg", pixel_format="yuvj420p")
    record(folder / "no face.mkv", [EMPTY] * 15, sounds=[voice])
    record(folder / "twenty faces.mkv", [scene(faces=20)] * 8, sounds=[speech(0.32)])
    record(folder / "black.mkv", [0 * EMPTY] * 15)
    record(folder / "silent.mkv", talk, sounds=[0 * voice])
    record(folder / "fast.mkv", talk * 8, times=lambda index: index)
    record(folder / "slow.mkv", talk[:3], times=lambda index: 1000 * index)
    later = [0, 40, 80, 86_400_000, 86_400_040, 86_400_080]
    record(folder / "a day later.avi", talk[:6], times=later.__getitem__, file_format="nut")
    record(folder / "bare.avi", talk, file_format="m4v")
    without_times(folder / "bare.avi", folder / "no times.avi")
    (folder / "playlist.ts").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nwhole.mkv\n#EXT-X-ENDLIST\n")
    (folder / "list.mp4").write_text("ffconcat version 1.0\nfile whole.mkv\n")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    record(folder / "-o new\nline 🎬.mkv", talk)
    record(folder / "locked.mkv", talk)
    (folder / "locked.mkv").chmod(0)


READ = {
    "whole": "person 1",
    "truncated": "person 1",
    "wrong extension": "person 1",
    "corrupt tail": None,
    "audio only": "voice",
    "cover": "voice",
    "variable rate": "person 1",
    "turned 180": None,
    "turned 90": None,
    "one picture": "person 1",
    "two pictures": "person 1",
    "ten bits": "person 1",
    "odd size": "person 1",
    "negative times": "person 1",
    "two tracks": "person 1",
    "telephone": "voice",
    "surround": "person 1",
    "huge": "off screen",
    "no face": "off screen",
    "twenty faces": "person 1",
    "black": "off screen",
    "silent": "person 1",
    "fast": "person 1",
    "slow": "person 1",
    "a day later": "person 1",
    "bare": "person 1",
    "no times": "person 1",
    "-o new\nline 🎬": "person 1",
}
"""Files that must be read, and who the first lane is; None: whatever is found."""
REFUSED = {
    "empty container.mkv": "is not a video or sound file",
    "zero.mp4": "is empty (0 bytes)",
    "text.mp4": "is not a video or sound file",
    "playlist.ts": "is not a video or sound file",
    "list.mp4": "a playlist, or a format that is not read",
    "loop.mp4": "Too many levels of symbolic links",
}


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory, toy: Any) -> tuple[Path, pd.DataFrame]:
    """The results of the whole folder, within limits of time and memory."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "in").mkdir()
    make_all(folder / "in")
    recogniser = Recogniser.from_pretrained(toy.run)
    before, started_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    failures = predict_files([folder / "in"], folder / "out", recogniser, formats=(".csv",)).failures
    assert time.process_time() - started_s < MOST_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_BYTES
    return folder, failures


@pytest.mark.parametrize("name", READ)
def test_it_is_read_and_every_stretch_is_explained(predicted: tuple[Path, pd.DataFrame], name: str) -> None:
    folder, _ = predicted
    timeline = json.loads((folder / "out" / f"{name}.json").read_text())
    assert (folder / "out" / f"{name}.csv").is_file()
    assert timeline["segments"]
    assert all(segment["label"] or segment["reason"] for segment in timeline["segments"])
    assert timeline["duration_s"] < 5
    if READ[name]:
        assert timeline["segments"][0]["person"] == READ[name]


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_a_reason(predicted: tuple[Path, pd.DataFrame], name: str) -> None:
    folder, failures = predicted
    reasons = {Path(path).name: reason for path, reason in zip(failures["path"], failures["reason"], strict=True)}
    assert REFUSED[name] in reasons[name]
    assert not list((folder / "out").glob(f"{Path(name).stem}.*"))


def test_every_file_has_a_result_or_a_reason_and_none_is_a_surprise(predicted: tuple[Path, pd.DataFrame]) -> None:
    folder, failures = predicted
    told = {Path(path).name for path in failures["path"]}
    files = {path.name for path in (folder / "in").iterdir()} - {"round"}
    assert len(files) >= 30
    silent = {name for name in files - told if not (folder / "out" / f"{Path(name).stem}.json").is_file()}
    assert not silent
    assert not [reason for reason in failures["reason"] if reason.startswith("unexpected")]


def test_an_unreadable_file_is_read_by_root_alone(predicted: tuple[Path, pd.DataFrame]) -> None:
    folder, failures = predicted
    refused = any(Path(path).name == "locked.mkv" for path in failures["path"])
    assert refused != (os.geteuid() == 0)
    assert refused != (folder / "out" / "locked.json").is_file()
