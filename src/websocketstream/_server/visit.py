"""One client's visit to a server: TLS, the request, the handler, and whatever the handler left undone."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from anyio import ClosedResourceError, EndOfStream, TaskHandle, get_cancelled_exc_class, move_on_after
from anyio.abc import AnyByteStream
from anyio.lowlevel import checkpoint_if_cancelled

from .._network.any_stream import DRAIN_SECONDS, TRANSPORT_ERRORS, receive_head, say_and_drain
from .._network.loop import EventLoop
from .._network.sockets import wrap_socket
from .._network.task_transport import release, transport_of
from .._network.tls import wrap_tls
from .._network.transport import Transport
from .._protocol.close import CloseCode
from .._protocol.http import Request
from .._protocol.proxy_header import BadProxyHeader
from .._protocol.server_handshake import BadRequest, ServerHandshake
from .._protocol.trace import next_id
from .._streams.connection import Connection
from .._streams.errors import ConnectionBroken, ConnectionClosed
from .answer import Answer
from .options import ServerOptions
from .origins import normal_origin
from .outcome import Owner
from .proxied import receive_proxy_header
from .report import Report
from .request import WebSocketRequest
from .tally import Tally

logger = logging.getLogger("websocketstream.server")

Handler = Callable[[WebSocketRequest], Awaitable[object]]


class Visit:
    """Runs the handler for one accepted connection and releases that in the end."""

    __slots__ = (
        "_answer",
        "_connection",
        "_going_away",
        "_handler",
        "_id",
        "_is_hurried",
        "_is_refused",
        "_loop",
        "_on_answer",
        "_on_end",
        "_options",
        "_owner",
        "_report",
        "_request",
        "_socket",
        "_source",
        "_stream",
        "_tally",
        "_task",
    )

    def __init__(
        self,
        accepted: socket.socket | AnyByteStream,
        handler: Handler,
        options: ServerOptions,
        owner: Owner,
        *,
        loop: EventLoop,
        tally: Tally,
        on_answer: Callable[[Visit], object],
        on_end: Callable[[Visit], object],
    ) -> None:
        self._socket: socket.socket | None = None  # until a byte stream is made of it
        self._stream: AnyByteStream | None = None
        if isinstance(accepted, socket.socket):
            self._socket = accepted
        else:
            self._stream = accepted
        self._source: str | None = None  # where a proxy says that the connection comes from
        self._handler = handler
        self._options = options
        self._owner = owner
        self._loop = loop
        self._tally = tally
        self._on_answer = on_answer
        self._on_end = on_end
        self._task: TaskHandle[None] | None = None
        self._is_hurried = False  # there is no time left for an answer
        self._answer: Answer | None = None
        self._request: WebSocketRequest | None = None  # once the handler has it
        self._is_refused = False  # without the handler
        self._connection: Connection | None = None
        self._going_away = False
        self._id = next_id(server=True)
        self._report: Report | None = None  # for the log, if that wants one

    def go_away(self) -> None:
        """Close the connection with 1001, now or as soon as it is open: the server shuts down.

        A client whose handler has not begun is dropped.
        """
        self._going_away = True
        if self._connection is not None:
            self._connection.start_close(CloseCode.GOING_AWAY, "")
        elif self._request is None:
            self.hurry()

    def hurry(self) -> None:
        """Cancel what has not led to an answer: there is no time left for one by the handler."""
        self._is_hurried = True
        if self._answer is not None:
            self._answer.is_late = True
        if self._task is not None:
            self._task.cancel()

    def started(self, task: TaskHandle[None]) -> None:
        """Take note of the task that is about to :meth:`run`."""
        self._task = task
        if self._is_hurried:
            task.cancel()

    def abandon(self) -> Transport | None:
        """Let go of the connection of a visit that never began; return what may still have to be waited for."""
        if self._socket is not None:
            self._socket.close()
        if self._stream is None:
            return None
        transport = transport_of(self._stream, self._loop)
        transport.release()
        return transport

    async def run(self) -> None:
        """Serve the client; errors of the client and of the handler end here."""
        # The handler is called right here: each message that it receives passes through all that is around it. Nor is there a
        # cancel scope for it beside that of the task: who has no answer in time is cancelled as a whole.
        try:
            try:
                await self._receive_request()
                if self._request is not None:
                    try:
                        await self._handler(self._request)
                    except BaseException as exc:
                        if not (self._is_out_of_time(exc) or await self._absorb(exc)):
                            raise
                    else:
                        self._note_return()
                    await self._answer_in_place_of_the_handler(self._request)
            except (BadProxyHeader, EndOfStream, *TRANSPORT_ERRORS) as exc:
                self._note_loss(exc)
            finally:
                await self._let_go()
        except BaseException as exc:  # a cancellation of the handler's making may be as late as the release
            if self._owner.lets_pass(exc):
                raise
            logger.exception("%s a connection failed", self._id)
        finally:
            self._end()
        await self._owner.absorb_cancellation()

    async def _let_go(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._request = None  # it knows us, as we know it
        is_gone = self._connection is not None and self._connection.is_gone
        if self._stream is not None and not is_gone:
            with suppress(Exception):
                await release(self._stream)

    def _end(self) -> None:
        self._count()
        if self._report is not None:
            self._report.write(self._answer, self._connection)
        # The request knows us: without the garbage collector neither it nor the connection would go.
        self._request = self._answer = self._connection = self._task = None
        self._on_end(self)

    @property
    def connection(self) -> Connection | None:
        """The connection, once there is one, and until the end."""
        return self._connection

    def _count(self) -> None:
        if self._connection is not None:
            self._tally.ended(self._connection)
        elif self._is_refused or (self._answer is not None and self._answer.refused):
            self._tally.refused += 1
        else:
            self._tally.lost += 1

    def _is_out_of_time(self, exc: BaseException) -> bool:
        """Tell whether this is how the handler learns of it, so that it is answered in its place."""
        if not self._is_hurried:
            return False
        if isinstance(exc, BaseExceptionGroup):  # of a nursery of trio's
            return all(map(self._is_out_of_time, exc.exceptions))
        return isinstance(exc, get_cancelled_exc_class())

    async def _absorb(self, exc: BaseException) -> bool:
        """Take note of what the handler has let out, unless that is for those around us."""
        if isinstance(exc, GeneratorExit):
            # Perhaps the event loop is gone and this coroutine is being closed: nothing can be waited for.
            self._note_failure(exc)
            return True
        if self._owner.lets_pass(exc):
            return False
        self._note_failure(exc)
        await self._owner.absorb_cancellation()
        return True

    async def _receive_request(self) -> None:
        """Receive the request for the handler; one that is bad, or not admitted, is answered here."""
        stream = await self._open_stream()
        handshake = ServerHandshake(limits=self._options.limits, compression=self._options.compression)
        try:
            request = handshake.receive_data(await receive_head(stream))
            while request is None:
                request = handshake.receive_data(await receive_head(stream))
        except BadRequest as exc:
            logger.debug("%s bad opening handshake: %s", self._id, exc)
            self._is_refused = True
            await say_and_drain(stream, exc.response)
            return
        if not self._is_admitted(request):
            self._is_refused = True
            await say_and_drain(stream, handshake.reject(403, body="This origin may not connect.\n"))
            return
        if self._is_hurried:
            await checkpoint_if_cancelled()  # its request has arrived in the moment in which its time was up
        self._answer = Answer(handshake)
        self._request = WebSocketRequest(
            stream,
            self._answer,
            request,
            self._options,
            source=self._source,
            owner=self._owner,
            on_answer=self._answered,
            id_=self._id,
        )
        if logger.isEnabledFor(logging.INFO):
            self._report = Report(self._id, self._request)

    async def _open_stream(self) -> AnyByteStream:
        if self._socket is not None:
            accepted, self._socket = self._socket, None
            self._stream = await wrap_socket(accepted, self._loop)
        assert self._stream is not None
        if self._options.proxy_protocol:
            proxies, limits = self._options.trusted_proxies, self._options.limits
            self._source = await receive_proxy_header(self._stream, proxies, limits.head_size)
        if self._options.ssl_context is not None:
            stream, self._stream = self._stream, None  # which is released when the handshake fails
            self._stream = await wrap_tls(stream, self._options.ssl_context, server_side=True)
        return self._stream

    def _is_admitted(self, request: Request) -> bool:
        origins, origin = self._options.origins, request.origin
        if origins is None or (origin if origin is None else normal_origin(origin)) in origins:
            return True
        if origin is None:
            logger.warning(
                "%s refused a client without an Origin at %a: origins has no None",
                self._id,
                request.path[:100],
            )
        else:
            logger.warning(
                "%s refused origin %a at %a: origins has no such", self._id, origin[:100], request.path[:100]
            )
        return False

    def _answered(self, connection: Connection | None) -> None:
        self._on_answer(self)
        self._connection = connection
        if self._going_away:
            self.go_away()

    def _note_loss(self, exc: Exception) -> None:
        if isinstance(exc, BadProxyHeader):
            logger.warning("dropped a connection of a trusted proxy: %s", exc)
        else:
            logger.debug("%s connection lost during the opening handshake: %r", self._id, exc)

    def _note_failure(self, exc: BaseException) -> None:
        if not isinstance(exc, GeneratorExit) and self._is_no_fault(exc):
            logger.debug("%s handler of %r ended with its connection: %r", self._id, self._request, exc)
        else:
            logger.error("%s handler of %r failed", self._id, self._request, exc_info=exc)
        if isinstance(exc, GeneratorExit) and self._answer is not None:
            self._answer.give_up()

    def _note_return(self) -> None:
        request, answer = self._request, self._answer
        if request is None or answer is None or not answer.missing:
            return
        if request.answered:
            logger.error(
                "%s handler of %r called for an answer and left it at that: write %s",
                self._id,
                request,
                answer.missing,
            )
        else:
            logger.error(
                "%s handler of %r returned without an answer: write %s", self._id, request, answer.missing
            )

    async def _answer_in_place_of_the_handler(self, request: WebSocketRequest) -> None:
        assert self._answer is not None
        if self._answer.begun:
            if self._is_hurried:
                logger.debug("%s the client of %r did not take the answer in time", self._id, request)
            return
        assert self._stream is not None
        if not self._is_hurried:
            await say_and_drain(self._stream, self._answer.refuse(500))
            return
        logger.error("%s handler did not answer %r within open_timeout", self._id, request)
        with move_on_after(DRAIN_SECONDS, shield=True):  # this very task is cancelled
            await say_and_drain(self._stream, self._answer.refuse(503))

    def _is_no_fault(self, exc: BaseException) -> bool:
        """Tell whether an error says no more than that the peer went away, or that the server shuts down."""
        if isinstance(exc, BaseExceptionGroup):
            return all(map(self._is_no_fault, exc.exceptions))
        if isinstance(exc, get_cancelled_exc_class()):
            return self._owner.lets_pass(exc)
        if isinstance(exc, ClosedResourceError):
            return self._going_away
        return isinstance(exc, (ConnectionBroken, ConnectionClosed))
