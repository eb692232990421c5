"""`websocket-error.any.js`."""

from __future__ import annotations

import pytest

from websocketstream import WebSocketError

wpt = pytest.mark.wpt


@wpt("wE1", deviation="the code and the name of a DOMException have no Python counterpart")
def test_the_defaults_are_empty() -> None:
    error = WebSocketError()
    assert (str(error), error.close_code, error.reason) == ("", None, "")
    assert type(error).__name__ == "WebSocketError"
    assert isinstance(error, Exception)


@wpt("wE2")
def test_everything_can_be_given() -> None:
    error = WebSocketError("message", close_code=3456, reason="reason")
    assert (str(error), error.close_code, error.reason) == ("message", 3456, "reason")


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(999, marks=wpt("wE3"), id="wE3-999"),
        pytest.param(1001, marks=wpt("wE4"), id="wE4-1001"),
        pytest.param(2999, marks=wpt("wE5"), id="wE5-2999"),
        pytest.param(5000, marks=wpt("wE6"), id="wE6-5000"),
    ],
)
def test_a_code_that_an_application_must_not_send_raises(code: int) -> None:
    with pytest.raises(ValueError):
        WebSocketError(close_code=code)


@wpt("wE7")
def test_a_code_needs_no_reason() -> None:
    error = WebSocketError(close_code=3333)
    assert (error.close_code, error.reason) == (3333, "")


@wpt("wE8")
def test_a_reason_without_a_code_is_a_normal_closure() -> None:
    assert WebSocketError(reason="specified").close_code == 1000


@pytest.mark.parametrize(
    "reason",
    [
        pytest.param("x" * 124, marks=wpt("wE9"), id="wE9"),
        pytest.param("\U0001f50c" * 32, marks=wpt("wE10"), id="wE10"),
    ],
)
def test_an_overlong_reason_raises_counted_in_bytes(reason: str) -> None:
    with pytest.raises(ValueError):
        WebSocketError(reason=reason)
    WebSocketError(reason=reason[: 123 // len(reason[0].encode())])
