"""Background tasks: none while a connection only waits, and whenever they are needed, whatever started the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest

import absences
from edges.serving import serving
from websocketstream import open_websocket_stream

if TYPE_CHECKING:
    from promises.conftest import Serve
    from wpt.server import Connection

COUNT = 400


def names() -> list[str | None]:
    return sorted(
        task.name for task in anyio.get_running_tasks() if f"{task.name} ".startswith("websocketstream ")
    )


@pytest.mark.skipif("epoll" in absences.simulated(), reason="on trio each costs one without epoll")
@pytest.mark.anyio
@pytest.mark.usefixtures("anyio_backend")
async def test_connections_that_wait_cost_no_task_but_one_for_all_of_them_on_trio(anyio_backend_name) -> None:
    async with serving() as listener:
        options = {"ping_interval": None}
        async with (
            open_websocket_stream(listener.url, **options) as one,
            open_websocket_stream(listener.url, **options) as two,
        ):
            for conn in (one, two):
                await conn.send("hello")
                assert await conn.receive() == "hello"
            await anyio.wait_all_tasks_blocked()
            assert names() == (["websocketstream"] if anyio_backend_name == "trio" else [])


def test_tasks_start_from_callbacks_under_plain_asyncio(serve: Serve) -> None:
    """There anyio cannot see which event loop is running: no task is, and nobody has told it."""

    def flood(connection: Connection) -> None:
        connection.accept()
        for number in range(COUNT):
            connection.send_message(str(number) * 1000)
        connection.answer_close(connection.read_close())

    async def main() -> None:
        async with open_websocket_stream(serve(flood).url("/"), read_buffer=1000) as conn:
            while conn.statistics().readable.buffered_messages == 0:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert [await conn.receive() for _ in range(COUNT)] == [str(n) * 1000 for n in range(COUNT)]

    asyncio.run(main())
