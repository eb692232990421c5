"""The connection: it carries out what the machine of its life decides, between a transport and two buffers.

It has no tasks. The transport calls it with what arrives, the event loop when a deadline has come, users with what they
want; each of these tells the machine what has happened, and :meth:`Connection._carry_out` does what follows. Nothing
here raises for what a peer or a transport does: users meet it where they receive, send, or wait for ``closed``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial

from anyio import CancelScope
from anyio.abc import AnyByteStream

from .._network.loop import EventLoop, Handle, Signal, current_event_loop, uninterrupted
from .._network.stream_transport import is_stream_transport
from .._network.task_transport import transport_of
from .._network.tcp import ask_in_silence, ask_tcp, keep_little_unsent, probe_often
from .._network.transport import Buffer
from .._protocol.close import CloseCode, CloseInfo, check_close
from .._protocol.codec import Codec
from .._protocol.keepalive import Action, Keepalive, PendingPing, Pings, TcpReport, seconds_between_questions
from .._protocol.negotiation import Compression
from .._protocol.state import State, Step
from .._protocol.trace import TracedCodec, Tracer, next_id
from .errors import ConnectionBroken, EndError, closed_here
from .hot import Budget, Ends, Life, Reader, ReceiveBuffer, SendBuffer, Writer, words_of
from .options import StreamOptions
from .paced_pings import PacedPings
from .statistics import Discarded
from .waits import wait_for_turn

logger = logging.getLogger("websocketstream")


class Connection:
    """One WebSocket connection after its opening handshake, in either role."""

    def __init__(
        self,
        stream: AnyByteStream,
        codec: Codec,
        *,
        server: bool,
        options: StreamOptions,
        early_data: bytes = b"",
        id_: str = "",
        tracer: Tracer | None = None,
    ) -> None:
        loop = stream.loop if is_stream_transport(stream) else current_event_loop()
        self.loop: EventLoop = loop
        self.stream: AnyByteStream = stream
        self.server = server
        self.id: str = id_ or next_id(server=server)
        self._tracer = tracer
        self._began = loop.stopwatch()
        if tracer is not None:
            codec = TracedCodec(codec, tracer)
        self.pings: Pings = Pings()
        self._transport = transport_of(stream, loop)
        self._codec = codec
        self._options = options
        self._early_data = early_data
        self._life = Life(
            server=server,
            close_timeout=options.close_timeout,
            may_hang_up=self._transport.keeps_last_words,
        )
        budget = Budget(loop)
        self.budget: Budget = budget
        read_buffer, write_buffer = options.buffers
        self.inbox: ReceiveBuffer = ReceiveBuffer(read_buffer, budget, loop)
        self.outbox: SendBuffer = SendBuffer(write_buffer, budget, loop)
        self.writer: Writer = Writer(
            self._transport,
            codec,
            self.outbox,
            self._life,
            budget=budget,
            loop=loop,
            changed=self._carry_out,
            pace=PacedPings(self.pings, self._life, self.inbox, loop) if options.low_latency else None,
        )
        self._reader = Reader(
            self._transport,
            codec,
            self.inbox,
            self._life,
            writer=self.writer,
            pings=self.pings,
            loop=loop,
            owner=self,
        )
        self.data_received: Callable[[Buffer], None] = self._reader.data_received
        self.room: Callable[[int], memoryview | None] = self._reader.room
        self.room_filled: Callable[[int, Buffer], None] = self._reader.room_filled
        self._ends = Ends(self._life, self.inbox, self.outbox)
        self._timer: Handle | None = None
        self._timer_at = math.inf
        self._settled = Signal(loop)
        self._released = Signal(loop)

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._life.state

    @property
    def is_gone(self) -> bool:
        """Whether nothing is left of its transport."""
        return self._transport.is_gone

    @property
    def max_message_size(self) -> int | None:
        """The most bytes of a message, None for any number."""
        return self._options.max_message_size

    @property
    def portion(self) -> int:
        """How many bytes of payload are encoded in about a millisecond or two."""
        return self._codec.portion

    @property
    def close_info(self) -> CloseInfo | None:
        """How it ended, None while it has not."""
        return self._life.result

    @property
    def end_error(self) -> Exception | None:
        """What receivers meet because it is over, unless it is not, or because we have closed it."""
        return self._ends.received

    @property
    def bytes_received(self) -> int:
        """Bytes of frames that have arrived, without those of TLS."""
        return self._reader.read

    @property
    def bytes_sent(self) -> int:
        """Bytes of frames that were handed to the transport, without those of TLS."""
        return self.writer.written

    @property
    def form(self) -> tuple[int, Compression] | None:
        """What the frames of messages depend on, masks apart: window and options of what is compressed, None without."""
        deflate = self._codec.deflate
        return None if deflate is None else deflate.form

    # --- what the application can do

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Start the closing handshake: what was accepted goes out first, what still arrives is dropped (K1-K4)."""
        self.start_close(*check_close(code, reason, server=self.server))

    @uninterrupted
    def start_close(self, code: int | None, reason: str) -> None:
        """Close with a code that was checked, or is ours to choose."""
        self._codec.discard_data()
        self.inbox.drop()
        if not self._released.is_set:  # else everybody has met an end, and there is nothing left to do
            self._life.close(code, reason, self.loop.clock())
            self._carry_out()

    def cancel(self, error: BaseException | None) -> None:
        """Drop what has arrived, and close."""
        self.start_close(*words_of(error, server=self.server))

    def read_in_chunks(self) -> None:
        """Let nobody receive whole messages any more.

        :raises anyio.BusyResourceError: a task is receiving, or this has happened before
        """
        self.inbox.lock()
        self._codec.read_in_chunks()

    @uninterrupted
    def refuse(self, code: int, message: str) -> Exception:
        """Fail on account of what the peer has sent, and return what the receiver meets."""
        self._life.fail(code, message, self.loop.clock())
        self._codec.discard_data()
        self.inbox.drop()
        self._carry_out()
        if self._life.reason is None:  # it was over before
            return ConnectionBroken(message, self._life.peer_close)
        return self._ends.to_raise()

    @uninterrupted
    def leave_unfinished(self) -> None:
        """Fail because of a message that was begun, and will not be completed."""
        if self._life.send_end is None:
            message = "a message that was sent in chunks was left unfinished"
            self._life.fail(CloseCode.INTERNAL_ERROR, message, self.loop.clock())
            self._carry_out()

    @uninterrupted
    def discard_sent(self) -> Discarded:
        """Drop the messages of which no byte has left."""
        return Discarded(*self.writer.discard())

    @uninterrupted
    def discard_received(self) -> Discarded:
        """Drop the messages that nobody has received, and read on.

        :raises anyio.BusyResourceError: they are taken in chunks, which cannot be torn
        """
        before = self.inbox.statistics()
        self.inbox.discard()
        self._reader.caught_up()
        return Discarded(before.buffered_messages, before.buffered_bytes)

    @uninterrupted
    def abort(self, error: BaseException | None) -> None:
        """Drop what is queued, and close."""
        self.outbox.finish(EndError(closed_here), drop=True)
        self.writer.drop_portions()
        self.start_close(*words_of(error, server=self.server))

    @uninterrupted
    async def aclose(self, code: int | None = None, reason: str = "") -> None:
        """Close and wait until the transport is released."""
        self.close(code, reason)
        try:
            await self._released.wait()
        finally:
            self.drop()
            await self._transport.wait_released()

    @uninterrupted
    def send_eof(self) -> None:
        """Say that nothing more will be sent, and go on receiving until the peer closes, or its host is gone."""
        options = self._options
        if options.ping_interval is not None and options.ping_timeout is not None:
            # Nobody has to answer a ping behind a Close frame (RFC 6455 section 5.5.2), and there is no deadline.
            ask_in_silence(self.stream, options.ping_interval, options.ping_timeout)
        self._life.finish_sending()
        self._carry_out()

    async def wait_closed(self) -> CloseInfo:
        """Wait for the end; return the peer's words or raise the one error of an unclean end."""
        await self._settled.wait()
        if self._life.reason is not None:
            raise self._ends.to_raise()
        info = self._life.result
        assert info is not None
        return info

    async def ping(self) -> float:
        """Send a Ping frame, wait for its pong and return the round-trip time in seconds."""
        if not self.budget.allows():
            await wait_for_turn(self.budget)
        self.outbox.raise_if_ended()
        waiter = self.loop.waiter()
        ping = self._send_ping(partial(self.loop.wake, waiter))
        try:
            await waiter
            self.budget.waited()
        finally:
            self.pings.forget(ping)
            if ping.latency is None:
                self.writer.take_back_ping(ping.payload)
        if ping.latency is None:
            self.outbox.raise_if_ended()
            raise closed_here()
        return ping.latency

    @uninterrupted
    def _send_ping(self, answered: Callable[[], object]) -> PendingPing:
        ping = self.pings.start(self.loop.stopwatch(), answered)
        self.writer.ping(ping.payload)
        return ping

    # --- life: started by the owner's block, ended by its end

    def start(self) -> None:
        """Begin to read.

        :raises OSError: the event loop cannot wait for the transport; it is released
        """
        options = self._options
        if options.ping_interval is not None:
            self._reader.keepalive = Keepalive(options.ping_interval, options.ping_timeout, self.loop.clock())
            if options.ping_timeout is not None:
                probe_often(
                    self.stream, seconds_between_questions(options.ping_interval, options.ping_timeout)
                )
        if options.low_latency:
            keep_little_unsent(self.stream)
        self.inbox.filler = self._reader
        early_data, self._early_data = self._early_data, b""
        try:
            if early_data:  # not decoded yet: whoever wants chunks has the first word
                self._reader.put_off(early_data)
            self._transport.attach(self)
        except BaseException:
            self.drop()
            raise
        self._carry_out()

    async def leave(self, code: int | None, *, cancelled: bool, grace: float) -> None:
        """Say goodbye at the end of the owner's block: bounded by ``close_timeout``, by the grace if cancelled."""
        try:
            self.start_close(code, "")
            if self._released.is_set:
                return
            grace_ends = self.loop.clock() + grace
            if not self.loop.is_running():
                pass  # this is another loop, or none: the coroutine is being closed
            elif not cancelled:
                await self._released_or_cancelled(grace_ends)
            else:
                await self._last_grace(grace_ends)
        finally:
            self.drop()
            if not self._transport.is_gone and self.loop.is_running():
                await self._transport.wait_released()

    async def _released_or_cancelled(self, grace_ends: float) -> None:
        try:
            await self._released.wait()
        except BaseException:
            await self._last_grace(grace_ends)
            raise

    async def _last_grace(self, grace_ends: float) -> None:
        if not self._released.is_set and self.loop.clock() < grace_ends:
            with CancelScope(shield=True, deadline=grace_ends):
                await self._released.wait()

    def drop(self) -> None:
        """Let go of the transport now, unless that has happened."""
        if not self._released.is_set:
            self._life.ended("the connection was dropped on this side", self.loop.clock())
            self._carry_out()

    # --- called by the transport

    def eof_received(self) -> None:
        """Take note that nothing more arrives."""
        self._take_word()
        self._life.peer_ended(self.loop.clock())
        self._carry_out()

    def flushed(self) -> None:
        """Go on writing."""
        self.writer.flushed()
        self._reader.caught_up()

    def write_failed(self, error: Exception) -> None:
        """Take note that what was written did not leave; what the peer sent before may say why."""
        self.writer.fail(error)

    def failed(self, error: Exception) -> None:
        """Take note that the transport is no more; what it has brought before comes first."""
        self._reader.failed(error)

    # --- called by the reader

    def word_taken(self) -> None:
        """Let the peer's last word count if the application has come that far, or wait until it has."""
        self.writer.flush()  # what waited for an answer to a ping waits no more
        self._conclude()
        if not self._released.is_set:
            self._set_timer()

    def lost(self, error: Exception) -> None:
        """End because the transport has failed, with what the peer has said before."""
        self._take_word()
        self._life.ended("the transport failed", self.loop.clock(), error.__cause__ or error)
        self._carry_out()

    def reading_changed(self) -> None:
        """Keep the time of the keepalive, which stands still while we do not read."""
        self._set_timer()

    def broke_down(self, bug: Exception) -> None:
        """Log a bug of ours, and close."""
        logger.error("%s internal error of a connection, which is closed", self.id, exc_info=bug)
        self._life.broke_down(bug, self.loop.clock())
        self._carry_out()

    def _conclude(self) -> None:
        """Take the peer's last word, unless somebody could still answer what arrived before it."""
        if not self.inbox.is_drained:
            return
        unsent = self.outbox.holds_senders
        if unsent and self._transport.congested and not self._transport.keeps_last_words:
            return  # the transport cannot tell yet what has left; it will say so, or the time will have passed
        self._take_word()
        self._carry_out()

    def _take_word(self) -> None:
        """Let the peer's last word count, if there is one, whether or not the application has come that far."""
        self._life.caught_up(self.loop.clock(), unsent=self.outbox.holds_senders)

    # --- time

    def _set_timer(self) -> None:
        """See to it that we are called at the next deadline; one that has moved away is looked at when it comes."""
        due = self._life.next_deadline
        if self._reader.keepalive is not None:
            due = min(due, self._reader.keepalive.deadline)
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            try:
                self._timer = self.loop.call_at(due, self._time_has_come)
            except OSError as exc:  # it is over: whatever we wait for will not come
                self._life.ended("the event loop has ended", self.loop.clock(), exc)
                self._carry_out()

    def _time_has_come(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self.loop.clock()
        if now >= self._life.next_deadline:
            self._take_word()
            self._life.time_passed(now)
            self._carry_out()
        elif self._reader.keepalive is not None:
            self._keep_alive(self._reader.keepalive, now)
        self._set_timer()

    def _keep_alive(self, keepalive: Keepalive, now: float) -> None:
        action = keepalive.expired(
            now,
            written=self.writer.written,
            unsent=self.writer.has_unsent,
            tcp=self._ask_tcp,
        )
        if action is Action.PING:
            if keepalive.ping is not None:
                self.pings.forget(keepalive.ping)  # never answered, yet the peer lives: do not pile them up
            keepalive.ping = self.pings.start(self.loop.stopwatch(), keepalive.answered)
            self.writer.ping(keepalive.ping.payload)
        elif action is Action.GIVE_UP:
            self._life.give_up(keepalive.verdict, now, stuck=self._transport.congested)
            self._carry_out()

    def _ask_tcp(self) -> TcpReport | None:
        return ask_tcp(self.stream)

    # --- what follows

    def _carry_out(self) -> None:
        """Do what the life of the connection asks for; it may be asked at any time, and asks for nothing twice."""
        life = self._life
        self._ends.tell()
        if life.farewell is not None:
            self.writer.flush()
            if self._released.is_set:
                return  # it has left at once, and all that followed from that is done
        if life.state is State.OPEN:
            self._reader.read_on()  # whatever we waited for before may not matter any more
            self._set_timer()
            return
        self._reader.keepalive = None  # from here on the closing handshake has its own deadline
        if life.result is not None:
            self._settle(life)
        step = life.step
        if step is Step.RELEASE:
            self._release()
        elif step is not Step.NOTHING:
            if step is Step.END_SENDING:
                life.step_taken(step)
                self._transport.end_sending()
            self._reader.read_on()
            self._set_timer()

    def _settle(self, life: Life) -> None:
        self._ends.settle()
        if not self._settled.is_set:
            self._settled.set()
            self.pings.give_up()
            if self._tracer is not None and life.result is not None:
                why = None if life.reason is None else life.reason.message
                self._tracer.ended(life.result, why, self.loop.stopwatch() - self._began)

    def _release(self) -> None:
        """Let go of everything; this cannot fail, and nothing of ours is called again."""
        self._life.step_taken(Step.RELEASE)
        try:  # noqa: SIM105  (suppress() takes longer)
            self._transport.release()
        except Exception:  # noqa: BLE001, S110  (it is over)
            pass
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = math.inf
        self.inbox.filler = None
        self._reader.stop()
        self.writer.stop()
        self._released.set()
