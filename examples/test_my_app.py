"""Test an application of one's own in memory: no port, nothing to wait for, on asyncio and on trio.

    pip install 'websocketstream[trio]' pytest
    pytest test_my_app.py

The handshake is the real one, so paths, header fields and refusals are tested as well; so is what a slow client does.
"""

import anyio
import pytest

from websocketstream import HandshakeRejected, WebSocketRequest
from websocketstream.testing import serve_in_memory

pytestmark = pytest.mark.anyio


async def countdown(request: WebSocketRequest) -> None:  # in place of `from my_app import countdown`
    start = request.query_params.get("from", "")
    if not start.isdecimal():
        await request.reject(400, body="from must be a number")
        return
    async with request.accept() as conn:
        for number in range(int(start), 0, -1):
            await conn.send(str(number))
        conn.close(1000, "lift-off")


async def test_it_counts_and_says_goodbye() -> None:
    async with serve_in_memory(countdown) as connect, connect("/?from=3") as conn:
        assert [message async for message in conn.messages()] == ["3", "2", "1"]
    assert (await conn.closed).reason == "lift-off"


async def test_it_refuses_what_is_no_number() -> None:
    async with serve_in_memory(countdown) as connect:
        with pytest.raises(HandshakeRejected) as refusal:
            async with connect("/?from=ten"):
                pytest.fail("it was to be refused")
    assert (refusal.value.status, refusal.value.body) == (400, b"from must be a number")


async def test_a_client_that_does_not_read_holds_it_back() -> None:
    async with serve_in_memory(countdown) as connect, connect("/?from=1000000", read_buffer=100) as conn:
        await anyio.wait_all_tasks_blocked()  # everybody waits for somebody
        assert conn.statistics().readable.buffered_messages < 100_000
