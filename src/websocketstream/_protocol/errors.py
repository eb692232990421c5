"""Errors that need no event loop: the browser's ``WebSocketError`` and everything that can end an opening handshake."""

from __future__ import annotations

from typing import Any

from .close import CloseCode, check_close
from .http import Headers, Response, quoted, text_of
from .url import for_display

REDIRECTS = frozenset({301, 302, 303, 307, 308})


class WebSocketError(Exception):
    """The browser's ``WebSocketError``: a failure with a close code and a reason (rules E1-E3).

    Pass one to :meth:`WritableStream.abort` or :meth:`ReadableStream.cancel` to choose what the Close frame says.

    :raises ValueError: the code is neither 1000 nor 3000-4999, or the reason is longer than 123 bytes of UTF-8
    :raises TypeError: the code is not an int, or the reason is not a str
    """

    close_code: int | None
    reason: str

    def __init__(self, message: str = "", *, close_code: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        if close_code is not None or reason != "":  # what is no str has to be refused
            close_code, reason = check_close(close_code, reason)
        self.close_code, self.reason = close_code, reason

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is pickled and copied as a call of its class with its args, which are not what ours are made of.
        state = dict(vars(self))
        if isinstance(self, OSError) and self.errno is not None:
            state["errno"] = self.errno
        return _restore, (type(self), self.args), state


def _restore(error_type: type[WebSocketError], args: tuple[Any, ...]) -> WebSocketError:
    error = error_type.__new__(error_type)
    error.args = args
    return error


class HandshakeError(WebSocketError):
    """The opening handshake failed, so there is no connection; the base of all the reasons why (rule H5)."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        # Rule E3: what the library makes itself may carry codes that an application may not send.
        self.close_code: int | None = CloseCode.ABNORMAL_CLOSURE


class InvalidHandshake(HandshakeError):
    """The peer's side of the opening handshake was not HTTP, or not what RFC 6455 section 4 asks for."""


class HandshakeTooLarge(InvalidHandshake):
    """The peer's side of the opening handshake went past a limit; the message names the limit and the option."""


class HandshakeRejected(HandshakeError):
    """The server answered the opening handshake with something else than 101 (rule H3).

    Redirects are followed as far as ``max_redirects`` says, which is not at all by default.
    """

    def __init__(self, response: Response, not_followed: str = "redirects are not followed") -> None:
        super().__init__(f"server rejected the WebSocket handshake: {_summary(response, not_followed)}")
        self.response = response

    @property
    def status(self) -> int:
        """The HTTP status code."""
        return self.response.status

    @property
    def headers(self) -> Headers:
        """The response's header fields."""
        return self.response.headers

    @property
    def body(self) -> bytes:
        """What was kept of the response's body, at most 64 KiB."""
        return self.response.body

    @property
    def truncated(self) -> bool:
        """Whether the body was longer than what was kept."""
        return self.response.truncated


def _summary(response: Response, not_followed: str) -> str:
    """Say what the server said, short and safe to print; what is secret in a URL is left out."""
    parts = [f"HTTP {response.status}"]
    if response.reason:
        parts[0] += f" {quoted(response.reason)[1:-1]}"
    if response.status in REDIRECTS and "location" in response.headers:
        target = for_display(response.headers["location"])
        parts.append(f"it points to {quoted(target)}, and {not_followed}")
    elif text := text_of(response):
        parts.append(quoted(text))
    return ": ".join(parts)


class HandshakeTimeout(HandshakeError, TimeoutError):
    """The connection was not open within ``open_timeout`` seconds."""


class ConnectFailed(HandshakeError, OSError):
    """No connection to the server: name resolution, TCP, proxy or TLS failed; ``__cause__`` says how."""
