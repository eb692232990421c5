"""The one answer to an opening handshake: what a handler has called for, and what it has then gone through with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .._protocol.close import CloseCode
from .._protocol.server_handshake import ServerHandshake
from .._streams.block import StreamBlock
from .._streams.connection import Connection
from .._streams.stream import WebSocketStream
from .outcome import Owner

SWITCHING_PROTOCOLS = 101
HOW_TO_ACCEPT = "`async with request.accept() as conn:`"
HOW_TO_REJECT = "`await request.reject(...)`"


class Answer:
    """Who may answer and what is missing: called for once, begun once, by the handler or in its place."""

    __slots__ = ("_handshake", "begun", "is_late", "missing", "status")

    def __init__(self, handshake: ServerHandshake) -> None:
        self._handshake: ServerHandshake | None = handshake  # until it is over
        self.status: int = SWITCHING_PROTOCOLS  # what is, or will be, answered
        self.begun: bool = False  # something has been written, or is about to be
        # The handler is being cancelled: there is no time left for an answer of its own.
        self.is_late: bool = False
        self.missing = (
            f"{HOW_TO_ACCEPT} or {HOW_TO_REJECT}"  # what to write for an answer to begin, "" once it has
        )

    @property
    def called_for(self) -> bool:
        """Whether the handler has chosen."""
        return self._handshake is None

    @property
    def handshake(self) -> ServerHandshake:
        """The handshake to answer.

        :raises RuntimeError: an answer has been called for, or given in place of the handler
        """
        if self._handshake is None:
            raise RuntimeError("this request has been answered already")
        return self._handshake

    def call_for(self, how: str, status: int = SWITCHING_PROTOCOLS) -> None:
        """Note what the handler has chosen, and what it must write for that to happen."""
        self._handshake = None
        self.missing = how
        self.status = status

    def begin(self) -> None:
        """Go through with it.

        :raises RuntimeError: the server has answered in the meantime
        """
        if self.begun:
            raise RuntimeError("too late: the server has answered this request in place of the handler")
        self.begun = True
        self.missing = ""

    @property
    def refused(self) -> bool:
        """Whether the client was told that there is no connection."""
        return self.begun and self.status != SWITCHING_PROTOCOLS

    def give_up(self) -> None:
        """Leave the client without an answer."""
        self.call_for("")
        self.begun = True

    def refuse(self, status: int) -> bytes:
        """Answer in place of the handler, whatever it has called for."""
        self.call_for("", status)
        self.begin()
        return ServerHandshake().reject(status)


class AcceptBlock(StreamBlock):
    """The block of a handler: as any other, but a cancellation of the handler's own making is its failure."""

    __slots__ = ("_owner",)

    def __init__(
        self, open_connection: Callable[[], Awaitable[tuple[Connection, WebSocketStream]]], owner: Owner
    ) -> None:
        super().__init__(open_connection)
        self._owner = owner

    def _about_to_leave(self, connection: Connection, exc: BaseException) -> None:
        if not self._owner.lets_pass(exc):
            connection.close(CloseCode.INTERNAL_ERROR)

    @property
    def how(self) -> str:
        """The line that enters it."""
        return HOW_TO_ACCEPT
