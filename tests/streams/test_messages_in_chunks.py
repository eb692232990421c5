"""One message larger than memory: received in chunks, and sent in chunks, with everything that was promised for messages."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from promises.open_sockets import connections_with_sockets
from streams.raw_peer import RawPeer, connection_and_peer, some_passes
from websocketstream import ConnectionBroken, ConnectionClosed, WebSocketStream
from websocketstream._protocol.codec import Close, CodecLimits, Ping, Pong
from websocketstream._protocol.engine import make_codec
from websocketstream._streams.block import StreamBlock
from websocketstream._streams.connection import Connection
from websocketstream._streams.options import StreamOptions
from websocketstream.testing import memory_byte_stream_pair, websocket_stream_pair
from wire import Frame, Opcode, apply_mask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from websocketstream import IncomingMessage

pytestmark = pytest.mark.anyio
MIB = 2**20


async def all_of(message: IncomingMessage) -> list[Any]:
    return [chunk async for chunk in message]


# --- receiving


async def test_messages_come_in_chunks_with_their_kind() -> None:
    async with websocket_stream_pair() as (client, server):
        messages = server.readable.chunked()
        for sent in ("text", b"binary", "", b"", "ロボット" * 1000, b"x" * 50_000):
            await client.send(sent)
            message = await anext(messages)
            assert message.text is isinstance(sent, str)
            chunks = await all_of(message)
            assert all(chunks)
            assert sent[:0].join(chunks) == sent
        client.close()
        with pytest.raises(StopAsyncIteration):
            await anext(messages)


async def test_a_message_knows_when_all_of_it_was_received() -> None:
    async with connection_and_peer() as (conn, peer):
        messages = conn.readable.chunked()
        await peer.stream.send(Frame(Opcode.BINARY, b"first", fin=False).encode())
        message = await anext(messages)
        assert not message.complete
        assert await message.receive() == b"first"
        assert not message.complete
        await peer.stream.send(Frame(Opcode.CONTINUATION, b"last").encode())
        assert await message.receive() == b"last"
        assert message.complete
        await peer.stream.send(Frame(Opcode.TEXT, b"whole").encode())
        message = await anext(messages)
        assert not message.complete
        assert await message.receive() == "whole"
        assert message.complete


async def test_a_chunk_is_there_before_its_message_is_complete() -> None:
    async with connection_and_peer() as (conn, peer):
        messages = conn.readable.chunked()
        await peer.stream.send(Frame(Opcode.BINARY, b"first", fin=False).encode())
        message = await anext(messages)
        assert await message.receive() == b"first"
        await peer.stream.send(
            Frame(Opcode.PING, b"?").encode() + Frame(Opcode.CONTINUATION, b"last").encode()
        )
        assert await message.receive() == b"last"
        with pytest.raises(anyio.EndOfStream):
            await message.receive()
        with pytest.raises(anyio.EndOfStream):
            await message.receive()
        assert await peer.read_event() == Pong(b"?")


async def test_what_is_not_read_is_skipped() -> None:
    async with websocket_stream_pair() as (client, server):
        messages = server.readable.chunked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.writable.send_batch, [b"a" * MIB, "next", b"b" * MIB, "last"])
            skipped = await anext(messages)
            message = await anext(messages)
            with pytest.raises(anyio.ClosedResourceError, match="next message"):
                await skipped.receive()
            assert await message.read() == "next"
            half = await anext(messages)
            await half.receive()
            assert await (await anext(messages)).read() == "last"
            assert await message.read() == ""  # nothing is left, and nothing was lost


async def test_a_skip_that_is_cancelled_leaves_the_message_whole_or_gone() -> None:
    async with connection_and_peer() as (conn, peer):
        messages = conn.readable.chunked()
        await peer.stream.send(Frame(Opcode.BINARY, b"1", fin=False).encode())
        message = await anext(messages)
        assert await message.receive() == b"1"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, messages)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        await peer.stream.send(Frame(Opcode.CONTINUATION, b"2", fin=False).encode())
        assert await message.receive() == b"2"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, messages)
            await anyio.wait_all_tasks_blocked()
            await peer.stream.send(Frame(Opcode.CONTINUATION, b"3", fin=False).encode())
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        await peer.stream.send(Frame(Opcode.CONTINUATION, b"4", fin=True).encode())
        with pytest.raises(anyio.ClosedResourceError):
            await message.receive()
        await peer.send("next")
        assert await (await anext(messages)).read() == "next"


async def test_a_skip_that_finds_somebody_receiving_changes_nothing() -> None:
    async with connection_and_peer() as (conn, peer), anyio.create_task_group() as tasks:
        messages = conn.readable.chunked()
        await peer.stream.send(Frame(Opcode.BINARY, b"1", fin=False).encode())
        message = await anext(messages)
        received: list[Any] = []

        async def receive() -> None:
            received.append(await message.read())

        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await anext(messages)
        await peer.stream.send(Frame(Opcode.CONTINUATION, b"2", fin=True).encode())
        await anyio.wait_all_tasks_blocked()
        assert received == [b"12"]


async def test_the_limit_holds_for_what_is_skipped() -> None:
    async with connection_and_peer() as (conn, peer):
        messages = conn.readable.chunked(max_size=10)
        await peer.stream.send(Frame(Opcode.BINARY, b"x" * 5, fin=False).encode())
        await anext(messages)
        await peer.stream.send(Frame(Opcode.CONTINUATION, b"x" * 5, fin=False).encode())
        await peer.stream.send(Frame(Opcode.CONTINUATION, b"x", fin=False).encode())
        with anyio.fail_after(5), pytest.raises(ConnectionBroken, match="max_size"):
            await anext(messages)
        assert await peer.read_event() == Close(
            1009, "message is larger than 10 bytes (limit: max_size of chunked())"
        )


async def test_a_message_in_chunks_counts_once() -> None:
    async with connection_and_peer() as (conn, peer):
        messages = conn.readable.chunked()
        for counted, fin in ((0, False), (0, False), (1, True)):
            opcode = Opcode.CONTINUATION if conn.statistics().readable.buffered_bytes else Opcode.BINARY
            await peer.stream.send(Frame(opcode, b"x", fin=fin).encode())
            await some_passes()
            figures = conn.statistics().readable
            assert (figures.messages, figures.buffered_messages) == (counted, counted)
        assert await (await anext(messages)).read() == b"xxx"
        assert conn.statistics().readable.messages == 1


async def test_messages_that_had_arrived_whole_come_first() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.send(*map(str, range(30)))
        await some_passes()
        assert await conn.receive() == "0"
        assert [await conn.receive() for _ in range(3)] == ["1", "2", "3"]
        messages = conn.readable.chunked()
        await peer.send(b"in chunks")
        await peer.close(1000)
        assert [await message.read() async for message in messages] == [*map(str, range(4, 30)), b"in chunks"]


async def test_the_limit_of_whole_messages_does_not_hold_and_another_one_may() -> None:
    async with websocket_stream_pair(max_message_size=1000) as (client, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, b"x" * 100_000)
            message = await anext(server.readable.chunked())
            assert sum(map(len, await all_of(message))) == 100_000
    for most, size in ((1000, 1000), (1000, 1001)):
        async with websocket_stream_pair() as (client, server):
            messages = server.readable.chunked(max_size=most)
            await client.send("ß" * (size // 2) + "x" * (size % 2))
            message = await anext(messages)
            if size <= most:
                assert len((await message.read()).encode()) == size
                continue
            with pytest.raises(
                ConnectionBroken, match=r"larger than 1000 bytes \(limit: max_size of chunked"
            ):
                await message.receive()
            with pytest.raises(ConnectionBroken, match="larger than 1000"):
                await anext(messages)
            with pytest.raises(ConnectionClosed) as caught:
                await client.receive()
            assert caught.value.close_code == 1009


async def test_read_is_limited_as_receive_is() -> None:
    async with websocket_stream_pair(max_message_size=1000) as (client, server):
        messages = server.readable.chunked()
        await client.send(b"x" * 1000)
        assert len(await (await anext(messages)).read()) == 1000
        await client.send(b"x" * 1001)
        message = await anext(messages)
        with pytest.raises(ConnectionBroken, match=r"limit: max_message_size\)"):
            await message.read()
        with pytest.raises(ConnectionClosed) as caught:
            await client.receive()
        assert caught.value.close_code == 1009


async def test_a_read_that_is_cancelled_loses_nothing() -> None:
    async with connection_and_peer() as (conn, peer):
        messages = conn.readable.chunked()
        await peer.stream.send(Frame(Opcode.TEXT, b"one ", fin=False).encode())
        message = await anext(messages)
        for part in (b"two ", b"three "):
            await peer.stream.send(Frame(Opcode.CONTINUATION, part, fin=False).encode())
            with anyio.move_on_after(0):
                await message.read()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(message.read)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
        await peer.stream.send(Frame(Opcode.CONTINUATION, b"four").encode())
        assert await message.receive() == "one two three "
        assert await message.read() == "four"


async def test_an_end_in_the_middle_of_a_message_does_not_look_like_its_end() -> None:
    for ends in ("close", "drop"):
        async with connection_and_peer() as (conn, peer):
            messages = conn.readable.chunked()
            await peer.stream.send(Frame(Opcode.BINARY, b"half", fin=False).encode())
            message = await anext(messages)
            assert await message.receive() == b"half"
            await (peer.close(1000) if ends == "close" else peer.stream.aclose())
            with pytest.raises(
                ConnectionBroken, match="in the middle" if ends == "close" else "without a Close"
            ):
                await message.receive()
            with pytest.raises(ConnectionBroken):
                await message.read()
            if ends == "drop":
                with pytest.raises(ConnectionBroken):
                    await anext(messages)


async def test_nobody_else_receives_from_then_on() -> None:
    async with websocket_stream_pair() as (client, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.receive)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                server.readable.chunked()
            await client.send("for the first")
        messages = server.readable.chunked()
        await client.writable.send_batch(["a", "b"])
        await some_passes()
        for receive in (server.receive, server.readable.receive, server.readable.receive_batch):
            with pytest.raises(anyio.BusyResourceError):
                await receive()
        for call in (server.readable.receive_nowait, server.readable.chunked, server.readable.discard):
            with pytest.raises(anyio.BusyResourceError):
                call()
        with pytest.raises(anyio.BusyResourceError):
            await anext(server.readable)
        message = await anext(messages)
        assert await message.read() == "a"
        await anext(messages)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, messages)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await anext(messages)
            tasks.cancel_scope.cancel()


async def test_what_nobody_asks_for_is_held_up_to_the_read_buffer() -> None:
    async with connections_with_sockets(1, read_buffer=2**16) as [(conn, theirs)]:
        theirs.setblocking(False)
        messages = conn.readable.chunked()
        theirs.send(
            Frame(Opcode.BINARY, b"", fin=False).encode()
            + Frame(Opcode.CONTINUATION, bytes(64 * MIB)).encode()[:10]
        )
        sent = 0
        for _ in range(200):
            try:
                sent += theirs.send(bytes(MIB))
            except BlockingIOError:
                await anyio.wait_all_tasks_blocked()
            assert conn.statistics().readable.buffered_bytes < 2**16 + MIB
        assert sent < 32 * MIB  # the system's buffers are full
        message = await anext(messages)
        taken = 0
        while taken < sent:
            taken += len(await message.receive())
        assert taken == sent


async def test_who_asks_first_gets_an_early_message_in_chunks() -> None:
    """It came with the handshake's last bytes, and is larger than a whole message may be."""
    ours, theirs = memory_byte_stream_pair()
    async with AsyncExitStack() as stack:
        stack.callback(theirs.reset)
        early = Frame(Opcode.BINARY, b"x" * 2000).encode()
        connection = Connection(
            ours,
            make_codec(client=True, limits=CodecLimits(1000)),
            server=False,
            options=StreamOptions(max_message_size=1000),
            early_data=early,
        )

        async def opened() -> tuple[Connection, WebSocketStream]:
            return connection, WebSocketStream(connection, url="ws://memory/")

        conn = await stack.enter_async_context(StreamBlock(opened))
        message = await anext(conn.readable.chunked())
        assert b"".join(await all_of(message)) == b"x" * 2000
        await theirs.aclose()


# --- sending


async def next_frame(peer: RawPeer) -> tuple[int, bytes, bool]:
    """Read one small frame that a client's connection has sent, as it is on the wire."""
    first, second = await peer.stream.receive(1) + await peer.stream.receive(1)
    rest = b""
    while len(rest) < 4 + (second & 127):
        rest += await peer.stream.receive(4 + (second & 127) - len(rest))
    return first & 15, apply_mask(rest[4:], rest[:4]), bool(first & 128)


async def test_each_chunk_leaves_at_once_as_a_frame() -> None:
    async with connection_and_peer() as (conn, peer):
        async with conn.writable.message(text=True) as part:
            await part.send("größe")
            assert await next_frame(peer) == (Opcode.TEXT, "größe".encode(), False)
            await part.send("")
            await part.send("🎉")
            assert await next_frame(peer) == (Opcode.CONTINUATION, "🎉".encode(), False)
        assert await next_frame(peer) == (Opcode.CONTINUATION, b"", True)
        async with conn.writable.message():
            pass
        assert await next_frame(peer) == (Opcode.BINARY, b"", True)
        assert conn.statistics().writable.messages == 2


@pytest.mark.parametrize("compression", [False, True])
async def test_what_was_sent_in_chunks_is_one_message(compression: bool) -> None:
    async with websocket_stream_pair(compression=compression) as (client, server):
        for sender, receiver in ((client, server), (server, client)):
            async with anyio.create_task_group() as tasks:
                chunks = [b"first", bytearray(b"second"), memoryview(b"third"), b"x" * MIB]
                tasks.start_soon(sender.writable.send_chunks, chunks)
                assert await receiver.receive() == b"".join(map(bytes, chunks))

            async def count() -> AsyncIterator[str]:
                for number in range(100):
                    yield f"{number} ß"
                    await some_passes(1)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(sender.writable.send_chunks, count(), text=True, compress=False))
                assert await receiver.receive() == "".join(f"{number} ß" for number in range(100))
            await sender.writable.send_chunks([])
            assert await receiver.receive() == b""
            await sender.send("whole")
            assert await receiver.receive() == "whole"


async def test_others_wait_and_control_frames_pass() -> None:
    async with connection_and_peer() as (conn, peer), anyio.create_task_group() as tasks:
        done: list[str] = []

        async def run(name: str, send: Callable[[], Awaitable[object]]) -> None:
            await send()
            done.append(name)

        async def in_chunks() -> None:
            async with conn.writable.message() as part:
                await part.send(b"second")

        async with conn.writable.message() as part:
            await part.send(b"one")
            tasks.start_soon(run, "send", partial(conn.send, "other"))
            tasks.start_soon(run, "batch", partial(conn.writable.send_batch, ["a", "b"]))
            tasks.start_soon(run, "chunks", in_chunks)
            tasks.start_soon(run, "ping", conn.ping)
            with pytest.raises(anyio.WouldBlock):
                conn.writable.send_nowait("now")
            await anyio.wait_all_tasks_blocked()
            event = await peer.read_event()
            assert isinstance(event, Ping)
            await peer.stream.send(peer.codec.send_pong(event.payload))
            await peer.ping(b"?")
            assert await peer.read_event() == Pong(b"?")
            await anyio.wait_all_tasks_blocked()
            assert done == ["ping"]
            await part.send(b"two")
        events = [await peer.read_event() for _ in range(5)]
        assert events[0] == b"onetwo"
        assert sorted(map(str, events[1:])) == ["a", "b", "b'second'", "other"]
        assert events.index("a") + 1 == events.index("b")
        await anyio.wait_all_tasks_blocked()
        assert sorted(done) == ["batch", "chunks", "ping", "send"]
        conn.writable.send_nowait("now")


async def test_a_task_does_not_wait_for_itself() -> None:
    async with connection_and_peer() as (conn, peer):
        async with conn.writable.message() as part:
            await part.send(b"one")
            with pytest.raises(RuntimeError, match="in the middle of a message"):
                await conn.send("other")
            with pytest.raises(RuntimeError, match="in the middle of a message"):
                await conn.writable.send_batch(["other"])
            with pytest.raises(RuntimeError, match="in the middle of a message"):
                async with conn.writable.message():
                    raise AssertionError("not entered")
        assert await peer.read_event() == b"one"
        with pytest.raises(RuntimeError, match="entered before"):
            await part.__aenter__()
        with pytest.raises(anyio.ClosedResourceError, match="block"):
            await part.send(b"late")


async def test_many_who_send_in_chunks_take_turns() -> None:
    async with websocket_stream_pair() as (client, server):

        async def send_some(name: str) -> None:
            for _ in range(20):
                async with client.writable.message(text=True) as part:
                    for _ in range(5):
                        await part.send(name)

        received: list[Any] = []
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(send_some, name)
            while len(received) < 60:
                received.append(await server.receive())
        assert sorted(received) == ["aaaaa"] * 20 + ["bbbbb"] * 20 + ["ccccc"] * 20
        assert {*received[:9]} == {"aaaaa", "bbbbb", "ccccc"}, "one of them kept the others waiting"


async def test_a_slow_peer_holds_the_sender_back() -> None:
    async with connections_with_sockets(1, write_buffer=2**16) as [(conn, theirs)]:
        theirs.setblocking(False)
        sent = 0

        async def send_without_end() -> None:
            nonlocal sent
            async with conn.writable.message() as part:
                while True:
                    await part.send(bytes(2**16))
                    sent += 2**16

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_without_end)
            await anyio.wait_all_tasks_blocked()
            await some_passes(200)
            stopped_at = sent
            assert stopped_at < 32 * MIB
            await some_passes(200)
            assert sent == stopped_at
            for _ in range(100):
                with suppress(BlockingIOError):
                    theirs.recv(MIB)
                await some_passes(5)
            assert sent > stopped_at
            tasks.cancel_scope.cancel()


async def test_a_message_that_is_left_by_an_exception_fails_the_connection() -> None:
    for begun in (True, False):
        async with connection_and_peer() as (conn, peer):
            with pytest.raises(LookupError, match="mine") as caught:
                async with conn.writable.message() as part:
                    if begun:
                        await part.send(b"one")
                    raise LookupError("mine")
            assert caught.value.__context__ is None
            if begun:
                with pytest.raises(ConnectionBroken, match="left unfinished"):
                    await conn.send("two")
                assert await peer.read_event() == Close(
                    1011, "a message that was sent in chunks was left unfinished"
                )
            else:
                await conn.send("two")
                assert await peer.read_event() == "two"


async def test_a_message_that_is_cancelled_fails_the_connection() -> None:
    async with connection_and_peer() as (conn, peer):
        with anyio.CancelScope() as scope:
            async with conn.writable.message() as part:
                await part.send(b"one")
                scope.cancel()
                await anyio.sleep_forever()
        with pytest.raises(ConnectionBroken, match="left unfinished"):
            await conn.receive()
        assert isinstance(await peer.read_event(), Close)


async def test_a_chunk_whose_sender_was_cancelled_leaves_the_message_whole() -> None:
    async with websocket_stream_pair(capacity=1, write_buffer=1) as (client, server):
        accepted = b""
        async with client.writable.message() as part:
            for number in range(20):
                with anyio.move_on_after(0) as scope:
                    await part.send(b"%02d" % number)
                await some_passes(number % 4)
                accepted += b"" if scope.cancelled_caught else b"%02d" % number
            async with anyio.create_task_group() as tasks:
                received: list[Any] = []

                async def receive() -> None:
                    received.append(await server.receive())

                tasks.start_soon(receive)
                await part.send(b"the end")
                await part.__aexit__(None, None, None)
        (message,) = received
        assert message.endswith(b"the end")
        numbers = [message[i : i + 2] for i in range(0, len(message) - len(b"the end"), 2)]
        assert numbers == sorted(set(numbers)), "none twice, none torn, in order"


async def test_the_end_of_the_connection_reaches_who_sends_in_chunks() -> None:
    for ends in ("peer", "here", "drop"):
        async with connection_and_peer() as (conn, peer), anyio.create_task_group() as tasks:
            error: Any = {
                "peer": ConnectionClosed,
                "here": anyio.ClosedResourceError,
                "drop": ConnectionBroken,
            }[ends]

            async def wait_for_turn(error: Any = error, conn: WebSocketStream = conn) -> None:
                with pytest.raises(error):
                    await conn.send("waits")

            with pytest.raises(error):
                async with conn.writable.message() as part:
                    await part.send(b"one")
                    tasks.start_soon(wait_for_turn)
                    await anyio.wait_all_tasks_blocked()
                    if ends == "peer":
                        await peer.close(1000)
                    elif ends == "here":
                        conn.close()
                    else:
                        await peer.stream.aclose()
                    await some_passes()
                    if ends == "drop":
                        await part.send(b"two")
            with pytest.raises(error):
                async with conn.writable.message():
                    raise AssertionError("not entered")


async def test_wrong_chunks_say_what_is_wrong() -> None:
    async with connection_and_peer() as (conn, peer):
        async with conn.writable.message() as part:
            for wrong in ("text", 1, None):
                with pytest.raises(TypeError, match="must be bytes"):
                    await part.send(wrong)  # type: ignore[arg-type]
        async with conn.writable.message(text=True) as part:
            with pytest.raises(TypeError, match="must be str, not bytes"):
                await part.send(b"binary")
            with pytest.raises(ValueError, match="surrogate"):
                await part.send("\ud800")
            await part.send("good")
        for wrong in (b"one message", "one", memoryview(b""), bytearray()):
            with pytest.raises(TypeError, match="chunks are wanted"):
                await conn.writable.send_chunks(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="must be iterable"):
            await conn.writable.send_chunks(1)  # type: ignore[arg-type]
        assert [await peer.read_event() for _ in range(2)] == [b"", "good"]
        with pytest.raises(TypeError, match="must be bytes"):
            await conn.writable.send_chunks(["text"])  # type: ignore[list-item]
        await conn.send("goes on")
        assert await peer.read_event() == "goes on"
        with pytest.raises(TypeError, match="must be bytes"):
            await conn.writable.send_chunks([b"one", "text"])
        with pytest.raises(ConnectionBroken, match="left unfinished"):
            await conn.send("over")


async def test_two_tasks_do_not_send_one_chunk_into_another() -> None:
    async with connections_with_sockets(1, write_buffer=1) as [(conn, theirs)]:
        async with anyio.create_task_group() as tasks:
            with suppress(ConnectionBroken):
                async with conn.writable.message() as part:
                    tasks.start_soon(part.send, bytes(64 * MIB))
                    await anyio.wait_all_tasks_blocked()
                    with pytest.raises(anyio.BusyResourceError):
                        await part.send(b"two")
                    theirs.close()
                    tasks.cancel_scope.cancel()
