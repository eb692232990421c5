"""Where people go wrong, the error says which line was meant; and completion shows what is public, and nothing else."""

from __future__ import annotations

import array
import gc
import re
import tomllib
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import websocketstream
from websocketstream import (
    Broadcast,
    WebSocketStream,
    asgi,
    blocking,
    open_websocket_stream,
    reconnecting,
    testing,
    uvicorn,
)
from websocketstream._streams.hints import NAMES_OF_OTHERS, NAMES_OF_OTHERS_WITHOUT_ASYNC
from websocketstream.testing import serve_in_memory, websocket_stream_pair

ROOT = Path(__file__).parent.parent.parent
OPEN = "write `async with open_websocket_stream(...) as conn:`"
PAIR = "write `async with websocket_stream_pair() as (client, server):`"
SERVE = "write `async with serve_in_memory(handler) as connect:`"
CONNECT_AGAIN = "write `async with reconnecting(...) as connections:`"

pytestmark = pytest.mark.anyio


# --- blocks


async def never(_request: Any) -> None:
    pytest.fail("called")


BLOCKS = [
    pytest.param(lambda: open_websocket_stream("ws://h"), OPEN, id="open_websocket_stream"),
    pytest.param(lambda: reconnecting("ws://h"), CONNECT_AGAIN, id="reconnecting"),
    pytest.param(websocket_stream_pair, PAIR, id="websocket_stream_pair"),
    pytest.param(lambda: serve_in_memory(never), SERVE, id="serve_in_memory"),
]


@pytest.mark.parametrize(("make", "line"), BLOCKS)
async def test_a_block_that_is_awaited_names_async_with(make: Any, line: str) -> None:
    with pytest.raises(TypeError, match=re.escape(line)):
        await make()


@pytest.mark.parametrize(("make", "line"), BLOCKS)
def test_a_block_without_async_names_async_with(make: Any, line: str) -> None:
    with pytest.raises(TypeError, match=re.escape(line)):
        with make():
            pytest.fail("entered")


@pytest.mark.parametrize(("make", "line"), BLOCKS)
async def test_iterating_over_a_block_names_async_with(make: Any, line: str) -> None:
    with pytest.raises(TypeError, match=re.escape(line)):
        async for _ in make():
            pytest.fail("iterated")
    with pytest.raises(TypeError, match=re.escape(line)):
        for _ in make():
            pytest.fail("iterated")


async def test_the_blocks_of_a_server_name_their_own_line() -> None:
    lines: list[str] = []

    async def handler(request: Any) -> None:
        accepted = request.accept()
        try:
            with accepted:
                pytest.fail("entered")
        except TypeError as exc:
            lines.append(str(exc))
        async with accepted as conn:
            await conn.send("hello")

    async with serve_in_memory(handler) as connect, connect() as conn:
        assert await conn.receive() == "hello"
    assert lines == ["this needs an async block: write `async with request.accept() as conn:`"]


@pytest.mark.parametrize(("make", "line"), BLOCKS)
def test_a_block_that_is_used_without_being_entered_names_async_with(make: Any, line: str) -> None:
    for name in ("send", "receive", "recv", "readable"):
        with pytest.raises(AttributeError, match=f"{name!r} .*{re.escape(line)}"):
            getattr(make(), name)
    assert not hasattr(make(), "__len__")
    assert not hasattr(type(make()).__new__(type(make())), "_nothing")  # also before it knows its line


async def test_the_blocks_inside_of_blocks_name_their_lines_too() -> None:
    async def handler(request: Any) -> None:
        async with request.accept() as conn:
            await conn.send("hello")

    async with serve_in_memory(handler) as connect, reconnecting(connect) as connections:
        with pytest.raises(TypeError, match=re.escape("write `async with connect(...) as conn:`")):
            await connect()  # type: ignore[misc]
        with pytest.raises(
            AttributeError, match=r"`conn\.send` in the block of `async for conn in connections:`"
        ):
            connections.send  # type: ignore[attr-defined]  # noqa: B018
        async for conn in connections:
            with pytest.raises(TypeError, match=re.escape("write `async with connections.retrying():`")):
                with connections.retrying():  # type: ignore[attr-defined]
                    pytest.fail("entered")
            assert await conn.receive() == "hello"
            break


async def test_a_request_that_is_taken_for_a_connection_names_the_block_to_enter() -> None:
    answers: list[str] = []

    async def handler(request: Any) -> None:
        for name in ("send", "recv", "readable", "close"):
            with pytest.raises(AttributeError) as missing:
                getattr(request, name)
            answers.append(str(missing.value))
        with pytest.raises(TypeError, match="in the block of `async with request"):
            async for _ in request:
                pytest.fail("iterated")
        async with request.accept() as conn:
            await conn.send("hello")

    async with serve_in_memory(handler) as connect, connect() as conn:
        assert await conn.receive() == "hello"
    assert answers == [
        f"'WebSocketRequest' object has no attribute '{name}': "
        f"here it is `{here}` in the block of `async with request.accept() as conn:`"
        for name, here in [
            ("send", "conn.send"),
            ("recv", "await conn.receive()"),
            ("readable", "conn.readable"),
            ("close", "conn.close"),
        ]
    ]


def test_a_stream_is_not_made_by_its_class_as_in_the_browser() -> None:
    for arguments in ({"url": "wss://h"}, {}):
        with pytest.raises(TypeError, match=r"write `async with open_websocket_stream\(url\) as conn:`"):
            WebSocketStream(**arguments)  # type: ignore[arg-type, call-arg]
    with pytest.raises(TypeError, match="not made by its class"):
        WebSocketStream("wss://h", protocols=["chat"])  # type: ignore[arg-type, call-arg]


# --- receiving


@pytest.mark.parametrize("of", ["conn", "readable"])
async def test_a_forgotten_await_in_front_of_receive_warns_at_the_right_line(of: str) -> None:
    async with websocket_stream_pair() as (conn, _):
        stream = conn if of == "conn" else conn.readable
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            stream.receive()  # type: ignore[unused-coroutine]
            gc.collect()
    [warning] = caught
    assert str(warning.message).startswith(f"coroutine '{type(stream).__name__}.receive' was never awaited")
    assert warning.filename == __file__


async def test_a_plain_for_names_async_for() -> None:
    async with websocket_stream_pair() as (conn, _):
        for stream in (conn, conn.readable):
            with pytest.raises(TypeError, match=r"write `async for message in conn\.messages\(\):`"):
                for _ in stream:  # type: ignore[attr-defined]
                    pytest.fail("iterated")


async def test_messages_that_are_awaited_or_iterated_over_without_async_name_the_line() -> None:
    async with websocket_stream_pair() as (conn, _):
        with pytest.raises(
            TypeError, match=r"`async for message in conn\.messages\(\):`, or `await conn\.receive\(\)`"
        ):
            await conn.messages()  # type: ignore[misc]
        with pytest.raises(TypeError, match=r"write `async for message in conn\.messages\(\):`"):
            for _ in conn.messages():  # type: ignore[attr-defined]
                pytest.fail("iterated")


async def test_iterating_over_the_connection_itself_is_no_mistake() -> None:
    async with websocket_stream_pair() as (client, server):
        await server.send("one")
        server.close()
        assert [message async for message in client] == ["one"]


async def test_a_second_receiver_learns_what_to_do_instead() -> None:
    async with websocket_stream_pair() as (conn, _), anyio.create_task_group() as tasks:
        tasks.start_soon(conn.receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError) as waiting:
            await conn.receive()
        with pytest.raises(anyio.BusyResourceError) as at_once:
            conn.readable.receive_nowait()
        tasks.cancel_scope.cancel()
    for caught in (waiting, at_once):
        [note] = caught.value.__notes__
        assert note.startswith("One task at a time receives")


async def test_who_takes_an_error_of_a_second_receiver_twice_reads_the_hint_once() -> None:
    async with websocket_stream_pair() as (conn, _), anyio.create_task_group() as tasks:
        tasks.start_soon(conn.receive)
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            with pytest.raises(anyio.BusyResourceError) as caught:
                await conn.receive()
            assert len(caught.value.__notes__) == 1
        tasks.cancel_scope.cancel()


# --- sending


async def coroutine() -> str:
    await checkpoint()
    return "text"


UNSENDABLE = [
    pytest.param({"a": 1}, r"not dict; .*json\.dumps\(", id="dict"),
    pytest.param([1, 2], r"not list; .*json\.dumps\(", id="list"),
    pytest.param(5, r"not int; .*send\(str\(", id="int"),
    pytest.param(
        array.array("B", [1]),
        r"not array\.array; .*send\(memoryview\(|not array; .*send\(memoryview\(",
        id="array",
    ),
    pytest.param(None, r"not NoneType; nothing was sent$", id="None"),
]


@pytest.mark.parametrize(("message", "words"), UNSENDABLE)
async def test_what_cannot_be_sent_is_refused_with_what_was_meant(message: Any, words: str) -> None:
    hub = Broadcast()
    async with websocket_stream_pair() as (conn, other):
        for attempt in (conn.send, conn.writable.send):
            with pytest.raises(TypeError, match=words):
                await attempt(message)
        with pytest.raises(TypeError, match=words):
            conn.writable.send_nowait(message)
        with pytest.raises(TypeError, match=words):
            await conn.writable.send_batch(["fine", message])
        with pytest.raises(TypeError, match=words):
            hub.send(message)
        await conn.send("nothing else was sent")
        assert await other.receive() == "nothing else was sent"


async def test_a_sender_that_has_to_yield_first_is_told_the_same() -> None:
    """Over and over, so that the budget of a pass is used up at one time or another."""
    async with websocket_stream_pair() as (conn, _):
        for _ in range(2000):
            with pytest.raises(TypeError, match=r"json\.dumps\("):
                await conn.send({})  # type: ignore[arg-type]


async def test_a_forgotten_await_of_what_is_sent_is_named() -> None:
    forgotten = coroutine()
    async with websocket_stream_pair() as (conn, _):
        with pytest.raises(TypeError, match=r"not coroutine; nothing was sent; .*send\(await \.\.\.\)"):
            await conn.send(forgotten)  # type: ignore[arg-type]
    assert await forgotten == "text"


# --- the names of others


@pytest.mark.parametrize(("name", "here"), NAMES_OF_OTHERS.items())
async def test_a_name_of_another_library_leads_to_ours(name: str, here: str) -> None:
    async with websocket_stream_pair() as (conn, _):
        with pytest.raises(AttributeError) as caught:
            getattr(conn, name)
        assert str(caught.value) == f"'WebSocketStream' object has no attribute '{name}': here it is `{here}`"
        assert not hasattr(conn, name)


async def test_the_line_that_a_name_leads_to_is_right() -> None:
    async with websocket_stream_pair() as (conn, _):
        for here in NAMES_OF_OTHERS.values():
            for attribute in re.findall(r"conn\.(\w+)", here):
                assert hasattr(conn, attribute), here


@pytest.mark.parametrize(("name", "here"), NAMES_OF_OTHERS_WITHOUT_ASYNC.items())
def test_a_name_of_another_library_leads_to_ours_without_async_too(name: str, here: str) -> None:
    assert not {"await", "async"} & set(re.findall(r"\w+", here))
    for attribute in re.findall(r"conn\.(\w+)", here):
        assert hasattr(blocking.BlockingWebSocketStream, attribute), here
    with pytest.raises(AttributeError, match=re.escape(f"attribute '{name}': here it is `{here}`")):
        getattr(blocking.BlockingWebSocketStream, name)


async def test_asking_closed_without_await_is_an_error_and_not_always_true() -> None:
    async with websocket_stream_pair() as (conn, _):
        with pytest.raises(TypeError, match=r"`await conn\.closed`, or `conn\.close_info is not None`"):
            bool(conn.closed)
        with pytest.raises(AttributeError, match=r"'code' .*`await conn\.closed`"):
            conn.closed.code  # type: ignore[attr-defined]  # noqa: B018
        with pytest.raises(TypeError, match=r"`await conn\.closed`"):
            await conn.closed()  # type: ignore[operator]
        await conn.aclose()
        assert (await conn.closed).clean


@pytest.mark.parametrize(
    ("url", "suggestion"),
    [
        ("example.com/feed", "ws://example.com/feed"),
        ("localhost:8765", "ws://localhost:8765/"),
        ("tcp://localhost:8765/feed", "ws://localhost:8765/feed"),
        ("htps://example.com", "ws://example.com/"),
    ],
)
def test_a_url_with_a_wrong_scheme_or_none_is_refused_with_one_that_works(url: str, suggestion: str) -> None:
    with pytest.raises(ValueError, match=rf", such as {re.escape(suggestion)}$"):
        open_websocket_stream(url)
    open_websocket_stream(suggestion)


async def test_http_is_taken_for_what_was_meant_as_in_the_browser() -> None:
    for url in ("http://h", "https://h"):
        open_websocket_stream(url)


# --- completion


def is_python_s_own(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


@pytest.mark.parametrize(
    "module", [websocketstream, asgi, blocking, testing, uvicorn], ids=lambda module: module.__name__
)
def test_completion_of_a_module_shows_what_is_public(module: ModuleType) -> None:
    shown = {name for name in dir(module) if not is_python_s_own(name)}
    submodules = {"asgi", "blocking", "testing", "uvicorn"} if module is websocketstream else set()
    assert shown - submodules == set(module.__all__)


async def test_completion_of_a_connection_shows_what_is_public() -> None:
    async with websocket_stream_pair() as (conn, _):
        for thing in (conn, conn.readable, conn.writable, conn.statistics()):
            shown = [name for name in dir(thing) if not is_python_s_own(name)]
            assert shown
            assert not [name for name in shown if name.startswith("_")]
            assert not NAMES_OF_OTHERS.keys() & set(shown)
            for name in shown:
                getattr(thing, name)
        assert {"readable", "writable", "receive", "send", "messages", "closed", "close"} <= set(dir(conn))


@pytest.mark.parametrize("name", [name for name in websocketstream.__all__ if name[0].isupper()])
def test_completion_of_every_public_class_is_of_public_names(name: str) -> None:
    cls = getattr(websocketstream, name)
    assert cls.__dir__ is not object.__dir__


def test_the_version_is_the_one_that_is_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert websocketstream.__version__ == project["version"]
