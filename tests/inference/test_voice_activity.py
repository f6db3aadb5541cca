"""Who speaks: mouths that follow a voice, mouths that do not, and what cannot be told."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float, UInt8

from cimeu.inference.voice_activity import NO_SPEECH, SILENT, MouthMotion, who_speaks, why_not_heard
from cimeu.media.audio import read_sound
from cimeu.timeline.settings import TimelineSettings

from ..media.whole_clips import read_clip
from .conftest import voice

SETTINGS = TimelineSettings()
SYLLABLES = voice(2.0)


def following(samples: Float[np.ndarray, " N"], *, late_frames: int = 0) -> Float[np.ndarray, " F"]:
    """Motion of a mouth that opens with the sound, 25 frames a second."""
    level = np.sqrt((samples.reshape(-1, 640) ** 2).mean(axis=1))
    return np.roll(level / level.max(), late_frames) + 0.02 * np.random.default_rng(0).random(len(level))


STILL = 0.02 * np.random.default_rng(1).random(50)


def test_the_mouth_that_follows_the_voice_speaks() -> None:
    assert who_speaks({"a": STILL, "b": following(SYLLABLES)}, SYLLABLES, 25.0, SETTINGS) == "b"


def test_a_voice_a_little_late_still_belongs_to_its_mouth() -> None:
    motions = {"a": following(SYLLABLES, late_frames=2), "b": STILL}
    assert who_speaks(motions, SYLLABLES, 25.0, SETTINGS) == "a"


def test_two_mouths_that_follow_alike_leave_it_open() -> None:
    motions = {"a": following(SYLLABLES), "b": following(SYLLABLES) * 0.7}
    assert who_speaks(motions, SYLLABLES, 25.0, SETTINGS) is None


def test_a_voice_that_no_mouth_follows_belongs_to_nobody() -> None:
    assert who_speaks({"a": STILL, "b": STILL[::-1].copy()}, SYLLABLES, 25.0, SETTINGS) is None


def test_a_face_seen_too_shortly_leaves_it_open() -> None:
    hidden = np.where(np.arange(50) < 8, STILL, np.nan)
    assert who_speaks({"a": following(SYLLABLES), "b": hidden}, SYLLABLES, 25.0, SETTINGS) is None


def test_motion_is_that_of_the_mouth_and_needs_the_frame_before() -> None:
    mouth, grey = MouthMotion(), np.full((64, 64, 3), 90, np.uint8)
    opened, blinked = grey.copy(), grey.copy()
    opened[40:54, 22:42] = 200
    blinked[10:20, 10:54] = 200
    for index, crop in ((0, grey), (1, blinked), (2, opened), (4, grey)):
        mouth.add(index, crop)
    np.testing.assert_array_equal(np.isnan(mouth.between(0, 5)), [True, False, False, True, True])
    assert mouth.between(1, 2)[0] == 0
    assert mouth.between(2, 3)[0] > 50
    mouth.forget(2)
    assert np.isnan(mouth.between(1, 2)[0])


@pytest.mark.parametrize(
    ("from_s", "until_s", "wanted"),
    [(0.0, 0.9, ""), (0.7, 1.1, ""), (1.2, 1.9, NO_SPEECH), (0.2, 0.25, "")],
    ids=["speech", "its end", "after it", "inside a pause"],
)
def test_a_stretch_of_a_window_is_speech_only_near_speech(from_s: float, until_s: float, wanted: str) -> None:
    assert why_not_heard(voice(2.0, to_s=1.0), SETTINGS, from_s, until_s) == wanted


def test_a_silent_stretch_beside_speech_is_called_silent() -> None:
    samples = voice(2.0, to_s=1.0)
    samples[16_000:] = 0
    assert why_not_heard(samples, SETTINGS, 1.3, 1.9) == SILENT


def crops(path: Path) -> UInt8[np.ndarray, "F S S 3"]:
    found = read_clip(path, want={"crops"}).crops
    assert found is not None
    return found


def test_a_real_speaker_is_told_from_a_real_listener(trial_data: Path) -> None:
    """The listener is another clip's face before it speaks, there and back again."""
    clip, other = (trial_data / "video" / f"{name}.mp4" for name in ("01-01-08-02-02-02-01", "01-01-01-01-01-01-01"))
    speaking, resting = crops(clip)[20:68], crops(other)[4:20]
    mouths = {"speaker": MouthMotion(), "listener": MouthMotion()}
    for index in range(48):
        mouths["speaker"].add(index, speaking[index])
        mouths["listener"].add(index, np.concatenate([resting, resting[::-1]])[index % 32])
    motions = {name: mouth.between(0, 48) for name, mouth in mouths.items()}
    samples = read_sound(clip)[20 * 640 : 68 * 640]
    assert who_speaks(motions, samples, 25.0, SETTINGS) == "speaker"


def test_silero_hears_a_quiet_speaker_and_no_tremolo(trial_data: Path) -> None:
    rule = TimelineSettings(speech_probability=0.5)
    speech = read_sound(trial_data / "video" / "01-01-08-02-02-02-01.mp4")[16_000:48_000]
    times_s = np.arange(32_000) / 16_000
    tremolo = 0.05 * np.sin(2 * np.pi * 220 * times_s) * (1 + np.sin(2 * np.pi * 4 * times_s))
    assert not why_not_heard(speech / 10, rule)
    assert why_not_heard(tremolo.astype(np.float32), rule) == NO_SPEECH
    assert not why_not_heard(tremolo.astype(np.float32), SETTINGS)  # the rule on levels cannot know
    assert why_not_heard(np.zeros(32_000, np.float32), rule) == SILENT
    assert why_not_heard(speech[8_000:8_100], rule) == NO_SPEECH
