"""What users meet when a connection is over: each direction is told of its end once, and of an unclean one by one error."""

from __future__ import annotations

from contextlib import suppress

from .._protocol.close import CloseInfo, check_close
from .._protocol.errors import WebSocketError
from .._protocol.life import Life
from .._protocol.state import End
from .._streams.errors import ConnectionBroken, ConnectionClosed, EndError, SendAfterClose, closed_here
from .receive_buffer import ReceiveBuffer
from .send_buffer import SendBuffer


class Ends:
    """The ends of both directions of one connection, as its life decides them."""

    __slots__ = ("_error", "_inbox", "_life", "_outbox", "_told_receivers", "_told_senders")

    def __init__(self, life: Life, inbox: ReceiveBuffer, outbox: SendBuffer) -> None:
        self._life = life
        self._inbox = inbox
        self._outbox = outbox
        self._error: EndError | None = None  # the one error of an unclean end
        self._told_receivers: End | None = None  # which end they know of
        self._told_senders: End | None = None

    @property
    def received(self) -> Exception | None:
        """What receivers meet because it is over, unless it is not, or because we have closed it."""
        close = self._life.peer_close
        if close is not None and self._life.receive_end is End.CLOSED_BY_PEER:
            return ConnectionClosed(close)
        if self._error is None:
            return None
        return self._error.alive or self._error.to_raise()  # the traceback of one that is under way stays

    def to_raise(self) -> Exception:
        """Return the one error of an unclean end, which there is."""
        assert self._error is not None
        return self._error.to_raise()

    def tell(self) -> None:
        """Tell those of an end who do not know of it; this may be asked at any time."""
        life = self._life
        if self._error is None and life.reason is not None:
            self._error = EndError(_broken, life, life.peer_close)
        if life.receive_end is not self._told_receivers:
            self._told_receivers = life.receive_end
            if life.receive_end is not None:
                self._inbox.finish(self._error_for(life.receive_end, ConnectionClosed))
        if life.send_end is not self._told_senders:
            self._told_senders = life.send_end
            if life.send_end is not None:
                self._outbox.finish(self._error_for(life.send_end, SendAfterClose))

    def settle(self) -> None:
        """Complete an error that was met before it was known what we would say to the peer."""
        error = None if self._error is None else self._error.alive
        if isinstance(error, ConnectionBroken):
            error.sent_code = self._life.sent_code

    def _error_for(self, end: End, closed: type[ConnectionClosed]) -> EndError:
        if end is End.CLOSED_HERE:
            return EndError(closed_here)
        info = self._life.peer_close
        if end is End.CLOSED_BY_PEER and info is not None:
            return EndError(closed, info)
        assert self._error is not None
        return self._error


def words_of(error: BaseException | None, *, server: bool) -> tuple[int | None, str]:
    """Return what a Close frame may say of an error: only a real WebSocketError has a say (rule S4)."""
    if isinstance(error, WebSocketError):
        with suppress(ValueError):  # a code that only the peer could say, such as 1006: an empty Close frame
            return check_close(error.close_code, error.reason, server=server)
    return None, ""


def _broken(life: Life, info: CloseInfo | None) -> ConnectionBroken:
    reason = life.reason
    assert reason is not None
    error = ConnectionBroken(reason.message, info, sent_code=None if life.result is None else life.sent_code)
    error.__cause__ = reason.cause
    return error
