"""Sound is cut at pauses, every stretch is encoded once, and a window takes the steps of its own time."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pytest

from cimeu.inference.buffers import SoundBuffer
from cimeu.inference.utterances import LONGEST_S, ContextEncoder, Utterances, first_cut
from cimeu.media.audio import RATE_HZ


class Loudness:
    """An encoder whose step is the level of 100 ms, and the length of all that it heard."""

    name, version, width, window, source, kind, optional, heavy = "loudness", "1", 2, None, "sound", "steps", (), False
    preprocessing: ClassVar[dict[str, object]] = {"rate_hz": RATE_HZ, "trim": True, "level": False}
    step_s = 0.1

    def __init__(self) -> None:
        self.heard_s: list[float] = []

    def prepare(self, source: np.ndarray) -> np.ndarray:
        return source

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        samples, size = windows[0], round(0.1 * RATE_HZ)
        self.heard_s.append(len(samples) / RATE_HZ)
        levels = [np.abs(samples[start : start + size]).mean() for start in range(0, len(samples), size)]
        return np.array([(level, len(samples)) for level in levels], np.float32)


def tone(duration_s: float, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(np.arange(round(duration_s * RATE_HZ)) * 0.3)).astype(np.float32)


def silence(duration_s: float) -> np.ndarray:
    return (1e-5 * np.random.default_rng(0).standard_normal(round(duration_s * RATE_HZ))).astype(np.float32)


def track(*parts: np.ndarray) -> SoundBuffer:
    samples = np.concatenate(parts)

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(samples), RATE_HZ):
            yield samples[start : start + RATE_HZ]

    return SoundBuffer(blocks())


def test_a_pause_ends_a_stretch() -> None:
    samples = np.concatenate([tone(2.0), silence(0.5), tone(3.0)])
    assert first_cut(samples) / RATE_HZ == pytest.approx(2.0 + 0.125, abs=0.05)


def test_talk_without_a_pause_is_cut_where_it_is_quietest() -> None:
    quiet = tone(0.25, level=0.05)
    samples = np.concatenate([tone(4.0), quiet, tone(4.0)])
    assert first_cut(samples) / RATE_HZ == pytest.approx(4.125, abs=0.1)
    assert first_cut(tone(20.0)) <= LONGEST_S * RATE_HZ


def test_a_window_takes_the_steps_of_its_own_time() -> None:
    encoder = Loudness()
    assert isinstance(encoder, ContextEncoder)
    utterances = Utterances(track(tone(2.0, 0.1), silence(0.6), tone(3.0, 0.4)), encoder, ("forward",))
    quiet, reach = utterances.window(0.5, 1.5)
    assert quiet["forward"][:, 0].max() < 0.1
    assert len(quiet["forward"]) == 10
    assert reach == pytest.approx((0.0, 2.0), abs=0.05)
    loud, reach = utterances.window(3.0, 5.0)
    assert loud["forward"][:, 0].min() > 0.2
    assert reach == pytest.approx((2.6, 5.6), abs=0.05)


def test_every_stretch_is_encoded_once_and_whole() -> None:
    encoder = Loudness()
    utterances = Utterances(track(tone(2.0), silence(0.6), tone(3.0)), encoder, ("forward",))
    for start_s in np.arange(0, 4.0, 0.5):
        utterances.window(start_s, start_s + 2)
    assert encoder.heard_s == pytest.approx([2.0, 3.0], abs=0.06)


def test_backward_steps_are_those_of_the_same_time_from_its_end() -> None:
    utterances = Utterances(track(tone(1.0, 0.1), tone(1.0, 0.4)), Loudness(), ("forward", "backward"))
    window, _ = utterances.window(0.0, 2.0)
    forward, backward = window["forward"][:, 0], window["backward"][:, 0]
    assert forward[0] < forward[-1]
    np.testing.assert_allclose(backward, forward[::-1], atol=0.02)


def test_silence_has_no_steps() -> None:
    utterances = Utterances(track(silence(3.0)), Loudness(), ("forward",))
    assert utterances.window(0.5, 2.5) == ({}, (0.5, 2.5))


def test_what_was_passed_over_is_never_encoded() -> None:
    encoder = Loudness()
    utterances = Utterances(track(tone(2.0), silence(0.6), tone(3.0)), encoder, ("forward",))
    utterances.forget(2.5)
    utterances.window(3.0, 5.0)
    assert encoder.heard_s == pytest.approx([3.0], abs=0.06)


def test_live_a_window_hears_nothing_after_it_and_ends_up_with_the_same_stretches() -> None:
    samples = np.concatenate([tone(1.5), silence(0.6), tone(2.0), silence(0.6), tone(5.0)])

    def so_far() -> Iterator[np.ndarray | None]:
        for start in range(0, len(samples), RATE_HZ // 10):
            yield samples[start : start + RATE_HZ // 10]
            yield None

    sound, encoder = SoundBuffer(so_far()), Loudness()
    live = Utterances(sound, encoder, ("forward",), live=True)
    for end_s in np.arange(2.0, 9.5, 0.5):
        while sound.end_s < end_s:
            sound.read_until(end_s)
        _, (start_s, until_s) = live.window(end_s - 2.0, end_s)
        assert until_s == end_s
        assert start_s >= end_s - LONGEST_S - 0.25
    offline = Utterances(track(samples), Loudness(), ("forward",))
    offline.window(0.0, 2.5)
    settled = [(one.start_s, one.end_s) for one in live._stretches]
    assert settled[:2] == [(one.start_s, one.end_s) for one in offline._stretches[:2]]
    # A stretch that did not change is not encoded again.
    assert encoder.heard_s.count(pytest.approx(1.5, abs=0.05)) == 1
