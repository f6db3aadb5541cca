"""`cimeu serve` from its first line to Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from cimeu.cli.main import main
from cimeu.errors import RecipeError
from cimeu.server.settings import ServerSettings
from cimeu.server.start import listening, own_folder


def test_it_says_where_it_is_answers_and_leaves_nothing(toy, clip: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("cimeu")
    words = [program, "serve", "--model", toy.run, "--port", "0", "--no-browser"]
    surroundings = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=surroundings) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == f"reading the model {toy.run}\n"
        said = running.stderr.readline()
        address = re.fullmatch(r"(http://127\.0\.0\.1:\d+/)  \(Ctrl-C ends it.*\)\n", said)
        assert address is not None, said
        assert httpx2.get(f"{address[1]}health").json()["status"] == "ok"
        assert "CiMEU" in httpx2.get(address[1]).text
        with clip.open("rb") as stream:
            assert httpx2.post(f"{address[1]}predictions", files={"file": stream}).status_code == 202
        running.send_signal(signal.SIGINT)
        assert (running.wait(timeout=60), running.stderr.read()) == (0, "")
    assert [path.name for path in (tmp_path / f"cimeu-serve-{os.getuid()}").rglob("*")] == ["lock"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--host", "0.0.0.0"), "host `0.0.0.0` lets other machines in, and there is no token"),
        (("--model", "none"), "no model `none` is known here"),
    ],
)
def test_it_does_not_start_without_a_model_or_open_to_others(
    words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIMEU_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["cimeu", "serve", "--no-browser", "--port", "0", *words])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_port_that_is_taken_is_said() -> None:
    with listening(ServerSettings(port=0)) as first:
        port = first.getsockname()[1]
        message = f"cannot listen on 127.0.0.1 port {port}: .*\n\nhint: choose another --port"
        with pytest.raises(RecipeError, match=message), listening(ServerSettings(port=port)):
            pass


def test_folders_that_a_crash_left_are_removed_and_those_in_use_are_not(tmp_path: Path) -> None:
    with own_folder(tmp_path) as used:
        left = used.parent.with_name("left")
        (left / "files").mkdir(parents=True)
        (left / "files" / "interview").write_bytes(b"x")
        with own_folder(tmp_path):
            assert used.is_dir()
            assert not left.exists()
    assert not used.exists()


def test_nobody_else_sees_the_folder(tmp_path: Path) -> None:
    with own_folder(tmp_path) as folder:
        assert folder.parent.stat().st_mode & 0o077 == 0
        assert folder.parent.parent.stat().st_mode & 0o077 == 0


def test_a_folder_that_somebody_else_laid_out_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"cimeu-serve-{os.getuid()}").symlink_to(tmp_path / "theirs")
    with pytest.raises(RecipeError, match="belongs to somebody else\n\nhint: set TMPDIR"), own_folder(tmp_path):
        pass
