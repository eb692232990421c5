"""Queries as mappings: what URLSearchParams makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from websocketstream import QueryParams


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", []),
        ("a=1&b=2&a=3", [("a", ["1", "3"]), ("b", ["2"])]),
        ("name=J%C3%BCrgen+M", [("name", ["Jürgen M"])]),
        ("token=a%2Bb%3D%3D&x=", [("token", ["a+b=="]), ("x", [""])]),
        ("flag&&=v&a=b=c", [("flag", [""]), ("", ["v"]), ("a", ["b=c"])]),
        ("a;b=c", [("a;b", ["c"])]),
        ("bad=%ff%zz%", [("bad", ["\ufffd%zz%"])]),
    ],
)
def test_a_query_is_decoded_as_in_the_browser(query: str, expected: list[tuple[str, list[str]]]) -> None:
    params = QueryParams(query)
    assert [(name, params.get_all(name)) for name in params] == expected
    assert len(params) == len(expected)
    assert all(params[name] == values[0] for name, values in expected)


def test_what_is_not_there_is_missing_as_in_any_mapping() -> None:
    params = QueryParams("a=1")
    assert params.get("b") is None
    assert params.get_all("b") == []
    with pytest.raises(KeyError):
        params["b"]


def test_values_may_be_secrets_and_are_not_shown() -> None:
    assert repr(QueryParams("token=secret&token=other&a=1")) == "QueryParams('token': ..., 'a': ...)"
    assert repr(QueryParams("a%0Ab=1")) == r"QueryParams('a\nb': ...)"


@given(st.text(max_size=80))
def test_no_query_is_an_error(query: str) -> None:
    params = QueryParams(query)
    assert sorted(params) == sorted(set(params))
