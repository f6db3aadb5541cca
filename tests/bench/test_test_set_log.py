import csv
import datetime
from pathlib import Path

import pytest

from cimeu.bench.test_set_log import COLUMNS, check_log, log_look
from cimeu.errors import OutputError

LOOK = {"recipe": "speech/outer.yaml", "rows": ["full", "plain"], "folds": ["de", "en"], "seeds": [0, 1]}


def test_each_look_is_one_more_line(tmp_path: Path) -> None:
    path = tmp_path / "results" / "looks.csv"
    log_look(path, method_version="0.1.0", date=datetime.date(2026, 1, 2), **LOOK)
    first = path.read_text()
    log_look(path, method_version="0.2.0", note='after retuning, "again"', **LOOK)
    assert path.read_text().startswith(first)
    lines = list(csv.DictReader(path.read_text().splitlines()))
    assert tuple(lines[0]) == COLUMNS
    assert (lines[0]["date"], lines[0]["rows"], lines[0]["seeds"]) == ("2026-01-02", "full plain", "0 1")
    assert lines[1]["note"] == 'after retuning, "again"'


def test_nothing_is_appended_to_another_table(tmp_path: Path) -> None:
    (tmp_path / "looks.csv").write_text("a,b\n")
    with pytest.raises(OutputError, match=r"is not a log of `cimeu bench`\n\nhint: name another file with --looks"):
        check_log(tmp_path / "looks.csv")
