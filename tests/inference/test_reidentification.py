"""People who come back after a cut, with a measure of likeness whose answers are known."""

import numpy as np
from jaxtyping import Float, UInt8

from cimeu.inference.reader import NO_FACE, Lane
from cimeu.inference.recogniser import _joined
from cimeu.inference.reidentification import LOOKS, Identity, Portrait, one_people
from cimeu.timeline.timeline import Place


class Colour:
    """A face is its mean colour; counts its looks."""

    name, same_above = "colour", 0.95

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, crop: UInt8[np.ndarray, "S S 3"]) -> Float[np.ndarray, " D"]:
        self.looks += 1
        return crop.mean(axis=(0, 1)) - 128.0


def portrait(red: int, green: int, identity: Identity | None = None, *, frames: int = 1) -> Portrait:
    made = Portrait(identity or Colour(), 25.0)
    for index in range(frames):
        made.add(index, np.full((8, 8, 3), (red, green, 100), np.uint8))
    return made


def test_the_protocol_is_met() -> None:
    assert isinstance(Colour(), Identity)


def test_a_person_is_looked_at_twice_a_second_and_not_for_ever() -> None:
    identity = Colour()
    portrait(200, 90, identity, frames=25)
    assert identity.looks == 2
    portrait(200, 90, identity, frames=1000)
    assert identity.looks == 2 + LOOKS


def test_alike_faces_that_are_never_seen_at_once_are_one_person() -> None:
    portraits = {"a": portrait(250, 20), "b": portrait(20, 250), "c": portrait(248, 24)}
    seen = {"a": {0, 1}, "b": {0, 1}, "c": {4, 5}}
    assert one_people(portraits, seen, 0.95) == {"a": ("a", "c"), "b": ("b",)}


def test_alike_faces_that_are_seen_at_once_are_two_people() -> None:
    portraits = {"a": portrait(250, 20), "c": portrait(248, 24)}
    assert one_people(portraits, {"a": {0, 1}, "c": {1, 2}}, 0.95) == {"a": ("a",), "c": ("c",)}


def test_a_face_never_looked_at_is_like_nobody() -> None:
    portraits = {"a": portrait(250, 20, frames=0), "c": portrait(248, 24, frames=0)}
    assert one_people(portraits, {"a": {0}, "c": {1}}, 0.5) == {"a": ("a",), "c": ("c",)}


def test_a_person_seen_in_one_lane_is_not_absent_because_of_another() -> None:
    first, second = Lane(), Lane()
    first.grounds = {1: ("face", ""), 2: ("", NO_FACE), 3: ("face", "")}
    first.places = [Place(0.5, 0.0, 0.0, 1.0, 1.0), Place(1.5, 0.0, 0.0, 1.0, 1.0)]
    second.grounds = {2: ("face", ""), 3: ("", NO_FACE), 4: ("face", "")}
    second.places = [Place(1.0, 0.0, 0.0, 1.0, 1.0)]

    for lanes in ((first, second), (second, first)):
        joined = _joined(lanes)
        assert joined.grounds == dict.fromkeys((1, 2, 3, 4), ("face", ""))
        assert [place.time_s for place in joined.places] == [0.5, 1.0, 1.5]
