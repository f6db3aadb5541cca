"""What people change of a timeline: who a lane is, and what a stretch of time shows.

The model's own answer is kept beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cimeu.errors import RecipeError, guess
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import UNLIKE, UNSURE, Place, ScoredWindow, Segment


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


TAIL_S = 1.0
"""Two lanes of one name may overlap by less than this: a face that is held where it was, in whole hops."""
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
    # Reversed, so that the first appearance of a name is the one that stays.
    order = {person: number for number, person in reversed(list(enumerate(segment.person for segment in segments)))}
    segments.sort(key=lambda segment: (order[segment.person], segment.start_s))
    segments = _without_overlap(segments)
    places: dict[str, tuple[Place, ...]] = {}
    for lane, lane_places in timeline.places.items():
        name = edits.persons.get(lane, lane)
        places[name] = tuple(sorted((*places.get(name, ()), *lane_places), key=lambda place: place.time_s))
    explained = timeline.explanations
    if explained is not None:
        explained = tuple(
            replace(explanation, person=edits.persons.get(explanation.person, explanation.person))
            for explanation in explained
        )
    return replace(
        timeline,
        segments=tuple(segments),
        places=places,
        explanations=explained,
        series=None if timeline.series is None else _renamed_series(timeline.series, edits.persons, order),
    )


def _renamed_series(
    series: Sequence[ScoredWindow], persons: Mapping[str, str], order: Mapping[str, int]
) -> tuple[ScoredWindow, ...]:
    """Windows under the names of people; of two for one stretch, the one with scores."""
    named = [replace(window, person=persons.get(window.person, window.person)) for window in series]
    # Of two lanes that became one person, the window with scores comes first and is kept.
    named.sort(key=lambda window: (order[window.person], window.start_s, window.scores is None))
    return tuple(next(same) for _, same in groupby(named, key=lambda window: (window.person, window.start_s)))


def _without_overlap(segments: Sequence[Segment]) -> list[Segment]:
    """Segments in order, lane by lane, each ending where the next one of its person begins.

    A face that was lost stays for a moment in its lane while it is found again in another: that tail is cut off.

    Raises:
        RecipeError: more than a tail overlaps, so two people were seen at once.
    """
    trimmed: list[Segment] = []
    for segment in segments:
        while trimmed and trimmed[-1].person == segment.person and segment.start_s < trimmed[-1].end_s:
            before = trimmed.pop()
            overlap_s = min(before.end_s, segment.end_s) - segment.start_s
            is_said_of_both = all(part.label or part.scores for part in (before, segment))
            if is_said_of_both and overlap_s >= TAIL_S:
                raise RecipeError(
                    f"two lanes cannot both be `{segment.person}`: both are there at {segment.start_s:g} s\n\n"
                    "hint: give them different names"
                )
            if before.start_s < segment.start_s:
                trimmed.append(replace(before, end_s=segment.start_s))
        trimmed.append(segment)
    return trimmed


def _corrected(segment: Segment, label: str) -> Segment:
    if not label:
        return segment
    correction = f"corrected by hand, the model said {segment.label or segment.why_abstained or 'nothing'}"
    reasons = [*(reason for reason in segment.reason.split("; ") if reason not in ("", UNSURE, UNLIKE)), correction]
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
