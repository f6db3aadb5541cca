"""A recording's way through the service, from upload to deletion."""

import io
import json
import os
import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from cimeu.server.predictions import EXPORTS
from cimeu.timeline.segments import DEMONSTRATION, USE_LIMITS

from .conftest import Clock, send, when, when_done

Maker = Callable[..., TestClient]
NOBODY = "0" * 32


def delete_all(client: TestClient) -> None:
    for each in client.get("/predictions").json()["predictions"]:
        assert client.delete(f"/predictions/{each['id']}").status_code == 204


@pytest.fixture(scope="module")
def shared(make_shared: Maker) -> TestClient:
    """A client whose recording `done` everybody looks at."""
    return make_shared()


@pytest.fixture(scope="module")
def done(shared: TestClient, clip: Path) -> dict:
    """A recording that has been read."""
    return when_done(shared, send(shared, clip, "../../Zoë's <b>interview</b>.mp4")["id"])


def test_an_upload_is_accepted_and_can_be_found(client: TestClient, clip: Path) -> None:
    answer = client.post("/predictions", files={"file": ("a.mp4", clip.read_bytes())})
    assert answer.status_code == 202
    number = answer.json()["id"]
    assert answer.headers["Location"] == f"/predictions/{number}"
    assert [each["id"] for each in client.get("/predictions").json()["predictions"]] == [number]
    when_done(client, number)


def test_the_result_is_the_models_timeline(shared: TestClient, done: dict) -> None:
    result, exported = done["result"], shared.get(f"/predictions/{done['id']}/exports/json").json()
    assert (done["status"], done["schema_version"], done["problem"]) == ("finished", 1, None)
    assert (result["use_limits"], result["notice"]) == (USE_LIMITS, DEMONSTRATION)
    assert result["segments"]
    for told, written in zip(result["segments"], exported["segments"], strict=True):
        assert {name: told[name] for name in written} == written
        assert told["predicted"] == told["label"]


def test_progress_counts_seconds_of_the_recording(client: TestClient, clip: Path) -> None:
    number = send(client, clip)["id"]
    found = when_done(client, number)
    assert found["progress"]["completed_s"] == found["progress"]["total_s"] == pytest.approx(found["duration_s"], abs=1)
    assert found["progress"]["seconds_left"] is None


def test_the_names_of_people_and_files_go_no_further_than_the_page(shared: TestClient, done: dict) -> None:
    assert done["name"] == "b>.mp4"  # what follows the last slash
    assert done["result"]["media"] == "b>.mp4"


def test_files_have_random_names(client: TestClient, folder: Path, clip: Path) -> None:
    number = send(client, clip, "../x.mp4")["id"]
    assert [path.name for path in folder.iterdir()] == [number]
    assert [path.name for path in folder.parent.iterdir()] == ["files"]
    when_done(client, number)


def test_a_range_of_the_recording_can_be_asked_for(shared: TestClient, done: dict, clip: Path) -> None:
    media = f"/predictions/{done['id']}/media"
    whole = shared.get(media)
    assert (whole.content, whole.headers["Content-Type"]) == (clip.read_bytes(), "video/mp4")
    part = shared.get(media, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, clip.read_bytes()[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(whole.content)}"
    assert shared.get(media, headers={"Range": "bytes=999999999-"}).status_code == 416


@pytest.mark.parametrize("suffix", EXPORTS)
def test_every_format_can_be_downloaded(shared: TestClient, done: dict, suffix: str) -> None:
    answer = shared.get(f"/predictions/{done['id']}/exports/{suffix[1:]}")
    assert answer.status_code == 200
    assert answer.content
    assert answer.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{quote('b>' + suffix)}"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox;")


def test_curves_have_as_many_points_as_the_caller_wants_at_most(shared: TestClient, done: dict) -> None:
    found = shared.get(f"/predictions/{done['id']}/curves", params={"points": 10}).json()
    assert found["emotions"] == done["result"]["emotions"]
    assert set(found["lanes"]) == set(done["result"]["persons"])
    for runs in found["lanes"].values():
        assert sum(map(len, runs)) <= 10 + 1
        assert all(len(point["scores"]) == len(found["emotions"]) for run in runs for point in run)


def test_elan_finds_the_recording_beside_its_document(shared: TestClient, done: dict) -> None:
    assert 'MEDIA_URL="./b&gt;.mp4"' in shared.get(f"/predictions/{done['id']}/exports/eaf").text


def test_an_unknown_format_names_the_known(shared: TestClient, done: dict) -> None:
    answer = shared.get(f"/predictions/{done['id']}/exports/docx")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_format")
    assert answer.json()["hint"].startswith("one of csv, json, ")


def test_names_and_corrections_are_kept_and_exported(client: TestClient, clip: Path) -> None:
    before = when_done(client, send(client, clip)["id"])
    path, segment = f"/predictions/{before['id']}", before["result"]["segments"][0]
    label = next(each for each in before["result"]["emotions"] if each != segment["label"])
    answer = client.patch(path, json={"persons": {segment["lane"]: " Zoë\u202e "}, "labels": {"0": label}})
    assert answer.status_code == 200
    changed = client.get(path).json()["result"]["segments"][0]
    assert changed == answer.json()["result"]["segments"][0]
    assert (changed["person"], changed["label"], changed["corrected"]) == ("Zoë", label, True)
    assert (changed["lane"], changed["predicted"], changed["scores"]) == (
        *(segment["lane"], segment["label"], segment["scores"]),
    )
    table = pd.read_csv(io.BytesIO(client.get(f"{path}/exports/csv").content), comment="#")
    assert tuple(table.loc[0, ["person", "label"]]) == ("Zoë", label)
    parquet = pd.read_parquet(io.BytesIO(client.get(f"{path}/exports/parquet").content))
    assert tuple(parquet.loc[0, ["person", "label"]]) == ("Zoë", label)
    assert "Zoë" in client.get(f"{path}/exports/rttm").text

    client.patch(path, json={"persons": {segment["lane"]: None}, "labels": {"0": None}})
    assert client.get(path).json()["result"] == before["result"]


def rated(label: str, start_s: float = 0.0, end_s: float = 0.5, lane: str = "person 1") -> dict[str, object]:
    """A tier of one segment."""
    return {"rater": "Eva", "lane": lane, "segments": [{"start_s": start_s, "end_s": end_s, "label": label}]}


def test_tiers_of_raters_are_kept_and_exported_and_the_models_segments_stay(shared: TestClient, done: dict) -> None:
    path = f"/predictions/{done['id']}"
    lane = done["result"]["segments"][0]["lane"]
    tier = rated("sadness", 0.25, 1.0, lane)
    result = shared.patch(path, json={"raters": [tier]}).json()["result"]
    assert result == done["result"] | {"raters": [tier]}
    assert f"{lane}, rater Eva" in shared.get(f"{path}/exports/eaf").text
    assert f'name = "{lane}, rater Eva"' in shared.get(f"{path}/exports/textgrid").text
    table = pd.read_csv(io.BytesIO(shared.get(f"{path}/exports/raters.csv").content), comment="#")
    assert table.loc[0, ["rater", "person", "start_s", "end_s", "label"]].tolist() == [
        "Eva",
        lane,
        0.25,
        1.0,
        "sadness",
    ]
    assert shared.patch(path, json={"raters": [tier | {"segments": []}]}).json() == done


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"persons": {"person 9": "Anna"}}, "no lane `person 9`"),
        ({"labels": {"99": "anger"}}, "no segment 99"),
        ({"labels": {"0": "joy"}}, "unknown emotion `joy`"),
        ({"labels": {"-1": "anger"}}, "String should match pattern"),
        ({"labels": {"0": 3}}, "Input should be a valid string"),
        ({"raters": [rated("anger", lane="person 9")]}, "no lane `person 9`"),
        ({"raters": [rated("joy")]}, "unknown label `joy`"),
        ({"raters": [rated("anger", end_s=1e9)]}, "a segment of rater `Eva` runs from 0 to 1e+09 s"),
        ({"raters": [rated("anger", start_s=-1)]}, "Input should be greater than or equal to 0"),
        ({"raters": [rated("anger") | {"rater": "\u202e"}]}, "a tier has no rater"),
        ({"raters": [rated("anger"), rated("joy")], "persons": {"person 1": "Anna"}}, "unknown label `joy`"),
        ({"label": {}}, "Extra inputs are not permitted"),
        ([], "Input should be a valid dictionary"),
    ],
)
def test_a_change_that_cannot_be_is_refused_whole(shared: TestClient, done: dict, change: object, message: str) -> None:
    answer = shared.patch(f"/predictions/{done['id']}", json=change)
    assert answer.status_code == 422
    assert message in answer.json()["message"]
    assert answer.json()["hint"]
    assert shared.get(f"/predictions/{done['id']}").json() == done


@pytest.mark.parametrize("number", [NOBODY, "x", "../../etc/passwd", "0" * 31])
@pytest.mark.parametrize("part", ["", "/media", "/exports/csv"])
def test_what_is_not_there_is_not_found(shared: TestClient, number: str, part: str) -> None:
    answer = shared.get(f"/predictions/{number}{part}")
    assert answer.status_code in (404, 422)
    assert set(answer.json()) == {"code", "message", "hint"}


def test_a_hostile_file_gives_its_reason_and_the_queue_goes_on(client: TestClient, folder: Path, clip: Path) -> None:
    answer = client.post("/predictions", files={"file": ("film.mp4", b"just words")})
    assert (answer.status_code, answer.json()["code"]) == (415, "no_recording")
    assert answer.json()["message"].startswith("`film.mp4` is not a video or sound file")
    assert list(folder.iterdir()) == []
    assert when_done(client, send(client, clip)["id"])["status"] == "finished"


def test_a_recording_that_breaks_while_it_is_read_stops_no_other(
    client: TestClient, folder: Path, clip: Path, recogniser
) -> None:
    with recogniser._turn:  # nobody is read while this is held
        first, second = send(client, clip, "first.mp4")["id"], send(client, clip, "second.mp4")["id"]
        (folder / first).write_bytes(b"overwritten by something else")
    failed = when_done(client, first)
    assert (failed["status"], failed["result"]) == ("failed", None)
    assert failed["problem"]["message"].startswith("`first.mp4` is not a video or sound file")
    assert when_done(client, second)["status"] == "finished"
    assert not (folder / first).exists()
    assert client.get(f"/predictions/{first}/media").json()["code"] == "no_media"


def test_a_long_recording_is_refused(make_client: Maker, clip: Path) -> None:
    answer = make_client(max_duration_s=1.5).post("/predictions", files={"file": ("a.mp4", clip.read_bytes())})
    assert (answer.status_code, answer.json()["code"]) == (422, "too_long")
    assert answer.json()["message"] == "`a.mp4` is longer than 1.5 s"


def test_only_so_many_wait(make_client: Maker, clip: Path, recogniser) -> None:
    client = make_client(max_waiting=2)
    with recogniser._turn:
        send(client, clip)
        waiting = send(client, clip)
        assert client.get(f"/predictions/{waiting['id']}").json()["progress"]["ahead"] == 1
        answer = client.post("/predictions", files={"file": ("a.mp4", clip.read_bytes())})
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_waiting")
        assert answer.headers["Retry-After"]
        assert client.get(f"/predictions/{waiting['id']}/exports/csv").json()["code"] == "no_result"
        client.delete(f"/predictions/{waiting['id']}")
        send(client, clip)
        delete_all(client)


def test_deleting_deletes(client: TestClient, folder: Path, clip: Path) -> None:
    number = send(client, clip)["id"]
    when_done(client, number)
    assert client.delete(f"/predictions/{number}").status_code == 204
    assert list(folder.iterdir()) == []
    assert client.get(f"/predictions/{number}").status_code == 404
    assert client.delete(f"/predictions/{number}").status_code == 404


def test_deleting_what_is_being_read_stops_it(client: TestClient, folder: Path, clip: Path, recogniser) -> None:
    child = recogniser._process
    os.kill(child.pid, signal.SIGSTOP)  # it would never end by itself
    number = send(client, clip)["id"]
    when(client, number, "running")
    assert client.delete(f"/predictions/{number}").status_code == 204
    assert not child.is_alive()
    assert list(folder.iterdir()) == []
    assert when_done(client, send(client, clip)["id"])["status"] == "finished"


def test_everything_expires_at_the_time_that_was_said(
    make_client: Maker, folder: Path, clip: Path, clock: Clock
) -> None:
    client = make_client(keep_minutes=10)
    found = when_done(client, send(client, clip)["id"])
    until = pd.Timestamp(found["expires"]).timestamp()
    assert until == clock.now_s + 600
    clock.now_s = until - 1
    assert client.get(f"/predictions/{found['id']}/media").status_code == 200
    clock.now_s = until
    assert client.get(f"/predictions/{found['id']}").status_code == 404
    assert client.get("/predictions").json() == {"predictions": []}
    assert list(folder.iterdir()) == []


def test_what_waits_does_not_expire(client: TestClient, clip: Path, clock: Clock, recogniser) -> None:
    with recogniser._turn:
        number = send(client, clip)["id"]
        clock.now_s += 1e6
        assert client.get(f"/predictions/{number}").status_code == 200
        delete_all(client)


def test_nothing_is_left_when_the_service_ends(make_app, folder: Path, clip: Path) -> None:
    with TestClient(make_app(), base_url="http://localhost") as client:
        when_done(client, send(client, clip)["id"])
        assert list(folder.iterdir())
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_told(client: TestClient, folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        answer = client.post("/predictions", files={"file": ("a.mp4", bytes(300_000))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (answer.status_code, answer.json()["code"]) == (507, "no_room")
    assert list(folder.iterdir()) == []


def test_health_says_who_answers(shared: TestClient, done: dict) -> None:
    found = shared.get("/health").json()
    assert (found["status"], found["model"]) == ("ok", done["result"]["model"])
    assert found["formats"] == [suffix[1:] for suffix in EXPORTS]


def test_errors_have_one_shape(shared: TestClient) -> None:
    for method, path in (
        ("GET", "/nowhere"),
        ("PUT", "/predictions"),
        ("POST", "/predictions"),
        ("PATCH", f"/predictions/{NOBODY}"),
    ):
        answer = shared.request(method, path, content=b"{")
        assert 400 <= answer.status_code < 500
        assert set(answer.json()) == {"code", "message", "hint"}
        assert all(answer.json().values())


def test_the_service_describes_itself(shared: TestClient) -> None:
    described = json.dumps(shared.get("/openapi.json").json())
    for word in ("/predictions/{id}/exports/{format}", "multipart/form-data", '"Problem"', "HTTPBearer"):
        assert word in described
    assert "HTTPValidationError" not in described
    assert os.sep + "tmp" not in described


def test_the_guide_lists_every_route(shared: TestClient) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "service.md").read_text(encoding="utf-8")
    described = shared.get("/openapi.json").json()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}
    assert set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", guide, re.MULTILINE)) == routes


def test_an_explanation_is_kept_and_exported(shared: TestClient, done: dict) -> None:
    path = f"/predictions/{done['id']}"
    asked = next(each for each in done["result"]["segments"] if each["scores"])
    found = shared.get(f"{path}/segments/{asked['number']}/explanation").json()
    assert (found["person"], found["start_s"], found["end_s"]) == (asked["lane"], asked["start_s"], asked["end_s"])
    assert found["streams"]
    assert shared.get(f"{path}/exports/json").json()["explanations"] == [found]
    assert shared.get(f"{path}/segments/999/explanation").status_code == 404


def test_an_explanation_does_not_wait_for_a_recording(
    client: TestClient, clip: Path, recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cimeu.server.predictions.TURN_S", 0.05)
    number = when_done(client, send(client, clip)["id"])["id"]
    with recogniser._turn:
        answer = client.get(f"/predictions/{number}/segments/0/explanation")
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "busy", "30")


def test_a_recording_brings_thresholds_of_its_timeline(client: TestClient, clip: Path) -> None:
    number = send(client, clip, params={"minimum_s": "0.5", "abstain_unlike": "false"})["id"]
    settings = when(client, number, "finished")["result"]["settings"]
    assert (settings["minimum_s"], settings["abstain_unlike"], settings["hop_s"]) == (0.5, 0.0, 0.48)


def test_a_threshold_that_cannot_be_is_refused(client: TestClient, clip: Path) -> None:
    answer = client.post("/predictions", files={"file": ("a.mp4", clip.read_bytes())}, params={"hop_s": "1e-9"})
    assert (answer.status_code, answer.json()["message"]) == (422, "hop_s is 1e-09")
    assert client.get("/predictions").json()["predictions"] == []
