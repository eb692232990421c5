"""Waiting for connections, again and again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from websocketstream._network.arrivals import Arrivals
from websocketstream._network.loop import current_event_loop

pytestmark = pytest.mark.anyio

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


def connect(listening: socket.socket) -> socket.socket:
    return socket.create_connection(listening.getsockname())


async def test_who_waits_goes_on_when_a_connection_arrives_each_time(listening: socket.socket) -> None:
    arrivals = Arrivals(listening, current_event_loop())
    with anyio.fail_after(10):
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(arrivals.wait)
                await anyio.wait_all_tasks_blocked()
                client = connect(listening)
            with client, listening.accept()[0]:
                pass
    arrivals.close()


async def test_a_connection_that_is_there_already_is_not_waited_for(listening: socket.socket) -> None:
    arrivals = Arrivals(listening, current_event_loop())
    with anyio.fail_after(10), connect(listening):
        await arrivals.wait()
        await arrivals.wait()  # nobody has accepted it
    arrivals.close()


async def test_who_was_cancelled_may_wait_again(listening: socket.socket) -> None:
    arrivals = Arrivals(listening, current_event_loop())
    with anyio.move_on_after(0) as scope:
        await arrivals.wait()
    assert scope.cancelled_caught
    with anyio.fail_after(10), connect(listening):
        await arrivals.wait()
    arrivals.close()


@on_asyncio
async def test_a_connection_for_which_nobody_waits_does_not_keep_the_event_loop_busy(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop: Any = asyncio.get_running_loop()
    arrivals = Arrivals(listening, current_event_loop())
    calls: list[str] = []
    arrived = arrivals._arrived
    monkeypatch.setattr(arrivals, "_arrived", lambda: (calls.append("arrived"), arrived()))
    with anyio.fail_after(10), connect(listening), connect(listening):
        await arrivals.wait()
        for _ in range(5):
            await checkpoint()
        assert len(calls) == 2  # for who has waited, and once more
        await arrivals.wait()  # nobody has accepted them
    arrivals.close()
    assert not loop.remove_reader(listening.fileno())


async def test_what_is_closed_leaves_the_listening_socket_as_it_was(listening: socket.socket) -> None:
    arrivals = Arrivals(listening, current_event_loop())
    with anyio.move_on_after(0):
        await arrivals.wait()
    arrivals.close()
    arrivals.close()
    with connect(listening), listening.accept()[0]:
        pass


def test_it_may_be_closed_after_its_event_loop(listening: socket.socket) -> None:
    made: list[Arrivals] = []

    async def main() -> None:
        made.append(Arrivals(listening, current_event_loop()))
        with anyio.move_on_after(0):
            await made[0].wait()

    asyncio.run(main())
    made[0].close()
