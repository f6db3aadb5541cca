"""Several models beside each other: those whose windows have the same input read a recording together.

    frames, faces, sound ─ windows ─ encoders ─┬─ model a ─ timeline a
                 once for all                  └─ model b ─ timeline b

Decoding, faces and encoders take nearly all of the time, models a few percent of it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cimeu.inference.kept_clips import KeptSteps
from cimeu.inference.lanes import ANSWERS, Lane
from cimeu.inference.own_style import Support
from cimeu.inference.recogniser import Reading, Recogniser
from cimeu.inference.windows import WindowInput
from cimeu.progress import Progress, silent
from cimeu.timeline.result import Timeline


class SideBySide:
    """Timelines of recordings, one after another, by several models."""

    def __init__(self, recognisers: Sequence[Recogniser]) -> None:
        self._groups: dict[tuple[object, ...], list[Recogniser]] = defaultdict(list)
        for recogniser in recognisers:
            self._groups[recogniser.reads_as].append(recogniser)
        # Readings that other models of a group are waiting for; replaced with the next recording.
        self._ready: dict[int, Reading] = {}

    @property
    def passes(self) -> int:
        """How often each recording is read."""
        return len(self._groups)

    def __call__(
        self, recogniser: Recogniser, path: Path, *, progress: Progress = silent, others: Sequence[Support] = ()
    ) -> Timeline:
        """The timeline of a recording by one of the models; the first of a group reads it for the whole group.

        Raises:
            MediaError: missing, empty, or no media.
        """
        reading = self._ready.pop(id(recogniser), None)
        if reading is None or reading.path != path:
            reading = self._read(recogniser, path, progress)
        return recogniser.timeline(recogniser.adapted(reading, others))

    def _read(self, recogniser: Recogniser, path: Path, progress: Progress) -> Reading:
        listeners = [other for other in self._groups[recogniser.reads_as] if other is not recogniser]
        answers: list[dict[str, Lane]] = [defaultdict(Lane) for _ in listeners]
        steps = KeptSteps()

        def watch(windows: Sequence[WindowInput]) -> None:
            for listener, lanes in zip(listeners, answers, strict=True):
                listener.score(windows, lanes, keep=steps)

        reading = recogniser.read(path, progress=progress, watch=watch)
        for listener, lanes in zip(listeners, answers, strict=True):
            self._ready[id(listener)] = _answered(reading, lanes)
        return reading


def _answered(reading: Reading, answers: Mapping[str, Lane]) -> Reading:
    """The same reading with the answers of another model, which are by track.

    A stretch that two tracks of a person answer for counts as the last of them has it, as `lanes.joined` does it.
    """
    lanes = {}
    for name, lane in reading.lanes.items():
        lanes[name] = replace(lane)
        for part in ANSWERS:
            values: dict[int, Any] = {}
            for track in reading.tracks[name]:
                values |= getattr(answers[track], part) if track in answers else {}
            # Only what is the lane's: a track may have given other stretches to somebody else.
            kept = {number: value for number, value in values.items() if number in lane.probabilities}
            setattr(lanes[name], part, kept)
    return replace(reading, lanes=lanes)
