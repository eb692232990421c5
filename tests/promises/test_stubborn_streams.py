"""Given streams that cannot be closed, or raise what nobody should: their connection ends, and nothing else."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from waiting import until
from websocketstream import ConnectionBroken, InvalidHandshake, open_websocket_stream
from websocketstream.testing import over_stream

pytestmark = pytest.mark.anyio


class Silent(anyio.abc.ByteStream):
    """A peer that takes everything and says nothing."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await self.do("receive")
        await anyio.sleep_forever()
        return b""

    async def send(self, item: bytes) -> None:
        await self.do("send")

    async def send_eof(self) -> None:
        await self.do("send_eof")

    async def aclose(self) -> None:
        await self.do("aclose")

    async def do(self, method: str) -> None:
        self.calls.append(method)
        await anyio.lowlevel.checkpoint()


class Stubborn(Silent):
    """It ends at once, and its aclose() cannot be cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.relents = anyio.Event()
        self.closed = anyio.Event()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        self.calls.append("aclose")
        with anyio.move_on_after(4, shield=True):
            await self.relents.wait()
        self.closed.set()


async def test_an_aclose_that_cannot_be_cancelled_does_not_hold_up_an_opening_that_failed() -> None:
    stream = Stubborn()
    started = anyio.current_time()
    with pytest.raises(InvalidHandshake):
        async with open_websocket_stream("ws://a/", stream=stream):
            pass
    assert anyio.current_time() - started < 1.5
    assert stream.calls == ["send", "aclose"]
    stream.relents.set()
    await stream.closed.wait()
    await anyio.wait_all_tasks_blocked()


async def test_an_aclose_that_cannot_be_cancelled_does_not_hold_up_a_block_for_long() -> None:
    stream = Stubborn()
    started = anyio.current_time()
    async with over_stream(stream, server=False) as conn:
        with pytest.raises(ConnectionBroken):
            await conn.receive()
    assert anyio.current_time() - started < 1.5
    assert stream.calls.count("aclose") == 1
    stream.relents.set()
    await stream.closed.wait()
    await anyio.wait_all_tasks_blocked()


class Rude(BaseException):
    """Nothing that anybody expects."""


@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize("method", ["receive", "send", "send_eof", "aclose"])
@pytest.mark.parametrize("error", [Rude(), StopAsyncIteration()], ids=repr)
async def test_what_is_no_exception_of_a_stream_ends_its_connection_and_not_the_run(
    error: BaseException, method: str, server: bool
) -> None:
    class Faulty(Silent):
        async def do(self, method_called: str) -> None:
            await super().do(method_called)
            if method_called == method:
                raise error

    stream = Faulty()
    with anyio.fail_after(5):
        async with over_stream(stream, server=server, close_timeout=0.1) as conn:
            if method == "receive":
                with pytest.raises(ConnectionBroken):
                    await conn.receive()
    info: Any = conn.close_info
    assert not info.clean
    await until(lambda: "aclose" in stream.calls)
    await anyio.wait_all_tasks_blocked()
