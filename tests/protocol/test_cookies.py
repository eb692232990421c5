"""Cookies as mappings: read as browsers write them, and written so that they are read the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from websocketstream import Headers, Response
from websocketstream._protocol.cookies import cookie_field, parse_cookies, parse_set_cookies


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], {}),
        (["a=1; b=2"], {"a": "1", "b": "2"}),
        (["a=1", "b=2"], {"a": "1", "b": "2"}),
        (["a=specific; a=general"], {"a": "specific"}),
        (['session="abc"; empty=; quote="'], {"session": "abc", "empty": "", "quote": '"'}),
        (["a=b=c;x= y ;;no; =v"], {"a": "b=c", "x": "y"}),
    ],
)
def test_cookies_are_found_by_name(fields: list[str], expected: dict[str, str]) -> None:
    assert parse_cookies(fields) == expected


@given(st.lists(st.text(max_size=40), max_size=4))
def test_no_field_is_an_error(fields: list[str]) -> None:
    for name, value in parse_cookies(fields).items():
        assert any(name in field and value in field for field in fields)


def test_cookies_are_written_as_a_browser_does() -> None:
    assert cookie_field({}) == ""
    assert cookie_field({"session": "abc=="}) == "session=abc=="
    assert (
        cookie_field({"a": "", "b": '{"c": [1, 2]}', "__Host-d": "x y"})
        == 'a=; b={"c": [1, 2]}; __Host-d=x y'
    )


@given(
    st.dictionaries(
        st.text("abcXYZ019-_.~!#$%&'*+^`|", min_size=1),
        st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=';"')).map(str.strip),
    )
)
def test_what_is_written_is_read_again(cookies: dict[str, str]) -> None:
    assert parse_cookies([cookie_field(cookies)]) == cookies


@pytest.mark.parametrize(
    "value", ["a;canary", "canary\r\nX: y", "\0canary", " canary", "canary ", "can\xe4ry", "can\x7fary"]
)
def test_a_value_that_would_be_read_otherwise_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match=r"^cookie session has a value with") as caught:
        cookie_field({"session": value})
    assert "can" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b", "a\n", "\xe4", "a,b"])
def test_a_name_is_a_token(name: str) -> None:
    with pytest.raises(ValueError, match="is not an HTTP token"):
        cookie_field({name: "x"})


@pytest.mark.parametrize("cookies", [[("a", "b")], "a=b", {"a": 1}, {1: "a"}, {"a": b"b"}])
def test_cookies_are_a_mapping_of_str(cookies: Any) -> None:
    with pytest.raises(TypeError, match="cookie"):
        cookie_field(cookies)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], {}),
        (["a=1; Path=/; HttpOnly", "b=2;Secure"], {"a": "1", "b": "2"}),
        (["a=1", "a=2; Max-Age=0"], {"a": "2"}),
        (["a=b=c", ' d = "e f" ', "g="], {"a": "b=c", "d": '"e f"', "g": ""}),
        (["a=1\t;x", "\tb\t=\t2"], {"a": "1", "b": "2"}),
        (["no", "=v", "", "; Path=/"], {}),
    ],
)
def test_what_a_response_sets_is_found_by_name(fields: list[str], expected: dict[str, str]) -> None:
    assert parse_set_cookies(fields) == expected
    headers = Headers([(b"Set-Cookie", field.encode()) for field in fields])
    assert Response(101, "", headers).cookies == expected
