"""What people change of a timeline: who a lane is, what a stretch of time shows, and tiers of their own.

    persons   a name by lane
    labels    an emotion by number of the model's segment
    raters    stretches with borders of a rater's own, beside the model's

The model's own answer is kept beside all of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from cimeu.errors import RecipeError, guess
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import UNLIKE, UNSURE, Place, RatedSegment, RaterTier, ScoredWindow, Segment


@dataclass(frozen=True)
class Edits:
    """Names by lane, labels by number of segment, and tiers of raters, whose `person` is the lane."""

    persons: Mapping[str, str]
    labels: Mapping[int, str]
    raters: tuple[RaterTier, ...] = ()

    def changed(
        self,
        persons: Mapping[str, str | None],
        labels: Mapping[int, str | None],
        raters: Sequence[RaterTier] = (),
    ) -> "Edits":
        """With these as well; None takes a name or a label back, and a tier without segments is one taken back."""
        named, labelled = {**self.persons, **persons}, {**self.labels, **labels}
        tiers = {(tier.rater, tier.person): tier for tier in (*self.raters, *raters)}
        return Edits(
            {lane: name for lane, name in named.items() if name},
            {number: label for number, label in labelled.items() if label},
            tuple(tier for tier in tiers.values() if tier.segments),
        )


MOST_TIERS = 200
"""Of one recording, so that what people keep on a server stays bounded: ten raters of twenty lanes."""
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
        raters=_renamed_tiers(edits),
    )


def rater_tier(rater: str, lane: str, segments: Sequence[RatedSegment]) -> RaterTier:
    """A tier in order of time, in whole milliseconds as in every export."""
    rounded = [replace(rated, start_s=round(rated.start_s, 3), end_s=round(rated.end_s, 3)) for rated in segments]
    return RaterTier(rater, lane, tuple(sorted(rounded, key=lambda rated: rated.start_s)))


def _renamed_tiers(edits: Edits) -> tuple[RaterTier, ...]:
    """Tiers under the names of people; of lanes that became one, each stretch ends where the next one begins."""
    tiers: dict[tuple[str, str], list[RatedSegment]] = {}
    for tier in edits.raters:
        tiers.setdefault((tier.rater, edits.persons.get(tier.person, tier.person)), []).extend(tier.segments)
    renamed = []
    for (rater, person), rated in tiers.items():
        rated.sort(key=lambda segment: (segment.start_s, segment.end_s))
        cut = [replace(segment, end_s=min(segment.end_s, after.start_s)) for segment, after in pairwise(rated)] + rated[
            -1:
        ]
        renamed.append(RaterTier(rater, person, tuple(part for part in cut if part.start_s < part.end_s)))
    return tuple(renamed)


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
    if len(edits.raters) > MOST_TIERS:
        raise RecipeError(
            f"{len(edits.raters)} tiers of raters, at most {MOST_TIERS} are kept\n\nhint: take some of them back"
        )
    for tier in edits.raters:
        _check_tier(timeline, tier)


def _check_tier(timeline: Timeline, tier: RaterTier) -> None:
    if not tier.rater:
        raise RecipeError("a tier has no rater\n\nhint: give the name of the person who rates")
    if tier.person not in timeline.persons:
        raise RecipeError(f"no lane `{tier.person}`\n\nhint: {guess(tier.person, timeline.persons)}")
    # The last window may reach beyond the last packet.
    end_s = max(timeline.header.duration_s, *(segment.end_s for segment in timeline.segments))
    labels = (*timeline.header.emotions, UNSURE)
    for rated in tier.segments:
        if not 0 <= rated.start_s < rated.end_s <= end_s:
            raise RecipeError(
                f"a segment of rater `{tier.rater}` runs from {rated.start_s:g} to {rated.end_s:g} s\n\n"
                f"hint: it starts before it ends, and lies between 0 and {end_s:g} s"
            )
        if rated.label not in labels:
            raise RecipeError(f"unknown label `{rated.label}`\n\nhint: {guess(rated.label, labels)}")
    for before, after in pairwise(tier.segments):
        if after.start_s < before.end_s:
            raise RecipeError(
                f"two segments of rater `{tier.rater}` overlap at {after.start_s:g} s\n\n"
                "hint: one person shows one emotion at a time; end the first where the second starts"
            )
