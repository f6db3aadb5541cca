"""Recordings outlive a server with a folder of its user: opened again, read on, and deleted with all they have."""

import logging
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from cimeu.errors import RecipeError
from cimeu.server.app import create_app
from cimeu.server.edits import NO_EDITS
from cimeu.server.isolated import Isolated
from cimeu.server.kept import Kept, keep, kept_folder
from cimeu.server.predictions import Predictions
from cimeu.server.recording import Recording
from cimeu.server.settings import ServerSettings
from cimeu.timeline.settings import TimelineSettings

from .conftest import ADDRESS, Clock, send, when_done

TIER = {"rater": "Eva", "lane": "person 1", "segments": [{"start_s": 0.25, "end_s": 1.0, "label": "sadness"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def server(folder: Path, checker: Isolated, recogniser: Isolated, clock: Clock):
    """One start of a server after the other on the same folder."""

    @contextmanager
    def start() -> Iterator[TestClient]:
        with kept_folder(folder):
            settings = ServerSettings(folder=folder)
            predictions = Predictions(settings, folder, checker=checker, recogniser=recogniser, clock=clock)
            with TestClient(create_app(predictions), base_url=ADDRESS) as client:
                yield client

    return start


def begun_earlier(folder: Path) -> None:
    """The empty folder of a server that has ended."""
    with kept_folder(folder):
        pass


def names(folder: Path) -> list[str]:
    """Files that a person sees there."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_a_folder_with_files_of_its_own_is_refused_and_keeps_them(folder: Path) -> None:
    folder.mkdir()
    recording = folder / secrets.token_hex(16)  # such as the digest of what is in it
    recording.write_bytes(b"x")
    with pytest.raises(RecipeError, match=r"holds files of its own\n\nhint: name a new --folder"), kept_folder(folder):
        pass
    assert recording.read_bytes() == b"x"


def test_results_and_corrections_survive_a_restart_until_they_are_deleted(server, folder: Path, clip: Path) -> None:
    with server() as client:
        path = f"/predictions/{when_done(client, send(client, clip)['id'])['id']}"
        change = {"persons": {"person 1": "Zoë"}, "labels": {"0": "sadness"}, "raters": [TIER]}
        before = client.patch(path, json=change).json()
        curves = client.get(f"{path}/curves").json()
    with server() as client:
        assert client.get(path).json() == before
        assert before["result"]["raters"] == [TIER]
        assert client.get(f"{path}/curves").json() == curves
        assert client.get(f"{path}/media").content == clip.read_bytes()
        assert len(client.get(f"{path}/segments/0/explanation").json()["streams"]) == 2
        client.patch(path, json={"labels": {"0": None}})
    with server() as client:
        assert not client.get(path).json()["result"]["segments"][0]["corrected"]
        assert client.delete(path).status_code == 204
        assert names(folder) == []


def test_what_was_in_line_is_read_by_the_next_server(server, folder: Path, clip: Path) -> None:
    begun_earlier(folder)
    path = folder / secrets.token_hex(16)
    shutil.copy(clip, path)
    recording = Recording("video/mp4", 2.0, has_video=True)
    kept = Kept(
        name="a.mp4", recording=recording, created_s=5.0, finished_s=0.0, settings=TimelineSettings(), edits=NO_EDITS
    )
    keep(path, kept)
    with server() as client:
        done = when_done(client, path.name)
    assert (done["status"], done["name"]) == ("finished", "a.mp4")
    assert f"{path.name}.timeline.json" in names(folder)


def test_what_expired_meanwhile_is_deleted(server, folder: Path, clip: Path, clock: Clock) -> None:
    with server() as client:
        when_done(client, send(client, clip)["id"])
    clock.now_s += 240 * 60
    with server() as client:
        assert client.get("/predictions").json() == {"predictions": []}
        assert names(folder) == []


def test_damaged_and_foreign_files_stay_and_broken_uploads_go(
    server, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun_earlier(folder)
    number = "0123456789abcdef" * 2
    for name in (number, f"{number}.json", "notes.txt", "f" * 32):
        (folder / name).write_bytes(b"{")
    with caplog.at_level(logging.WARNING), server() as client:
        assert client.get("/predictions").json() == {"predictions": []}
    assert f"{number} cannot be opened again (ValidationError)" in caplog.text
    assert names(folder) == [number, f"{number}.json", "notes.txt"]


def test_two_servers_do_not_share_a_folder(folder: Path) -> None:
    message = f"another server uses `{folder}`\n\nhint: stop it, or name another --folder"
    with kept_folder(folder), pytest.raises(RecipeError, match=message), kept_folder(folder):
        pass


def test_a_file_is_no_folder(folder: Path) -> None:
    folder.touch()
    message = "cannot be used: File exists\n\nhint: name another --folder"
    with pytest.raises(RecipeError, match=message), kept_folder(folder):
        pass
