"""Tables as people and their programs save them, read by one reader, and tables that come back as they were written.

Excel, LibreOffice, Numbers, R and pandas differ in the separator, the decimal sign and the encoding, and in what they
leave at the edges: columns and rows without content, rows that stop before their last empty cells, comment lines in
quotes, a first line `sep=;`. All of that is read alike, as text; numbers are read by the column that needs them.

Text that people type (the name of a lane, of a file, of a speaker) is written so that other programs keep it as text:
a `#` in quotes, because many readers drop what follows a bare one, and `=1+1` as `'=1+1`, because spreadsheets would
compute it (OWASP, CSV injection). The reader here takes the apostrophe off again.
"""

import csv
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from cimeu.errors import ManifestError, guess
from cimeu.reading import kind_of

SEPARATORS = (",", ";", "\t")
MOST_BYTES = 2**30
"""Larger files are no tables of clips or annotations."""
_HINT = "hint: save it as CSV UTF-8 in your table program"
_WORKBOOKS = {b"PK\x03\x04": "a workbook (.xlsx, .ods, .numbers)", b"\xd0\xcf\x11\xe0": "a workbook (.xls)"}
_EXCEL_SEPARATOR = re.compile(r'"?sep=(.)"?\s*$')
# `-5` and our `+0.3 [-1.0, 1.6]` are no formulas and need no apostrophe; the wide signs are of Japanese input.
_FORMULA = re.compile(
    r"'*(?:[=@\t\r＝＠].|[+\-＋－](?!\d*[.,]?\d*(?:[eE][+-]?\d+)?(?: \[[-+.,\d ]*\])?$).)",
    re.DOTALL,
)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_GROUPED = re.compile(
    r"[+-]?[1-9]\d{0,2}(?:(?:[.]\d{3})+,\d+|(?:,\d{3})+[.]\d+|(?:[.]\d{3}){2,}|(?:,\d{3}){2,}"
    r"|(?:[\u00a0\u202f ]\d{3})+(?:[.,]\d+)?)"
)
"""Thousands that can be read in one way only: `1.234,5`, `1,234.5`, `1.234.567`, `1 234,5`."""
_ONE_GROUP = re.compile(r"[+-]?[1-9]\d{0,2}([.,])\d{3}")
"""Thousands or decimals: `1.234`, `1,234`."""
_OTHER_SIGN = {".": ",", ",": "."}
_BLANK_NUMBERS = frozenset({"", "NA", "nan", "NaN"})
"""What table programs, R and pandas write for a number that is not there."""


@dataclass(frozen=True)
class CsvTable:
    """The cells of a file as text; every row has a cell for each column."""

    path: Path
    separator: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    """Line of the file on which each row ends, counted from 1."""

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The cells as text, indexed by the line of the file."""
        cells = np.array(self.rows, dtype=object).reshape(len(self.rows), len(self.columns))
        return pd.DataFrame(cells, columns=list(self.columns), index=pd.Index(self.lines, name="line"), dtype=object)

    def need(self, *columns: str) -> None:
        """Raises ManifestError for a column that the table lacks."""
        for column in columns:
            if column not in self.columns:
                raise ManifestError(
                    f"`{self.path}` has no column `{column}`, found: {', '.join(islice(self.columns, 20))}\n\n"
                    f"hint: the first line names the columns, at least {', '.join(columns)}"
                )

    def renamed(self, names: Mapping[str, str]) -> "CsvTable":
        """The same cells with other names for some columns. Raises ManifestError for one that is absent or taken."""
        for column in names:
            if column not in self.columns:
                raise ManifestError(
                    f"`{self.path}` has no column `{column}`\n\nhint: {guess(column, self.columns[:20])}"
                )
        columns = tuple(names.get(column, column) for column in self.columns)
        _check_once(columns, self.path)
        return replace(self, columns=columns)

    def numbers(self, column: str) -> pd.Series:
        """A column as numbers, NaN where there is none; `0,5` is a half where the file says that commas are decimal.

        Raises:
            ManifestError: no such column, or a cell that is not a finite number or can be read in two ways.
        """
        self.need(column)
        cells = self.frame[column].str.strip()
        # Each text is read once, where it is first seen: a column of times is mostly blank.
        first = cells[~cells.duplicated()]
        unsure = _unsure(first.array, self.separator)
        for line, cell in first.items():
            if cell in unsure:
                raise ManifestError(
                    f"`{column}` in line {line} of `{self.path}` is `{cell}`: a thousand, or a decimal "
                    f"{'comma' if ',' in cell else 'point'}?\n\n"
                    "hint: write all numbers of the column in one way, without separators of thousands"
                    + (", with decimal points" if self.separator == "," else "")
                )
        numbers = {cell: self._number(column, line, cell) for line, cell in first.items()}
        return pd.Series([numbers[cell] for cell in cells.array], cells.index, dtype=float)

    def with_decimal_points(self) -> pd.DataFrame:
        """The cells as text, each column as `decimal_points` gives it."""
        return self.frame.apply(decimal_points, separator=self.separator)

    def _number(self, column: str, line: object, cell: str) -> float:
        if cell in _BLANK_NUMBERS:
            return np.nan
        try:
            number = float(_with_point(cell))
        except ValueError:
            number = np.nan
        if not np.isfinite(number):
            raise ManifestError(
                f"`{column}` in line {line} of `{self.path}` is `{cell}`\n\nhint: write a number, such as 12.5"
            )
        return number


def read_csv(path: Path | str, *, quotes: bool = True, errors: str = "strict") -> CsvTable:
    """Read a table with a header line, whichever program saved it.

    Columns without name and content, and rows without content, are dropped. Lines that begin with `#` are comments in
    front of the header; below it only where nothing else stands in the row, so that a person called `# Anna` stays.

    Args:
        path: comma, semicolon or tab separated; UTF-8 or UTF-16.
        quotes: whether `"` encloses cells.
        errors: what becomes of bytes that are not UTF-8, as for `bytes.decode`.

    Raises:
        ManifestError: not a regular file, not text, no header, a column twice, or a row longer than the header.
    """
    path = Path(path)
    text = _text(path, errors)
    separator, skipped, text = _from_header(text)
    records = _records(text, separator, path, skipped, quotes=quotes)
    if not records:
        raise ManifestError(f"`{path}` is empty\n\nhint: the first line names the columns")
    _, header = records[0]
    columns, kept = _columns(path, header, [cells for _, cells in records[1:]])
    rows, lines = [], []
    plain = _Plain()
    is_whole = kept == list(range(len(header)))
    records.reverse()
    records.pop()
    while records:  # each is let go once it is read: a large table would be there twice
        line, cells = records.pop()
        if len(columns) > 1 and cells[0].startswith("#") and not any(cell.strip() for cell in cells[1:]):
            continue
        if any(map(str.strip, cells[kept[-1] + 1 :])):
            raise ManifestError(
                f"line {line} of `{path}` has {len(cells)} cells, the first line {len(header)}\n\n"
                f"hint: quote cells that hold the separator `{separator}`"
            )
        if is_whole and len(cells) == len(header):
            rows.append(tuple(map(plain.__getitem__, cells)))
        else:
            rows.append(tuple(plain[cells[place]] if place < len(cells) else "" for place in kept))
        lines.append(line)
    return CsvTable(path, separator, columns, tuple(rows), tuple(lines))


def decimal_points(cells: pd.Series, separator: str = ",") -> pd.Series:
    """Cells of a column in Python's spelling of numbers, without blanks around them; `float` refuses what can be read
    in two ways, and other text.

    Args:
        cells: the column as text.
        separator: what stands between the cells of the file; commas where nobody knows.

    >>> decimal_points(pd.Series([" 0,5", "7", "", "2.000"])).tolist()
    ['0.5', '7', '', '2.000?']
    """
    cells = cells.astype(str).str.strip()
    texts = cells.unique()
    unsure = _unsure(texts, separator)
    read = {cell: f"{cell}?" if cell in unsure else _with_point(cell) for cell in texts}
    return pd.Series([read[cell] for cell in cells.array], cells.index, dtype=object, name=cells.name)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Comma separated lines, the header first; `read_csv` reads every text back as it is.

    >>> csv_text([["name", "score"], ["# Anna", 0.5], ["=1+1", None]])
    'name,score\\n"# Anna",0.5\\n\\'=1+1,\\n'
    """
    return "".join(",".join(map(_cell, row)) + "\n" for row in rows)


def frame_text(table: pd.DataFrame, *, digits: int | None = None) -> str:
    """A data frame without its index as `csv_text` writes it; NaN is an empty cell.

    Args:
        table: its columns are named in the first line.
        digits: decimals of columns of floating-point numbers; None writes as many as it takes to read them back.
    """
    if digits is not None:
        numbers = table.select_dtypes("floating")
        texts = {name: cells.map(f"{{:.{digits}f}}".format, na_action="ignore") for name, cells in numbers.items()}
        table = table.assign(**texts)
    cells = table.astype(object).where(table.notna(), None)
    written = _Written()
    columns = [
        map(written.__getitem__ if pd.api.types.infer_dtype(column) == "string" else _cell, column.array)
        for _, column in cells.items()
    ]
    rows = map(",".join, zip(*columns, strict=True))
    return "\n".join((",".join(map(_cell, table.columns)), *rows, ""))


def _unsure(cells: Collection[str], separator: str) -> set[str]:
    """Cells of a column that may be thousands or have decimals.

    `2.000` is a thousand where others write `0,5` or `1.234,5`. Between commas, a quoted `1,234` may be a thousand
    (English) or one and a bit (German); a `0,5` in the column tells.

    >>> _unsure(["0,5", "2.000"], ";"), _unsure(["0.5", "2.000"], ";"), _unsure(["1,234"], ","), _unsure(["1,234"], ";")
    ({'2.000'}, set(), {'1,234'}, set())
    """
    signs = {cell: group[1] for cell in cells if (group := _ONE_GROUP.fullmatch(cell))}
    if not signs:
        return set()
    thousands = {_thousands_sign(cell) for cell in cells if cell not in signs}
    if separator == "," and "." not in thousands:
        thousands.add(",")
    is_mixed = len(set(signs.values())) > 1
    return {cell for cell, sign in signs.items() if is_mixed or sign in thousands}


def _thousands_sign(cell: str) -> str:
    """The sign that cannot be the decimal one of whoever wrote a number; empty where the number does not tell.

    >>> [_thousands_sign(cell) for cell in ("0,5", "1,234.5", "1.234.567", "12")]
    ['.', ',', '.', '']
    """
    signs = [sign for sign in cell if sign in _OTHER_SIGN]
    if not signs:
        return ""
    return signs[-1] if signs.count(signs[-1]) > 1 else _OTHER_SIGN[signs[-1]]


def _with_point(cell: str) -> str:
    """A number in Python's spelling; other text is returned such that `float` refuses it.

    >>> [_with_point(cell) for cell in ("0,5", "1.234,5", "1,234,567", "1\u00a0234,5", "1_0")]
    ['0.5', '1234.5', '1234567', '1234.5', '1?0']
    """
    if _DECIMAL_COMMA.fullmatch(cell):
        return cell.replace(",", ".")
    if _GROUPED.fullmatch(cell):
        thousands = _thousands_sign(cell)
        return re.sub(r"\s", "", cell.replace(thousands, "")).replace(",", ".")
    return cell.replace("_", "?")  # Python would read `1_0` as 10


def _text(path: Path, errors: str) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe might never end
            raise ManifestError(f"`{path}` is {kind_of(status.st_mode)}\n\nhint: give a table such as manifest.csv")
        if status.st_size > MOST_BYTES:
            raise ManifestError(f"`{path}` has {status.st_size:,} bytes\n\nhint: tables have at most {MOST_BYTES:,}")
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise ManifestError(f"`{path}` cannot be read: {reason}\n\nhint: give a table such as manifest.csv") from error
    for start, kind in _WORKBOOKS.items():
        if content.startswith(start):
            raise ManifestError(f"`{path}` is {kind}, not a table of text\n\n{_HINT}")
    try:
        text = content.decode(_encoding(content), errors)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ManifestError(f"`{path}` is not a table in UTF-8 (line {line}: {error.reason})\n\n{_HINT}") from error
    if "\0" in text:
        raise ManifestError(f"`{path}` is not a table: it holds zero bytes\n\n{_HINT}")
    return text


def _encoding(content: bytes) -> str:
    """Of UTF-16 without its mark, every other byte of the header is zero."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = content[:64]
    if len(start) > 3 and b"\0" in start:
        # ASCII in UTF-16: the zero is the second byte of a character where the low byte comes first.
        return "utf-16-le" if start[1:2] == b"\0" else "utf-16-be"
    return "utf-8-sig"


def _from_header(text: str) -> tuple[str, int, str]:
    """What stands between the cells, the number of lines in front of the header, and the text from the header on."""
    separator, skipped, start = "", 0, 0
    for line in _lines(text):
        excel = _EXCEL_SEPARATOR.match(line)
        is_numbering = line.strip('\t\r\n "') == "#" and _NUMBER_BELOW.match(text, start + len(line)) is not None
        first = re.split(r"[,;\t]", line.lstrip("\"' "), maxsplit=1)[0]
        if excel:
            separator = excel[1]
        elif is_numbering or (line.strip(' \t\r\n,;"#') and not _is_comment(first)):
            # What is in quotes is a name and says nothing about separators.
            bare = re.sub(r'"[^"]*"', "", line)
            return separator or max(SEPARATORS, key=bare.count), skipped, text[start:]
        skipped += 1
        start += len(line)
    return ",", skipped, ""


def _lines(text: str) -> Iterator[str]:
    """Lines with their ends, as of a file that is read without translation; a buffer would take four times the text."""
    return (line[0] for line in _LINE.finditer(text))


def _records(text: str, separator: str, path: Path, skipped: int, *, quotes: bool) -> list[tuple[int, list[str]]]:
    """Cells of the rows that have any, each with the line on which it ends, counted from 1 in the file."""
    reader = csv.reader(
        _lines(text),
        delimiter=separator,
        skipinitialspace=True,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
    )
    records: list[tuple[int, list[str]]] = []
    several: list[range] = []  # lines of each row that takes several
    above = 0
    try:
        for cells in reader:
            if reader.line_num > above + 1:
                several.append(range(above, reader.line_num))
            above = reader.line_num
            if any(map(str.strip, cells)):
                records.append((above + skipped, cells))
    except csv.Error as error:
        if reader.line_num > above + 1:  # larger than any cell
            raise _unclosed(path, above + skipped + 1, reader.line_num + skipped) from error
        raise ManifestError(
            f"line {reader.line_num + skipped} of `{path}` is not of a table ({error})\n\n{_HINT}"
        ) from error
    _check_quotes(text, several, separator, path, skipped)
    return records


def _check_quotes(text: str, several: Sequence[range], separator: str, path: Path, skipped: int) -> None:
    """Refuse a quote that nobody closed: the rows after it would be one cell, and lost without a word."""
    sign = re.escape(separator)
    one_cell = re.compile(
        rf' *(?:"([^"]*(?:""[^"]*)*)"(?!")|(?![ "]))([^{sign}\r\n]*)(?:{sign}|\r\n?|\n|\Z)',
    )
    lines, place = _lines(text), 0
    for span in several:
        row = "".join(islice(lines, span.start - place, span.stop - place))
        place = span.stop
        first, last = span.start + skipped + 1, span.stop + skipped
        start = 0
        while start < len(row):
            cell = one_cell.match(row, start)
            if cell is None:
                raise _unclosed(path, first, last)
            start = cell.end()
            quoted, behind = cell.groups()
            # Behind a cell of one line, text loses nothing and stays.
            if quoted is None or not behind.strip() or not ("\n" in quoted or "\r" in quoted):
                continue
            if quoted.rstrip(" ").endswith((separator, "\r", "\n")):  # by the quote that opens another cell
                raise _unclosed(path, first, last)
            raise ManifestError(
                f"text stands behind a closing quote in the row from line {first} to line {last} of `{path}`\n\n"
                "hint: write the quote twice where it is a sign of the text, or close the one before it"
            )


def _unclosed(path: Path, first: int, last: int) -> ManifestError:
    return ManifestError(
        f"a quote in line {first} of `{path}` is not closed, up to line {last}\n\n"
        "hint: close it, or write it twice where it is a sign of the text"
    )


def _columns(path: Path, header: Sequence[str], body: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[int]]:
    """Names and places of the columns that hold something."""
    # A trailing separator on every line makes an empty column; one with content must not be lost.
    unnamed = {place for place, name in enumerate(header) if not name.strip()}
    filled = {place for cells in body for place in unnamed if place < len(cells) and cells[place]} if unnamed else set()
    kept = [place for place in range(len(header)) if place not in unnamed or place in filled]
    columns = tuple(_plain(header[place].strip()) or f"unnamed_{place + 1}" for place in kept)
    _check_once(columns, path)
    return columns, kept


def _check_once(columns: Sequence[str], path: Path) -> None:
    name, count = Counter(columns).most_common(1)[0]
    if count > 1:
        raise ManifestError(f"column `{name}` of `{path}` is there twice\n\nhint: remove or rename one")


_NUMBER_BELOW = re.compile(r'\s*"?\d+(?:[.]\d+)?"?[ \t]*(?:[\r\n]|\Z)')
"""No header is one: the `#` above it names a column of numbers, and begins no comment."""
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_PLAIN = re.compile(r"(?:[A-Za-z0-9_.][A-Za-z0-9_./-]*)?")
_NEEDS_QUOTES = re.compile(r'[,;"#\t\r\n]')


def _is_comment(cell: str) -> bool:
    """`# made by ...`; a lone `#` is the heading of a column of numbers."""
    return cell.startswith("#") and bool(cell.strip('# \t\r\n"'))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value)
    # Spreadsheets run cells that begin like a formula; an apostrophe makes them text, and `_plain` removes it.
    if _PLAIN.fullmatch(value):  # most cells of a large table
        return value
    text = f"'{value}" if _FORMULA.match(value) else value
    if not _NEEDS_QUOTES.search(text) and text == text.strip():
        return text
    return '"' + text.replace('"', '""') + '"'


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


class _Plain(dict[str, str]):
    """Cells as they are meant, by cells of the file: equal ones are one object, for most cells repeat others."""

    def __missing__(self, cell: str) -> str:
        self[cell] = plain = _plain(cell)
        return plain


class _Written(dict[str | None, str]):
    """Texts of a file by those of cells."""

    def __missing__(self, cell: str | None) -> str:
        self[cell] = written = _cell(cell)
        return written
