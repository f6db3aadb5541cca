"""Which tracks are one person, with a measure of likeness whose answers are known."""

import numpy as np
import pytest
from jaxtyping import Float, UInt8

from cimeu.inference.appearance import Appearance
from cimeu.inference.lanes import NO_FACE, OFF_SCREEN, Lane, give_voices_back, joined, named_tracks
from cimeu.inference.reidentification import (
    AT_ONCE_S,
    LOOKS,
    REMEMBERED_S,
    SETTLED_LOOKS,
    TURNED_S,
    Identity,
    People,
    Portrait,
)
from cimeu.media.faces import Box
from cimeu.timeline.segments import Place

RATE_HZ = 25.0
LEFT, RIGHT = Box(0.1, 0.3, 0.2, 0.3, 1.0), Box(0.6, 0.3, 0.2, 0.3, 1.0)


class Colour:
    """A face is its mean colour; counts its looks."""

    name, same_above = "colour", 0.95

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, crop: UInt8[np.ndarray, "S S 3"]) -> Float[np.ndarray, " D"]:
        self.looks += 1
        return crop.mean(axis=(0, 1)) - 128.0


def face(red: int, green: int) -> UInt8[np.ndarray, "8 8 3"]:
    return np.full((8, 8, 3), (red, green, 100), np.uint8)


ANNA, BEN, ANNA_TURNED = face(250, 20), face(20, 250), face(250, 110)
"""Cosines: Anna and Ben below 0, Anna and Anna turned 0.82."""


class Recording:
    """Tracks that are seen one after the other or at once."""

    def __init__(self) -> None:
        self.people = People(Colour(), RATE_HZ)

    def see(
        self, name: str, crop: np.ndarray, from_s: float, until_s: float, box: Box = LEFT, cut: bool = True
    ) -> None:
        for index in range(round(from_s * RATE_HZ), round(until_s * RATE_HZ)):
            self.people.see(name, index, box)
            self.people.look(name, index, crop)
        if cut:
            self.people.cut_off(name)

    def settled(self) -> list[str]:
        """The person of each track, in order."""
        self.people.settle(0, list(self.people._tracks))
        return [self.people.person_of(name) for name in self.people._tracks]


@pytest.fixture
def recording() -> Recording:
    return Recording()


def portrait(identity: Identity, *, frames: int) -> Portrait:
    made = Portrait(identity, RATE_HZ)
    for index in range(frames):
        made.add(index, ANNA)
    return made


@pytest.mark.parametrize("identity", [Colour(), Appearance()])
def test_the_protocol_is_met(identity: object) -> None:
    assert isinstance(identity, Identity)


def test_a_person_is_looked_at_twice_a_second_and_later_now_and_then() -> None:
    identity = Colour()
    portrait(identity, frames=25)
    assert identity.looks == 2
    portrait(identity, frames=1000)
    assert 2 + LOOKS < identity.looks < 2 + LOOKS + 20


def test_a_face_that_comes_back_after_a_cut_is_the_same_person(recording: Recording) -> None:
    recording.see("a", ANNA, 0, 2)
    recording.see("b", ANNA, 3, 5)
    assert recording.settled() == ["a", "a"]


def test_somebody_else_at_the_same_place_is_somebody_else(recording: Recording) -> None:
    recording.see("a", ANNA, 0, 2)
    recording.see("b", BEN, 2, 4)
    recording.see("c", ANNA, 4, 6)
    assert recording.settled() == ["a", "b", "a"]


def test_alike_faces_that_are_seen_at_once_are_two_people(recording: Recording) -> None:
    recording.see("a", ANNA, 0, 2, LEFT)
    recording.see("b", ANNA, 1, 3, RIGHT)
    assert recording.settled() == ["a", "b"]


def test_twins_who_come_back_together_are_told_apart_by_their_place(recording: Recording) -> None:
    recording.see("a", ANNA, 0, 2, LEFT)
    recording.see("b", ANNA, 0, 2, RIGHT)
    recording.see("c", ANNA, 3, 5, RIGHT)
    recording.see("d", ANNA, 3, 5, LEFT)
    assert recording.settled() == ["a", "b", "b", "a"]


@pytest.mark.parametrize(
    ("gap_s", "cut", "person"), [(TURNED_S / 2, False, "a"), (TURNED_S / 2, True, "b"), (TURNED_S + 1, False, "b")]
)
def test_less_likeness_is_enough_after_a_turn_and_not_after_a_cut(
    recording: Recording, gap_s: float, cut: bool, person: str
) -> None:
    recording.see("a", ANNA, 0, 2, cut=cut)
    recording.see("b", ANNA_TURNED, 2 + gap_s, 5 + gap_s)
    assert recording.settled() == ["a", person]


@pytest.mark.parametrize(
    ("gap_s", "box", "person"),
    [
        (AT_ONCE_S - 1, RIGHT, "a"),
        (AT_ONCE_S + 1, RIGHT, "b"),
        (AT_ONCE_S + 1, LEFT, "a"),
        (REMEMBERED_S + 1, LEFT, "b"),
        (AT_ONCE_S + 1, Box(0.05, 0.2, 0.4, 0.6, 1.0), "b"),
    ],
    ids=["elsewhere at once", "elsewhere later", "there later", "there much later", "there but twice as large"],
)
def test_a_face_is_found_again_near_by_or_at_once(recording: Recording, gap_s: float, box: Box, person: str) -> None:
    recording.see("a", ANNA, 0, 2)
    recording.see("b", ANNA, 2 + gap_s, 4 + gap_s, box)
    assert recording.settled() == ["a", person]


def test_who_a_track_is_is_decided_once_it_was_looked_at_well(recording: Recording) -> None:
    recording.see("a", ANNA, 0, 2)
    recording.see("b", BEN, 2, 2.1)
    recording.people.settle(60)
    assert "b" in recording.people._pending
    recording.see("b", BEN, 2.1, 2 + 0.5 * SETTLED_LOOKS)
    recording.people.settle(90)
    assert not recording.people._pending


def test_tracks_that_were_joined_to_an_undecided_one_go_along(recording: Recording) -> None:
    recording.see("a", ANNA, 0, 2)
    recording.see("b", face(250, 90), 2, 2.1)  # blurred at first: not yet like anybody
    recording.people.settle(52)
    recording.see("c", face(250, 80), 2.2, 2.3)
    recording.people.settle(57)
    assert [recording.people.person_of(name) for name in "abc"] == ["a", "b", "b"]
    for index in range(70, 100):
        recording.people.look("b", index, ANNA)
    assert recording.settled() == ["a", "a", "a"]


def test_a_track_that_was_never_looked_at_is_like_nobody(recording: Recording) -> None:
    recording.see("a", ANNA, 0, 2)
    recording.people.see("b", 60, LEFT)
    assert recording.settled() == ["a", "b"]


def lane(**basis: tuple[str, str]) -> Lane:
    """`s1=("face", "")`: what stretch 1 rests on."""
    made = Lane()
    made.basis = {int(name[1:]): each for name, each in basis.items()}  # type: ignore[misc]
    return made


def test_a_person_seen_in_one_track_is_not_absent_because_of_another() -> None:
    first = lane(s1=("face", ""), s2=("", NO_FACE), s3=("face", ""))
    first.places = [Place(0.5, 0.0, 0.0, 1.0, 1.0), Place(1.5, 0.0, 0.0, 1.0, 1.0)]
    second = lane(s2=("face", ""), s3=("", NO_FACE), s4=("face", ""))
    second.places = [Place(1.0, 0.0, 0.0, 1.0, 1.0)]

    for lanes in ((first, second), (second, first)):
        person = joined(lanes)
        assert person.basis == dict.fromkeys((1, 2, 3, 4), ("face", ""))
        assert [place.time_s for place in person.places] == [0.5, 1.0, 1.5]


def test_a_track_that_cannot_be_read_for_a_moment_is_nobody() -> None:
    lanes = {"face 0": lane(s1=("face", "")), "face 1": lane(s1=("", NO_FACE)), OFF_SCREEN: lane(s2=("", NO_FACE))}
    assert named_tracks(lanes, {"face 0": "face 0", "face 1": "face 1"}) == {
        "person 1": ("face 0",),
        OFF_SCREEN: (OFF_SCREEN,),
    }


EDGES = [float(time_s) for time_s in range(12)]


def test_a_lone_person_keeps_the_voice_while_unseen_for_a_moment() -> None:
    lanes = {
        "person 1": lane(s1=("face", ""), s4=("face", "")),
        OFF_SCREEN: lane(s0=("voice", NO_FACE), s2=("voice", NO_FACE), s3=("voice", NO_FACE)),
    }
    assert give_voices_back(lanes, EDGES, 2.0, set()) == {OFF_SCREEN: "person 1"}
    assert list(lanes) == ["person 1"]
    assert sorted(lanes["person 1"].basis) == [0, 1, 2, 3, 4]


def test_a_longer_absence_and_a_voice_between_two_people_stay_off_screen() -> None:
    lanes = {
        "person 1": lane(s0=("face", ""), s4=("face", "")),
        "person 2": lane(s6=("face", "")),
        OFF_SCREEN: lane(s1=("voice", ""), s2=("voice", ""), s3=("voice", ""), s5=("voice", "")),
    }
    assert give_voices_back(lanes, EDGES, 2.0, set()) == {}
    assert sorted(lanes[OFF_SCREEN].basis) == [1, 2, 3, 5]


def test_stretches_that_show_nothing_are_no_absence() -> None:
    def lanes() -> dict[str, Lane]:
        return {
            "person 1": lane(s4=("face", "")),
            OFF_SCREEN: lane(s0=("voice", ""), s1=("voice", ""), s2=("voice", ""), s3=("voice", "")),
        }

    assert give_voices_back(lanes(), EDGES, 2.0, {0}) == {}
    assert give_voices_back(lanes(), EDGES, 2.0, {0, 1}) == {OFF_SCREEN: "person 1"}
