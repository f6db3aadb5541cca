"""Recordings that are rows of a Parquet table: read from the table, never copied beside it.

The path of such a recording is that of its table and the number of its row, from 0: `data/ravdess.parquet/17`. The
table has a column `audio` (or `video`) whose values hold the encoded file under `bytes`, as the hub's data sets do.
Rows are read a row group at a time; the last groups stay in memory, since clips are read in the order of their table.
"""

from functools import lru_cache
from pathlib import Path

from cimeu.errors import MediaError

SUFFIX = ".parquet"
COLUMNS = ("audio", "video")
_GROUPS_KEPT = 2


def table_of(path: Path) -> Path | None:
    """The table that a path leads into; None where the path is that of a file."""
    return path.parent if path.parent.suffix == SUFFIX and path.name.isdigit() else None


def has_row(path: Path) -> bool:
    """Whether a path names a row that its table has; the recording itself is not read."""
    table = table_of(path)
    return table is not None and table.is_file() and int(path.name) < _n_rows(table, table.stat().st_mtime_ns)


def packed_bytes(path: Path) -> bytes:
    """The encoded recording of a row.

    Raises:
        MediaError: the table or row is missing, the table is damaged, or its row holds no recording.
    """
    table = table_of(path)
    assert table is not None, "ask `table_of` first"
    if not has_row(path):
        raise MediaError(f"`{path}` is not a row of an existing table\n\nhint: run `cimeu prepare` again")
    row = int(path.name)
    try:
        modified_ns = table.stat().st_mtime_ns
        starts = _starts(table, modified_ns)
        group = max(place for place, start in enumerate(starts) if start <= row)
        content = _group(table, modified_ns, group)[row - starts[group]]
    except MediaError:
        raise
    except Exception as error:  # pyarrow raises many kinds on damaged bytes
        raise MediaError(f"`{table}` cannot be read ({error})\n\nhint: download it again") from error
    if not content:
        raise MediaError(f"row {row} of `{table}` holds no recording\n\nhint: download the table again")
    return content


@lru_cache(maxsize=64)
def _starts(table: Path, modified_ns: int) -> tuple[int, ...]:
    """First row of each row group."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(table) as file:
        starts, row = [], 0
        for group in range(file.num_row_groups):
            starts.append(row)
            row += file.metadata.row_group(group).num_rows
    return tuple(starts)


@lru_cache(maxsize=64)
def _n_rows(table: Path, modified_ns: int) -> int:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(table) as file:
            return int(file.metadata.num_rows)
    except (ArrowException, OSError) as error:
        raise MediaError(f"`{table}` is not a Parquet table ({error})\n\nhint: download it again") from error


@lru_cache(maxsize=_GROUPS_KEPT)
def _group(table: Path, modified_ns: int, group: int) -> list[bytes | None]:
    """Encoded recordings of a row group."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(table) as file:
        column = next((name for name in COLUMNS if name in file.schema_arrow.names), None)
        if column is None:
            raise MediaError(f"`{table}` has no column `audio` or `video`\n\nhint: use the table as it was released")
        return (
            file.read_row_group(group, columns=[f"{column}.bytes"])[column].combine_chunks().field("bytes").to_pylist()
        )
