"""Tables as table programs save them read alike, and what is written comes back equal."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimeu.csv_files import csv_text, decimal_points, frame_text, read_csv
from cimeu.errors import ManifestError


def saved(folder: Path, content: str | bytes, *, encoding: str = "utf-8") -> Path:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


PLAIN = "name,score\nAnna,0.5\nBen,1\n"
GERMAN = "name;score\r\nAnna;0,5\r\nBen;1\r\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PLAIN, "utf-8"),
        (PLAIN.replace("\n", "\r"), "utf-8"),
        (PLAIN.replace(",", "\t"), "utf-8-sig"),
        (GERMAN, "utf-8-sig"),
        (GERMAN.replace(";", "\t"), "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        ("sep=;\r\n" + GERMAN, "utf-8-sig"),
        ('"name","score"\n"Anna","0,5"\n"Ben","1"\n', "utf-8"),
        ('"# made by ""cimeu"", 2026","",""\n"name","score",""\n"Anna",0.5,""\n"Ben",1,""\n', "utf-8"),
        ('# odd, "quotes\n\n# and more\nname,score\nAnna,0.5\nBen,1', "utf-8"),
        ("name;;score;;\r\nAnna;;0,5;;\r\nBen;;1;;\r\n;;;;\r\n", "utf-8-sig"),
        (",,\nname,score,\nAnna,0.5\n,,\nBen,1,,,\n", "utf-8"),
        ("name, score\nAnna, 0.5\nBen, 1\n# the end,\n", "utf-8"),
        ("# made\n#\n# by hand\nname,score\nAnna,0.5\n#\nBen,1\n", "utf-8"),
    ],
)
def test_every_dialect_holds_the_same_table(tmp_path: Path, text: str, encoding: str) -> None:
    table = read_csv(saved(tmp_path, text, encoding=encoding))
    assert table.columns == ("name", "score")
    assert list(table.frame["name"]) == ["Anna", "Ben"]
    assert list(table.numbers("score")) == [0.5, 1.0]


def test_rows_know_their_line(tmp_path: Path) -> None:
    table = read_csv(saved(tmp_path, '# one\n\nname,text\nAnna,"two\nlines"\n,\nBen,x\n'))
    assert list(table.frame.index) == [5, 7]


def test_a_row_that_stops_early_has_empty_cells(tmp_path: Path) -> None:
    """Excel leaves out the separators of empty last cells in blocks of sixteen rows."""
    assert read_csv(saved(tmp_path, "a,b,c\n1\n1,2\n")).rows == (("1", "", ""), ("1", "2", ""))


def test_a_column_with_content_and_no_name_is_kept(tmp_path: Path) -> None:
    table = read_csv(saved(tmp_path, ",name\n0,Anna\n1,Ben\n"))
    assert table.columns == ("unnamed_1", "name")
    assert table.rows[1] == ("1", "Ben")


def test_a_row_that_begins_with_a_number_sign_is_kept_below_the_header(tmp_path: Path) -> None:
    assert read_csv(saved(tmp_path, "person,label\n# Anna,anger\n# a comment,\n")).rows == (("# Anna", "anger"),)
    assert read_csv(saved(tmp_path, "#,label\n1,anger\n")).columns == ("#", "label")


def test_missing_numbers_are_not_a_number(tmp_path: Path) -> None:
    numbers = read_csv(saved(tmp_path, "a,score\n1,\n1,NA\n1,nan\n1,-2e-1\n")).numbers("score")
    assert np.isnan(numbers.to_numpy()).tolist() == [True, True, True, False]
    assert numbers.iloc[3] == -0.2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"table\.csv` is empty\n\nhint: the first line names the columns"),
        (b"# only\n# comments\n", r"table\.csv` is empty"),
        (
            b"a,b\n1,2,3\n",
            r"line 2 of .* has 3 cells, the first line 2\n\nhint: quote cells that hold the separator `,`",
        ),
        (b"a,b,a\n1,2,3\n", r"column `a` of .* is there twice"),
        (b"a,b\n\xe9,2\n", r"is not a table in UTF-8 \(line 2: .*\)\n\nhint: save it as CSV UTF-8"),
        (b"a,b\n1,2\n" + b"x" * 100 + b"\0\n", "it holds zero bytes"),
        (
            b"PK\x03\x04\x14\0\x06\0",
            r"is a workbook \(\.xlsx, \.ods, \.numbers\), not a table of text\n\nhint: save it as CSV",
        ),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"is a workbook \(\.xls\), not a table of text"),
        (b"a,b\n" + b"x" * 200_000, r"line 2 of .* is not of a table \(field larger"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_csv(saved(tmp_path, content))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("soon", "`score` in line 2 of .* is `soon`\n\nhint: write a number, such as 12.5"),
        ("inf", "is `inf`"),
        ("1_0", "is `1_0`"),
        ('"0,123.5"', r"is `0,123\.5`\n\nhint: write a number"),
        ('"1.23.456"', "hint: write a number"),
        ('"1,234"', "is `1,234`: a thousand, or a decimal comma"),
    ],
)
def test_what_is_no_number_is_refused(tmp_path: Path, cell: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_csv(saved(tmp_path, f"name,score\nAnna,{cell}\n")).numbers("score")


@pytest.mark.parametrize("cell", ["1.234,5", "1,234.5", "1 234,5", "1\u00a0234.5", "1\u202f234,5", "1234,5"])
def test_thousands_that_can_be_read_in_one_way_only_are_read(tmp_path: Path, cell: str) -> None:
    assert read_csv(saved(tmp_path, f"name;score\nAnna;{cell}\n")).numbers("score").tolist() == [1234.5]


@pytest.mark.parametrize(("cell", "number"), [("1.234.567", 1234567), ("-1,234,567", -1234567), ("1 234", 1234)])
@pytest.mark.parametrize("separator", [";", ","])
def test_two_groups_of_thousands_are_no_decimals(tmp_path: Path, separator: str, cell: str, number: int) -> None:
    table = read_csv(saved(tmp_path, f'name{separator}score\nAnna{separator}"{cell}"\n'))
    assert table.numbers("score").tolist() == [number]
    assert table.with_decimal_points()["score"].tolist() == [str(number)]


AMBIGUOUS = [
    (";", ["999,5", "1.234,5", "2.000"]),
    (";", ["999,5", "2.000"]),
    (";", ["1.234.567", "2.000"]),
    (";", ["1,234.5", "2,000"]),
    (";", ["1,234,567", "2,000"]),
    ("\t", ["0.5", "2,000"]),
    ("\t", ["1,500", "2.000"]),
    (",", ["0,5", "2.000"]),
    (",", ["0.5", "2,000"]),
]


@pytest.mark.parametrize(("separator", "cells"), AMBIGUOUS)
def test_thousands_are_never_taken_for_decimals(tmp_path: Path, separator: str, cells: list[str]) -> None:
    rows = "".join(f'Anna{separator}"{cell}"\n' for cell in cells)
    table = read_csv(saved(tmp_path, f"name{separator}score\n{rows}"))
    with pytest.raises(
        ManifestError,
        match=r"is `[12][.,][05]00`: a thousand, or a decimal .*\n\nhint: write all numbers of the column",
    ):
        table.numbers("score")
    assert pd.to_numeric(table.with_decimal_points()["score"], errors="coerce").isna().any()


@pytest.mark.parametrize(
    ("separator", "cells", "numbers"),
    [
        (";", ["1,234", "2,000"], [1.234, 2]),
        (";", ["1.234,5", "2,000"], [1234.5, 2]),
        (";", ["0.5", "2.000", "12"], [0.5, 2, 12]),
        (",", ["2.000", "1,234.5"], [2, 1234.5]),
        (",", ["0,5", "2,000"], [0.5, 2]),
    ],
)
def test_three_decimals_are_read_where_the_column_has_one_spelling(
    tmp_path: Path, separator: str, cells: list[str], numbers: list[float]
) -> None:
    rows = "".join(f'Anna{separator}"{cell}"\n' for cell in cells)
    table = read_csv(saved(tmp_path, f"name{separator}score\n{rows}"))
    assert table.numbers("score").tolist() == numbers
    assert table.with_decimal_points()["score"].astype(float).tolist() == numbers


def test_cells_of_a_file_that_nobody_knows_are_read_as_between_commas() -> None:
    assert decimal_points(pd.Series(["1,234", " 7"])).tolist() == ["1,234?", "7"]
    assert decimal_points(pd.Series([], dtype=object)).tolist() == []


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ('Anna,"1\nBen,2\nEve,3\n', "line 2 of .* up to line 4"),
        ('Anna,"1\nBen,"2"\nEve,3\n', "line 2 of .* up to line 3"),
        ('Eve,3\n\nAnna,"1\nBen,2', "line 4 of .* up to line 5"),
        ('Anna,"1\n"Ben",2\nEve,3\n', "line 2 of .* up to line 3"),
        ('Anna,"1""\nBen,""\n', "line 2 of .* up to line 3"),
        ('Anna,"1\n' + "Ben,2 and more\n" * 10_000, r"line 2 of .* up to line 87\d\d"),
    ],
)
def test_a_quote_that_nobody_closed_never_swallows_rows(tmp_path: Path, rows: str, words: str) -> None:
    with pytest.raises(ManifestError, match=rf"a quote in {words}\n\nhint: close it"):
        read_csv(saved(tmp_path, f"name,score\n{rows}"))


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        ('a,"two\nlines" ,1', ("a", "two\nlines ", "1")),
        ('a,"two\r\nlines, ""quoted"""\t', ("a", 'two\r\nlines, "quoted"\t', "")),
        ('"b" c,"two\nlines",1', ("b c", "two\nlines", "1")),
        ('"b, "c, "two\n,", ""', ("b, c", "two\n,", "")),
    ],
)
def test_what_stands_behind_a_closed_quote_is_kept(tmp_path: Path, row: str, cells: tuple[str, ...]) -> None:
    assert read_csv(saved(tmp_path, f"x,y,z\n{row}\nlast,2,3\n")).rows == (cells, ("last", "2", "3"))


def test_text_behind_a_cell_of_several_lines_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="text stands behind a closing quote in the row from line 2 to line 3"):
        read_csv(saved(tmp_path, 'name,score\nAnna,"1\nBen,5" wide\n'))


@pytest.mark.parametrize("content", ["#\n1\n2\n", '"#"\r\n"1"\r\n2\r\n', "# made\n#\n\n1\n2"])
def test_a_column_of_numbers_may_be_called_number_sign(tmp_path: Path, content: str) -> None:
    table = read_csv(saved(tmp_path, content))
    assert (table.columns, table.numbers("#").tolist()) == (("#",), [1, 2])


def test_quotes_inside_a_cell_and_lines_inside_quotes_stay(tmp_path: Path) -> None:
    table = read_csv(saved(tmp_path, 'name,note\nAnna,5" wide\nBen,"two\nlines, ""quoted"""\n'))
    assert table.rows == (("Anna", '5" wide'), ("Ben", 'two\nlines, "quoted"'))


def test_an_absent_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"has no column `start_s`, found: a, b\n\nhint: .* at least a, start_s"):
        read_csv(saved(tmp_path, "a,b\n1,2\n")).need("a", "start_s")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is a folder"):
        read_csv(tmp_path)
    with pytest.raises(ManifestError, match="/dev/zero` is a device, not a regular file"):
        read_csv("/dev/zero")
    with pytest.raises(ManifestError, match=r"none\.csv` cannot be read: No such file"):
        read_csv(tmp_path / "none.csv")


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(
    rows=st.lists(st.tuples(text, text | st.sampled_from(["# x", "=1+1", "'=x", "-5", " ", "'tis", "@a"])), max_size=5)
)
def test_every_text_comes_back_equal(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("text") / "table.csv"
    kept = [row for row in rows if any(cell.strip() for cell in row)]
    path.write_text(csv_text([("name", "text"), *kept]), encoding="utf-8", newline="")
    commented = [row for row in kept if row[0].startswith("#") and not row[1].strip()]
    assert read_csv(path).rows == tuple(row for row in kept if row not in commented)


def test_readers_that_skip_comments_keep_what_people_typed() -> None:
    table = pd.read_csv(io.StringIO(csv_text([("person", "label"), ("# Anna", "a # b")])), comment="#")
    assert table.to_numpy().tolist() == [["# Anna", "a # b"]]


@pytest.mark.parametrize("typed", ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "＝1+1"])
def test_no_spreadsheet_computes_what_people_typed(typed: str) -> None:
    assert csv_text([(typed,)]).lstrip('"').startswith("'")


def test_numbers_need_no_apostrophe() -> None:
    assert csv_text([("-5", "+0.3", "-1e-3", -2.5, "-")]) == "-5,+0.3,-1e-3,-2.5,-\n"


def test_a_data_frame_is_written_with_empty_cells_for_what_is_not_there() -> None:
    table = pd.DataFrame({"path": ["a", "=b"], "end_s": [1.5, np.nan]})
    assert frame_text(table) == "path,end_s\na,1.5\n'=b,\n"


def test_decimals_are_of_numbers_alone(tmp_path: Path) -> None:
    table = pd.DataFrame({"clip_id": ["'=a", "-b;"], "share": [1 / 3, np.nan], "n": [1, 2]})
    (tmp_path / "table.csv").write_text(frame_text(table, digits=3))
    assert read_csv(tmp_path / "table.csv").rows == (("'=a", "0.333", "1"), ("-b;", "", "2"))


def test_a_hundred_thousand_columns_are_read_in_no_time(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(100_000)]
    table = read_csv(saved(tmp_path, ",".join(names) + "\n" + ",".join("1" * len(names)) + "\n"))
    assert table.frame.shape == (1, 100_000)
