"""From face tracks to lanes of people: what is known of each stretch of time, and whose it is.

Axes: K emotions, V continuous labels, C width of the primitives.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import count, pairwise

import numpy as np
from jaxtyping import Float, Float32

from cimeu.inference.buffers import Sightings
from cimeu.inference.face_path import FacePath
from cimeu.inference.kept_clips import KeptClip
from cimeu.inference.voice_activity import MouthMotion
from cimeu.timeline.segments import NOBODY, OFF_SCREEN, VOICE, Cell, Modality, Place

NO_FACE = "no face"
ANSWERS = ("probabilities", "ood_scores", "continuous", "representations", "reach_s", "kept")
"""What a model puts into a lane, by stretch in which it was run."""
BY_STRETCH = (*ANSWERS, "voiceprints")
"""All that a lane holds by stretch beside its basis."""


@dataclass
class Lane:
    """What is known of one face track, or of one of `NOBODY`; in the end, of one person."""

    paths: dict[str, FacePath] = field(default_factory=dict)
    """Steady crops, by stream that reads them."""
    sightings: Sightings = field(default_factory=Sightings)
    probabilities: dict[int, Float[np.ndarray, " K"]] = field(default_factory=dict)
    """By number of the stretch."""
    ood_scores: dict[int, float] = field(default_factory=dict)
    """By stretch: distance from the training clips, 1 where it becomes unlike them."""
    continuous: dict[int, Float[np.ndarray, " V"]] = field(default_factory=dict)
    """By stretch: continuous labels such as valence, where the model has any and could read them."""
    basis: dict[int, tuple[Modality, str]] = field(default_factory=dict)
    """By stretch: what the probabilities rest on, and what is missing why."""
    mouth: MouthMotion = field(default_factory=MouthMotion)
    representations: dict[int, Float32[np.ndarray, " C"]] = field(default_factory=dict)
    """By stretch, where the style of the person is read from other windows: what it is read from."""
    kept: dict[int, KeptClip] = field(default_factory=dict)
    """By stretch, where a window is answered again once the style is known."""
    reach_s: dict[int, tuple[float, float]] = field(default_factory=dict)
    """By stretch: from when to when there was anything for the encoders of its window."""
    voiceprints: dict[int, Float32[np.ndarray, " _"]] = field(default_factory=dict)
    """By stretch in which somebody is heard and nobody seen, where voices are told apart."""
    places: list[Place] = field(default_factory=list)
    """Where the face was, a few times a second."""

    @property
    def readable(self) -> set[int]:
        """Stretches in which there is anything to be read, or a reason other than that nobody is there."""
        return {number for number, basis in self.basis.items() if basis != ("", NO_FACE)}

    def keep(self, numbers: Set[int]) -> None:
        """Forget every other stretch."""
        for part in ("basis", *BY_STRETCH):
            setattr(self, part, {number: value for number, value in getattr(self, part).items() if number in numbers})

    def cells(self, edges: Sequence[float]) -> Iterator[Cell]:
        """One cell for each stretch, in order of time; stretch n goes from edge n to edge n + 1."""
        stretches = list(pairwise(edges))
        for number, (modality, reason) in sorted(self.basis.items()):
            score = self.ood_scores.get(number, float("nan"))
            probabilities, continuous = self.probabilities.get(number), self.continuous.get(number)
            yield Cell(*stretches[number], probabilities, modality, reason, score, continuous)


def named_tracks(lanes: Mapping[str, Lane], person_of: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Names of lanes in order of appearance, each with its tracks: people who can be read for a moment at least.

    Args:
        lanes: by track, or by name of one of `NOBODY`.
        person_of: by track, what the tracks of one person have in common.
    """
    tracks: dict[str, list[str]] = {}
    firsts = {name: min(lane.readable) for name, lane in lanes.items() if lane.readable}
    # Lanes of nobody are never readable; they begin where they say anything.
    firsts |= {name: min(lane.basis) for name, lane in lanes.items() if name in NOBODY and lane.basis}
    for name in sorted(firsts, key=firsts.__getitem__):
        tracks.setdefault(person_of.get(name, name), []).append(name)
    numbers = count(1)
    return {person if person in NOBODY else f"person {next(numbers)}": tuple(names) for person, names in tracks.items()}


def joined(lanes: Sequence[Lane]) -> Lane:
    """One person's tracks as one lane, from first to last sight; they are never found at once."""
    person = Lane()
    for lane in lanes:
        for number, basis in lane.basis.items():
            # What was seen in one track wins over the absence from another that lasts longer on both sides.
            if number in lane.readable or number not in person.basis:
                person.basis[number] = basis
        for part in BY_STRETCH:
            getattr(person, part).update(getattr(lane, part))
        person.places += lane.places
    person.places.sort(key=lambda place: place.time_s)
    return while_there(person)


def while_there(lane: Lane) -> Lane:
    """A person's lane from the first to the last stretch in which they can be read."""
    first, last = min(lane.readable), max(lane.readable)
    lane.basis = {number: basis for number, basis in lane.basis.items() if first <= number <= last}
    return lane


def give_voices_back(
    lanes: dict[str, Lane], edges: Sequence[float], absence_s: float, blank: Set[int]
) -> dict[str, str]:
    """Give what is heard while nobody is seen to the person who was alone before and after, if it is not for long.

    A lone speaker who turns away, or whose frames are dark for a moment, keeps speaking. The same holds before the
    first and after the last sight of them. Stretches of frames that show nothing (`blank`) do not count: nobody can be
    seen there.

    Returns:
        Person by name of the lane that lost something to them.
    """
    takers: dict[str, str] = {}
    persons_in: dict[int, set[str]] = {}
    for name, lane in lanes.items():
        for number in lane.readable if name not in NOBODY else ():
            persons_in.setdefault(number, set()).add(name)
    for absent in (OFF_SCREEN, VOICE):
        for run in _runs(sorted(lanes[absent].basis)) if absent in lanes else ():
            # Who is seen right before and right after; at either end of the recording, one of both is empty.
            around = persons_in.get(run[0] - 1, set()) | persons_in.get(run[-1] + 1, set())
            unseen_s = sum(edges[number + 1] - edges[number] for number in run if number not in blank)
            if len(around) == 1 and unseen_s <= absence_s:
                (person,) = around
                takers[absent] = person
                for part in ("basis", *BY_STRETCH):
                    mine, theirs = getattr(lanes[absent], part), getattr(lanes[person], part)
                    theirs |= {number: mine.pop(number) for number in run if number in mine}
        if absent in lanes and not lanes[absent].basis:
            del lanes[absent]
    return takers


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Numbers in a row as one."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs
