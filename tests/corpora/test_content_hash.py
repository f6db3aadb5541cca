"""What a clip holds, as a number."""

import os
from pathlib import Path

import pytest

from cimeu.corpora.content_hash import content_of_file


def test_a_pipe_and_a_device_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    for path in (tmp_path / "a.mp4", Path("/dev/zero")):
        assert content_of_file(path) == f"unreadable {path}: not a regular file"


@pytest.mark.parametrize("name", ["nothing.mp4", "a" * 300, "a\0b"])
def test_a_name_without_a_file_stands_for_itself(tmp_path: Path, name: str) -> None:
    assert content_of_file(tmp_path / name) == f"missing {tmp_path / name}"
