import re
from itertools import combinations
from pathlib import Path

import pytest

import cimeu.server
from cimeu.labels import SPACES
from cimeu.timeline.style import COLOURS, colours_of

STATIC = Path(cimeu.server.__file__).parent / "static"


@pytest.mark.parametrize(("one", "other"), list(combinations(("four", "dfew", "ravdess", "mafw", "casme2"), 2)))
def test_an_emotion_has_one_colour_whatever_the_model_knows_beside_it(one: str, other: str) -> None:
    first, second = (colours_of(SPACES[name].emotions) for name in (one, other))
    shared = COLOURS.keys() & first.keys() & second.keys()
    assert shared
    assert {name: first[name] for name in shared} == {name: second[name] for name in shared}


@pytest.mark.parametrize("emotions", [space.emotions for space in SPACES.values() if len(space) <= len(COLOURS)])
def test_no_two_emotions_of_a_model_share_a_colour(emotions: tuple[str, ...]) -> None:
    assert len(set(colours_of(emotions).values())) == len(emotions)


def test_every_emotion_of_a_large_model_has_a_colour() -> None:
    assert list(colours_of(SPACES["mafw-compound"].emotions)) == list(SPACES["mafw-compound"].emotions)


def test_the_viewer_shows_each_emotion_in_its_colour() -> None:
    rules = re.findall(r"\.tone-(\d+) \{ --tone: (#\w+); \}", (STATIC / "viewer.css").read_text(encoding="utf-8"))
    (names,) = re.findall(r"const TONES = \[(.*?)\]", (STATIC / "page.js").read_text(encoding="utf-8"), re.DOTALL)
    shown = dict(zip(re.findall(r'"(\w+)"', names), (colour for _, colour in rules), strict=True))
    assert [int(number) for number, _ in rules] == list(range(len(rules)))
    assert shown == COLOURS
    assert list(shown) == list(COLOURS)
