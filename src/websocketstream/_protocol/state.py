"""The life of an open connection as one table (RFC 6455 section 7), and the words for what follows from it.

Every change of state is a row of :data:`TRANSITIONS`; an event without a row changes nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Enum):
    """Where a connection stands."""

    OPEN = "open"
    CLOSING = "closing"  # we want to close; our Close frame still waits behind accepted messages
    CLOSE_SENT = "close sent"  # our Close frame has left, the peer's has not arrived
    CLOSE_RECEIVED = "close received"  # the peer's Close frame is here, ours has not left
    CLOSE_EXCHANGED = "close exchanged"  # the handshake is complete, the transport still open
    FAILING = "failing"  # it has failed for us; the peer may still be told why, and hang up itself
    CLOSED = "closed"  # ended after a complete handshake
    BROKEN = "broken"  # ended in any other way


class Happening(enum.Enum):
    """What can change the state."""

    CLOSE = "we start the closing handshake"
    CLOSE_WRITTEN = "our Close frame has left"
    PEER_CLOSE = "the peer's Close frame arrives"
    FAIL = "the peer breaks a rule, or is given up"
    END = "the transport has ended, or its time is up"


class Step(enum.Enum):
    """What to do with the transport."""

    GO_ON = "read, and write what there is"
    END_SENDING = "end our direction behind what was written, and go on reading"
    RELEASE = "let go of it, now"
    NOTHING = "it is released"


class End(enum.Enum):
    """What a receiver or a sender meets."""

    CLOSED_HERE = "we have closed the connection"
    CLOSED_BY_PEER = "the peer has closed the connection"
    BROKEN = "the connection ended in another way"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a connection is broken."""

    message: str
    cause: BaseException | None = None


# An Enum's own is a call in Python.
State.__hash__ = Happening.__hash__ = object.__hash__  # type: ignore[method-assign]


TRANSITIONS: dict[tuple[State, Happening], State] = {
    (State.OPEN, Happening.CLOSE): State.CLOSING,
    (State.OPEN, Happening.PEER_CLOSE): State.CLOSE_RECEIVED,
    (State.OPEN, Happening.FAIL): State.FAILING,
    (State.OPEN, Happening.END): State.BROKEN,
    (State.CLOSING, Happening.CLOSE_WRITTEN): State.CLOSE_SENT,
    (State.CLOSING, Happening.PEER_CLOSE): State.CLOSE_RECEIVED,
    (State.CLOSING, Happening.FAIL): State.FAILING,
    (State.CLOSING, Happening.END): State.BROKEN,
    (State.CLOSE_SENT, Happening.PEER_CLOSE): State.CLOSE_EXCHANGED,
    (State.CLOSE_SENT, Happening.FAIL): State.FAILING,
    (State.CLOSE_SENT, Happening.END): State.BROKEN,
    (State.CLOSE_RECEIVED, Happening.CLOSE_WRITTEN): State.CLOSE_EXCHANGED,
    # Our answer did not get out: unclean, though the peer's code is known (rule L3b).
    (State.CLOSE_RECEIVED, Happening.FAIL): State.FAILING,
    (State.CLOSE_RECEIVED, Happening.END): State.BROKEN,
    # Whatever the transport does once both Close frames are exchanged, the close was clean (rule L2).
    (State.CLOSE_EXCHANGED, Happening.END): State.CLOSED,
    (State.FAILING, Happening.END): State.BROKEN,
}

ENDED = (State.CLOSED, State.BROKEN)


def advance(state: State, happening: Happening) -> State:
    """Return the state after ``happening``; the same state where the table has no row."""
    return TRANSITIONS.get((state, happening), state)
