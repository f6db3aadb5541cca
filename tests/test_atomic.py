import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cimeu.atomic import LIST, ROOM, STATE, _note, adopt, check_free, is_own, locked, whole, write_whole
from cimeu.errors import OutputError


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ROOM)


@pytest.mark.parametrize("kind", [STATE, "table"])
def test_a_file_is_there_whole_and_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "new" / "folder" / "table.csv"
    for content in (b"first", "second"):
        assert write_whole(path, content, kind) == path
    assert path.read_text() == "second"
    assert visible(path.parent) == ["table.csv"]
    assert [entry.name for entry in (path.parent / ROOM).glob("*")] == [LIST] * (kind != STATE)


def test_a_file_of_somebody_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "interview.csv"
    path.write_text("made by hand")
    with pytest.raises(OutputError, match=r"interview.csv` is not a file that cimeu wrote\n\nhint: .* -o"):
        write_whole(path, "ours", "timeline")
    assert path.read_text() == "made by hand"
    assert visible(tmp_path) == ["interview.csv"]


def test_a_file_that_a_person_corrected_stays(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "interview.csv", "anger", "timeline")
    path.write_text("sadness")
    with pytest.raises(OutputError, match="was changed since cimeu wrote it"):
        write_whole(path, "fear", "timeline")
    assert path.read_text() == "sadness"
    path.write_text("anger")  # the correction taken back
    write_whole(path, "fear", "timeline")
    assert path.read_text() == "fear"


def test_a_result_of_another_kind_stays(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "base.csv", "segments", "timeline")
    with pytest.raises(OutputError, match=r"base.csv` is another result \(timeline\)"):
        write_whole(path, "disagreements", "agreement")
    assert path.read_text() == "segments"


def test_what_is_no_plain_file_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match=r"folder` is a folder; .*link` is a link; .*pipe` is a device"):
        check_free([tmp_path / name for name in ("folder", "free", "link", "pipe")], "table")


@pytest.mark.skipif(not hasattr(os, "setreuid"), reason="rights of users are those of Unix")
def test_a_folder_that_the_user_may_not_write_to_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    places = [tmp_path / "closed" / "new" / "report.html"]
    is_root = os.geteuid() == 0
    if is_root:  # who may write everywhere
        check_free(places, "report")
        os.setreuid(65534, 0)
    try:
        with pytest.raises(PermissionError, match=r"closed"):
            check_free(places, "report")
    finally:
        if is_root:
            os.setreuid(0, 0)


def test_a_file_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("made by hand")
    with pytest.raises(OutputError, match=r"a.csv` is a file, not a folder for `score.csv`"):
        write_whole(tmp_path / "a.csv" / "score.csv", b"", "score")


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long a name"):
        check_free([tmp_path / ("n" * 256)], "table")


@pytest.mark.parametrize(
    "name",
    ["n" * 255, "表" * 83 + ".csv", "a\nb.csv", os.fsdecode(b"\xe9.csv"), ".csv", "a b "],
    ids=["long", "long in Chinese", "two lines", "Latin-1", "only a suffix", "blanks"],
)
def test_every_legal_name_can_be_written_and_recognised(tmp_path: Path, name: str) -> None:
    path = write_whole(tmp_path / name, b"content", "table")
    assert is_own(path)
    write_whole(path, b"other", "table")
    assert path.read_bytes() == b"other"


def test_names_of_one_ending_are_told_apart(tmp_path: Path) -> None:
    write_whole(tmp_path / "xa.csv", b"content", "table")
    (tmp_path / "a.csv").write_bytes(b"content")
    assert is_own(tmp_path / "xa.csv")
    assert not is_own(tmp_path / "a.csv")


def test_what_appears_while_it_is_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"

    def write() -> None:
        with whole(path, "table") as partial:
            partial.write_text("ours")
            path.write_text("made by hand meanwhile")

    with pytest.raises(OutputError, match="was changed since cimeu wrote it"):
        write()
    assert path.read_text() == "made by hand meanwhile"


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "report.html", "good", "report")

    def write() -> None:
        with whole(path, "report") as partial:
            partial.write_text("cut sh")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write()
    assert path.read_text() == "good"
    assert [entry.name for entry in (tmp_path / ROOM).iterdir()] == [LIST]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with pytest.raises(OSError, match=r"No space left on device: '.*/report\.html'$"), whole(path, "report"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert visible(tmp_path) == []


def test_the_temporary_name_keeps_the_suffix(tmp_path: Path) -> None:
    with whole(tmp_path / "video.mp4", "timeline") as partial:
        assert partial.suffix == ".mp4"
        partial.touch()


WRITER = """
import sys, time
from pathlib import Path
from cimeu.atomic import whole
with whole(Path(sys.argv[1]), "table") as partial:
    partial.write_text("of the first")
    print("writing", flush=True)
    sys.stdin.readline()
"""


def writer(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_two_processes_write_one_file_and_neither_loses_its_own(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    first = writer(path)
    write_whole(path, "of the second", "table")
    assert path.read_text() == "of the second"
    first.communicate("\n")
    assert first.returncode == 0
    assert path.read_text() == "of the first"
    assert [entry.name for entry in (tmp_path / ROOM).iterdir()] == [LIST]


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    killed = writer(tmp_path / "table.csv")
    killed.kill()
    killed.communicate()
    assert list((tmp_path / ROOM).glob("*.partial*"))
    write_whole(tmp_path / "other.csv", b"whole", "table")
    assert visible(tmp_path) == ["other.csv"]
    assert [entry.name for entry in (tmp_path / ROOM).iterdir()] == [LIST]


def test_a_writer_killed_before_the_rename_leaves_a_file_that_may_be_replaced(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "table.csv", "old", "table")
    (written,) = (tmp_path / ROOM / LIST).iterdir()
    with written.open("ab") as file:
        file.write(b"0" * 40)  # and a line that a full disk cut short
    for content in ("new", "newer"):
        write_whole(path, content, "table")
    assert path.read_text() == "newer"


def test_files_of_an_earlier_version_are_taken_as_ours_once(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("of an earlier version")
    adopt(tmp_path, ["predictions.csv", "absent.json"], "run")
    write_whole(tmp_path / "predictions.csv", "anew", "run")
    (tmp_path / "fold.json").write_text("put there by somebody")
    adopt(tmp_path, ["fold.json"], "run")
    assert not is_own(tmp_path / "fold.json")


def test_a_lock_is_held_by_one_and_ends_with_the_block(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "lock"
    with locked(lock) as held:
        assert held
        with locked(lock, wait=False) as again:
            assert not again
    with locked(lock, wait=False) as held:
        assert held


def test_a_write_costs_the_same_among_5_000_files(tmp_path: Path) -> None:
    def seconds(folder: Path) -> float:
        started = time.perf_counter()
        for number in range(30):
            write_whole(folder / f"new-{number}.csv", b"content", "table")
        return time.perf_counter() - started

    for folder, files in ((tmp_path / "few", 10), (tmp_path / "many", 5_000)):
        folder.mkdir()
        for number in range(files):
            (folder / f"{number}").touch()
            if number % 10 == 0:
                _note(folder / f"{number}", "table", b"0" * 64)
    seconds(tmp_path / "few")
    assert min(seconds(tmp_path / "many") for _ in range(3)) < 3 * min(seconds(tmp_path / "few") for _ in range(3))


def test_text_with_bytes_of_a_name_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    text = json.dumps({"source": os.fsdecode(b"caf\xe9.csv")}, ensure_ascii=False)
    write_whole(tmp_path / "a.json", text, "table")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"source": "caf\udce9.csv"}
