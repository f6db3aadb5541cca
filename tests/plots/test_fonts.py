import logging

import pytest

from cimeu.plots import fonts
from cimeu.plots.fonts import USUAL, families_for, file_for


def test_a_character_that_no_font_has_is_named_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "_warned_of", set())
    with caplog.at_level(logging.WARNING):
        assert [families_for("An\U000e0fff na\U000e0ffe"), families_for("\u0378Anna")] == [[USUAL], [USUAL]]
    assert caplog.text == ""  # what is no character is not drawn


def test_letters_of_other_scripts_have_a_font_or_are_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "_warned_of", set())
    monkeypatch.setattr(fonts, "_font_with", lambda character: None if character in "中文" else fonts._usual())
    for _ in range(2):
        assert families_for("Anna 中文") == [USUAL]
        assert file_for("عربى 😀").name == "DejaVuSans.ttf"
    assert caplog.messages == ["no font on this machine has 中文: pictures show boxes, other results the letters"]
