"""Tables of participants and events as people write them."""

from pathlib import Path

import pytest

from cimeu.atomic import is_own
from cimeu.errors import ManifestError, OutputError, RecipeError
from cimeu.timeline.study.inputs import WHOLE, Events, read_events, read_participants
from cimeu.timeline.study.kept_tables import kept_table, read_tables
from cimeu.timeline.study.recordings import FileNames, Recording


def recording(name: str, media: str = "") -> Recording:
    header = {
        "media": media or f"{name.rsplit('/', 1)[-1]}.mp4",
        "duration_s": 60.0,
        "emotions": ["anger"],
        "settings": {},
    }
    return Recording(name, Path(f"{name}.series.parquet"), header)


A, DEEP, OTHER = recording("a"), recording("deep/b"), recording("other/b")


def table(tmp_path: Path, text: str) -> Path:
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    return tmp_path / "table.csv"


@pytest.mark.parametrize("text", ["a", "a.mp4", "./a.mp4", "C:\\films\\a.mp4", "/films/a.mp4"])
def test_a_file_is_found_with_or_without_folders_and_suffix(text: str) -> None:
    assert FileNames([A, DEEP]).find(text, "line 2") is A


def test_a_name_that_two_recordings_have_needs_its_folder() -> None:
    names = FileNames([DEEP, OTHER])
    assert names.find("other/b.mp4", "line 2") is OTHER
    with pytest.raises(ManifestError, match=r"line 2: `b\.mp4` may be `deep/b`, `other/b`\n\nhint: write the folder"):
        names.find("b.mp4", "line 2")


def test_letters_with_accents_are_found_in_either_form() -> None:
    name = recording("Zoe\u0308")
    assert FileNames([name]).find("Zo\u00eb.mp4", "line 2") is name


def test_times_are_seconds_or_clock_times_and_stretches_that_overlap_are_one(tmp_path: Path) -> None:
    path = table(tmp_path, "file;start;end;condition\n*;0;20,5;rest\na;0:10;0:30;rest\na;40;;beep\n")
    events = read_events(path, [A, DEEP])
    assert events.conditions == ("rest", "beep")
    assert events.stretches(A) == {"rest": [(0.0, 30.0)], WHOLE: [(0.0, 60.0)]}
    assert events.stretches(DEEP) == {"rest": [(0.0, 20.5)], WHOLE: [(0.0, 60.0)]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,soon,,x", "line 2 of .* has the time `soon`"),
        ("a,-1,2,x", "has the time `-1`"),
        ("a,,2,x", "has no start"),
        ("a,5,2,x", "ends at 2 and starts at 5"),
        ("a,5,6,", "has no condition"),
        (f"a,5,6,{WHOLE}", "stands for all of a recording"),
        ("c,5,6,x", r"no file of .* has results, such as `c`\n\nhint: "),
    ],
)
def test_events_that_cannot_be_are_named_by_their_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_events(table(tmp_path, f"file,start,end,condition\n{row}\n"), [A])


def test_a_column_that_differs_between_recordings_of_somebody_belongs_to_recordings(tmp_path: Path) -> None:
    people = read_participants(table(tmp_path, "file,participant,sex,day\na,p,f,1\ndeep/b,p,f,2\n"), [A, DEEP])
    assert people.columns == ("sex", "day")
    assert people.constant_columns == ["sex"]
    assert people.attributes_of("p") == {"sex": "f"}


@pytest.mark.parametrize("column", ["condition", "mean.anger", "n_windows", "duration_s"])
def test_a_column_that_results_have_themselves_is_refused(tmp_path: Path, column: str) -> None:
    with pytest.raises(ManifestError, match=f"the results have a column `{column}` of their own.*\n\nhint: rename"):
        read_participants(table(tmp_path, f"file,participant,{column}\na,p,x\n"), [A])


def test_one_person_of_a_file_cannot_be_two_participants(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"line 3 .*: person 1 of `a` is there twice\n\nhint: one row per person"):
        read_participants(table(tmp_path, "file,participant,person\na,p,person 1\na,q,person 1\n"), [A])


def test_no_events_leave_the_whole_recording() -> None:
    assert Events({}).stretches(A) == {WHOLE: [(0.0, 60.0)]}


def test_tables_are_kept_byte_for_byte_and_a_corrected_copy_stays(tmp_path: Path) -> None:
    people, results = table(tmp_path, "file;participant\na.mp4;p\nb.mp4;q\n"), tmp_path / "results"
    tables = read_tables(people, None, {"a": Path("in/a.mp4")})
    assert tables.without_recordings == ("b.mp4",)
    for _ in range(2):  # our own copy is replaced
        tables.check_free([results])
        tables.write([results])
    assert (results / "participants.csv").read_bytes() == people.read_bytes()
    assert kept_table([results], "participants") == results / "participants.csv"
    (results / "participants.csv").write_text("file,participant\na.mp4,Anna\n")
    with pytest.raises(OutputError, match=r"participants\.csv` was changed since cimeu wrote it"):
        tables.check_free([results])
    with pytest.raises(RecipeError, match=r"are both there\n\nhint: name one with --participants"):
        kept_table([results, results], "participants")


def test_a_table_that_lies_among_the_results_is_kept_as_it_is(tmp_path: Path) -> None:
    people = tmp_path / "participants.csv"
    people.write_text("file,participant\na.mp4,p\n")
    tables = read_tables(people, None, {"a": Path("a.mp4")})
    tables.check_free([tmp_path])
    tables.write([tmp_path])
    assert not is_own(people)
    assert kept_table([tmp_path], "participants") == people
