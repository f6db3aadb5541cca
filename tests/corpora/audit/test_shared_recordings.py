"""Copies are found by what is heard and seen: recoded, louder, cut, renamed; other recordings are not."""

from pathlib import Path

import av
import numpy as np
import pytest

from cimeu.corpora.adapters.folder import from_flat_folder
from cimeu.corpora.audit.shared_recordings import SHORTEST, same_sounds, shared_recordings, sub_fingerprints
from cimeu.corpora.inclusions import INCLUSIONS, inclusions_among, inclusions_of
from cimeu.media.audio import RATE_HZ, write_sound


def speech_like(seed: int, seconds: float = 3.0) -> np.ndarray:
    """A voice-like sound: syllables of noise and harmonics with a moving pitch."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    moments_s = np.linspace(0, seconds, 12)
    pitch_hz = np.interp(time_s, moments_s, generator.uniform(90, 260, 12))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    strengths = [np.interp(time_s, moments_s, generator.uniform(0, 1, 12)) / n for n in range(1, 16)]
    voice = sum(strength * np.sin(n * phase) for n, strength in enumerate(strengths, start=1))
    loudness = np.interp(time_s, moments_s, generator.uniform(0.1, 1, 12))
    samples = loudness * (voice + 0.1 * generator.normal(size=len(time_s)))
    return (0.3 * samples / np.abs(samples).max()).astype(np.float32)


def write_mp3(path: Path, samples: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp3", rate=RATE_HZ, layout="mono")
        stream.bit_rate = 32_000
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        for piece in (frame, None):
            container.mux(stream.encode(piece))


def prints(*clips: np.ndarray) -> list[np.ndarray | None]:
    return [sub_fingerprints(clip) for clip in clips]


def test_a_cut_out_of_the_middle_is_found_where_it_began() -> None:
    originals = [speech_like(seed) for seed in range(4)]
    cut = originals[2][16_123 : 16_123 + 24_000]
    assert same_sounds(prints(*originals), prints(cut)) == {(2, 0): pytest.approx(16_123 / RATE_HZ, abs=0.02)}


def test_loudness_does_not_matter() -> None:
    original = speech_like(0)
    assert set(same_sounds(prints(original), prints(original / 30))) == {(0, 0)}


def test_other_recordings_of_the_same_kind_share_nothing() -> None:
    assert same_sounds(prints(*map(speech_like, range(6))), prints(*map(speech_like, range(6, 12)))) == {}


def test_silence_and_short_clips_have_no_fingerprint() -> None:
    assert prints(np.zeros(RATE_HZ, np.float32), speech_like(0, 0.5)) == [None, None]
    assert len(sub_fingerprints(speech_like(0, 2.0))) > SHORTEST


def test_a_recoded_cut_and_renamed_copy_of_a_folder_is_found_and_nothing_else(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    for seed in range(4):
        write_sound(tmp_path / "one" / f"clip{seed}.wav", speech_like(seed))
    write_mp3(tmp_path / "other" / "renamed.mp3", speech_like(1)[4_000:])
    write_sound(tmp_path / "other" / "own.wav", speech_like(9))
    copies = shared_recordings(from_flat_folder(tmp_path / "one"), from_flat_folder(tmp_path / "other")).copies
    assert [(copy.one, copy.other, copy.by) for copy in copies] == [("clip1", "renamed", "sound")]


def test_known_inclusions_concern_corpora_that_are_used_together() -> None:
    assert [str(each) for each in inclusions_among({"mafw", "dfew", "cremad"})] == [
        "`mafw` holds 1,097 clips of `dfew` (stated by comparison of both corpora)"
    ]
    assert {each.outer for each in inclusions_of("mer2023")} == {"mer2024", "mer2025"}
    assert inclusions_of("urdu") == []
    counts = {each.outer: each.clips for each in INCLUSIONS if each.inner == "mer2023"}
    assert counts["mer2024"] == 3373 + 411 + 412 + 834
