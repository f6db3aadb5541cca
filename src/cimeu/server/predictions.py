"""Recordings under way and their results: a queue, one worker, and nothing is kept for ever.

    place ── add ── waiting ── running ── finished ─┬─ expired
                                      └── failed ───┴─ deleted

One recording is read at a time, so memory stays bounded however many wait. Everything lies in one folder that lives as
long as the server; a folder that the user names outlives it, and the next server resumes it (`kept`).
"""

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Literal

from cimeu.errors import CimeuError, MediaError
from cimeu.server.edits import NO_EDITS, Edits, edited
from cimeu.server.isolated import Isolated
from cimeu.server.kept import Kept, keep, kept_recordings, remove
from cimeu.server.recording import Model, Recording
from cimeu.server.refusals import Refused, from_error
from cimeu.server.settings import ServerSettings
from cimeu.timeline.explanation import Explanation
from cimeu.timeline.formats import WRITERS, to_raters_csv
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import RaterTier
from cimeu.timeline.settings import TimelineSettings

logger = logging.getLogger(__name__)

EXPORTS = WRITERS | {".raters.csv": to_raters_csv}
"""What can be downloaded: every format of a timeline, and a table of what raters say."""
Status = Literal["waiting", "running", "finished", "failed"]
SWEEP_S = 30.0
CHECK_S = 60.0
"""A file that cannot be checked in this time is refused."""
TURN_S = 2.0
"""While a recording is being read, an explanation waits no longer than this for its turn."""
STILL_S = 1800.0
"""A recording that makes no progress for so long is given up."""


@dataclass
class Prediction:
    """One recording and what became of it; changed only by `Predictions`, under its lock."""

    id: str
    name: str
    """What the user calls it; for showing only."""
    path: Path
    recording: Recording
    created_s: float
    settings: TimelineSettings = field(default_factory=TimelineSettings)
    status: Status = "waiting"
    started_s: float = 0.0
    finished_s: float = 0.0
    completed_s: int = 0
    total_s: int = 0
    timeline: Timeline | None = None
    edits: Edits = NO_EDITS
    explanations: dict[int, Explanation] = field(default_factory=dict)
    """Those that were requested, by number of the segment."""
    problem: Refused | None = None

    def keep(self) -> None:
        """Write down what a next server needs to know."""
        kept = Kept(
            name=self.name,
            recording=self.recording,
            created_s=self.created_s,
            finished_s=self.finished_s,
            settings=self.settings,
            edits=self.edits,
        )
        keep(self.path, kept, self.timeline)

    def seconds_left(self, now_s: float) -> float | None:
        """Time until it is finished at the speed so far; None before there is a speed."""
        if self.status != "running" or not self.completed_s:
            return None
        return (now_s - self.started_s) / self.completed_s * (self.total_s - self.completed_s)


class Predictions:
    """All recordings of a server; safe to use from several threads."""

    def __init__(
        self,
        settings: ServerSettings,
        folder: Path,
        *,
        checker: Isolated,
        recogniser: Isolated,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`folder` is used by nobody else, and empty unless it is one that outlives servers (`settings.folder`);
        `clock` gives the time in seconds since 1970."""
        self.settings, self.folder, self.clock = settings, folder, clock
        self._checker, self._recogniser = checker, recogniser
        self.model: Model = recogniser("describe", silence_s=CHECK_S)
        self._is_kept = settings.folder is not None
        self._by_id: dict[str, Prediction] = {}
        if self._is_kept:
            for path, kept, timeline in kept_recordings(folder):
                self._by_id[path.name] = _opened_again(path, kept, timeline)
        self._arriving: Counter[str] = Counter()
        self._closed = threading.Event()
        # Re-entrant, because methods call each other under it.
        self._change = threading.Condition(threading.RLock())
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._work, self._sweep_regularly)]

    def start(self) -> None:
        """Start to work on what is added."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop, whatever is under way, and delete everything, unless the folder outlives the server."""
        self._closed.set()
        with self._change:
            for prediction in list(self._by_id.values()):
                if self._is_kept:
                    self._recogniser.interrupt(prediction.path)
                else:
                    self._forget(prediction)
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    @contextmanager
    def place(self, client: str = "") -> Iterator[tuple[str, Path]]:
        """Id and path for a recording that arrives from `client`. What is not added by the end is deleted.

        Raises:
            Refused: too many are under way, or too many of this client are arriving.
        """
        with self._change:
            # Counted before the first byte is taken, or a crowd of uploads would fill the disk before any is refused.
            if self._arriving.total() + len(self._in_line()) >= self.settings.max_waiting:
                raise _too_many(f"{self.settings.max_waiting} recordings are under way")
            if self._arriving[client] >= self.settings.max_arriving_per_client:
                raise _too_many(f"{self._arriving[client]} recordings are arriving from your address")
            self._arriving[client] += 1
        # Whoever knows the number can read the result: it must not be guessed.
        number = secrets.token_hex(16)
        path = self.folder / number
        try:
            yield number, path
        finally:
            with self._change:
                self._arriving[client] -= 1
                self._arriving += Counter()  # forgets clients at 0
                if number not in self._by_id:
                    path.unlink(missing_ok=True)

    def add(self, number: str, path: Path, name: str, settings: TimelineSettings | None = None) -> Prediction:
        """Check a recording that has arrived, and queue it; `settings` are those of its timeline.

        Raises:
            Refused: it is no recording, or too long.
        """
        try:
            # In a process of its own: a file that crashes a decoder must not take the server along.
            recording = self._checker("check", path, self.settings.max_duration_s, silence_s=CHECK_S)
        except CimeuError as error:
            raise from_error(error, hide=str(path), show=name) from None
        with self._change:
            prediction = Prediction(number, name, path, recording, self.clock(), settings or self.settings.timeline)
            if self._is_kept:
                prediction.keep()
            self._by_id[number] = prediction
            self._change.notify_all()
        return prediction

    def all(self) -> list[Prediction]:
        """Every recording, in order of arrival."""
        with self._change:
            self.sweep()
            return list(self._by_id.values())

    def get(self, number: str) -> Prediction:
        """One recording.

        Raises:
            Refused: there is none of this id, or no longer.
        """
        with self._change:
            self.sweep()
            if number not in self._by_id:
                raise Refused(404, "unknown", f"no prediction `{number}`", "it may have expired; upload it again")
            return self._by_id[number]

    def finished(self, number: str) -> tuple[Prediction, Timeline]:
        """One recording with its timeline as people edited it.

        Raises:
            Refused: unknown, or without a result.
        """
        with self._change:
            prediction = self.get(number)
            if prediction.timeline is None:
                raise Refused(
                    409, "no_result", f"prediction `{number}` is {prediction.status}", "wait until it is finished"
                )
            explanations = tuple(explanation for _, explanation in sorted(prediction.explanations.items()))
            timeline = replace(prediction.timeline, explanations=explanations or None)
            return prediction, edited(timeline, prediction.edits)

    def ahead(self, prediction: Prediction) -> int:
        """How many recordings are read before this one."""
        with self._change:
            line = self._in_line()
            return line.index(prediction) if prediction in line else 0

    def edit(
        self,
        number: str,
        persons: Mapping[str, str | None],
        labels: Mapping[int, str | None],
        raters: Sequence[RaterTier] = (),
    ) -> None:
        """Keep names, labels and tiers that people gave; None takes one back, and so does a tier without segments.

        Raises:
            Refused: unknown, or without a result.
            RecipeError: an unknown lane, segment or emotion, one name for two people seen at once, or a tier with
                segments that overlap or lie outside of the recording.
        """
        with self._change:
            prediction, _ = self.finished(number)
            before, edits = prediction.edits, prediction.edits.changed(persons, labels, raters)
            assert prediction.timeline is not None
            # Tried before it is kept, so that an impossible edit leaves everything as it was.
            edited(prediction.timeline, edits)
            prediction.edits = edits
            if self._is_kept:
                try:
                    prediction.keep()
                except OSError:
                    prediction.edits = before
                    raise

    def explanation(self, number: str, segment: int) -> Explanation:
        """What one segment rests on; it stays with the prediction and stands in its exports.

        Raises:
            Refused: unknown, without a result, or a recording is being read just now.
            RecipeError: the model has no scores for this segment.
        """
        with self._change:
            prediction, _ = self.finished(number)
            timeline = prediction.timeline
            assert timeline is not None
            if not 0 <= segment < len(timeline.segments):
                raise Refused(404, "unknown", f"no segment {segment}", "their numbers are in the result")
            if timeline.header.model != self.model.model:
                message = f"the model `{timeline.header.model}` of this result is not the one that runs here"
                raise Refused(409, "other_model", message, "start the server with that model, or send it again")
            if segment in prediction.explanations:
                return prediction.explanations[segment]
        # Outside of the lock: it takes as long as reading the stretch.
        arguments = prediction.path, timeline, timeline.segments[segment], prediction.settings
        try:
            explanation = self._recogniser("explain", *arguments, silence_s=STILL_S, turn_s=TURN_S)
        except TimeoutError:
            raise Refused(
                503, "busy", "a recording is being read", "try again when it is finished", headers={"Retry-After": "30"}
            ) from None
        except MediaError as error:
            raise from_error(error, hide=str(prediction.path), show=prediction.name) from None
        with self._change:
            prediction.explanations[segment] = explanation
        return explanation

    def export(self, number: str, suffix: str) -> tuple[str, bytes]:
        """A file in one of the formats of a timeline, with its name.

        Raises:
            Refused: unknown, without a result, or an unknown format.
        """
        if suffix not in EXPORTS:
            formats = ", ".join(writer.lstrip(".") for writer in EXPORTS)
            raise Refused(404, "unknown_format", f"no format `{suffix.lstrip('.')}`", f"one of {formats}")
        prediction, timeline = self.finished(number)
        name = f"{prediction.name.rsplit('.', 1)[0]}{suffix}"
        # Never made: exports refer to their recording as a file in the same folder.
        exports = self.folder / "exports"
        return name, EXPORTS[suffix](replace(timeline, media_path=exports / prediction.name), exports / name)

    def delete(self, number: str) -> None:
        """Forget a recording and delete its file; if it is being read, that stops.

        Raises:
            Refused: there is none of this id.
        """
        with self._change:
            self._forget(self.get(number))

    def expires_s(self, prediction: Prediction) -> float | None:
        """When it is deleted, on the clock; None while it is under way."""
        return prediction.finished_s + 60 * self.settings.keep_minutes if prediction.finished_s else None

    def sweep(self) -> None:
        """Delete what has expired."""
        with self._change:
            for prediction in list(self._by_id.values()):
                expires_s = self.expires_s(prediction)
                if expires_s is not None and expires_s <= self.clock():
                    self._forget(prediction)

    def _forget(self, prediction: Prediction) -> None:
        del self._by_id[prediction.id]
        remove(prediction.path)
        # After the file is gone, so that nothing can begin to read it again.
        self._recogniser.interrupt(prediction.path)

    def _in_line(self) -> list[Prediction]:
        return [prediction for prediction in self._by_id.values() if prediction.status in ("running", "waiting")]

    def _sweep_regularly(self) -> None:
        while not self._closed.wait(SWEEP_S):
            self.sweep()

    def _work(self) -> None:
        while (prediction := self._next()) is not None:
            timeline, problem = None, None
            try:
                timeline = self._recogniser(
                    "recognise",
                    prediction.path,
                    prediction.settings,
                    progress=partial(self._progressed, prediction),
                    silence_s=STILL_S,
                )
                timeline = replace(timeline, header=replace(timeline.header, media=prediction.name))
            except CimeuError as error:
                problem = from_error(error, hide=str(prediction.path), show=prediction.name)
            except Exception as error:
                logger.exception("a recording failed")
                problem = Refused(500, "unforeseen", f"unexpected {type(error).__name__}", "the server's log says more")
            with self._change:
                if self._is_kept and self._closed.is_set():
                    return  # stopped with the server: the next one reads it from its beginning
                self._settle(prediction, timeline, problem)

    def _settle(self, prediction: Prediction, timeline: Timeline | None, problem: Refused | None) -> None:
        prediction.finished_s = self.clock()
        prediction.timeline = timeline
        if timeline is not None and self._is_kept and prediction.id in self._by_id:
            try:
                prediction.keep()
            except OSError as error:
                logger.exception("a result could not be kept")
                prediction.timeline = None
                problem = Refused(507, "no_room", f"the result cannot be kept: {error.strerror}", "make room")
        prediction.problem = problem
        prediction.status = "failed" if prediction.timeline is None else "finished"
        # Kept after success, because explanations read it again; of no use after a failure.
        if prediction.timeline is None:
            remove(prediction.path)

    def _next(self) -> Prediction | None:
        """The first that waits, now running; None when the server closes."""
        with self._change:
            while not self._closed.is_set():
                waiting = [prediction for prediction in self._by_id.values() if prediction.status == "waiting"]
                if waiting:
                    waiting[0].status, waiting[0].started_s = "running", self.clock()
                    return waiting[0]
                self._change.wait()
        return None

    def _progressed(self, prediction: Prediction, step: str, completed_s: int, total_s: int) -> None:
        with self._change:
            prediction.completed_s, prediction.total_s = completed_s, total_s


def _opened_again(path: Path, kept: Kept, timeline: Timeline | None) -> Prediction:
    """A recording that an earlier server kept: finished, or in line to be read."""
    read_s = 0 if timeline is None else ceil(timeline.header.duration_s)
    return Prediction(
        id=path.name,
        name=kept.name,
        path=path,
        recording=kept.recording,
        created_s=kept.created_s,
        settings=kept.settings,
        status="waiting" if timeline is None else "finished",
        finished_s=kept.finished_s,
        completed_s=read_s,
        total_s=read_s,
        timeline=timeline,
        edits=kept.edits,
    )


def _too_many(message: str) -> Refused:
    hint = "wait until one is finished, or delete one"
    # Closed, or the rest of the refused recording would still be received.
    headers = {"Retry-After": "60", "Connection": "close"}
    return Refused(429, "too_many_waiting", message, hint, headers=headers)
