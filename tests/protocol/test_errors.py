"""``WebSocketError`` as in the browser, and the family of handshake failures."""

from __future__ import annotations

import copy
import errno
import pickle
from collections.abc import Callable

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
    Request,
    Response,
    SendAfterClose,
    WebSocketError,
)


def test_the_defaults_of_a_websocket_error_say_nothing_wE1() -> None:
    error = WebSocketError()
    assert (str(error), error.close_code, error.reason) == ("", None, "")


def test_a_handshake_error_carries_1006_which_an_application_could_not_set() -> None:
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
    assert str(error) == 'server rejected the WebSocket handshake: HTTP 503 Service Unavailable: "later"'


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


ERRORS = {
    "WebSocketError": WebSocketError("broken", close_code=4000, reason="because"),
    "HandshakeError": HandshakeError("x"),
    "InvalidHandshake": InvalidHandshake("x"),
    "HandshakeTooLarge": HandshakeTooLarge("x"),
    "HandshakeTimeout": HandshakeTimeout("late"),
    "HandshakeRejected": HandshakeRejected(
        Response(503, "Busy", Headers([(b"Retry-After", b"5")]), b"later", truncated=True)
    ),
    "ConnectFailed": ConnectFailed("no way"),
    "ConnectionClosed": ConnectionClosed(CloseInfo(4000, "robot")),
    "SendAfterClose": SendAfterClose(CloseInfo(1001, "away")),
    "ConnectionBroken": ConnectionBroken("gone", CloseInfo(1002, "bad"), sent_code=1002),
}
ERRORS["ConnectFailed"].errno = errno.ECONNRESET  # type: ignore[attr-defined]
ERRORS["WebSocketError"].add_note("a note")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_an_error_survives_pickle_and_copy(
    error: WebSocketError, again: Callable[[WebSocketError], WebSocketError]
) -> None:
    twin = again(error)
    assert twin is not error
    assert type(twin) is type(error)
    assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))
    if isinstance(error, OSError):
        assert isinstance(twin, OSError)
        assert twin.errno == error.errno


def test_an_error_of_a_users_own_survives_pickle_as_well() -> None:
    twin = pickle.loads(pickle.dumps(OwnError(4001)))
    assert (str(twin), twin.close_code, twin.extra) == ("own", 4001, "more")


class OwnError(WebSocketError):
    def __init__(self, code: int) -> None:
        super().__init__("own", close_code=code)
        self.extra = "more"


def rejection(status: int, reason: str, *headers: tuple[bytes, bytes], body: bytes = b"") -> str:
    text = str(HandshakeRejected(Response(status, reason, Headers(headers), body)))
    prefix = "server rejected the WebSocket handshake: "
    assert text.startswith(prefix)
    return text.removeprefix(prefix)


def test_a_rejection_says_what_the_server_said() -> None:
    assert rejection(403, "Forbidden", body=b"\n Origin is\r\n not  allowed\n") == (
        'HTTP 403 Forbidden: "Origin is not allowed"'
    )
    assert rejection(404, "", body="für Ann".encode()) == 'HTTP 404: "für Ann"'
    assert rejection(500, "", body=b"""it's "so" """) == r'''HTTP 500: "it's \"so\""'''


def test_what_the_server_said_is_cut_short_even_in_the_middle_of_a_character() -> None:
    said = rejection(500, "", body="ä".encode() * 10_000)
    assert said == f'HTTP 500: "{"ä" * 97}..."'
    assert rejection(500, "", body=b"x" + "ä".encode() * 10_000).startswith('HTTP 500: "xä')


def test_what_the_server_said_cannot_control_a_terminal() -> None:
    said = rejection(500, "Oops\x9b2J" + "y" * 200, body="\x1b[2J \u202eevil \x9b".encode())
    assert said.isprintable()
    assert r"\x1b[2J \u202eevil \x9b" in said
    assert r"Oops\x9b2J" in said
    assert len(said) < 250


@pytest.mark.parametrize(
    ("headers", "body"),
    [([(b"Content-Encoding", b"gzip")], b"text"), ([], b"\x89PNG\xff\xfe"), ([], b"  \n")],
    ids=["compressed", "binary", "blank"],
)
def test_a_body_that_is_no_text_is_not_shown(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    assert rejection(500, "Oops", *headers, body=body) == "HTTP 500 Oops"


def test_a_rejection_says_where_a_redirect_points_to_without_what_may_be_secret() -> None:
    said = rejection(
        302, "Found", (b"Location", b"https://ann:pw@sso.example/login?token=abc#def"), body=b"x"
    )
    assert said == (
        'HTTP 302 Found: it points to "https://sso.example/login?...", and redirects are not followed'
    )
    assert rejection(301, "Moved", body=b"but where").endswith('Moved: "but where"')


def test_what_may_be_secret_is_not_in_the_repr_of_a_head() -> None:
    headers = Headers([(b"Location", b"//ann:pw@a.example/x?token=1"), (b"Cookie", b"id=2"), (b"X-Id", b"3")])
    assert repr(headers) == "Headers({'location': '//a.example/x?...', 'cookie': '...', 'x-id': '3'})"
    request = Request("/feed?token=secret", headers, ("chat",), "https://a.example")
    assert repr(request) == (
        f"Request(target='/feed?...', headers={headers!r}, protocols=('chat',), origin='https://a.example')"
    )
    assert request.query == "token=secret"
