"""The commands of a study on the command line: `cimeu collect`, and `cimeu agree` of several annotators."""

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


def test_agree_counts_further_annotators_and_lists_every_pair(cimeu: Command, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.csv" for name in "abc"]
    for path, border_s in zip(paths, (5, 6, 5), strict=True):
        path.write_text(f"start_s,end_s,label,tier\n0,{border_s},anger,emotion\n{border_s},10,happiness,emotion\n")
    words = ["agree", *map(str, paths[:2]), "--also", str(paths[2]), "-o", str(tmp_path / "out.html")]
    status, _, err = cimeu(*words)
    assert status == 0
    assert "3 annotators: alpha 0.87 of 10 s" in err
    assert (tmp_path / "out.raters.csv").read_text().count("cohen_kappa") == 3


def test_agree_writes_nothing_where_one_of_its_files_is_somebody_elses(cimeu: Command, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text("start_s,end_s,label\n0,1,anger\n1,2,happiness\n")
    (tmp_path / "out.raters.csv").write_text("mine")
    files = {path.name for path in tmp_path.iterdir()}
    one, other, third = (str(tmp_path / f"{name}.csv") for name in "abc")
    status, _, err = cimeu("agree", one, other, "--also", third, "-o", str(tmp_path / "out.html"))
    assert (status, {path.name for path in tmp_path.iterdir()}) == (1, files)
    assert "out.raters.csv` is not a file that cimeu wrote" in err
