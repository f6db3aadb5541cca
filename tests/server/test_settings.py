"""Who may be let in, and with what."""

import re
from math import nan

import pytest

from cimeu.errors import RecipeError
from cimeu.server.settings import LIMITS, ServerSettings

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert ServerSettings(host=host).is_local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", "localhost.example.org"])
def test_any_other_host_needs_a_token(host: str) -> None:
    message = f"host `{host}` lets other machines in, and there is no token\n\nhint: set --token"
    with pytest.raises(RecipeError, match=re.escape(message)):
        ServerSettings(host=host)
    assert not ServerSettings(host=host, token=TOKEN).is_local


@pytest.mark.parametrize("token", ["short", "0123456789 abcdef", "0123456789abcdéf"])
def test_a_token_that_can_be_guessed_or_not_sent_is_refused(token: str) -> None:
    with pytest.raises(RecipeError, match=f"the token has {len(token)} characters.*\n\nhint: 16 ASCII"):
        ServerSettings(token=token)


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_above_0(name: str) -> None:
    with pytest.raises(RecipeError, match=f"{name} is 0\n\nhint: a number above 0"):
        ServerSettings(**{name: 0})


def test_a_limit_is_a_number() -> None:
    with pytest.raises(RecipeError, match="keep_minutes is nan\n\nhint: a number above 0"):
        ServerSettings(keep_minutes=nan)


def test_a_port_is_one() -> None:
    with pytest.raises(RecipeError, match="port is 70000\n\nhint: 1 to 65535"):
        ServerSettings(port=70_000)
