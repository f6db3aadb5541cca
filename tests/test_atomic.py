from pathlib import Path

import pytest

from cimeu.atomic import write_whole


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_is_there_whole_and_alone(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "new" / "folder" / "table.csv"
    for content in (b"first", b"second"):
        write_whole(path, content, shared=shared)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_whole(tmp_path / "taken", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".table.csv.partial").write_bytes(b"half")
    write_whole(tmp_path / "table.csv", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
