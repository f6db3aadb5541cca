"""The tables of a study beside the results that they are about: `cimeu predict` keeps them, `cimeu collect` finds them.

results/interview.series.parquet
results/participants.csv, events.csv     as they were given, byte for byte
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cimeu.atomic import check_free, write_whole
from cimeu.csv_files import read_csv
from cimeu.errors import RecipeError
from cimeu.timeline.study.inputs import read_events, read_participants

TABLES = ("participants", "events")
"""Names without suffix; each is also the kind of its file."""


@dataclass(frozen=True)
class Planned:
    """A recording that is about to be predicted."""

    name: str
    media: str


@dataclass(frozen=True)
class StudyTables:
    """Tables that were checked against the recordings, not written yet."""

    contents: Mapping[str, tuple[Path, bytes]]
    """Where each lies and what it holds, by name."""
    without_recordings: tuple[str, ...]
    """Files that they name and that are not among the recordings."""

    def check_free(self, folders: Iterable[Path]) -> None:
        """Raises OutputError where a table would replace a file that is not ours."""
        for folder in folders:
            for name, (source, _) in self.contents.items():
                if not _is_same(source, folder / f"{name}.csv"):
                    check_free([folder / f"{name}.csv"], name)

    def write(self, folders: Iterable[Path]) -> None:
        """Write them into each folder of results."""
        for folder in folders:
            for name, (source, content) in self.contents.items():
                if not _is_same(source, folder / f"{name}.csv"):
                    write_whole(folder / f"{name}.csv", content, name)


def read_tables(participants: Path | None, events: Path | None, recordings: Mapping[str, Path]) -> StudyTables:
    """Read the tables of a study before any recording is predicted.

    Args:
        participants: who is in which recording.
        events: what happened when.
        recordings: files by the name of their results.

    Raises:
        ManifestError: as `read_participants` and `read_events`.
        RecipeError: a recording has the name under which a table is kept.
    """
    for name, table in zip(TABLES, (participants, events), strict=True):
        if table is not None and name in recordings:
            raise RecipeError(
                f"the results of `{recordings[name]}` and the table `{table}` would both be `{name}.csv`\n\n"
                "hint: rename the recording, or give the table to `cimeu collect` instead"
            )
    planned = [Planned(name, path.name) for name, path in recordings.items()]
    contents, without = {}, []
    if participants is not None:
        without += [file for file, _ in read_participants(participants, planned).without_results]
        contents["participants"] = participants, participants.read_bytes()
    if events is not None:
        without += read_events(events, planned).without_results
        contents["events"] = events, events.read_bytes()
    return StudyTables(contents, tuple(dict.fromkeys(without)))


def kept_table(folders: Sequence[Path], name: str) -> Path | None:
    """The table of this name in one of these folders of results, whatever was changed in it since.

    Raises:
        ManifestError: it is no table; a study without it would look complete.
        RecipeError: several folders hold one.
    """
    paths = [path for folder in folders if _names_files(path := folder / f"{name}.csv")]
    if len(paths) > 1:
        raise RecipeError(f"`{paths[0]}` and `{paths[1]}` are both there\n\nhint: name one with --{name}")
    return paths[0] if paths else None


def _is_same(source: Path, path: Path) -> bool:
    return path.exists() and path.samefile(source)


def _names_files(path: Path) -> bool:
    """Whether it is a table of a study and not the timeline of a recording of this name, which has no such column."""
    return path.is_file() and "file" in read_csv(path).columns
