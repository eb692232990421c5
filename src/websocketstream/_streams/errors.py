"""How a connection that was open can end, as errors that anyio users already handle."""

from __future__ import annotations

from collections.abc import Callable
from weakref import ref

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream

from .._protocol.close import MAKERS_OF_ERRORS, CloseCode, CloseInfo, describe
from .._protocol.errors import WebSocketError


class ConnectionClosed(WebSocketError, EndOfStream):
    """The peer closed the connection with a Close frame: iteration just ends, whatever the code (rule X1).

    ``close_code`` and ``reason`` are the peer's; the code is 1005 when its Close frame had none.
    """

    def __init__(self, info: CloseInfo) -> None:
        super().__init__(f"connection closed by the peer with {describe(info)}")
        self.close_code: int | None = info.code
        self.reason: str = info.reason


class SendAfterClose(ConnectionClosed, BrokenResourceError):
    """A message could not be sent because the peer has closed the connection (rule T9).

    It is a :exc:`ConnectionClosed` for those who want the close code, and an :exc:`anyio.BrokenResourceError` as
    anyio's contract asks of ``send()``.
    """


class ConnectionBroken(WebSocketError, BrokenResourceError):
    """The connection ended in any other way than by a complete closing handshake (rules X3-X5).

    ``close_code`` is what the peer said, 1006 when it said nothing; ``sent_code`` is the code of the Close frame that
    we sent because of this error, None when none went out: it was not us who ended the connection, or it could not be
    sent any more.
    """

    sent_code: int | None

    def __init__(self, message: str, info: CloseInfo | None = None, *, sent_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code: int | None = CloseCode.ABNORMAL_CLOSURE if info is None else info.code
        self.reason: str = "" if info is None else info.reason
        self.sent_code = sent_code


def _error_of(info: CloseInfo) -> Exception:
    """Make the error of an end that is not taken for a good one."""
    if info.clean:
        return ConnectionClosed(info)
    return ConnectionBroken(f"the connection ended uncleanly, with {describe(info)}", info)


MAKERS_OF_ERRORS.append(_error_of)


class EndError:
    """The error of an end, whoever meets it: the same object for as long as anybody holds it.

    The connection does not. What was raised holds the frames that it has passed, and these hold the connection: with
    that it would be a cycle, which only the garbage collector finds.
    """

    __slots__ = ("_alive", "_arguments", "_make", "is_close")

    def __init__(self, make: Callable[..., Exception], *arguments: object) -> None:
        self._make = make
        self._arguments = arguments
        self.is_close: bool = make is ConnectionClosed  # that is where iteration just ends
        self._alive: Callable[[], Exception | None] = _nobody

    @property
    def alive(self) -> Exception | None:
        """The error, if anybody holds it."""
        return self._alive()

    def to_raise(self) -> Exception:
        """Return the error as it was before it was raised."""
        error = self._alive()
        if error is None:
            error = self._make(*self._arguments)
            self._alive = ref(error)
        return error.with_traceback(None)


def closed_here() -> ClosedResourceError:
    """Make the error of who goes on using a connection that was closed on this side."""
    return ClosedResourceError("the connection was closed on this side")


def _nobody() -> None:
    return None
