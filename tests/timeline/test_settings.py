from dataclasses import fields

import pytest

from cimeu.errors import RecipeError
from cimeu.timeline.settings import RANGES, TimelineSettings


def test_settings_that_leave_gaps_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"hop_s 3\.0 is longer than window_s 2\.0"):
        TimelineSettings(hop_s=3.0)
    with pytest.raises(RecipeError, match=r"window_s is 0\.0\n\nhint: a number from 0\.2 to 60"):
        TimelineSettings(window_s=0.0)


def test_settings_are_typed_by_name() -> None:
    typed = {"minimum_s": "2", "abstain_below": "0.4", "abstain_unlike": "No"}
    settings = TimelineSettings(minimum_s=2.0, abstain_below=0.4, abstain_unlike=False)
    assert TimelineSettings().changed(typed) == settings


def test_every_setting_has_a_range() -> None:
    names = {each.name for each in fields(TimelineSettings)}
    assert names == {*RANGES, "abstain_unlike"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("minimun_s", "2", r"unknown setting `minimun_s` of the timeline\n\nhint: did you mean `minimum_s`\?"),
        ("minimum_s", "two", r"minimum_s is two\n\nhint: a number from 0 to 3600"),
        ("minimum_s", "nan", r"minimum_s is nan\n\nhint: a number from 0 to 3600"),
        ("abstain_below", "1.5", r"abstain_below is 1\.5\n\nhint: a number from 0 to 1"),
        ("abstain_unlike", "maybe", r"abstain_unlike is maybe\n\nhint: true or false"),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        TimelineSettings().changed({name: text})


def test_a_part_ends_after_it_starts_and_takes_clock_times() -> None:
    assert TimelineSettings().changed({"start_s": "10:00", "end_s": "25:00"}).part == (600.0, 1500.0)
    assert TimelineSettings(start_s=5.0).part == (5.0, float("inf"))
    with pytest.raises(RecipeError, match=r"end_s 3 is not after start_s 5\n\nhint: "):
        TimelineSettings(start_s=5.0, end_s=3.0)
    with pytest.raises(RecipeError, match=r"start_s is soon"):
        TimelineSettings().changed({"start_s": "soon"})
