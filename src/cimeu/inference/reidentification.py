"""Which face tracks of a recording are one person.

A track ends at a cut and where a face is lost. A new track belongs to a person seen before if it looks like them (an
`Identity` says how much), is near to where they were or follows them at once, and they are not seen elsewhere
meanwhile. Where a face was lost without a cut and comes back beside that place within a moment, less likeness is
enough: a head that turns looks different afterwards.

Axes: S side of a crop, D width of an embedding.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from cimeu.media.face_tracks import HOLD_S, overlap
from cimeu.media.faces import Box

LOOKS = 8
"""The mean embedding of a track is taken over this many of its crops,"""
LOOK_EVERY_S = 0.5
"""this far apart; then"""
LATER_LOOKS_EVERY_S = 2.0
"""one is kept so often, for what the face looks like lately."""
SETTLED_LOOKS = 3
"""After so many it is decided whom a track belongs to."""
NEAR_WIDTHS = 1.0
"""Boxes whose centres are this many widths apart, or nearer, are near each other."""
LARGEST_RATIO = 1.6
"""Their widths differ by this factor at most."""
REMEMBERED_S = 60.0
"""A person who was not seen for longer is not found again near the same place,"""
AT_ONCE_S = 3.0
"""nor at another place after longer than this."""
TURNED_S = 2.0
"""A face that is lost without a cut and found again near by within this time"""
LENIENCE = 0.2
"""needs this much less likeness."""
BRIEF_S = 0.6
"""Somebody who is found for less, and gone, does not count beside others."""
BESIDE = 0.2
"""Weight of the overlap of two boxes against the likeness of the faces, where a track may belong to several people."""
LATELY = 5
"""A new track is compared with this many of a person's tracks, the latest."""
IMPOSSIBLE = 2.0
"""A likeness that no two faces have."""


@runtime_checkable
class Identity(Protocol):
    """Anything that says how alike two faces are."""

    @property
    def name(self) -> str:
        """Which measure; stands in every export, and another one makes finished results anew."""
        ...

    @property
    def same_above(self) -> float:
        """Cosine of two embeddings from which on they are one person."""
        ...

    def __call__(self, crop: UInt8[np.ndarray, "S S 3"]) -> Float[np.ndarray, " D"]:
        """Embedding of one steady crop of a face."""
        ...


class Portrait:
    """What one face looks like: the mean of its embeddings, that of the very first ones, and the latest one."""

    def __init__(self, identity: Identity, rate_hz: float) -> None:
        self._identity, self._rate_hz = identity, rate_hz
        self._next = 0.0
        self._sum: np.ndarray | None = None
        self._first: np.ndarray | None = None
        self._latest: np.ndarray | None = None
        self.looks = 0

    def add(self, index: int, crop: UInt8[np.ndarray, "S S 3"]) -> None:
        """Take the crop of frame `index` into account if enough time has passed since the last one."""
        if self.looks and index < self._next:
            return
        embedding = self._identity(crop)
        # Unit vectors: a well-lit crop must not weigh more in the mean than a dark one.
        unit = embedding / max(float(np.linalg.norm(embedding)), 1e-9)
        self.looks += 1
        # The mean stands for the whole track and is settled early; the latest one follows light and angle.
        if self.looks <= LOOKS:
            self._sum = unit if self._sum is None else self._sum + unit
        if self.looks <= SETTLED_LOOKS:
            self._first = self._sum
        self._latest = unit
        self._next = index + self._rate_hz * (LOOK_EVERY_S if self.looks < LOOKS else LATER_LOOKS_EVERY_S)

    def likeness(self, other: "Portrait") -> float:
        """Largest cosine of this face's mean with what the other looks like; -1 where one of both was never seen."""
        if self._sum is None or other._sum is None:
            return -1.0
        # The largest: a face may come back as it was at first, as it mostly was, or as it was when it was lost.
        views = (other._first, other._sum, other._latest)
        return max(_cosine(self._sum, view) for view in views if view is not None)


@dataclass
class Sighting:
    """Frames in a row in which a face was found; its box at the beginning and the end, in fractions of the frame."""

    first: int
    last: int
    first_box: Box
    last_box: Box


@dataclass
class Track:
    """A face from where it is found to where it is lost; it may be missed in between."""

    name: str
    portrait: Portrait
    sightings: list[Sighting] = field(default_factory=list)
    is_cut_off: bool = False
    """Whether it ended at a cut."""

    def see(self, index: int, box: Box) -> None:
        """The face was found in a frame."""
        if self.sightings and self.sightings[-1].last == index - 1:
            self.sightings[-1].last, self.sightings[-1].last_box = index, box
        else:
            self.sightings.append(Sighting(index, index, box, box))


@dataclass
class Person:
    """One person: the tracks of their face in order."""

    tracks: list[Track] = field(default_factory=list)

    @property
    def name(self) -> str:
        """That of their first track."""
        return self.tracks[0].name

    @property
    def last(self) -> int:
        """The last frame in which they were found."""
        return max(track.sightings[-1].last for track in self.tracks)

    @property
    def n_found(self) -> int:
        """Number of frames in which they were found."""
        return sum(seen.last - seen.first + 1 for track in self.tracks for seen in track.sightings)

    def before(self, index: int) -> tuple[Track, Sighting] | None:
        """Where they were found last before a frame."""
        earlier = [(seen.last, track, seen) for track in self.tracks for seen in track.sightings if seen.last < index]
        if not earlier:
            return None
        _, track, seen = max(earlier, key=lambda one: one[0])
        return track, seen

    def is_seen_with(self, other: "Person") -> bool:
        """Whether both were found in one frame."""
        return any(
            one.first <= two.last and two.first <= one.last
            for mine in self.tracks
            for one in mine.sightings
            for theirs in other.tracks
            for two in theirs.sightings
        )


class People:
    """The people of one recording, while it streams by."""

    def __init__(self, identity: Identity, rate_hz: float) -> None:
        self.identity, self._rate_hz = identity, rate_hz
        self._tracks: dict[str, Track] = {}
        self._pending: dict[str, Track] = {}
        self._person_of: dict[str, Person] = {}
        self._recent: list[Person] = []
        self._anybody_longer = False

    def see(self, name: str, index: int, box: Box) -> None:
        """A face was found in a frame; `box` in fractions of it."""
        if name not in self._tracks:
            track = Track(name, Portrait(self.identity, self._rate_hz))
            self._tracks[name] = self._pending[name] = track
            self._person_of[name] = Person([track])
            self._recent.append(self._person_of[name])
        self._tracks[name].see(index, box)

    def cut_off(self, name: str) -> None:
        """A track ended at a cut."""
        if name in self._tracks:
            self._tracks[name].is_cut_off = True

    def look(self, name: str, index: int, crop: UInt8[np.ndarray, "S S 3"]) -> None:
        """A steady crop of a face that was found."""
        self._tracks[name].portrait.add(index, crop)

    def person_of(self, name: str) -> str:
        """The name of the first track of the person whom a track belongs to, as far as it is known."""
        return self._person_of[name].name

    def is_brief(self, name: str, index: int) -> bool:
        """Whether the person of a track was there for a moment only, and others for longer, as known at frame `index`.

        A detector may take a hand or a shadow for a face for a moment.
        """
        person = self._person_of[name]
        is_gone = index - person.last > HOLD_S * self._rate_hz or all(track.is_cut_off for track in person.tracks)
        return is_gone and self._anybody_longer and not self._is_long(person)

    def _is_long(self, person: Person) -> bool:
        return person.n_found >= BRIEF_S * self._rate_hz

    def settle(self, index: int, ended: Iterable[str] = ()) -> None:
        """Find out whom new tracks belong to, after frame `index`; those among `ended` will not be seen any better."""
        self._anybody_longer |= any(self._is_long(person) for person in self._recent)
        # People who were not seen for long are forgotten, or an hour of cuts would compare each face with hundreds.
        self._recent = [one for one in self._recent if index - one.last <= REMEMBERED_S * self._rate_hz]
        while pairs := [pair for track in self._pending.values() for pair in self._candidates(track)]:
            # The best first: of two people who come back together, each is more like themselves.
            _, name, person = max(pairs, key=lambda pair: pair[0])
            del self._pending[name]
            # While it was not yet decided, later tracks may have been found to belong to this one.
            provisional = self._person_of[name]
            # In order of time, since `person.tracks[-LATELY:]` means the latest ones.
            person.tracks = sorted([*person.tracks, *provisional.tracks], key=lambda one: one.sightings[0].first)
            self._person_of |= dict.fromkeys((track.name for track in provisional.tracks), person)
            self._recent.remove(provisional)
        for name in [*ended, *(name for name, track in self._pending.items() if track.portrait.looks >= SETTLED_LOOKS)]:
            self._pending.pop(name, None)

    def _candidates(self, track: Track) -> Iterator[tuple[float, str, Person]]:
        """People whom a new track may belong to, and how well it fits."""
        begins = track.sightings[0]
        for person in self._recent:
            before = person.before(begins.first)
            if before is None or person.is_seen_with(self._person_of[track.name]):
                continue  # itself, or somebody else who is there at the same time
            needed = self._needed(*before, begins)
            likeness = max(track.portrait.likeness(earlier.portrait) for earlier in person.tracks[-LATELY:])
            if likeness >= needed:
                # Two of one look, side by side, are told apart by where they are.
                yield likeness + BESIDE * overlap(before[1].last_box, begins.first_box), track.name, person

    def _needed(self, track: Track, ends: Sighting, begins: Sighting) -> float:
        """How alike a new face must be to one that was lost; above 1, it cannot be the same."""
        gap_s = (begins.first - ends.last) / self._rate_hz
        is_near = _is_near(ends.last_box, begins.first_box)
        if gap_s > (REMEMBERED_S if is_near else AT_ONCE_S):
            return IMPOSSIBLE
        if is_near and gap_s <= TURNED_S and not track.is_cut_off:
            return self.identity.same_above - LENIENCE
        return self.identity.same_above


def _is_near(one: Box, other: Box) -> bool:
    widest, narrowest = max(one.width, other.width), min(one.width, other.width)
    across = (one.left + one.width / 2) - (other.left + other.width / 2)
    down = (one.top + one.height / 2) - (other.top + other.height / 2)
    # Heights of boxes are fractions of the frame's height: in widths of the face they are as many as its own height.
    distance = np.hypot(across / widest, down / max(one.height, other.height))
    return bool(distance <= NEAR_WIDTHS and widest <= LARGEST_RATIO * narrowest)


def _cosine(one: Float[np.ndarray, " D"], other: Float[np.ndarray, " D"]) -> float:
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-9))
