"""Who is in a recording and what happened when: `participants.csv` and `events.csv`, read as people save them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cimeu.csv_files import CsvTable, read_csv
from cimeu.errors import ManifestError, guess
from cimeu.timeline.segments import NOBODY
from cimeu.timeline.study.recordings import FileNames, Named, Recording
from cimeu.times import seconds_of

WHOLE = "(whole)"
"""Name of the condition that is all of a participant's recordings."""
EVERY_FILE = "*"
OWN = ("file", "participant", "person")
"""Columns of `participants.csv` with a meaning here; all others are taken along."""
MADE = re.compile(
    r"condition|emotion|label|start_s|end_s|confidence|duration_s|n_(recordings|windows|events)"
    r"|recording|abstain|modality|reason|unlike_training"
    r"|(share|mean|sd|difference|score)\..*"
)
"""Columns that the tables of a study have themselves."""


@dataclass(frozen=True)
class Assignment:
    """A participant in a recording; `person` names the lane, empty where the recording shows one person."""

    participant: str
    person: str
    attributes: Mapping[str, str]
    place: str
    """Line of the table, for messages."""


@dataclass(frozen=True)
class Participants:
    """Who is in which recording."""

    assignments: Mapping[str, Sequence[Assignment]]
    """By name of the recording."""
    columns: tuple[str, ...] = ()
    """Columns that are taken along."""
    without_results: tuple[tuple[str, Assignment], ...] = ()
    """Files of the table that have no results."""

    @property
    def constant_columns(self) -> list[str]:
        """Columns that say the same of a participant wherever they appear; the others belong to recordings."""
        return [column for column in self.columns if all(len(v) == 1 for v in self._values(column).values())]

    def attributes_of(self, participant: str) -> dict[str, str]:
        """What the constant columns say of somebody."""
        return {column: next(iter(self._values(column).get(participant, {""}))) for column in self.constant_columns}

    def _values(self, column: str) -> dict[str, set[str]]:
        values: dict[str, set[str]] = {}
        listed = [entry for rows in self.assignments.values() for entry in rows]
        for assignment in [*listed, *(assigned for _, assigned in self.without_results)]:
            values.setdefault(assignment.participant, set()).add(assignment.attributes[column])
        return values


@dataclass(frozen=True)
class Event:
    """Something that happened in a recording; without an end it is a moment."""

    condition: str
    start_s: float
    end_s: float | None


@dataclass(frozen=True)
class Events:
    """What happened when."""

    by_recording: Mapping[str, Sequence[Event]]
    conditions: tuple[str, ...] = ()
    """In order of appearance."""
    without_results: tuple[str, ...] = ()
    """Files of the table that have no results."""

    def stretches(self, recording: Recording) -> dict[str, list[tuple[float, float]]]:
        """Stretches of each condition, those that overlap joined, and the whole recording."""
        stretches: dict[str, list[tuple[float, float]]] = {}
        for event in self.by_recording.get(recording.name, ()):
            if event.end_s is not None:
                stretches.setdefault(event.condition, []).append((event.start_s, event.end_s))
        return {name: _joined(spans) for name, spans in stretches.items()} | {
            WHOLE: [(recording.start_s, recording.duration_s)]
        }


@dataclass
class _Draft:
    by_recording: dict[str, list[Event]] = field(default_factory=dict)
    conditions: dict[str, None] = field(default_factory=dict)
    without_results: dict[str, None] = field(default_factory=dict)


def read_participants(path: Path, recordings: Sequence[Named]) -> Participants:
    """Columns `file`, `participant` (else the file is its own), `person` (lane, where a file shows several), others.

    Raises:
        ManifestError: not a table, no column `file`, one with a name that results have, no file with results, or one
            person twice.
    """
    table = read_csv(path)
    table.need("file")
    for column in table.columns:
        if MADE.fullmatch(column):
            raise ManifestError(
                f"the results have a column `{column}` of their own, as `{path}` has\n\n"
                f"hint: rename that of `{path.name}`, such as `my_{column}`; "
                "conditions within recordings go into --events"
            )
    names, columns = FileNames(recordings), tuple(column for column in table.columns if column not in OWN)
    assignments: dict[str, list[Assignment]] = {}
    without: list[tuple[str, Assignment]] = []
    for line, row in zip(table.lines, _rows(table), strict=True):
        place = f"line {line} of `{path}`"
        recording = names.find(_needed(row, "file", place), place)
        participant = row.get("participant", "") or (recording.name if recording else row["file"])
        assignment = Assignment(participant, row.get("person", ""), {column: row[column] for column in columns}, place)
        if recording is None:
            without.append((row["file"], assignment))
            continue
        others = assignments.setdefault(recording.name, [])
        if any(other.person == assignment.person for other in others):
            named = assignment.person or "its person"
            raise ManifestError(f"{place}: {named} of `{row['file']}` is there twice\n\nhint: one row per person")
        others.append(assignment)
    if not assignments:
        first = without[0][0] if without else ""
        raise ManifestError(f"no file of `{path}` has results, such as `{first}`\n\nhint: {names.hint(first)}")
    return Participants(assignments, columns, tuple(without))


def read_events(path: Path, recordings: Sequence[Named]) -> Events:
    """Columns `file` (`*` for all), `start`, `end` (empty for a moment), `condition` or `marker`.

    Times are seconds, `minutes:seconds` or `hours:minutes:seconds`.

    Raises:
        ManifestError: not a table, a column or a time is missing, or no file with results.
    """
    table = read_csv(path)
    aliases = {"start_s": "start", "end_s": "end", "marker": "condition"}
    table = table.renamed(
        {old: new for old, new in aliases.items() if old in table.columns and new not in table.columns}
    )
    table.need("file", "start", "condition")
    names, draft = FileNames(recordings), _Draft()
    for line, row in zip(table.lines, _rows(table), strict=True):
        place = f"line {line} of `{path}`"
        condition = _needed(row, "condition", place)
        if condition == WHOLE:
            raise ManifestError(f"{place}: `{WHOLE}` stands for all of a recording\n\nhint: choose another name")
        event = Event(condition, *_times(row, place))
        file = _needed(row, "file", place)
        meant = list(recordings) if file == EVERY_FILE else [names.find(file, place)]
        for recording in meant:
            if recording is None:
                draft.without_results[file] = None
            else:
                draft.by_recording.setdefault(recording.name, []).append(event)
                draft.conditions[condition] = None
    if not draft.by_recording:
        first = next(iter(draft.without_results), "")
        raise ManifestError(f"no file of `{path}` has results, such as `{first}`\n\nhint: {names.hint(first)}")
    return Events(draft.by_recording, tuple(draft.conditions), tuple(draft.without_results))


def participant_of_lanes(
    recording: Recording, lanes: Sequence[str], assignments: Sequence[Assignment] | None
) -> dict[str, str]:
    """Participant by lane; lanes of nobody known are left out.

    Args:
        recording: for names and messages.
        lanes: of the recording, in order of appearance.
        assignments: rows of `participants.csv`; None where there is no such table: then every person is a participant.

    Raises:
        ManifestError: a lane that the recording lacks, or several people of whom the table does not say which is meant.
    """
    persons = [lane for lane in lanes if lane not in NOBODY]
    alone = persons or list(lanes)  # without faces, whoever is heard is the person
    if assignments is None:
        if len(persons) <= 1:
            return dict.fromkeys(alone, recording.name)
        return {lane: f"{recording.name}/{lane}" for lane in persons}
    owners: dict[str, str] = {}
    for assignment in assignments:
        if not assignment.person:
            if len(persons) > 1:
                raise ManifestError(
                    f"{assignment.place}: `{recording.media}` shows {', '.join(persons)}, one of them is "
                    f"`{assignment.participant}`\n\nhint: name the lane in a column `person`; one participant may have "
                    "several lanes, a row each"
                )
            owners |= dict.fromkeys(alone, assignment.participant)
        elif assignment.person in lanes:
            owners[assignment.person] = assignment.participant
        else:
            raise ManifestError(
                f"{assignment.place}: `{recording.media}` has no person `{assignment.person}`\n\n"
                f"hint: {guess(assignment.person, list(lanes))}"
            )
    return owners


def _rows(table: CsvTable) -> list[dict[str, str]]:
    return [dict(zip(table.columns, (cell.strip() for cell in row), strict=True)) for row in table.rows]


def _needed(row: Mapping[str, str], column: str, place: str) -> str:
    if not row[column]:
        raise ManifestError(f"{place} has no {column}\n\nhint: fill the column `{column}` in every row")
    return row[column]


def _times(row: Mapping[str, str], place: str) -> tuple[float, float | None]:
    texts = [row["start"], row.get("end", "")]
    times = [seconds_of(text) if text else None for text in texts]
    for text, time_s in zip(texts, times, strict=True):
        if (text and time_s is None) or (time_s is not None and time_s < 0):
            raise ManifestError(f"{place} has the time `{text}`\n\nhint: write seconds or 1:30, from 0 on")
    start_s, end_s = times
    if start_s is None:
        raise ManifestError(f"{place} has no start\n\nhint: fill the column `start` in every row")
    if end_s is not None and end_s <= start_s:
        raise ManifestError(
            f"{place} ends at {texts[1]} and starts at {texts[0]}\n\nhint: an event ends after it starts"
        )
    return start_s, end_s


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start_s, end_s in sorted(spans):
        if joined and start_s <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end_s)
        else:
            joined.append((start_s, end_s))
    return joined
