"""Whose lane is whose."""

from pathlib import Path

import pytest

from cimeu.errors import ManifestError
from cimeu.timeline.study.collect import StudySettings, collect

from .conftest import ResultMaker

ROWS = [(0.1, 0.8, 0.1)] * 6


def test_several_people_in_a_file_must_be_told_apart(make_result: ResultMaker, tmp_path: Path) -> None:
    results = make_result("a", {"person 1": ROWS, "person 2": ROWS})
    settings = StudySettings(participants=tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("file,participant\na,anna\n")
    with pytest.raises(ManifestError, match=r"shows person 1, person 2, one of them is `anna`\n\nhint: name the lane"):
        collect([results], tmp_path / "out", settings)
    (tmp_path / "p.csv").write_text("file,participant,person\na,anna,person 3\n")
    with pytest.raises(ManifestError, match=r"has no person `person 3`\n\nhint: did you mean"):
        collect([results], tmp_path / "out", settings)


def test_two_people_seen_at_once_are_not_one_participant(make_result: ResultMaker, tmp_path: Path) -> None:
    results = make_result("a", {"person 1": ROWS, "person 2": ROWS})
    (tmp_path / "p.csv").write_text("file,participant,person\na,anna,person 1\na,anna,person 2\n")
    with pytest.raises(ManifestError, match=r"are both there at 0 s and cannot both be `anna`\n\nhint: give them"):
        collect([results], tmp_path / "out", StudySettings(participants=tmp_path / "p.csv"))


def test_a_person_who_was_lost_and_found_again_is_one_participant(make_result: ResultMaker, tmp_path: Path) -> None:
    late = [None] * 5 + list(ROWS)
    results = make_result("a", {"person 1": ROWS, "person 2": late})
    (tmp_path / "p.csv").write_text("file,participant,person\na,anna,person 1\na,anna,person 2\n")
    study = collect([results], tmp_path / "out", StudySettings(participants=tmp_path / "p.csv"))
    assert study.tables.participants["n_windows"].tolist() == [12]
