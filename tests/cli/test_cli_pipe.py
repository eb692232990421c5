"""The pipe: backpressure from end to end, what ends it, and what it waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from waiting import in_virtual_time
from websocketstream import ConnectionBroken, ConnectionClosed, WebSocketStream
from websocketstream._cli.failures import CommandFailed
from websocketstream._cli.framing import make_framer, make_whole_framer
from websocketstream._cli.pipe import Pipe, PipeOptions
from websocketstream._cli.rendering import Rendering
from websocketstream._cli.traffic import Traffic
from websocketstream.testing import memory_byte_stream_pair, over_stream, websocket_stream_pair
from wire import Frame, Opcode, apply_mask

pytestmark = pytest.mark.anyio


class Source:
    """An input with some pieces, and an end unless it is endless."""

    def __init__(self, *pieces: bytes, endless: bytes | None = None, stays_open: bool = False) -> None:
        self.pieces = list(pieces)
        self.endless = endless
        self.stays_open = stays_open
        self.reads = 0

    async def receive(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        self.reads += 1
        if self.pieces:
            return self.pieces.pop(0)
        if self.stays_open:
            await anyio.sleep_forever()
        return self.endless or b""


class Sink:
    """An output that can be held up, or broken."""

    def __init__(self) -> None:
        self.written = b""
        self.open = anyio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def send(self, data: bytes) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.written += data


def make_pipe(source: Source | None, sink: Sink, traffic: Traffic | None = None, **options: Any) -> Pipe:
    settings = PipeOptions(**options)
    framer = make_whole_framer(settings.kind) if settings.one_message else make_framer(settings.kind, 2**24)
    return Pipe(
        source,
        sink,
        framer=framer,
        rendering=Rendering(settings.kind, terminal=False),
        options=settings,
        traffic=traffic or Traffic(),
    )


async def answer(conn: WebSocketStream) -> None:
    async for message in conn:
        await conn.send(message)


async def without_group(awaitable: Awaitable[int]) -> int:
    """Raise the only error of groups."""
    error: BaseException
    try:
        return await awaitable
    except BaseExceptionGroup as group:
        error = group
    while isinstance(error, BaseExceptionGroup):
        [error] = error.exceptions
    raise error


async def run(pipe: Pipe, peer: Callable[[WebSocketStream], Any] = answer, **options: Any) -> int:
    """Run a pipe against a peer."""
    return await without_group(run_in_group(pipe, peer, **options))


async def run_in_group(pipe: Pipe, peer: Callable[[WebSocketStream], Any], **options: Any) -> int:
    async with websocket_stream_pair(**options) as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(peer, server)
        code = await pipe.run(client)
        tasks.cancel_scope.cancel()
    return code


@in_virtual_time()
async def test_lines_go_out_and_all_answers_are_written_before_it_closes() -> None:
    sink = Sink()
    assert await run(make_pipe(Source(b"one\ntw", b"o\nthree"), sink)) == 0
    assert sink.written == b"one\ntwo\nthree\n"


@in_virtual_time()
async def test_an_answer_that_takes_its_time_is_waited_for_and_so_is_the_next() -> None:
    async def slowly(conn: WebSocketStream) -> None:
        for message in ("first", "second", "third"):
            await anyio.sleep(0.9)
            await conn.send(message)
        async for _ in conn:
            pass

    sink, started = Sink(), anyio.current_time()
    assert await run(make_pipe(Source(b"hello\n"), sink), slowly) == 0
    assert sink.written == b"first\nsecond\nthird\n"
    assert 3.6 < anyio.current_time() - started < 4.2


@in_virtual_time()
async def test_while_the_output_is_held_up_no_patience_is_used_up() -> None:
    sink = Sink()
    sink.open = anyio.Event()

    async def two_answers(conn: WebSocketStream) -> None:
        await conn.send("one")
        await anyio.sleep(0.5)
        await conn.send("two")
        async for _ in conn:
            pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, make_pipe(Source(b"hello\n"), sink), two_answers)
        await anyio.sleep(100)
        assert sink.written == b""
        sink.open.set()
    assert sink.written == b"one\ntwo\n"


@in_virtual_time()
async def test_without_patience_it_closes_at_once_and_still_writes_what_comes() -> None:
    sink = Sink()
    started = anyio.current_time()
    assert await run(make_pipe(Source(b"one\ntwo\n"), sink, wait=0)) == 0
    assert sink.written == b"one\ntwo\n"
    assert anyio.current_time() - started < 1


async def answer_only(opcodes: set[Opcode], stream: ByteStream, seen: list[int] | None = None) -> None:
    """Be a server that answers pings, or the Close frame, or none of them."""
    incoming = BufferedByteReceiveStream(stream)
    with suppress(anyio.IncompleteRead):
        while True:
            head, length = await incoming.receive_exactly(2)
            key = await incoming.receive_exactly(4)
            payload = apply_mask(await incoming.receive_exactly(length & 0x7F), key)
            opcode = Opcode(head & 0xF)
            if seen is not None:
                seen.append(opcode)
            if opcode in opcodes:
                await stream.send(Frame(Opcode.PONG if opcode is Opcode.PING else opcode, payload).encode())
                if opcode is Opcode.CLOSE:
                    await stream.aclose()
                    return


@in_virtual_time()
async def test_a_server_that_does_not_answer_the_close_frame_is_left_with_an_error() -> None:
    client_end, server_end = memory_byte_stream_pair()
    started = anyio.current_time()
    async with anyio.create_task_group() as tasks, server_end:
        tasks.start_soon(answer_only, {Opcode.PING}, server_end)
        async with over_stream(client_end, server=False, close_timeout=5) as client:
            with pytest.raises(CommandFailed, match=r"did not answer the Close frame within 5 s; --timeout"):
                await without_group(make_pipe(Source(b"hello\n"), Sink(), timeout=5).run(client))
        tasks.cancel_scope.cancel()
    assert 6 <= anyio.current_time() - started < 12


async def left_after(pipe: Pipe, *peers: Callable[[ByteStream], Awaitable[None]]) -> float:
    """Run a pipe against what is at the other end; return after how many seconds it has left."""
    client_end, server_end = memory_byte_stream_pair()
    started = anyio.current_time()
    async with anyio.create_task_group() as tasks, server_end:
        for peer in peers:
            tasks.start_soon(peer, server_end)
        async with over_stream(client_end, server=False) as client:
            assert await without_group(pipe.run(client)) == 0
        tasks.cancel_scope.cancel()
    return anyio.current_time() - started


@in_virtual_time()
@pytest.mark.parametrize("is_chatty", [False, True])
async def test_a_server_that_answers_no_ping_is_told_by_the_close_frame(is_chatty: bool) -> None:
    async def chat(stream: ByteStream) -> None:
        while is_chatty:
            await anyio.sleep(8)
            await stream.send(Frame(Opcode.TEXT, b"news").encode())

    sink = Sink()
    pipe = make_pipe(Source(b"hello\n"), sink, pong=20)
    assert await left_after(pipe, partial(answer_only, {Opcode.CLOSE}), chat) == pytest.approx(21, abs=0.5)
    assert sink.written == b"news\n" * (2 if is_chatty else 0)


@in_virtual_time()
async def test_a_server_that_has_much_to_read_has_more_time_for_the_answer_to_a_ping() -> None:
    pipe = make_pipe(Source(*[(b"x" * 99 + b"\n") * 164] * 10), Sink(), pong=20)  # 10 times 16 KiB
    assert await left_after(pipe, partial(answer_only, {Opcode.CLOSE})) == pytest.approx(31, abs=0.5)


@in_virtual_time()
async def test_without_pings_the_end_of_the_input_has_none_either() -> None:
    seen: list[int] = []
    pipe = make_pipe(Source(b"hello\n"), Sink(), pong=None)
    assert await left_after(pipe, partial(answer_only, {*Opcode}, seen=seen)) < 1.5
    assert seen == [Opcode.TEXT, Opcode.CLOSE]


@in_virtual_time()
async def test_a_server_that_reads_nothing_is_left_with_an_error() -> None:
    client_end, server_end = memory_byte_stream_pair()
    async with server_end, over_stream(client_end, server=False) as client:
        pipe = make_pipe(Source((b"x" * 99 + b"\n") * 800), Sink(), pong=20)
        with pytest.raises(CommandFailed, match=r"did not answer the Close frame within 10 s"):
            await without_group(pipe.run(client))


async def test_the_input_is_read_only_while_the_peer_reads(anyio_backend: Any) -> None:
    source = Source(endless=b"x" * 1000 + b"\n")
    async with websocket_stream_pair() as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(make_pipe(source, Sink()).run, client)
        await anyio.wait_all_tasks_blocked()
        reads = source.reads
        assert (
            0 < reads < 3000
        )  # 64 KiB of ours, 64 KiB on the way, 1 MiB of the peer's, and what Python adds to each
        await anyio.wait_all_tasks_blocked()
        assert source.reads == reads
        for _ in range(reads):
            await server.receive()
        await anyio.wait_all_tasks_blocked()
        assert source.reads > reads
        tasks.cancel_scope.cancel()


async def test_the_network_is_read_only_while_the_output_takes_it(anyio_backend: Any) -> None:
    sink = Sink()
    sink.open = anyio.Event()
    sent = 0

    async def firehose(conn: WebSocketStream) -> None:
        nonlocal sent
        while True:
            await conn.send("x" * 1000)
            sent += 1

    async with (
        websocket_stream_pair(close_timeout=0.1) as (client, server),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(firehose, server)
        tasks.start_soon(make_pipe(None, sink).run, client)
        await anyio.wait_all_tasks_blocked()
        before = sent
        assert 0 < before < 4000
        await anyio.wait_all_tasks_blocked()
        assert sent == before
        tasks.cancel_scope.cancel()


async def test_an_input_that_never_ends_does_not_outlive_the_connection(anyio_backend: Any) -> None:
    async def close(conn: WebSocketStream) -> None:
        await conn.send("bye")
        await conn.aclose(1000)

    sink = Sink()
    assert await run(make_pipe(Source(stays_open=True), sink), close) == 0
    assert sink.written == b"bye\n"


async def test_an_end_with_an_error_code_is_an_error_behind_what_was_sent(anyio_backend: Any) -> None:
    async def break_down(conn: WebSocketStream) -> None:
        await conn.send("half")
        await conn.aclose(1011, "out of memory")

    sink = Sink()
    with pytest.raises(ConnectionClosed, match="1011"):
        await run(make_pipe(None, sink), break_down)
    assert sink.written == b"half\n"


async def test_a_connection_that_breaks_is_an_error(anyio_backend: Any) -> None:
    with pytest.raises(ConnectionBroken):
        await run(make_pipe(None, Sink()), send_too_much, max_message_size=10)


async def send_too_much(conn: WebSocketStream) -> None:
    await conn.send("x" * 100)
    async for _ in conn:
        pass


async def test_it_leaves_after_as_many_messages_as_are_wanted(anyio_backend: Any) -> None:
    async def chatter(conn: WebSocketStream) -> None:
        for number in range(10):
            await conn.send(str(number))
        async for _ in conn:
            pass

    sink = Sink()
    assert await run(make_pipe(Source(stays_open=True), sink, count=3), chatter) == 0
    assert sink.written == b"0\n1\n2\n"


async def test_when_nobody_reads_the_output_it_closes_without_a_word(anyio_backend: Any) -> None:
    codes: list[int | None] = []

    async def talk(conn: WebSocketStream) -> None:
        await conn.send("x")
        codes.append((await conn.closed).code)

    sink = Sink()
    sink.error = BrokenPipeError()
    async with websocket_stream_pair() as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(talk, server)
        with pytest.raises(ExceptionGroup) as caught:
            await make_pipe(None, sink).run(client)
    [error] = caught.value.exceptions
    assert isinstance(error, CommandFailed)
    assert (error.code, error.sentence) == (141, "")
    assert codes == [1000]


async def test_input_that_cannot_be_sent_is_an_error(anyio_backend: Any) -> None:
    with pytest.raises(CommandFailed, match="not UTF-8"):
        await run(make_pipe(Source(b"fine\n", b"\xff\n"), Sink(), kind="lines"))


@pytest.mark.parametrize(("kind", "pieces", "whole"), [
    ("auto", [b"one\ntwo\n", "ü".encode()[:1], "ü".encode()[1:]], "one\ntwo\nü"),
    ("auto", [b"\xff\xd8", b"\n"], b"\xff\xd8\n"),
    ("binary", [b"text"], b"text"),
    ("text", [b"a\0b"], "a\0b"),
    ("auto", [], ""),
])  # fmt: skip
async def test_all_of_the_input_is_one_message(
    kind: str, pieces: list[bytes], whole: str | bytes, anyio_backend: Any
) -> None:
    received: list[str | bytes] = []

    async def take(conn: WebSocketStream) -> None:
        received.extend([message async for message in conn])

    await run(make_pipe(Source(*pieces), Sink(), kind=kind, one_message=True, wait=0), take)
    assert received == [whole]


async def test_a_message_larger_than_the_limit_arrives_in_chunks(anyio_backend: Any) -> None:
    async def send_much(conn: WebSocketStream) -> None:
        await conn.send(b"x" * 100_000)
        await conn.send("text")
        await conn.aclose(1000)

    sink = Sink()
    code = await run(make_pipe(None, sink, one_message=True), send_much, max_message_size=50_000)
    assert code == 0
    assert sink.written == b"x" * 100_000 + b"text\n"


async def test_an_error_code_behind_chunks_is_an_error_as_well(anyio_backend: Any) -> None:
    async def break_down(conn: WebSocketStream) -> None:
        await conn.send("x")
        await conn.aclose(1011)

    with pytest.raises(ConnectionClosed, match="1011"):
        await run(make_pipe(None, Sink(), one_message=True), break_down)


async def test_it_counts_what_passes(anyio_backend: Any) -> None:
    traffic = Traffic()
    await run(make_pipe(Source("ü\nb\n".encode()), Sink(), traffic, wait=0))
    assert (traffic.outgoing.messages, traffic.outgoing.bytes) == (2, 3)
    assert (traffic.incoming.messages, traffic.incoming.bytes) == (2, 3)
