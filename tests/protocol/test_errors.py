"""``WebSocketError`` as in the browser, and the family of handshake failures."""

from __future__ import annotations

import anyio
import pytest

from websocketstream import (
    CloseInfo,
    ConnectFailed,
    ConnectionBroken,
    ConnectionClosed,
    HandshakeError,
    HandshakeRejected,
    HandshakeTimeout,
    HandshakeTooLarge,
    Headers,
    InvalidHandshake,
    Response,
    WebSocketError,
)


def test_the_defaults_of_a_websocket_error_say_nothing_wE1() -> None:
    error = WebSocketError()
    assert (str(error), error.close_code, error.reason) == ("", None, "")


def test_a_handshake_error_carries_1006_which_an_application_could_not_set_H5_E3() -> None:
    for error in (HandshakeError("x"), InvalidHandshake("x"), HandshakeTooLarge("x"), HandshakeTimeout("x")):
        assert (error.close_code, error.reason, str(error)) == (1006, "", "x")


def test_a_failed_connection_is_an_os_error_and_a_time_out_a_timeout_error() -> None:
    error = ConnectFailed("cannot connect")
    assert isinstance(error, OSError)
    assert str(error) == "cannot connect"
    assert isinstance(HandshakeTimeout("late"), TimeoutError)


def test_a_rejection_has_status_headers_and_body() -> None:
    headers = Headers([(b"Retry-After", b"5")])
    error = HandshakeRejected(Response(503, "Service Unavailable", headers, b"later", truncated=True))
    assert (error.status, error.body, error.truncated) == (503, b"later", True)
    assert error.headers["retry-after"] == "5"
    assert str(error) == "server rejected the WebSocket handshake: HTTP 503 Service Unavailable"


def test_the_ends_of_a_connection_are_errors_that_anyio_users_handle() -> None:
    closed = ConnectionClosed(CloseInfo(4000, "robot\n"))
    assert isinstance(closed, anyio.EndOfStream)
    assert (closed.close_code, closed.reason) == (4000, "robot\n")
    assert str(closed) == r"connection closed by the peer with code 4000 and reason 'robot\n'"
    assert str(ConnectionClosed(CloseInfo(1005))) == "connection closed by the peer with no code"
    broken = ConnectionBroken("gone")
    assert isinstance(broken, anyio.BrokenResourceError)
    assert (broken.close_code, broken.reason, broken.sent_code) == (1006, "", None)


@pytest.mark.parametrize("family", [ConnectionClosed, ConnectionBroken, HandshakeError])
def test_everything_that_goes_wrong_is_a_websocket_error(family: type[Exception]) -> None:
    assert issubclass(family, WebSocketError)
