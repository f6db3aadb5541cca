"""Explain segments by taking parts of their input away and asking again.

A whole stream is replaced by the network's own token for an absent stream; where it was the only one, and for short
stretches of a stream, its vectors become the mean of the training clips. What the label's probability loses is the
part's contribution; a model that says nothing without the part loses all. Nothing is read from attention weights.

Vectors of a window are taken to be spread evenly over it. An encoder's own window (16 frames and more) is longer than
a stretch, so a stretch's contribution is blurred by about half a second.

Axes: N windows, K emotions, T steps of a window, D width, C width of the primitives.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from math import ceil, inf
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32

from cimeu.errors import RecipeError
from cimeu.inference.kept_clips import KeptClip, KeptSteps
from cimeu.inference.own_style import Support
from cimeu.inference.recogniser import Reading, Recogniser
from cimeu.inference.windows import PLACES_HZ, WindowInput
from cimeu.media.face_tracks import overlap
from cimeu.media.faces import Box
from cimeu.progress import Progress, silent
from cimeu.timeline.explanation import Contribution, Explanation, Neighbour
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import Place, Segment, has_face

MOMENTS = 24
"""At most so many stretches are explained of each stream of a segment."""
AT_ONCE = 256
"""Changed windows that are scored together."""
WORDS = {"face": "face", "frame": "picture", "sound": "voice"}


@dataclass
class Evidence:
    """What the model would have said about one window without parts of its input."""

    without: dict[str, Float[np.ndarray, " K"]] = field(default_factory=dict)
    """By stream."""
    without_moment: dict[tuple[str, int], Float[np.ndarray, " K"]] = field(default_factory=dict)
    """By stream and stretch: stretch k goes from k to k + 1 hops."""
    waiting: tuple[WindowInput, KeptClip] | None = None
    """The window without its steps, and these, until the style of its person is known."""
    emotion: Float32[np.ndarray, " C"] | None = None
    """Emotion primitives; None where no face was read."""
    style: Float32[np.ndarray, " C"] | None = None
    """Style primitives, where the network has them."""


class Occluder:
    """Watches a recording being read and scores each window again without parts of its input."""

    def __init__(self, recogniser: Recogniser, *, from_s: float = 0.0, until_s: float = inf) -> None:
        self._recogniser, self._from_s, self._until_s = recogniser, from_s, until_s
        self.hop_s = recogniser.hop_s
        self._steps = KeptSteps()
        self.evidence: dict[tuple[str, int], Evidence] = defaultdict(Evidence)
        """By lane, as the reader calls it, and number of the window."""

    def __call__(self, windows: Sequence[WindowInput]) -> None:
        """Score again the windows of the stretch that is to be explained."""
        concerned = [scored for scored in windows if scored.start_s < self._until_s and scored.end_s > self._from_s]
        seen = [window for window in concerned if window.first]
        if seen:
            answers = self._recogniser.answer(seen)
            for row, window in enumerate(seen):
                evidence = self.evidence[window.lane, window.number]
                evidence.emotion = answers.representation[row]
                evidence.style = None if answers.style is None else answers.style[row]
        if self._recogniser.style == "none":
            self._ask(concerned, lambda changed: self._recogniser.answer(changed).probabilities)
            return
        # What a changed window is answered given a style is known once all other windows are read.
        for window in concerned:
            bare = replace(window, first={}, second=None)
            self.evidence[window.lane, window.number].waiting = bare, self._steps.keep(window.clip)

    def given_style(self, reading: Reading, name: str, evidence: Sequence[Evidence]) -> None:
        """Score windows of a lane again that were waiting for its style."""
        for of_window in evidence:
            if of_window.waiting is not None:
                bare, kept = of_window.waiting
                clip = kept.clip()
                window = replace(bare, first=dict(clip.first), second=clip.second)
                self._ask([window], partial(self._recogniser.given_style, reading, name))
                of_window.waiting = None

    def _ask(
        self,
        windows: Sequence[WindowInput],
        answer: Callable[[Sequence[WindowInput]], Float[np.ndarray, "N K"]],
    ) -> None:
        # All changed windows at once: a network answers a batch in one pass.
        changed = [
            (window, stream, moment, other) for window in windows for stream, moment, other in self._changed(window)
        ]
        for start in range(0, len(changed), AT_ONCE):
            part = changed[start : start + AT_ONCE]
            answers = answer([other for *_, other in part])
            for (window, stream, moment, _), answer_without in zip(part, answers, strict=True):
                evidence = self.evidence[window.lane, window.number]
                if moment is None:
                    evidence.without[stream] = answer_without
                else:
                    evidence.without_moment[stream, moment] = answer_without

    def _changed(self, window: WindowInput) -> Iterator[tuple[str, int | None, WindowInput]]:
        """Each stream of a window taken away as a whole, and for each stretch that it reaches into."""
        streams = [name for name in ("first", "second") if _has(window, name)]
        for stream in streams:
            # A network needs at least one stream: a single one is replaced by the mean of training clips instead.
            yield stream, None, _absent(window, stream) if len(streams) > 1 else _unknown(window, stream, -inf, inf)
            first, last = window.start_s / self.hop_s, window.end_s / self.hop_s
            moments = range(int(first + 1e-6), ceil(last - 1e-6))
            # Stretches shorter than a step cannot be taken away one by one.
            if self._recogniser.in_order_of_time(stream) and _steps(window, stream) >= len(moments):
                for moment in moments:
                    yield stream, moment, _unknown(window, stream, moment * self.hop_s, (moment + 1) * self.hop_s)


def explained_timeline(
    recogniser: Recogniser, path: Path | str, *, progress: Progress = silent, others: Sequence[Support] = ()
) -> Timeline:
    """The timeline of a recording with an explanation of each segment in which the model was run.

    Raises:
        MediaError: missing, empty, or no media.
    """
    occluder = Occluder(recogniser)
    reading = recogniser.adapted(recogniser.read(path, progress=progress, watch=occluder), others)
    timeline = recogniser.timeline(reading)
    explained = [
        _explained(recogniser, reading, occluder, segment, segment.person)
        for segment in timeline.segments
        if segment.scores
    ]
    return replace(timeline, explanations=tuple(explained))


def explain(
    recogniser: Recogniser, timeline: Timeline, segment: Segment, *, progress: Progress = silent
) -> Explanation:
    """What one segment rests on. The recording is read again around the segment only; faces are followed anew there, so
    probabilities may differ in their last digits.

    Args:
        recogniser: the one that made the timeline, with the same settings.
        timeline: its recording is read, and its places tell which face is meant.
        segment: one of the timeline's.
        progress: counts the seconds that are read.

    Raises:
        RecipeError: the model was not run about the segment, or the recording has no such segment.
        MediaError: missing, empty, or no media.
    """
    if not segment.scores:
        raise RecipeError(
            f"`{segment.person}` from {segment.start_s} to {segment.end_s} s got no label: {segment.reason}"
            "\n\nhint: explain a segment that has scores"
        )
    occluder = Occluder(recogniser, from_s=segment.start_s, until_s=segment.end_s)
    # A style is read from the whole recording.
    from_s, until_s = (segment.start_s, segment.end_s) if recogniser.style == "none" else (0.0, inf)
    reading = recogniser.adapted(
        recogniser.read(timeline.media_path, progress=progress, watch=occluder, from_s=from_s, until_s=until_s)
    )
    return _explained(recogniser, reading, occluder, segment, _same_lane(recogniser, reading, timeline, segment))


def _same_lane(recogniser: Recogniser, reading: Reading, timeline: Timeline, segment: Segment) -> str:
    """What a lane of the timeline is called in a reading of the segment alone; empty if it is not there."""
    if not has_face(segment.person):
        # Voices are numbered anew in each reading: the one that is heard most in the segment.
        answered = {name: len(lane.probabilities) for name, lane in reading.lanes.items() if not has_face(name)}
        return max(answered, key=answered.__getitem__, default="")
    # Somebody who is heard while unseen for a moment is known by where they were before and are afterwards.
    reach_s = recogniser.settings.absence_s
    lane_windows = [
        place
        for place in timeline.places.get(segment.person, ())
        if segment.start_s - reach_s <= place.time_s <= segment.end_s + reach_s
    ]
    shared = {name: _shared(lane.places, lane_windows) for name, lane in reading.lanes.items()}
    best = max(shared, key=shared.__getitem__, default="")
    return best if shared.get(best) else ""


def _shared(places: Sequence[Place], others: Sequence[Place]) -> float:
    """How well one face's boxes fit another's: their overlaps, summed over the moments of the second."""
    fits = 0.0
    for other in others if places else ():
        # Faces were looked for at other moments in this reading.
        nearest = min(places, key=lambda place: abs(place.time_s - other.time_s))
        if abs(nearest.time_s - other.time_s) <= 1 / PLACES_HZ:
            fits += overlap(_box(nearest), _box(other))
    return fits


def _box(place: Place) -> Box:
    return Box(place.left, place.top, place.width, place.height, 1.0)


def _explained(
    recogniser: Recogniser, reading: Reading, occluder: Occluder, segment: Segment, name: str
) -> Explanation:
    """`name` is what the reading calls the segment's lane."""
    lane = reading.lanes.get(name)
    windows = [
        number
        for number, (start_s, end_s) in enumerate(pairwise(reading.edges))
        if lane is not None
        and number in lane.probabilities
        # A window belongs to the segment that holds its middle; edges were rounded to milliseconds.
        and segment.start_s - 1e-3 < (start_s + end_s) / 2 < segment.end_s + 1e-3
    ]
    if lane is None or not windows:
        raise RecipeError(
            f"`{reading.path}` has no segment of `{segment.person}` from {segment.start_s} to {segment.end_s} s\n\n"
            "hint: take a segment of the timeline that the same model and settings made"
        )
    emotion = recogniser.emotions.index(segment.guess)
    tracks = reading.tracks[name]
    keys = [
        next(((track, number) for track in tracks if (track, number) in occluder.evidence), None) for number in windows
    ]
    evidence = [Evidence() if key is None else occluder.evidence[key] for key in keys]
    occluder.given_style(reading, name, evidence)
    scores = [float(lane.probabilities[number][emotion]) for number in windows]
    streams: dict[str, float] = defaultdict(float)
    moments: dict[tuple[str, int], float] = defaultdict(float)
    for score, nearest in zip(scores, evidence, strict=True):
        for stream, without in nearest.without.items():
            streams[stream] += _lost(score, without[emotion]) / len(windows)
        for key, without in nearest.without_moment.items():
            moments[key] += _lost(score, without[emotion]) / len(windows)
    emotions = [nearest.emotion for nearest in evidence if nearest.emotion is not None]
    styles = [nearest.style for nearest in evidence if nearest.style is not None]
    style = np.mean(styles, axis=0) if styles else None

    def near(style: Float32[np.ndarray, " C"] | None) -> tuple[Neighbour, ...]:
        clips = recogniser.training_clips
        return clips.nearest(np.mean(emotions, axis=0), style) if clips is not None and emotions else ()

    names = {stream: f"{WORDS[encoder.source]} ({encoder.name})" for stream, encoder in recogniser.encoders.items()}
    return Explanation(
        person=segment.person,
        start_s=segment.start_s,
        end_s=segment.end_s,
        label=segment.guess,
        score=round(float(np.mean(scores)), 4),
        n_windows=len(windows),
        streams=tuple(
            Contribution(stream=names[stream], start_s=segment.start_s, end_s=segment.end_s, lost=round(lost, 4))
            for stream, lost in streams.items()
        ),
        moments=tuple(_contributions(names, moments, occluder.hop_s, reading.edges[-1])),
        neighbours=near(None),
        neighbours_with_style=() if style is None else near(style),
    )


def _lost(score: float, without: float) -> float:
    """Probability lost; all of it where nothing is said any more."""
    return score if np.isnan(without) else float(score - without)


def _contributions(
    names: Mapping[str, str], moments: Mapping[tuple[str, int], float], hop_s: float, end_s: float
) -> Iterator[Contribution]:
    """Stretches of each stream in order of time, neighbours put together where they are many."""
    for stream, name in names.items():
        numbers = sorted(number for stream_name, number in moments if stream_name == stream)
        # More bars than this could not be told apart on a page.
        together = ceil(len(numbers) / MOMENTS)
        for start in range(0, len(numbers), max(1, together)):
            group = numbers[start : start + together]
            lost = sum(moments[stream, number] for number in group)
            stop_s = min(end_s, (group[-1] + 1) * hop_s)
            yield Contribution(
                stream=name, start_s=round(group[0] * hop_s, 3), end_s=round(stop_s, 3), lost=round(lost, 4)
            )


def _has(window: WindowInput, stream: str) -> bool:
    return bool(window.first) if stream == "first" else window.second is not None


def _steps(window: WindowInput, stream: str) -> int:
    if stream == "first":
        return min(len(vectors) for vectors in window.first.values())
    assert window.second is not None
    return len(window.second)


def _absent(window: WindowInput, stream: str) -> WindowInput:
    return replace(window, first={}) if stream == "first" else replace(window, second=None)


def _unknown(window: WindowInput, stream: str, from_s: float, until_s: float) -> WindowInput:
    """The window with a stretch of a stream not measurable, which a batch fills with the mean of training clips."""
    if stream == "second":
        assert window.second is not None
        return replace(window, second=_blank(window.second, _inside(window, len(window.second), from_s, until_s)))
    blanked = {}
    for direction, vectors in window.first.items():
        inside = _inside(window, len(vectors), from_s, until_s)
        # The backward input holds the same steps in the opposite order.
        blanked[direction] = _blank(vectors, inside if direction == "forward" else inside[::-1])
    return replace(window, first=blanked)


def _inside(window: WindowInput, n_steps: int, from_s: float, until_s: float) -> Bool[np.ndarray, " T"]:
    """Which steps, in order of time, have their middle in the stretch."""
    middles = window.start_s + (np.arange(n_steps) + 0.5) / n_steps * (window.end_s - window.start_s)
    return (middles >= from_s) & (middles < until_s)


def _blank(vectors: Float32[np.ndarray, "T D"], inside: Bool[np.ndarray, " T"]) -> Float32[np.ndarray, "T D"]:
    return np.where(inside[:, None], np.float32(np.nan), vectors)
