"""Several voices that nobody is seen with get a lane each."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cimeu.errors import RecipeError, WeightsMissing
from cimeu.inference.diarisation import ANOTHER_VOICE, around_middle, voices_apart
from cimeu.inference.lanes import Lane
from cimeu.inference.model_store import STARTER
from cimeu.inference.recogniser import Recogniser
from cimeu.media.audio import read_sound, write_sound
from cimeu.timeline.segments import has_face
from cimeu.timeline.settings import TimelineSettings


def lane(speakers: str) -> Lane:
    """One stretch per letter, `.` without a voice; prints of `a` and `b` are orthogonal, with a little noise."""
    generator, lane = np.random.default_rng(0), Lane()
    for number, speaker in enumerate(speakers):
        lane.basis[number] = ("", "no speech") if speaker == "." else ("voice", "")
        if speaker != ".":
            lane.probabilities[number] = np.array([0.5, 0.5])
            lane.voiceprints[number] = (np.eye(8)["ab".index(speaker)] + generator.normal(0, 0.05, 8)).astype(
                np.float32
            )
    return lane


def test_each_voice_has_a_lane_that_says_when_another_speaks() -> None:
    lanes, origins = voices_apart({"person 1": Lane(), "off screen": lane("aaa.bbbaa")}, 2)
    assert list(lanes) == ["person 1", "voice 1", "voice 2"]
    assert origins == {"voice 1": "off screen", "voice 2": "off screen"}
    assert sorted(lanes["voice 1"].probabilities) == [0, 1, 2, 7, 8]
    assert sorted(lanes["voice 2"].probabilities) == [4, 5, 6]
    assert lanes["voice 1"].basis[3] == lanes["voice 2"].basis[3] == ("", "no speech")
    assert lanes["voice 1"].basis[5] == ("", ANOTHER_VOICE)
    assert not has_face("voice 1")
    assert has_face("person 1")


def test_a_recording_with_one_heard_stretch_keeps_its_lane() -> None:
    assert list(voices_apart({"voice": lane("..a.")}, 2)[0]) == ["voice"]


def test_no_more_voices_than_stretches() -> None:
    assert list(voices_apart({"voice": lane("ab")}, 5)[0]) == ["voice 1", "voice 2"]


@pytest.mark.parametrize(("n_samples", "kept"), [(32_000, 25_600), (25_601, 25_600), (9_000, 9_000), (0, 0)])
def test_a_print_is_taken_from_the_middle(n_samples: int, kept: int) -> None:
    middle = around_middle(np.arange(n_samples, dtype=np.float32))
    assert len(middle) == kept
    assert not n_samples or middle[0] == (n_samples - kept) // 2


@pytest.mark.parametrize("text", ["0", "9", "1.5", "two"])
def test_numbers_of_voices_are_whole(text: str) -> None:
    with pytest.raises(RecipeError, match=r"voices is .*\n\nhint: a number from 1 to 8"):
        TimelineSettings().changed({"voices": text})


def test_absent_weights_are_named_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recogniser = Recogniser.from_pretrained(STARTER)
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing, match="cimeu weights fetch voiceprint"):
        recogniser.with_settings(TimelineSettings(voices=2))


def test_two_real_speakers_are_told_apart(trial_data: Path, tmp_path: Path) -> None:
    """A woman and a man in turns: each of both lanes has most of what one of them says."""
    folder = trial_data / "speech" / "ravdess" / "neutral"
    turns = [sorted(folder.glob(f"*-{actor}.flac"))[number] for number in range(3) for actor in ("01", "02")]
    samples = [read_sound(file) for file in turns]
    write_sound(tmp_path / "two.wav", np.concatenate(samples))
    timeline = Recogniser.from_pretrained(STARTER, settings=TimelineSettings(voices=2))(tmp_path / "two.wav")
    ends_s = np.cumsum([len(turn) / 16_000 for turn in samples])
    heard = Counter[tuple[str, int]]()
    assert timeline.series is not None
    for window in timeline.series:
        if window.scores is not None:
            turn = int(np.searchsorted(ends_s, (window.start_s + window.end_s) / 2))
            heard[window.person, turn % 2] += 1
    assert {person for person, _ in heard} == {"voice 1", "voice 2"}
    right = max(heard["voice 1", one] + heard["voice 2", 1 - one] for one in (0, 1))
    assert right / heard.total() > 0.85
