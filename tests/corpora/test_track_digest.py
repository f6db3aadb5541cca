"""A recording is itself in any container, with any metadata, and without one of its tracks."""

import wave
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from cimeu.corpora.manifest import Clip, Manifest, build_manifest
from cimeu.corpora.same_file import SAME_FILE, with_same_file
from cimeu.corpora.track_digest import Tracks, tracks_of
from cimeu.corpora.training_record import TRAINED_ON, check_unseen, record_training, training_record
from cimeu.errors import FoldLeak
from cimeu.media.audio import write_sound


def film(path: Path, seed: int, *, silent: bool = False) -> Path:
    """Ten frames of noise, H.264, with half a second of AAC."""
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=20)
        video.height = video.width = 64
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for _ in range(10):
            pixels = random.integers(0, 255, (64, 64, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
        samples = random.normal(size=(1, 8000)).astype(np.float32) * (0 if silent else 0.1)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def remuxed(source: Path, target: Path, kinds: Sequence[str] = ("video", "audio")) -> Path:
    """The packets of a file in another container, with a title."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        written.metadata["title"] = "a copy"
        streams = {s.index: written.add_stream_from_template(s) for s in read.streams if s.type in kinds}
        for packet in read.demux([read.streams[index] for index in streams]):
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                written.mux(packet)
    return target


def clip_of(path: Path, audio_path: Path | None = None) -> Clip:
    return Clip(path.stem, path, audio_path, 0.0, None, "anger", "", "", "")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "original.mp4", 0)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "nut", "flv"])
def test_the_container_does_not_matter(original: Path, tmp_path: Path, suffix: str) -> None:
    mine, its = tracks_of([clip_of(original), clip_of(remuxed(original, tmp_path / f"copy.{suffix}"))])
    assert mine == its
    assert len(mine.video) == len(mine.sound) == 32


def test_header_and_notes_of_a_wav_file_do_not_matter(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(size=20_000).astype(np.float32) / 10
    write_sound(tmp_path / "a.wav", samples)
    with wave.open(str(tmp_path / "a.wav")) as read, wave.open(str(tmp_path / "b.wav"), "wb") as written:
        written.setparams(read.getparams())
        written.writeframes(read.readframes(read.getnframes()))
    with (tmp_path / "b.wav").open("ab") as file:
        file.write(b"LIST" + (12).to_bytes(4, "little") + b"INFOICMT" + bytes(4))
    write_sound(tmp_path / "c.wav", samples[::-1].copy())
    a, b, c = tracks_of([clip_of(tmp_path / f"{name}.wav") for name in "abc"])
    assert (tmp_path / "a.wav").read_bytes() != (tmp_path / "b.wav").read_bytes()
    assert a == b
    assert not a.shares_with(c)


def test_sound_in_a_file_of_its_own_is_the_sound(original: Path, tmp_path: Path) -> None:
    silent = remuxed(original, tmp_path / "silent.mkv", ["video"])
    sound = remuxed(original, tmp_path / "sound.m4a", ["audio"])
    apart, whole = tracks_of([clip_of(silent, sound), clip_of(original)])
    assert apart == whole


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Tracks("v", "s"), Tracks("v", ""), True),
        (Tracks("v", "s"), Tracks("", "s"), True),
        (Tracks("v", "silence"), Tracks("w", "silence"), False),
        (Tracks("still", "s"), Tracks("still", "t"), False),
        (Tracks("v", ""), Tracks("", "s"), False),
        (Tracks("v", "s", 0.0, 2.0), Tracks("v", "s", 1.5, 3.0), True),
        (Tracks("v", "s", 0.0, 2.0), Tracks("v", "s", 2.0, 3.0), False),
    ],
)
def test_what_two_clips_share(one: Tracks, other: Tracks, same: bool) -> None:
    assert one.shares_with(other) == other.shares_with(one) == same


def copies(original: Path, folder: Path) -> Manifest:
    """A whole copy, one without sound, one without video, another film, and two with one silence."""
    remuxed(original, folder / "whole.mov")
    remuxed(original, folder / "video.mkv", ["video"])
    remuxed(original, folder / "sound.m4a", ["audio"])
    film(folder / "other.mp4", 1)
    film(folder / "quiet.mp4", 2, silent=True)
    film(folder / "calm.mp4", 3, silent=True)
    names = ["video.mkv", "sound.m4a", "whole.mov", "other.mp4", "quiet.mp4", "calm.mp4"]
    return build_manifest(pd.DataFrame({"path": names, "emotion": "anger"}), folder)


def test_copies_have_one_name_with_and_without_their_tracks(original: Path, tmp_path: Path) -> None:
    assert list(with_same_file(copies(original, tmp_path)).table[SAME_FILE]) == ["whole"] * 3 + [""] * 3


def test_copies_of_training_clips_are_refused(original: Path, tmp_path: Path) -> None:
    trained = build_manifest(pd.DataFrame({"path": ["original.mp4"], "emotion": "anger"}), original.parent)
    record_training(trained, ["original"], [], tmp_path)
    tested = copies(original, tmp_path)
    message = r"3 of 6 clips hold recordings that `run` was trained on: `video` \(there `original`\), `sound` \(there"
    with pytest.raises(FoldLeak, match=message):
        check_unseen(tested, training_record(tmp_path), "run")
    check_unseen(tested.select(["other", "quiet"]), training_record(tmp_path), "run")


def test_a_record_of_an_earlier_version_goes_by_bytes(original: Path, tmp_path: Path) -> None:
    trained = build_manifest(pd.DataFrame({"path": ["original.mp4"], "emotion": "anger"}), original.parent)
    record = record_training(trained, ["original"], [], tmp_path)
    record.drop(columns=["video", "sound", "start_s", "end_s"]).to_csv(tmp_path / TRAINED_ON, index=False)
    check_unseen(copies(original, tmp_path), training_record(tmp_path), "run")
    with pytest.raises(FoldLeak, match="1 of 1 clips hold recordings"):
        check_unseen(trained, training_record(tmp_path), "run")


def test_other_seconds_of_a_training_file_may_be_tested(original: Path, tmp_path: Path) -> None:
    table = pd.DataFrame({"path": "original.mp4", "emotion": "anger", "clip_id": ["a", "b", "c"]})
    parts = build_manifest(table.assign(start_s=[0.0, 0.25, 0.2], end_s=[0.25, 0.5, 0.3]), original.parent)
    record = record_training(parts, ["a"], [], tmp_path)
    check_unseen(parts.select(["b"]), record, "run")
    with pytest.raises(FoldLeak, match=r"1 of 2 clips hold recordings that `run` was trained on: `c` \(there `a`\)"):
        check_unseen(parts.select(["b", "c"]), training_record(tmp_path), "run")
