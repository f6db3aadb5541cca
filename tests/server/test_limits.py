"""How large the body of a request may be; times are tested with connections."""

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from cimeu.server.limits import LARGEST_BODY_BYTES

PATH = f"/predictions/{'0' * 32}"


@pytest.fixture(scope="module")
def client(make_shared: Callable[..., TestClient]) -> TestClient:
    return make_shared()


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "GET"])
def test_a_large_body_is_not_taken_in(client: TestClient, method: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(400):
            sent += 2**20
            yield bytes(2**20)

    answer = client.request(method, PATH, content=endless(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert answer.json()["message"] == "the body of the request is larger than 4 MiB"
    assert answer.headers["Connection"] == "close"


def test_the_largest_change_fits(client: TestClient) -> None:
    labels = {str(number): "s" * 200 for number in range(10_000)}
    assert len(str(labels)) < LARGEST_BODY_BYTES
    answer = client.patch(PATH, json={"labels": labels})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown")


def test_a_body_is_not_read_for_those_who_may_not_ask(make_shared: Callable[..., TestClient]) -> None:
    locked = make_shared(host="0.0.0.0", token="a-token-of-many-signs")
    answer = locked.patch(PATH, content=bytes(LARGEST_BODY_BYTES + 1))
    assert answer.status_code == 401


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b'{"labels": ' * 100_000, b"\xff\xfe", b"1" * 1_000_000])
def test_a_body_that_is_not_a_change_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.patch(PATH, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"code", "message", "hint"}
