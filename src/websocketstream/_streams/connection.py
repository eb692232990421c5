"""The connection: a reader and a writer between a byte stream and two object streams.

They are tasks as far as there is something to wait for; where the transport calls us with what arrives, a connection that
only waits for its peer has none. The tasks never raise. What ends the connection is recorded once, in the closing state table's terms, and users meet it
where they receive, send, or wait for ``closed``.
"""

from __future__ import annotations

from contextlib import suppress

from anyio import CancelScope, ClosedResourceError
from anyio.abc import AnyByteStream

from .._network.any_stream import DRAIN_SECONDS, TRANSPORT_ERRORS, half_close, release
from .._network.backend import Backend, Signal, Timer
from .._network.transport import DirectStream
from .._protocol.close import CloseCode, CloseInfo, check_close, truncate_reason
from .._protocol.codec import Close, Codec, Failure
from .._protocol.errors import WebSocketError
from .._protocol.state import ENDED, Happening, State, advance
from .budget import Budget
from .errors import ConnectionBroken, ConnectionClosed, SendAfterClose, describe
from .heartbeat import Heartbeat
from .options import StreamOptions
from .pings import PendingPing, Pings
from .readable import ReadableStream
from .reader import Reader
from .tasks import Background, Tasks
from .writable import WritableStream
from .writer import Writer

# A cancelled block says goodbye, but not for longer than this (seconds).
CANCEL_GRACE = 0.5


class Connection:
    """One WebSocket connection after its opening handshake, in either role."""

    def __init__(
        self,
        stream: AnyByteStream,
        codec: Codec,
        *,
        server: bool,
        options: StreamOptions,
        backend: Backend,
        early_data: bytes = b"",
    ) -> None:
        self.stream = stream
        self.server = server
        self.state: State = State.OPEN
        self.close_info: CloseInfo | None = None
        self.pings: Pings = Pings()
        self._codec = codec
        self._options = options
        self._early_data = early_data
        self._peer_close: CloseInfo | None = None
        self._error: ConnectionBroken | None = None
        self._settled = Signal()
        self._done = Signal()
        self._write_error: BaseException | None = None
        self._writer_done = Signal()
        self._parting = False  # nothing of the peer's is needed before our half of the transport goes
        self._released = False
        self._heartbeat: Heartbeat | None = None
        self._tasks = Tasks(on_error=self._broke_down, on_end=self._task_ended)
        self._has_reader = False  # a task, that is
        self._alarm: Timer | None = None  # starts one when a deadline has come
        self.backend: Backend = backend
        budget = Budget(backend.clock)
        self._writer = Writer(
            stream,
            codec,
            budget,
            backend,
            on_progress=self._wrote,
            on_end=self._writer_ended,
            start_task=self._start_writer,
        )
        self.readable: ReadableStream = ReadableStream(
            options.read_buffer, budget, backend, on_cancel=self._cancel_readable, on_aclose=self.aclose
        )
        self.writable: WritableStream = WritableStream(
            options.write_buffer,
            budget,
            backend,
            self._writer,
            on_abort=self._abort_writable,
            on_aclose=self.aclose,
        )
        self._writer.serve(self.writable)
        self._reader = Reader(
            stream,
            codec,
            self.readable,
            self.writable,
            on_ping=self._writer.pong,
            after_pings=self._writer.flush,
            on_pong=self._take_pong,
            on_last_word=self._take_last_word,
        )

    # --- what the application can do

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Start the closing handshake: what was accepted goes out first, what still arrives is dropped (K1-K4)."""
        self.start_close(*check_close(code, reason, server=self.server))

    async def aclose(self, code: int | None = None, reason: str = "") -> None:
        """Close and wait until the transport is released."""
        self.close(code, reason)
        try:
            await self._done.wait()
        except BaseException:
            await self.drop()
            raise

    def send_eof(self) -> None:
        """Say that nothing more will be sent, and go on receiving until the peer closes."""
        if self.state is State.OPEN:
            self._begin_close(None, "")
        self.writable._finish(_closed_here())

    async def wait_closed(self) -> CloseInfo:
        """Wait for the end; return the peer's words or raise the one error of an unclean end."""
        await self._settled.wait()
        if self._error is not None:
            raise self._error.with_traceback(None)
        assert self.close_info is not None
        return self.close_info

    async def ping(self) -> float:
        """Send a Ping frame, wait for its pong and return the round-trip time in seconds."""
        self.writable._raise_if_ended()
        ping = self._send_ping()
        try:
            await ping.answered.wait()
        finally:
            self.pings.forget(ping)
            if ping.latency is None:
                self._writer.take_back_ping(ping.payload)
        if ping.latency is None:
            self.writable._raise_if_ended()
            raise _closed_here()
        return ping.latency

    # --- life: started by the owner's block, ended by its end

    def start(self, background: Background) -> None:
        """Start reading, and what else is needed; a task is started only when there is something to wait for."""
        self._tasks.allow(background)
        early_data, self._early_data = self._early_data, b""
        if not self._reader.listen(early_data, stopped=self._need_reader):
            self._need_reader()
        if self.state is not State.OPEN:  # we were told to close before we had begun
            self._need_reader()
            self._writer.flush()
        if self._options.ping_interval is not None:
            self._heartbeat = self._reader.heartbeat = Heartbeat(
                self._options.ping_interval,
                self._options.ping_timeout,
                self.pings,
                background.pulse,
                send_ping=self._send_ping,
                give_up=self._give_up,
            )

    def _need_reader(self) -> None:
        """Let a task read, or the end of the connection could not be waited for, nor bounded."""
        if self._tasks.allowed and not self._has_reader and not self._released:
            self._has_reader = True
            self._tasks.start_soon("reader", self._read)

    def _start_writer(self) -> bool:
        if self._released or not self._tasks.allowed:
            return False
        self._tasks.start_soon("writer", self._write)
        return True

    def _task_ended(self) -> None:
        if self._released and not self._tasks:
            self._done.set()

    def start_close(self, code: int | None, reason: str, *, drop: bool = False) -> None:
        """Close from this side with a code that was checked, or is ours to choose."""
        if self.state is State.OPEN:
            self._begin_close(code, reason)
        if self.state not in ENDED:
            self._limit_life(self._options.close_timeout)
        self._codec.discard_data()
        self.readable._close()
        self.writable._finish(_closed_here(), drop=drop)

    async def leave(self, code: int | None, *, cancelled: bool) -> None:
        """Say goodbye at the end of the owner's block: bounded by ``close_timeout``, by a short grace if cancelled."""
        reads_here, self._has_reader = not self._has_reader, True
        self.start_close(code, "")
        if cancelled:
            self._limit_life(CANCEL_GRACE)
        try:
            if reads_here and not self._released:  # nobody else does: the rest needs no task of its own
                await self._tasks.run("reader", self._read, shield=cancelled)
            if self._done.is_set:
                return
            if cancelled:
                with CancelScope(shield=True, deadline=self.backend.clock() + CANCEL_GRACE):
                    await self._done.wait()
            else:
                await self._done.wait()
        finally:
            await self.drop()

    async def drop(self) -> None:
        """End the transport now, unless it has ended, and wait for the background tasks."""
        if self._done.is_set:
            return
        if not self._has_reader and isinstance(self.stream, DirectStream):
            self._hang_up(self.stream)
        self._tasks.stop()
        with CancelScope(shield=True):  # bounded: the tasks are cancelled and only release the transport
            await self._done.wait()

    # --- the reader

    async def _read(self) -> None:
        try:
            await self._reader.run()
            if self.state is State.CLOSE_RECEIVED:
                # The peer has said all it had to say; our answer may still reach it.
                await self._writer_done.wait()
            self._transport_ended("the transport ended without a Close frame")
        except TRANSPORT_ERRORS as exc:
            self._transport_ended("the transport failed", exc)
        except Exception as exc:  # noqa: BLE001
            self._broke_down(exc)
        finally:
            self._wind_up()
            with suppress(Exception):
                await release(self.stream)

    def _wind_up(self) -> None:
        self._transport_ended("the closing handshake was not complete in time")
        self._tasks.stop("writer", "half-close")
        self._stop_heartbeat()
        self._stop_alarm()
        self._writer.stop()
        self._released = True

    def _take_last_word(self, last_word: Close | Failure) -> None:
        if isinstance(last_word, Close):
            self._peer_closed(last_word)
        else:
            self._fail(last_word.code, last_word.message, reason=last_word.message)

    # --- the writer

    async def _write(self) -> None:
        try:
            await self._writer.run()
        finally:
            self._writer_done.set()

    def _writer_ended(self, error: Exception | None) -> None:
        """Take note that the Close frame has left, or why it cannot."""
        self._writer_done.set()
        if error is None:
            self._advance(Happening.CLOSE_WRITTEN)
            self._part_when_due()
        elif isinstance(error, TRANSPORT_ERRORS):
            # The reader may still find out why: what the peer sent before it went is waiting to be read.
            self._write_error = error
            self._limit_life(DRAIN_SECONDS)
        else:
            self._broke_down(error)

    def _part_when_due(self) -> None:
        """Let the transport go when both sides have said all there is to say; to begin with that is the server's part."""
        if not (self._parting and self._writer.close_written):
            return
        self._parting = False  # once
        if self.state is State.CLOSE_EXCHANGED:
            if self.server and isinstance(self.stream, DirectStream):
                self._hang_up(self.stream)  # nothing can be unread behind the peer's Close frame
                return
            self._limit_life(DRAIN_SECONDS)
        if self.server or self.state is State.BROKEN:
            if isinstance(self.stream, DirectStream):
                self.stream.end_sending()
            else:
                self._tasks.start_soon("half-close", self._half_close)

    def _hang_up(self, stream: DirectStream) -> None:
        """End the transport at once, as a server has to (RFC 6455 section 7.1.1)."""
        stream.drop()
        if not self._has_reader:
            self._wind_up()
            self._task_ended()

    async def _half_close(self) -> None:
        with suppress(*TRANSPORT_ERRORS):
            await half_close(self.stream)

    def _wrote(self, with_ping: bool) -> None:
        if self._heartbeat is not None:
            self._heartbeat.wrote(with_ping)

    # --- pings

    def _take_pong(self, payload: bytes) -> None:
        self.pings.pong(payload, self.backend.clock())

    def _send_ping(self) -> PendingPing:
        ping = self.pings.start(self.backend.clock())
        self._writer.ping(ping.payload)
        return ping

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()

    def _give_up(self) -> None:
        self._fail(
            CloseCode.INTERNAL_ERROR,
            f"the peer did not answer a ping within ping_timeout={self._options.ping_timeout} s",
            reason="ping timeout",
        )

    # --- closing

    def _begin_close(self, code: int | None, reason: str) -> None:
        self._advance(Happening.CLOSE)
        self._stop_heartbeat()  # from here on the closing handshake has its own deadline
        self._writer.close(code, reason)

    def _cancel_readable(self, error: BaseException | None) -> None:
        self.start_close(*self._words_of(error))

    def _abort_writable(self, error: BaseException | None) -> None:
        self.start_close(*self._words_of(error), drop=True)

    def _words_of(self, error: BaseException | None) -> tuple[int | None, str]:
        """Return what a Close frame may say of an error: only a real WebSocketError has a say (rule S4)."""
        if isinstance(error, WebSocketError):
            try:
                return check_close(error.close_code, error.reason, server=self.server)
            except ValueError:
                pass  # a code that only the peer could say, such as 1006: an empty Close frame
        return None, ""

    def _peer_closed(self, close: Close) -> None:
        info = CloseInfo(
            int(CloseCode.NO_STATUS_RECEIVED if close.code is None else close.code), close.reason
        )
        was_open = self.state is State.OPEN
        self._peer_close = info
        if was_open and self.writable._has_held_senders:
            self._error = ConnectionBroken(
                f"the peer closed with {describe(info)} before a message was sent completely", info
            )
        self.readable._finish(self._error or ConnectionClosed(info))
        self.writable._finish(self._error or SendAfterClose(info))
        self._advance(Happening.PEER_CLOSE)
        self._parting = True
        if was_open:
            self._writer.close(close.code, close.reason)
        else:
            self._part_when_due()
        if self.state not in ENDED:
            self._limit_life(self._options.close_timeout)

    def _fail(
        self, code: int | None, message: str, *, reason: str = "", cause: BaseException | None = None
    ) -> None:
        """End the connection for our users now; say why to the peer as far as that is possible (section 7.1.7)."""
        if self.state in ENDED or self.state is State.CLOSE_EXCHANGED:
            return
        if self._error is None:
            self._error = ConnectionBroken(message, self._peer_close, sent_code=code)
            self._error.__cause__ = cause
        self.readable._finish(self._error)
        self.writable._finish(self._error)
        self._advance(Happening.FAIL)
        self._parting = True
        if code is not None:
            self._writer.close(code, truncate_reason(reason))
            self._limit_life(min(DRAIN_SECONDS, self._options.close_timeout))
        self._part_when_due()

    def _broke_down(self, bug: Exception) -> None:
        """Turn a bug into an error of the connection: a background task never raises."""
        self._fail(CloseCode.INTERNAL_ERROR, f"internal error: {bug!r}", reason="internal error", cause=bug)

    def _transport_ended(self, message: str, cause: BaseException | None = None) -> None:
        self._fail(None, message, cause=cause or self._write_error)
        self._advance(Happening.END)

    def _advance(self, happening: Happening) -> None:
        self.state = advance(self.state, happening)
        if self.state is State.CLOSE_EXCHANGED or self.state in ENDED:
            self._settle()

    def _settle(self) -> None:
        if self._settled.is_set:
            return
        if self._error is not None:
            self.close_info = CloseInfo(
                self._error.close_code or CloseCode.ABNORMAL_CLOSURE, self._error.reason, False
            )
        else:
            self.close_info = self._peer_close
        self._settled.set()
        self.pings.give_up()

    def _limit_life(self, seconds: float) -> None:
        deadline = self.backend.clock() + seconds
        if not self._tasks.limit(deadline) or self._has_reader:
            return
        if self.backend.call_at is None:
            self._need_reader()
        else:  # whoever leaves the block before that will read, and save the task
            self._stop_alarm()
            self._alarm = self.backend.call_at(deadline, self._need_reader)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()


def _closed_here() -> ClosedResourceError:
    return ClosedResourceError("the connection was closed on this side")
