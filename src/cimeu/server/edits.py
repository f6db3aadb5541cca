"""What people change of a timeline: who a lane is, and what a stretch of time shows.

The model's own answer is kept beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from cimeu.errors import RecipeError
from cimeu.labels import guess
from cimeu.timeline.timeline import UNSURE, Place, Segment, Timeline


@dataclass(frozen=True)
class Edits:
    """Names by lane and labels by number of segment."""

    persons: Mapping[str, str]
    labels: Mapping[int, str]

    def changed(self, persons: Mapping[str, str | None], labels: Mapping[int, str | None]) -> "Edits":
        """With these as well; None takes one back."""
        named, labelled = {**self.persons, **persons}, {**self.labels, **labels}
        return Edits(
            {lane: name for lane, name in named.items() if name},
            {number: label for number, label in labelled.items() if label},
        )


NO_EDITS = Edits({}, {})


def edited(timeline: Timeline, edits: Edits) -> Timeline:
    """The timeline as people see it. Lanes of one name become one lane: a person who was lost and found again.

    A corrected segment says so in its reason, with what the model said; its scores stay the model's.

    Raises:
        RecipeError: an unknown lane, segment or emotion, or one name for two people seen at once.
    """
    _check(timeline, edits)
    segments = [
        replace(
            _corrected(segment, edits.labels.get(number, "")), person=edits.persons.get(segment.person, segment.person)
        )
        for number, segment in enumerate(timeline.segments)
    ]
    order = {person: number for number, person in reversed(list(enumerate(segment.person for segment in segments)))}
    segments.sort(key=lambda segment: (order[segment.person], segment.start_s))
    for before, after in pairwise(segments):
        if before.person == after.person and after.start_s < before.end_s:
            raise RecipeError(
                f"two lanes cannot both be `{after.person}`: both are there at {after.start_s:g} s\n\n"
                "hint: give them different names"
            )
    places: dict[str, tuple[Place, ...]] = {}
    for lane, there in timeline.places.items():
        name = edits.persons.get(lane, lane)
        places[name] = tuple(sorted((*places.get(name, ()), *there), key=lambda place: place.time_s))
    explained = timeline.explanations
    if explained is not None:
        explained = tuple(replace(each, person=edits.persons.get(each.person, each.person)) for each in explained)
    return replace(timeline, segments=tuple(segments), places=places, explanations=explained)


def _corrected(segment: Segment, label: str) -> Segment:
    if not label:
        return segment
    said = f"corrected by hand, the model said {segment.label or (UNSURE if segment.scores else 'nothing')}"
    reasons = [*(reason for reason in segment.reason.split("; ") if reason not in ("", UNSURE)), said]
    return replace(segment, label=label, abstain=False, confidence=segment.scores.get(label), reason="; ".join(reasons))


def _check(timeline: Timeline, edits: Edits) -> None:
    for lane in edits.persons:
        if lane not in timeline.persons:
            raise RecipeError(f"no lane `{lane}`\n\nhint: {guess(lane, timeline.persons)}")
    for number, label in edits.labels.items():
        if not 0 <= number < len(timeline.segments):
            raise RecipeError(f"no segment {number}\n\nhint: they are numbered 0 to {len(timeline.segments) - 1}")
        if label not in timeline.header.emotions:
            raise RecipeError(f"unknown emotion `{label}`\n\nhint: {guess(label, timeline.header.emotions)}")
