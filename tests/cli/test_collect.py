"""`cimeu collect` on the command line."""

from collections.abc import Callable
from pathlib import Path

from ..timeline.study.conftest import ResultMaker, make_result

Command = Callable[..., tuple[int, str, str]]
__all__ = ["make_result"]


def test_collect_prints_the_page_and_ends_with_3_where_files_are_missing(
    cimeu: Command, make_result: ResultMaker, tmp_path: Path
) -> None:
    results = make_result("a", {"person 1": [(0.1, 0.8, 0.1)] * 4})
    (tmp_path / "events.csv").write_text("file,start,end,condition\na.mp4,0,1,rest\nb.mp4,0,1,rest\n")
    status, out, err = cimeu("collect", str(results), "-o", str(tmp_path / "out"))
    assert (status, out) == (0, f"{tmp_path / 'out' / 'summary.html'}\n")
    assert "1 recordings collected" not in err
    assert "1 recording collected" in err
    status, _, err = cimeu(
        "collect", str(results), "-o", str(tmp_path / "out"), "--events", str(tmp_path / "events.csv")
    )
    assert status == 3
    assert "missing or left out: 1 file (b.mp4) of the tables without results" in err
