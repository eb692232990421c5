"""One program on all cores: a process that dies is replaced, and nobody else notices."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from examples.example_kit import ended, example
from interop.programs import Running
from ports import free_port
from waiting import until
from websocketstream import ConnectionBroken, WebSocketStream, open_websocket_stream

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere connections are not shared out"),
]


def workers(program: Running) -> list[int]:
    """Return the processes that have said that they listen, in that order."""
    return [int(number) for number in re.findall(r"process (\d+) is listening", program.output)]


async def served_by(conn: WebSocketStream) -> int:
    await conn.send("who?")
    answer = re.fullmatch(r"process (\d+): 'who\?'", str(await conn.receive()))
    assert answer
    return int(answer[1])


async def connections(stack: AsyncExitStack, url: str, wanted: set[int]) -> dict[int, WebSocketStream]:
    """Connect until each of these processes has a connection."""
    found: dict[int, WebSocketStream] = {}
    with anyio.fail_after(20):
        while found.keys() != wanted:
            conn = await stack.enter_async_context(open_websocket_stream(url))
            found.setdefault(await served_by(conn), conn)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_process_that_dies_is_replaced_and_a_signal_ends_all_in_good_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    port = free_port()
    with example(tmp_path, "all_cores", port, 2) as program:
        await until(lambda: len(workers(program)) == 2)
        async with AsyncExitStack() as stack:
            dead, alive = workers(program)
            found = await connections(stack, f"ws://127.0.0.1:{port}", {dead, alive})
            os.kill(dead, signal.SIGKILL)
            with pytest.raises(ConnectionBroken):
                await found[dead].receive()
            assert await served_by(found[alive]) == alive
            await until(lambda: len(workers(program)) == 3)
            new = workers(program)[-1]
            found |= await connections(stack, f"ws://127.0.0.1:{port}", {new, alive})
            # A terminal sends its signal to the whole group, anybody else to the one process that they know.
            os.kill(-program.process.pid if number == signal.SIGINT else program.process.pid, number)
            for process in (new, alive):
                assert (await found[process].closed).code == 1001
        output = ended(program)
    assert "Traceback" not in output
