"""The life of an open connection: what has happened goes in, what to do next comes out (RFC 6455 section 7).

Happenings are methods. They may come in any order, any number of times; one that means nothing any more changes nothing.
What follows from them is read off: the state, what the application meets, the Close frame to write, the next step with
the transport, and the time by which something else has to happen. Nothing here waits, raises or knows a clock; all
times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math

from .._protocol.close import CloseCode, CloseInfo, describe, truncate_reason
from .._protocol.codec import Close, Failure
from .._protocol.state import ENDED, End, Happening, Reason, State, Step, advance

# The peer's last word waits behind messages that the application has not read yet, so that these can still be answered;
# but not for longer than this (seconds), or a peer would wait for our Close frame in vain (rule X7).
LINGER_SECONDS = 1.0
# When everything is said, how long (seconds) the peer may take to end the transport. RFC 6455 section 7.1.1 wants the
# server to end it first; an end with unread data would reset it and destroy our Close frame.
PARTING_SECONDS = 1.0
# When our writing has failed, how long (seconds) what the peer sent before it went may take to be read: it may say why.
LAST_WORDS_SECONDS = 1.0


_NEVER = math.inf

# By names of this module: a member of an Enum is looked up in its class each time, in five times the instructions.
_OPEN, _CLOSE_RECEIVED = State.OPEN, State.CLOSE_RECEIVED
_CLOSE_EXCHANGED, _FAILING = State.CLOSE_EXCHANGED, State.FAILING
_CLOSED_HERE, _CLOSED_BY_PEER, _BROKEN = End.CLOSED_HERE, End.CLOSED_BY_PEER, End.BROKEN
_CLOSE, _CLOSE_WRITTEN, _PEER_CLOSE = Happening.CLOSE, Happening.CLOSE_WRITTEN, Happening.PEER_CLOSE
_FAIL, _END = Happening.FAIL, Happening.END
_GO_ON, _END_SENDING, _RELEASE, _NOTHING = Step.GO_ON, Step.END_SENDING, Step.RELEASE, Step.NOTHING


class Life:
    """One connection from open to released, in either role.

    :param server: our role
    :param close_timeout: seconds for all of closing
    :param may_hang_up: whether a release right behind our last byte takes nothing away from the peer
    """

    __slots__ = (
        "_close_timeout",
        "_leaving",
        "_linger_until",
        "_may_hang_up",
        "_parting_seconds",
        "_peer_ended",
        "_server",
        "_step_taken",
        "_write_error",
        "deadline",
        "farewell",
        "peer_close",
        "reason",
        "receive_end",
        "send_end",
        "sent_code",
        "state",
        "word",
    )

    def __init__(self, *, server: bool, close_timeout: float, may_hang_up: bool) -> None:
        self._server = server
        self._close_timeout = close_timeout
        self._may_hang_up = may_hang_up
        self.word: Close | Failure | None = None  # the peer's last; the application has not come that far yet
        self._linger_until = _NEVER
        self._leaving: tuple[int | None, str] | None = None  # our Close frame, encoded and on its way
        self._parting_seconds = PARTING_SECONDS
        self._write_error: BaseException | None = None
        self._peer_ended = False
        self._step_taken = _GO_ON
        self.state: State = _OPEN
        self.deadline: float = _NEVER  # by then it is released
        self.farewell: tuple[int | None, str] | None = None  # our Close frame, as long as it can be changed
        self.sent_code: int | None = None  # of our Close frame, unless it has not left
        self.peer_close: CloseInfo | None = None
        self.reason: Reason | None = None  # why the end is not a clean one
        self.receive_end: End | None = None
        self.send_end: End | None = None

    # --- what happens

    def close(self, code: int | None, reason: str, now: float) -> None:
        """We close: what was accepted is sent, then the Close frame; what still arrives is dropped (rules K1-K4).

        Whoever has met an end already, or is about to, keeps that one.
        """
        self.receive_end = self.receive_end or _CLOSED_HERE
        self.finish_sending(code, reason)
        if self.state not in ENDED:
            self._limit(now + self._close_timeout)
        self.caught_up(now)

    def finish_sending(self, code: int | None = None, reason: str = "") -> None:
        """We send nothing more but the Close frame, and go on receiving until the peer closes."""
        self.send_end = self.send_end or _CLOSED_HERE
        if self._advance(_CLOSE):
            self.farewell = code, reason

    def take_word(self, word: Close | Failure, now: float) -> None:
        """The peer has said its last word; it counts when :meth:`caught_up` says so, or after a while."""
        if self.result is None:  # what is settled stays
            self.word = word
            self._linger_until = now + LINGER_SECONDS

    def caught_up(self, now: float, unsent: bool = False) -> None:
        """The application has taken all that came before the peer's last word.

        :param unsent: a message of ours has been cut off by it
        """
        word, self.word, self._linger_until = self.word, None, _NEVER
        if isinstance(word, Close):
            self._peer_closed(word, unsent, now)
        elif word is not None:
            self.fail(word.code, word.message, now)

    @property
    def hears_pongs(self) -> bool:
        """Whether a ping may still be answered: not behind the peer's last word, nor when it is not listened to any more."""
        is_over = self.peer_close is not None or self._peer_ended or self.state is _FAILING
        return self.word is None and not is_over

    def close_begun(self) -> None:
        """Our Close frame is on its way, and will be the only one."""
        if self.farewell is not None:
            self._leaving, self.farewell = self.farewell, None
            self.sent_code = self._leaving[0]

    def close_written(self, now: float) -> None:
        """Our Close frame has left."""
        if self._leaving is None:
            return
        self._leaving = None
        self._advance(_CLOSE_WRITTEN)
        if self._is_all_said():
            self._limit(now + self._parting_seconds)
            if self._peer_ended:
                self._advance(_END)

    def write_failed(self, error: BaseException, now: float) -> None:
        """The transport takes no more bytes; what the peer sent before may still say why."""
        self._write_error = self._write_error or error
        self._drop_farewell()
        self._limit(now + LAST_WORDS_SECONDS)
        if self.state is _CLOSE_RECEIVED or self.state is _FAILING:
            self.ended("the transport failed", now)

    def fail(
        self,
        code: int,
        message: str,
        now: float,
        *,
        say: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        """The peer broke a rule or a limit: over for the application; the peer is told why (section 7.1.7).

        :param say: what the Close frame says, by default the message
        """
        self.word, self._linger_until = None, _NEVER
        self._break(message, cause)
        says_it = self.state is _OPEN or self.farewell is not None
        if self._advance(_FAIL):
            if says_it and self._write_error is None:
                self.farewell = code, truncate_reason(message if say is None else say)
            self._limit(now + min(PARTING_SECONDS, self._close_timeout))

    def give_up(self, message: str, now: float, *, stuck: bool = False) -> None:
        """The peer's host is gone, or the peer does not answer: it is told, if nothing is stuck, and not waited for."""
        self._parting_seconds = 0.0
        self.fail(CloseCode.INTERNAL_ERROR, message, now, say="ping timeout")
        if stuck or self._is_all_said():
            self._limit(now)

    def broke_down(self, bug: BaseException, now: float) -> None:
        """A bug of ours, or of a transport: an error of the connection, and of nobody else."""
        self.fail(CloseCode.INTERNAL_ERROR, f"internal error: {bug!r}", now, say="internal error", cause=bug)

    def peer_ended(self, now: float) -> None:
        """The peer has ended its direction of the transport: it says nothing more, but our answer may still reach it."""
        self.caught_up(now)
        self._peer_ended = True
        if self.state not in (_CLOSE_RECEIVED, _FAILING) or self._is_all_said():
            self.ended("the transport ended without a Close frame", now)

    def ended(self, message: str, now: float, cause: BaseException | None = None) -> None:
        """The transport has ended, or nothing more may be expected of it."""
        self.caught_up(now)
        self._break(message, cause or self._write_error)
        self._drop_farewell()
        self._advance(_END)

    def hurry(self, now: float, seconds: float) -> None:
        """There is no more time than this, for whatever is left to do."""
        self._limit(now + seconds)

    def time_passed(self, now: float) -> None:
        """It is ``now``; to be said when :attr:`next_deadline` has come."""
        if now >= self._linger_until:
            self.caught_up(now)
        if now >= self.deadline:
            late = self._write_error is None
            self.ended(
                "the closing handshake was not complete in time" if late else "the transport failed", now
            )

    def step_taken(self, step: Step) -> None:
        """What :attr:`step` asked for is done; a release ends everything."""
        self._step_taken = _NOTHING if step is _RELEASE else step
        if self._step_taken is _NOTHING:
            self._advance(_END)
            self.deadline = _NEVER

    # --- what to do next

    @property
    def step(self) -> Step:
        """What to do with the transport."""
        if self._step_taken is _NOTHING:
            return _NOTHING
        if self.state in ENDED:
            return _RELEASE
        if not self._is_all_said() or self._step_taken is _END_SENDING:
            return _GO_ON
        if self.state is _FAILING:
            return _END_SENDING
        if not self._server:
            return _GO_ON  # the server parts first (RFC 6455 section 7.1.1)
        return _RELEASE if self._may_hang_up else _END_SENDING

    @property
    def next_deadline(self) -> float:
        """When :meth:`time_passed` has to be said, whatever else happens."""
        return min(self.deadline, self._linger_until)

    @property
    def result(self) -> CloseInfo | None:
        """How it ended: the peer's words, and whether it was clean; None while that is open."""
        if self.state is not _CLOSE_EXCHANGED and self.state is not _FAILING and self.state not in ENDED:
            return None
        info = self.peer_close
        if self.reason is None:
            return info
        if info is None:
            return CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", False)
        return CloseInfo(info.code, info.reason, False)

    # --- inside

    def _is_all_said(self) -> bool:
        """Whether neither side has anything to say any more."""
        return self.farewell is self._leaving is None and self.state in (_CLOSE_EXCHANGED, _FAILING)

    def _peer_closed(self, close: Close, unsent: bool, now: float) -> None:
        self.peer_close = CloseInfo(
            int(CloseCode.NO_STATUS_RECEIVED if close.code is None else close.code), close.reason
        )
        if self.state is _OPEN:
            self.farewell = close.code, close.reason
            if unsent:
                said = describe(self.peer_close)
                self._break(f"the peer closed with {said} before a message was sent completely")
        end = _CLOSED_BY_PEER if self.reason is None else _BROKEN
        self.receive_end = self.receive_end or end
        self.send_end = self.send_end or end
        self._advance(_PEER_CLOSE)
        self._limit(now + (PARTING_SECONDS if self._is_all_said() else self._close_timeout))
        if self._write_error is not None and self.state is _CLOSE_RECEIVED:
            self.ended("the transport failed", now)

    def _drop_farewell(self) -> None:
        if self._leaving is not None:
            self.sent_code = None
        self.farewell = self._leaving = None

    def _break(self, message: str, cause: BaseException | None = None) -> None:
        if self.state is _CLOSE_EXCHANGED or self.state in ENDED:
            return  # whatever happens now, the close was what it was
        self.reason = self.reason or Reason(message, cause)
        self.receive_end = self.receive_end or _BROKEN
        self.send_end = self.send_end or _BROKEN

    def _limit(self, deadline: float) -> None:
        if self._step_taken is not _NOTHING:
            self.deadline = min(self.deadline, deadline)

    def _advance(self, happening: Happening) -> bool:
        before, self.state = self.state, advance(self.state, happening)
        return self.state is not before
