"""Many recordings as one study: series and segments joined, participants and conditions compared.

    results/*.series.parquet ─┬─ one recording at a time ─┬─ series.parquet, segments.csv
    participants.csv ─────────┤                           └─ sums ─ participants.csv, conditions.csv, curves.csv
    events.csv ───────────────┘                                     dictionary.csv, summary.html

Memory does not grow with recordings, but with participants and conditions.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pandas as pd

from cimeu.atomic import check_free, whole, write_whole
from cimeu.csv_files import csv_text, frame_text, read_csv
from cimeu.errors import ManifestError, RecipeError, guess, listed
from cimeu.progress import Progress, silent
from cimeu.timeline.series import SCORE
from cimeu.timeline.study.inputs import (
    WHOLE,
    Assignment,
    Events,
    Participants,
    participant_of_lanes,
    read_events,
    read_participants,
)
from cimeu.timeline.study.kept_tables import kept_table
from cimeu.timeline.study.page import to_page
from cimeu.timeline.study.recordings import (
    Recording,
    Windows,
    check_comparable,
    find_series,
    lanes_of,
    read_recording,
    read_table,
)
from cimeu.timeline.study.statistics_files import STATISTICS, check_installed, write_statistics
from cimeu.timeline.study.tables import OWN_MEAN, Key, Study, make_tables
from cimeu.timeline.study.tally import EventSums, Grid, Tally, check_apart

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "study"
SERIES, SEGMENTS, SUMMARY = "series.parquet", "segments.csv", "summary.html"
SEGMENT_COLUMNS = (
    *("person", "start_s", "end_s", "label", "confidence", "abstain", "modality", "reason"),
    "unlike_training",
)
LATE_S = 1.0
"""Events may end so long after their recording without a word: protocols are written in whole seconds."""
RECORDINGS_AT_ONCE = 50
"""Series that are written together, so that the joined file has few parts."""


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """How a study is put together."""

    participants: Path | None = None
    events: Path | None = None
    """Tables; None takes those that lie beside the results (`cimeu predict` keeps them there), if there are any."""
    baseline: str = OWN_MEAN
    """Condition that differences are taken from; empty: the participant's own mean over all of their recordings."""
    before_s: float = 5.0
    after_s: float = 10.0
    """Curves begin and end so long before and after the start of an event."""
    formats: Sequence[str] = ()
    """`.sav` (SPSS), `.dta` (Stata)."""

    def __post_init__(self) -> None:
        for name in ("before_s", "after_s"):
            if not 0 <= getattr(self, name) <= 3600:
                raise RecipeError(f"{name} is {getattr(self, name)}\n\nhint: a number of seconds from 0 to 3600")
        for suffix in self.formats:
            if suffix not in STATISTICS:
                raise RecipeError(f"unknown format `{suffix}`\n\nhint: one of {', '.join(STATISTICS)}")


def collect(
    folders: Iterable[Path | str],
    output: Path | str,
    settings: StudySettings | None = None,
    progress: Progress = silent,
) -> Study:
    """Join the results of `cimeu predict` and write the tables of a study into a folder.

    Args:
        folders: results, searched for `NAME.series.parquet`.
        output: folder for the tables.
        settings: participants, events, baseline.
        progress: counts recordings.

    Raises:
        ManifestError: no series, one that is damaged or of another model, or a table that contradicts the recordings.
        RecipeError: an unknown baseline or one without events, several folders with tables of their own, or pyreadstat
            is not installed.
        OutputError: a file of the folder is not ours to replace.
    """
    results, output = [Path(folder) for folder in folders], Path(output)
    settings = with_kept_tables(settings or StudySettings(), results)
    if settings.baseline and settings.events is None:
        raise RecipeError(f"a baseline `{settings.baseline}` without events\n\nhint: name the table with --events")
    # Before anything is read: an hour of joining must not end in a missing package.
    check_installed(settings.formats)
    recordings = [read_recording(name, path) for name, path in find_series(results).items()]
    check_comparable(recordings)
    people = None if settings.participants is None else read_participants(settings.participants, recordings)
    events = Events({}) if settings.events is None else read_events(settings.events, recordings)
    _check_times(events, recordings, settings.events)
    if settings.baseline and settings.baseline not in events.conditions:
        raise RecipeError(
            f"no condition `{settings.baseline}` to take differences from\n\n"
            f"hint: {guess(settings.baseline, events.conditions)}"
        )
    written = [SERIES, SEGMENTS, "participants.csv", "conditions.csv", "curves.csv", "dictionary.csv", SUMMARY]
    written += [f"participants{suffix}" for suffix in settings.formats]
    # All names at once, so that a refused file leaves none of the others behind.
    check_free((output / name for name in written), KIND)
    # Sums instead of rows: a study of a thousand hours needs the memory of one recording.
    collector = _Collector(recordings, people, events, settings)
    with ExitStack() as stack:
        series = stack.enter_context(whole(output / SERIES, KIND))
        segments = stack.enter_context(whole(output / SEGMENTS, KIND))
        collector.join(series, segments, progress)
    tables = make_tables(
        collector.tallies,
        collector.event_sums,
        people or Participants({}),
        recordings[0].measures,
        events.conditions,
        settings.baseline,
    )
    # Recordings that a table names and nobody predicted: reported, because means over the others look complete.
    missing = {*events.without_results, *(file for file, _ in (people.without_results if people else ()))}
    left_out = tuple(collector.left_out(missing))
    study = Study(tuple(recordings), tables, events.conditions, settings.baseline, left_out, len(missing))
    _write(study, output, settings.formats)
    return study


def with_kept_tables(settings: StudySettings, results: Sequence[Path]) -> StudySettings:
    """The settings with tables that lie beside the results (`cimeu predict` keeps them there), where none are named.

    Raises:
        RecipeError: several folders hold one.
    """
    return replace(
        settings,
        participants=settings.participants or kept_table(results, "participants"),
        events=settings.events or kept_table(results, "events"),
    )


@dataclass
class _Collector:
    """Reads one recording after another and keeps sums."""

    recordings: Sequence[Recording]
    people: Participants | None
    events: Events
    settings: StudySettings
    tallies: dict[Key, Tally] = field(default_factory=dict)
    event_sums: dict[Key, EventSums] = field(default_factory=dict)
    unlisted: list[str] = field(default_factory=list)
    """Recordings that the table of participants does not name."""
    unassigned: int = 0
    """Windows with scores of nobody known."""
    without_segments: list[str] = field(default_factory=list)

    def join(self, series: Path, segments: Path, progress: Progress) -> None:
        """Read every recording once, write its rows, add up its numbers."""
        import pyarrow as pa
        from pyarrow import parquet

        waiting: list[pa.Table] = []
        with ExitStack() as stack:
            lines = stack.enter_context(segments.open("w", encoding="utf-8", newline=""))
            lines.write(csv_text([self._segment_header]))
            writer: parquet.ParquetWriter | None = None
            for number, recording in enumerate(self.recordings):
                table = read_table(recording)
                owners = self._add(recording, table)
                self._write_segments(recording, owners, lines)
                waiting.append(_with_owners(table, recording, owners))
                # A row group per recording would make a file of a thousand tiny groups, slow for every reader.
                if len(waiting) == RECORDINGS_AT_ONCE or number == len(self.recordings) - 1:
                    rows = pa.concat_tables(waiting)
                    if writer is None:
                        writer = stack.enter_context(parquet.ParquetWriter(series, rows.schema, compression="zstd"))
                    writer.write_table(rows)
                    waiting.clear()
                progress("recordings", number + 1, len(self.recordings))

    def _add(self, recording: Recording, table: "pa.Table") -> dict[str, str]:
        """Add a recording to the sums; gives participant by lane."""
        lanes = lanes_of(table, recording)
        rows = self._assignments(recording)
        owners = participant_of_lanes(recording, list(lanes), rows)
        if rows is not None and not rows:
            self.unlisted.append(recording.name)
        self.unassigned += sum(int(lane.has_scores.sum()) for name, lane in lanes.items() if name not in owners)
        listed = set(owners.values()) | {row.participant for row in rows or ()}
        for participant in sorted(listed):
            # One participant may have several lanes: a face that got a second name after a cut.
            theirs = {name: lanes[name] for name, owner in owners.items() if owner == participant}
            check_apart(participant, recording.name, theirs)
            self._add_participant(recording, participant, list(theirs.values()))
        return owners

    def _add_participant(self, recording: Recording, participant: str, lanes: Sequence[Windows]) -> None:
        measures = recording.measures
        for condition, stretches in self.events.stretches(recording).items():
            tally = self.tallies.setdefault(
                (participant, condition), Tally(len(measures.emotions), len(measures.scales))
            )
            tally.add(recording.name, lanes, stretches)
        hop_s = float(recording.header["settings"]["hop_s"])
        grid = Grid(self.settings.before_s, self.settings.after_s, hop_s)
        for event in self.events.by_recording.get(recording.name, ()):
            sums = self.event_sums.setdefault((participant, event.condition), EventSums(grid, len(measures.names)))
            sums.add(lanes, [event.start_s])

    def _assignments(self, recording: Recording) -> Sequence[Assignment] | None:
        return None if self.people is None else self.people.assignments.get(recording.name, [])

    @property
    def _columns(self) -> tuple[str, ...]:
        return self.people.columns if self.people else ()

    @property
    def _segment_header(self) -> list[str]:
        scores = [f"{SCORE}{emotion}" for emotion in self.recordings[0].emotions]
        return ["recording", "participant", *self._columns, *SEGMENT_COLUMNS, *scores]

    def _write_segments(self, recording: Recording, owners: dict[str, str], lines: TextIO) -> None:
        """Rows of the table beside the series, with corrections that people made there."""
        if not recording.segments_path.is_file():
            self.without_segments.append(recording.name)
            return
        table = read_csv(recording.segments_path)
        table.need("person", "start_s", "end_s", "label")
        place = {column: number for number, column in enumerate(table.columns)}
        source_columns = [place.get(column, -1) for column in self._segment_header[2 + len(self._columns) :]]
        attributes = {
            row.person: [row.attributes[column] for column in self._columns]
            for row in self._assignments(recording) or ()
        }
        nothing = [""] * len(self._columns)
        # A row of participants without a lane speaks for all lanes of the recording.
        attributes_of = {lane: attributes.get(lane, attributes.get("", nothing)) for lane in owners}
        for row in table.rows:
            lane = row[place["person"]]
            cells = (row[number] if number >= 0 else "" for number in source_columns)
            lines.write(csv_text([[recording.name, owners.get(lane, ""), *attributes_of.get(lane, nothing), *cells]]))

    def left_out(self, missing: Iterable[str]) -> Iterable[str]:
        """What is missing or not part of the tables, in words."""
        if missing:
            yield f"{_counted(sorted(missing), 'file')} of the tables without results: they are missing, not zero"
        if self.unlisted:
            yield f"{_counted(self.unlisted, 'recording')} that the table of participants does not name"
        if self.unassigned:
            yield f"{self.unassigned:,} windows with scores of lanes that are no participant's"
        silent_ones = [
            recording.name for recording in self.recordings if not self.events.by_recording.get(recording.name)
        ]
        if self.events.conditions and silent_ones:
            yield f"{_counted(silent_ones, 'recording')} without an event: in `{WHOLE}` alone"
        if outside := _outside(self.events, self.recordings):
            yield f"{_counted(outside, 'event')} outside of the recording"
        if late := _outside(self.events, self.recordings, ends=True):
            yield f"{_counted(late, 'event')} whose end lies outside of the recording: it counts as absent"
        if self.without_segments:
            yield f"{_counted(self.without_segments, 'recording')} without a table of segments (`--format csv`)"


def _outside(events: Events, recordings: Iterable[Recording], *, ends: bool = False) -> list[str]:
    """Events that begin (or, of the others, end) after the end of their recording, in words."""
    words = []
    for recording in recordings:
        for event in events.by_recording.get(recording.name, ()):
            begins_late = event.start_s >= recording.duration_s
            ends_late = not begins_late and (event.end_s or 0.0) > recording.duration_s + LATE_S
            if ends_late if ends else begins_late:
                time_s = event.end_s if ends else event.start_s
                of = f"`{recording.name}`, which ends at {recording.duration_s:g} s"
                words.append(f"`{event.condition}` {'until' if ends else 'at'} {time_s:g} s of {of}")
    return words


def _check_times(events: Events, recordings: Sequence[Recording], table: Path | None) -> None:
    """Raises ManifestError where no event lies in its recording, as where times are milliseconds."""
    outside = _outside(events, recordings)
    if outside and len(outside) == sum(map(len, events.by_recording.values())):
        raise ManifestError(
            f"no event of `{table}` lies in its recording: {outside[0]}\n\n"
            "hint: times are seconds, or 1:30, from the start of each recording"
        )


def _with_owners(table: "pa.Table", recording: Recording, owners: dict[str, str]) -> "pa.Table":
    """The rows of a series with the columns `recording` and `participant` in front."""
    import pyarrow as pa

    participants = pa.array([owners.get(name, "") for name in table["person"].to_pylist()], pa.string())
    table = table.add_column(0, "participant", participants)
    return table.add_column(0, "recording", pa.array([recording.name] * len(table), pa.string()))


def _write(study: Study, output: Path, formats: Sequence[str]) -> None:
    tables = study.tables
    for name, frame in (
        ("participants", tables.participants),
        ("conditions", tables.conditions),
        ("curves", tables.curves),
    ):
        write_whole(output / f"{name}.csv", frame_text(_rounded(frame)), KIND)
    rows = [(column.file, column.name, column.description, column.unit) for column in tables.dictionary]
    write_whole(output / "dictionary.csv", csv_text([("file", "column", "description", "unit"), *rows]), KIND)
    for suffix in formats:
        with whole(output / f"participants{suffix}", KIND) as partial:
            write_statistics(tables, partial, suffix)
    write_whole(output / SUMMARY, to_page(study), KIND)


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares, scores and their differences to six decimals."""
    # Sums in another order differ in the last bits; files must not.
    return frame.round(6)


def _counted(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s' * (len(names) != 1)} ({listed(names)})"
