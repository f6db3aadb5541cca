"""Who may ask what."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from cimeu.server.app import OPEN_PATHS
from cimeu.server.guard import COOKIE, SECURITY_HEADERS

TOKEN = "a-token-of-many-signs"
WORDS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def client(make_shared: Callable[..., TestClient]) -> TestClient:
    """Of a service that only this machine reaches; nothing here changes it."""
    return make_shared()


@pytest.fixture(scope="module")
def locked(make_shared: Callable[..., TestClient]) -> TestClient:
    """Of a service that asks for a token."""
    return make_shared(host="0.0.0.0", token=TOKEN)


@pytest.fixture(autouse=True)
def _no_cookies_between_tests(locked: TestClient) -> None:
    locked.cookies.clear()


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "LOCALHOST"])
def test_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost@evil.example", "", "[::1"]
)
def test_a_foreign_name_for_this_machine_is_not(client: TestClient, host: str) -> None:
    answer = client.get("/health", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "foreign_host")
    assert answer.json()["hint"] == "open http://127.0.0.1"


def test_behind_a_token_any_name_may_lead_here(locked: TestClient) -> None:
    assert locked.get("/predictions", headers={"Host": "lab.example", **WORDS}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_another_sites_page_changes_nothing(client: TestClient, headers: dict[str, str], method: str) -> None:
    answer = client.request(method, f"/predictions/{'0' * 32}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}], ids=["program", "own page"]
)
def test_a_program_and_the_own_page_do(client: TestClient, headers: dict[str, str]) -> None:
    assert client.delete(f"/predictions/{'0' * 32}", headers=headers).status_code == 404


ROUTES = [
    ("GET", "/predictions"),
    ("POST", "/predictions"),
    ("POST", "/session"),
    ("GET", "/openapi.json"),
    *((method, f"/predictions/{'0' * 32}") for method in ("GET", "PATCH", "DELETE")),
    *(
        ("GET", f"/predictions/{'0' * 32}/{part}")
        for part in ("media", "curves", "exports/csv", "segments/0/explanation")
    ),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_asks_for_the_token(locked: TestClient, method: str, path: str) -> None:
    for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": b"Bearer \xe9"}):
        answer = locked.request(method, path, headers=given)
        assert (answer.status_code, answer.json()["code"]) == (401, "no_token")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_no_route_is_forgotten(client: TestClient) -> None:
    described = {
        (method.upper(), path.format(id="0" * 32, format="csv", number=0))
        for path, methods in client.get("/openapi.json").json()["paths"].items()
        for method in methods
    }
    assert described - set(ROUTES) == {("GET", "/health")}


def test_the_page_and_health_do_not(locked: TestClient) -> None:
    assert {path: locked.get(path).status_code for path in OPEN_PATHS} == dict.fromkeys(OPEN_PATHS, 200)


def test_the_token_opens(locked: TestClient) -> None:
    assert locked.get("/predictions", headers=WORDS).status_code == 200


def test_the_pages_cookie_reads_and_changes_nothing(locked: TestClient) -> None:
    answer = locked.post("/session", headers=WORDS)
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert "SameSite=strict" in answer.headers["Set-Cookie"]
    assert TOKEN not in answer.headers["Set-Cookie"]
    assert locked.cookies[COOKIE]
    assert locked.get("/predictions").status_code == 200
    assert locked.delete(f"/predictions/{'0' * 32}").status_code == 401


def test_every_answer_keeps_the_page_to_itself(client: TestClient) -> None:
    for path in ("/", "/viewer.js", "/health", "/nowhere", "/predictions"):
        headers = client.get(path).headers
        assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "//" not in policy
