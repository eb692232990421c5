"""``serve --echo`` and ``serve --broadcast``: what comes back, and to whom it goes."""

from __future__ import annotations

import anyio
import pytest

from edges.serving import serving
from waiting import Call, until
from websocketstream import ConnectionBroken, ConnectionClosed, open_websocket_stream
from websocketstream._cli import serve_broadcast, serve_echo
from websocketstream.testing import serve_in_memory

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * 2**14  # 4 MiB


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
async def test_messages_come_back_as_they_were_in_order_and_in_kind(compression: bool) -> None:
    messages = ["text", b"binary", "", b"", "Ü\U0001f600" * 5, LARGE, "x" * 2**21, "last"]
    async with (
        serve_in_memory(serve_echo.make_handler(), compression=compression, max_message_size=None) as connect,
        connect(compression=compression, max_message_size=None) as conn,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(conn.writable.send_batch, messages)
        for message in messages:
            echo = await conn.receive()
            assert type(echo) is type(message)
            assert echo == message


async def test_a_message_begins_to_come_back_before_it_has_ended() -> None:
    async with serve_in_memory(serve_echo.make_handler()) as connect, connect() as conn:
        echoes = conn.readable.chunked()
        async with conn.writable.message(text=True) as part:
            await part.send("begin")
            echo = await anext(echoes)
            assert (echo.text, await echo.receive()) == (True, "begin")
            await part.send("end")
            assert await echo.receive() == "end"
        with pytest.raises(anyio.EndOfStream):
            await echo.receive()


async def test_a_message_that_is_cut_off_does_not_come_back_as_a_whole() -> None:
    async with serve_in_memory(serve_echo.make_handler()) as connect, connect() as conn:
        echoes = conn.readable.chunked()
        with pytest.raises(ZeroDivisionError):
            async with conn.writable.message() as part:
                await part.send(b"begin")
                echo = await anext(echoes)
                assert await echo.receive() == b"begin"
                raise ZeroDivisionError
        with pytest.raises((ConnectionBroken, anyio.ClosedResourceError)):
            await echo.receive()


async def test_a_message_may_be_limited() -> None:
    async with serve_in_memory(serve_echo.make_handler(10)) as connect, connect() as conn:
        await conn.send("1234567890")
        assert await conn.receive() == "1234567890"
        await conn.send("12345678901")
        with pytest.raises(ConnectionClosed) as caught:
            await conn.receive()
        assert caught.value.close_code == 1009


async def test_a_client_that_does_not_read_its_echo_is_not_read_either() -> None:
    async with serve_in_memory(serve_echo.make_handler()) as connect, connect(read_buffer=1) as conn:
        async with anyio.create_task_group() as tasks:
            # more than all buffers on the way hold
            sending = Call.start(tasks, conn.writable.send_batch, [LARGE[: 2**16]] * 128)
            await sending.stays_pending()
            for _ in range(128):
                assert await conn.receive() == LARGE[: 2**16]
            await sending.finished()


async def test_what_one_says_goes_to_all_others_and_not_back() -> None:
    hub = serve_broadcast.make_hub()
    async with serve_in_memory(serve_broadcast.make_handler(hub)) as connect:
        async with connect() as ada, connect() as grace, connect() as joan:
            await until(lambda: len(hub) == 3)
            await ada.send("text")
            await ada.send(b"binary")
            for conn in (grace, joan):
                assert await conn.receive() == "text"
                assert await conn.receive() == b"binary"
            await grace.send("answer")
            for conn in (ada, joan):
                assert await conn.receive() == "answer"
            await joan.send("last")
            assert await grace.receive() == "last"  # and not what it has said itself


async def test_a_client_that_does_not_keep_up_stalls_nobody_and_is_closed() -> None:
    news = [b"%04d" % number * 2**14 for number in range(200)]  # 12 MiB
    hub = serve_broadcast.make_hub()
    async with serving(serve_broadcast.make_handler(hub)) as listener:
        async with (
            open_websocket_stream(listener.url, read_buffer=1) as slow,
            open_websocket_stream(listener.url) as fast,
            open_websocket_stream(listener.url) as speaker,
        ):
            await until(lambda: len(hub) == 3)
            with anyio.fail_after(20):
                for message in news:
                    await speaker.send(message)
                    assert await fast.receive() == message
                seen = []
                with pytest.raises(ConnectionClosed) as caught:
                    while True:
                        seen.append(await slow.receive())
            assert caught.value.close_code == 1013
            assert seen == news[: len(seen)]


async def test_a_client_that_does_not_keep_up_may_miss_messages_instead() -> None:
    news = [b"%04d" % number * 2**14 for number in range(400)]
    hub = serve_broadcast.make_hub("drop-oldest", 2**18)
    async with serving(serve_broadcast.make_handler(hub)) as listener:
        async with (
            open_websocket_stream(listener.url, read_buffer=1) as slow,
            open_websocket_stream(listener.url) as fast,
            open_websocket_stream(listener.url) as speaker,
        ):
            await until(lambda: len(hub) == 3)
            with anyio.fail_after(20):
                for message in news:
                    await speaker.send(message)
                    assert await fast.receive() == message
                seen = [await slow.receive()]
                while seen[-1] != news[-1]:
                    seen.append(await slow.receive())
            assert len(seen) < len(news)
            assert seen == sorted(seen)


async def test_a_client_that_has_left_is_no_member_any_more() -> None:
    hub = serve_broadcast.make_hub()
    async with serve_in_memory(serve_broadcast.make_handler(hub)) as connect, connect() as ada:
        async with connect() as grace:
            await until(lambda: len(hub) == 2)
            await grace.send("bye")
            assert await ada.receive() == "bye"
        await until(lambda: len(hub) == 1)
        await ada.send("anybody there?")
        await ada.ping()
