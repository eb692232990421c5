"""Values of the Authorization field, and what cannot become one."""

from __future__ import annotations

from typing import Any

import pytest

from websocketstream import basic_auth, bearer_auth
from websocketstream._protocol.url import parse_url


@pytest.mark.parametrize(
    ("username", "password", "value"),
    [
        ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617 section 2
        ("test", "123\xa3", "Basic dGVzdDoxMjPCow=="),  # section 2.1
        ("", "", "Basic Og=="),
        ("ann", "a:b", "Basic YW5uOmE6Yg=="),
    ],
)
def test_basic(username: str, password: str, value: str) -> None:
    assert basic_auth(username, password) == value


def test_it_is_what_user_info_in_a_url_stands_for() -> None:
    assert basic_auth("ann", "p@ss").encode() == parse_url("ws://ann:p%40ss@h/").authorization


@pytest.mark.parametrize(
    ("username", "password"),
    [("canary:", "x"), ("can\nary", "x"), ("x", "canary\r\n"), ("x", "\ud800canary")],
)
def test_what_basic_cannot_carry_is_refused_and_not_shown(username: str, password: str) -> None:
    with pytest.raises(ValueError, match="user name") as caught:
        basic_auth(username, password)
    assert "can" not in str(caught.value).replace("cannot", "")


def test_a_bearer_token() -> None:
    assert bearer_auth("mF_9.B5f-4.1JqM") == "Bearer mF_9.B5f-4.1JqM"  # RFC 6750 section 2.1
    assert bearer_auth("a+b/c~==") == "Bearer a+b/c~=="


@pytest.mark.parametrize("token", ["", "canary\n", "can ary", "Bearer canary", "=canary", "can\xe4ry"])
def test_what_no_bearer_token_is_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match="a bearer token is made of") as caught:
        bearer_auth(token)
    assert "can" not in str(caught.value)


@pytest.mark.parametrize("value", [None, b"x", 1])
def test_secrets_are_str(value: Any) -> None:
    with pytest.raises(TypeError, match="username must be a str"):
        basic_auth(value, "x")
    with pytest.raises(TypeError, match="password must be a str"):
        basic_auth("x", value)
    with pytest.raises(TypeError, match="token must be a str"):
        bearer_auth(value)
