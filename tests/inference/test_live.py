"""A camera and a microphone are recognised like the recording that they would have made."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cimeu.inference.live import LiveSession, Moment
from cimeu.inference.model_store import STARTER
from cimeu.inference.recogniser import Recogniser
from cimeu.media.audio import RATE_HZ, write_sound
from cimeu.media.video import frames
from cimeu.timeline.settings import TimelineSettings

from ..media.whole_clips import read_clip
from .conftest import RunMaker

CHUNK_S = 0.1


def talk(duration_s: float, seed: int = 0) -> np.ndarray:
    """Noise that swells and fades as syllables do: the rule on levels takes it for speech. Synthetic."""
    times_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(seed).standard_normal(len(times_s))
    return (0.1 * noise * np.sin(2 * np.pi * times_s) ** 2).astype(np.float32)


def chunks(samples: np.ndarray, chunk_s: float = CHUNK_S) -> Iterator[np.ndarray]:
    size = round(chunk_s * RATE_HZ)
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def heard(session: LiveSession, samples: np.ndarray, chunk_s: float = CHUNK_S) -> list[Moment]:
    """All that is said while these samples come in."""
    moments = []
    for chunk in chunks(samples, chunk_s):
        session.hear(chunk)
        moments += session.answers()
    return moments


@pytest.fixture(scope="module")
def ear(make_run: RunMaker) -> Recogniser:
    """Hears, with random weights; each window is encoded by itself."""
    return Recogniser.from_pretrained(make_run("spectral", None))


@pytest.fixture(scope="module")
def starter() -> Recogniser:
    """The voice that ships, whose encoder listens to whole stretches of speech."""
    return Recogniser.from_pretrained(STARTER, settings=TimelineSettings(abstain_below=0.0))


def test_windows_are_those_of_the_recording(ear: Recogniser, tmp_path: Path) -> None:
    samples = np.concatenate([talk(3.3), np.zeros(RATE_HZ * 3, np.float32), talk(2.9, seed=1)])
    write_sound(tmp_path / "talk.wav", samples)
    offline = ear(tmp_path / "talk.wav").series
    live = heard(LiveSession(ear), samples.clip(-1, 1))
    assert offline is not None
    # The last window of a recording speaks for its end too.
    assert len(offline) - 3 <= len(live) <= len(offline)
    for moment, window in zip(live, offline, strict=False):
        assert replace(moment.scored, scores=None, ood_score=None) == replace(window, scores=None, ood_score=None)
        # The file has 16 bits.
        assert moment.scored.scores == (None if window.scores is None else pytest.approx(window.scores, abs=2e-3))
    assert {moment.scored.reason for moment in live} == {"", "silent sound"}


def test_a_window_is_answered_as_soon_as_it_is_over(ear: Recogniser) -> None:
    session, answered = LiveSession(ear), []
    for chunk in chunks(talk(4.0)):
        session.hear(chunk)
        answered += [(moment.window_s[1], session.heard_s) for moment in session.answers()]
    assert {round(end_s, 2) for end_s, _ in answered} == {2.0, 2.48, 2.96, 3.44, 3.92}
    assert all(0 <= heard_s - end_s < CHUNK_S + 1e-6 for end_s, heard_s in answered)
    assert session.dropped == 0


def test_a_machine_that_is_too_slow_answers_the_newest_window_and_counts_the_others(ear: Recogniser) -> None:
    session = LiveSession(ear)
    session.hear(talk(4.0))
    assert [moment.window_s for moment in session.answers()] == [(1.92, 3.92)]
    assert session.dropped == 4
    assert session.answers() == []


def test_windows_with_lost_sound_are_counted_and_not_answered(ear: Recogniser) -> None:
    session = LiveSession(ear)
    assert len({moment.window_s for moment in heard(session, talk(3.0))}) == 3
    session.lose(RATE_HZ // 2)
    later = heard(session, talk(4.0))
    assert min(moment.window_s[0] for moment in later) >= 3.5
    # So many windows end after second 3 and begin before second 3.5.
    assert session.dropped == 5


def test_nothing_grows_with_time(ear: Recogniser, starter: Recogniser) -> None:
    for recogniser, seconds in ((ear, 20), (starter, 10)):
        session, sizes = LiveSession(recogniser), []
        for second in range(seconds):
            heard(session, talk(1.0, seed=second) if second % 7 else np.zeros(RATE_HZ, np.float32))
            reader = session._reader
            lanes = sum(len(lane.basis) + len(lane.probabilities) for lane in reader.lanes.values())
            waiting = len(session._streams._blocks)
            sizes.append((len(reader._sound._kept) / RATE_HZ, lanes, waiting))
        assert max(seconds for seconds, _, _ in sizes) < 6.25 + 2 + 1
        assert max(lanes for _, lanes, _ in sizes) <= 4
        assert max(waiting for _, _, waiting in sizes) <= 10


def test_how_sound_arrives_changes_nothing(starter: Recogniser) -> None:
    samples = np.concatenate([talk(1.4), 1e-4 * talk(0.6), talk(4.0, seed=1)])
    one, other = (heard(LiveSession(starter), samples, chunk_s) for chunk_s in (0.02, 0.32))
    assert one == other


def test_a_real_voice_is_answered_much_as_in_the_recording(
    starter: Recogniser, trial_data: Path, tmp_path: Path
) -> None:
    paths = sorted((trial_data / "speech").glob("emodb/*/03*.flac"))[::4][:4]
    pause = (1e-4 * np.random.default_rng(0).standard_normal(RATE_HZ // 2)).astype(np.float32)
    parts = [part for path in paths for part in (read_clip(path, want={"sound"}).samples, pause) if part is not None]
    write_sound(tmp_path / "talk.wav", np.concatenate(parts))
    offline = {window.start_s: window for window in starter(tmp_path / "talk.wav").series or ()}
    live = heard(LiveSession(starter), np.concatenate(parts))
    both = [(m.scored.scores, offline[m.scored.start_s].scores) for m in live if m.scored.scores is not None]
    assert len(both) > 10
    assert all(other is not None for _, other in both)
    same = [np.argmax(one) == np.argmax(other) for one, other in both]
    assert np.mean(same) > 0.6
    assert {m.segment.label for m in live if m.scored.scores} <= set(starter.emotions)


def test_silence_is_told_and_nothing_is_named(starter: Recogniser) -> None:
    moments = heard(LiveSession(starter), np.zeros(3 * RATE_HZ, np.float32))
    assert {(m.segment.label, m.segment.reason, m.scored.scores) for m in moments} == {("", "silent sound", None)}


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def test_a_face_is_seen_and_its_voice_heard(toy) -> None:
    recogniser = Recogniser.from_pretrained(toy.run)
    clip = toy.manifest.parent / "east" / "east01" / "anger_01.mp4"
    shown = [frame.pixels for frame in frames(clip)] * 2
    session = LiveSession(recogniser, size=(shown[0].shape[1], shown[0].shape[0]))
    moments = []
    for number, chunk in enumerate(chunks(talk(len(shown) / 25), 0.04)):
        session.see(number / 25, jpeg(shown[number]) if number != 40 else b"\xff\xd8 damaged")
        session.hear(chunk)
        moments += session.answers()
    session.close()
    assert {moment.scored.person for moment in moments} == {"person 1"}
    assert {moment.scored.modality for moment in moments} == {"both"}
    assert all(moment.scored.scores is not None for moment in moments)
    assert session.dropped == 0
    assert len(moments) >= 4


def test_frames_for_a_model_of_sound_are_ignored(ear: Recogniser) -> None:
    session = LiveSession(ear, size=(64, 64))
    for number in range(50):
        session.hear(talk(0.1))
        session.see(number / 10, b"\xff\xd8")
    assert session._streams._waiting.empty()
    session.close()
