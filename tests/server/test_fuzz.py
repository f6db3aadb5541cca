"""Whatever is asked in the form that the service describes is answered as it describes."""

from pathlib import Path

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = [
    ("GET", "/health"),
    ("POST", "/session"),
    ("GET", "/predictions"),
    ("POST", "/predictions"),
    ("GET", "/predictions/{id}"),
    ("PATCH", "/predictions/{id}"),
    ("DELETE", "/predictions/{id}"),
    ("GET", "/predictions/{id}/media"),
    ("GET", "/predictions/{id}/curves"),
    ("GET", "/predictions/{id}/exports/{format}"),
    ("GET", "/predictions/{id}/segments/{number}/explanation"),
]


@pytest.fixture(scope="module")
def number(served: str, clip: Path) -> str:
    """Id of a recording that is there."""
    with clip.open("rb") as stream:
        return httpx2.post(f"{served}/predictions", files={"file": stream}).json()["id"]


@pytest.fixture(scope="module")
def api(served: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{served}/openapi.json")


def test_every_operation_is_asked(api: schemathesis.BaseSchema) -> None:
    described = {(result.ok().method.upper(), result.ok().path) for result in api.get_all_operations()}
    assert described == set(OPERATIONS)


# schemathesis itself draws from `random` while it makes requests
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_request_is_answered_as_described(
    api: schemathesis.BaseSchema, number: str, method: str, path: str
) -> None:
    known = st.booleans() if "{id}" in path and method != "DELETE" else st.just(False)

    @given(case=api[path][method].as_strategy(), known=known)
    @settings(max_examples=12, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: schemathesis.Case, known: bool) -> None:
        if known:
            case.path_parameters["id"] = number
        case.call_and_validate(checks=CHECKS)

    ask()
