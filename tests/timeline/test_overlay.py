"""The annotated video is read back by FFmpeg."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from cimeu.media.audio import read_sound
from cimeu.media.video import Frame, probe, write_video
from cimeu.timeline.overlay import CAPTION_S, Drawing, between
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import USE_LIMITS, Header, Place, Segment

from ..inference.conftest import pictures

COLOUR = (224, 122, 95)
"""Of the first emotion."""
HEADER = Header(
    "a.mp4", "00ff", 3.0, "cimeu-abc", ("anger", "sadness"), {"hog": "12"}, {"window_s": 2.0}, False, "0.1", ""
)
SEGMENT = Segment("person 1", 0.0, 9.0, "anger", 0.75, {"anger": 0.75, "sadness": 0.25}, False, "face", "")


def steady(rate_hz: float = 5.0) -> tuple[Place, ...]:
    """A face that stays where it is."""
    return tuple(Place(index / rate_hz, 0.2, 0.4, 0.2, 0.3) for index in range(45))


def drawn(time_s: float, segment: Segment = SEGMENT) -> np.ndarray:
    timeline = Timeline(HEADER, (segment,), Path("a.mp4"), {"person 1": steady()})
    return Drawing(timeline)(Frame(time_s, np.zeros((240, 320, 3), np.uint8)))


def test_the_box_is_where_the_face_is() -> None:
    picture = drawn(CAPTION_S + 1)
    assert tuple(picture[130, 64]) == COLOUR
    assert tuple(picture[130, 128]) == COLOUR
    assert tuple(picture[167, 90]) == COLOUR
    assert not picture[130, 70:120].any()


@pytest.mark.parametrize("name", ["n" * 300, "a\nb\udce9", "中文", "😀 عربى", "$\\frac{$"])
def test_whatever_a_person_is_called_the_emotion_stays_inside_the_frame(name: str) -> None:
    places = tuple(Place(time_s, 0.85, 0.4, 0.1, 0.3) for time_s in (0.0, 0.2))
    timeline = Timeline(HEADER, (replace(SEGMENT, person=name),), Path("a.mp4"), {name: places})
    picture = Drawing(replace(timeline, header=replace(HEADER, media=name)))(
        Frame(0.1, np.zeros((480, 640, 3), np.uint8))
    )
    plate = picture[165:190] == COLOUR
    assert plate.all(-1)[:, :-8].any()
    assert not plate.all(-1)[:, -2:].any()
    assert int(plate.all(-1).any(0).argmax()) < 0.85 * 640  # moved to the left, or it would not fit


def test_a_box_moves_in_a_straight_line_between_two_places() -> None:
    middle = between(Place(0.0, 0.0, 0.2, 0.1, 0.1), Place(0.2, 0.4, 0.2, 0.1, 0.3), 0.5)
    assert (middle.time_s, middle.left, middle.top, middle.height) == pytest.approx((0.1, 0.2, 0.2, 0.2))


def test_no_box_is_drawn_where_the_face_was_lost() -> None:
    places = {"person 1": (Place(0.0, 0.2, 0.4, 0.2, 0.3), Place(9.0, 0.2, 0.4, 0.2, 0.3))}
    timeline = Timeline(HEADER, (SEGMENT,), Path("a.mp4"), places)
    picture = Drawing(timeline)(Frame(CAPTION_S + 1, np.zeros((240, 320, 3), np.uint8)))
    assert not picture.any()


def test_the_bar_is_as_long_as_the_confidence() -> None:
    def length(confidence: float) -> int:
        picture = drawn(CAPTION_S + 1, replace(SEGMENT, confidence=confidence))
        rows = np.flatnonzero((picture == (16, 21, 27)).all(-1).sum(1) > 10)
        return int((picture[rows[-1]] == (16, 21, 27)).all(-1).sum())

    assert length(0.9) == pytest.approx(3 * length(0.3), abs=2)


def test_a_lane_without_a_face_is_told_below() -> None:
    timeline = Timeline(HEADER, (replace(SEGMENT, person="off screen"),), Path("a.mp4"))
    picture = Drawing(timeline)(Frame(CAPTION_S + 1, np.zeros((240, 320, 3), np.uint8)))
    rows = np.flatnonzero((picture == COLOUR).all(-1).any(1))
    assert rows[0] > 200


def test_the_first_seconds_carry_a_caption() -> None:
    assert drawn(0.0)[239].any()
    assert not drawn(CAPTION_S + 0.1)[239].any()


def test_a_demonstration_is_marked_throughout() -> None:
    timeline = Timeline(replace(HEADER, demonstration=True), (), Path("a.mp4"))
    assert Drawing(timeline)(Frame(CAPTION_S + 50, np.zeros((240, 320, 3), np.uint8)))[:40].any()


def test_the_video_keeps_its_pictures_and_says_what_made_it(recordings: Path, tmp_path: Path) -> None:
    timeline = Timeline(HEADER, (SEGMENT,), recordings / "two.mp4", {"person 1": steady()})
    path = timeline.save(tmp_path / "two.mp4")
    with av.open(str(path)) as container:
        assert USE_LIMITS in container.metadata["comment"]
        assert "cimeu-abc" in container.metadata["comment"]
        times = [frame.time for frame in container.decode(video=0)]
    with av.open(str(recordings / "two.mp4")) as container:
        assert times == pytest.approx([frame.time for frame in container.decode(video=0)], abs=1e-3)


def test_sound_stays_in_step_with_the_pictures(tmp_path: Path) -> None:
    beep = np.zeros(48_000, np.float32)
    beep[32_000:33_600] = 0.5 * np.sin(np.arange(1600))
    write_video(tmp_path / "beep.mp4", pictures(3.0, {}), rate_hz=25, samples=beep)
    path = Timeline(HEADER, (), tmp_path / "beep.mp4").save(tmp_path / "out" / "beep.mp4")
    heard = [np.flatnonzero(np.abs(read_sound(each)) > 0.1)[[0, -1]] / 16_000 for each in (tmp_path / "beep.mp4", path)]
    assert heard[1] == pytest.approx(heard[0], abs=0.01)


def test_odd_sizes_and_changing_rates_are_kept(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", (frame[:239, :319] for frame in pictures(0.4, {})), rate_hz=10)
    path = Timeline(HEADER, (), tmp_path / "odd.mp4").save(tmp_path / "out" / "odd.mp4")
    assert (probe(path).width, probe(path).height) == (320, 240)


def test_a_sound_file_gets_a_dark_picture(recordings: Path, tmp_path: Path) -> None:
    segment = replace(SEGMENT, person="voice")
    path = Timeline(HEADER, (segment,), recordings / "speech.wav").save(tmp_path / "speech.mp4")
    info = probe(path)
    assert info.has_video
    assert info.has_sound
    assert info.duration_s == pytest.approx(5.0, abs=0.1)


def test_sound_is_read_no_further_than_the_pictures_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cimeu.timeline import overlay

    write_video(tmp_path / "a.mp4", pictures(3.0, {}), rate_hz=25, samples=np.zeros(48_000, np.float32))
    shown_s, ahead_s = [0.0], []
    write, draw = overlay._Sound._write, Drawing.__call__

    def watched(self: overlay._Sound, block: np.ndarray) -> None:
        write(self, block)
        ahead_s.append(self._written / overlay.CLOCK_HZ - shown_s[-1])

    monkeypatch.setattr(overlay._Sound, "_write", watched)
    monkeypatch.setattr(Drawing, "__call__", lambda self, frame: (shown_s.append(frame.time_s), draw(self, frame))[1])
    Timeline(HEADER, (), tmp_path / "a.mp4").save(tmp_path / "out" / "a.mp4")
    assert len(ahead_s) >= 6
    assert max(ahead_s) < 0.6


def covered_rows(places: tuple[Place, ...], height: int = 720) -> np.ndarray:
    """Rows that the caption of the first seconds covers."""
    timeline = Timeline(HEADER, (), Path("a.mp4"), {"person 1": places})
    frame = Drawing(timeline)(Frame(0.0, np.full((height, 1280, 3), 255, np.uint8)))
    return np.flatnonzero((frame != 255).any(axis=(1, 2)))


@pytest.mark.parametrize(("top", "at_the_bottom"), [(0.02, True), (0.6, False)])
def test_the_caption_is_small_and_away_from_faces(top: float, at_the_bottom: bool) -> None:
    rows = covered_rows(tuple(Place(index / 5, 0.3, top, 0.3, 0.38) for index in range(25)))
    assert len(rows) < 0.15 * 720
    assert (rows[-1] == 719) == at_the_bottom
    assert not set(rows) & set(range(round(top * 720), round((top + 0.38) * 720)))


def test_words_about_a_face_at_the_upper_edge_stand_below_it() -> None:
    places = tuple(Place(index / 5, 0.2, 0.0, 0.3, 0.5) for index in range(60))
    timeline = Timeline(HEADER, (SEGMENT,), Path("a.mp4"), {"person 1": places})
    picture = Drawing(timeline)(Frame(CAPTION_S + 1, np.zeros((240, 320, 3), np.uint8)))
    assert not picture[10:110, 80:140].any()
    assert picture[125:140, 80:140].any()
