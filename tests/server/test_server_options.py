"""The options of a server, which are checked before anything listens."""

from __future__ import annotations

import re
import ssl
from functools import partial, wraps
from typing import Any

import anyio
import pytest

from edges.serving import MemoryListener, echo, serving
from websocketstream import WebSocketRequest, open_websocket_stream, serve_websocket_streams

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"host": 1}, TypeError),
        ({"host": b"127.0.0.1"}, TypeError),
        ({"port": "x"}, TypeError),
        ({"port": True}, TypeError),
        ({"port": -1}, ValueError),
        ({"port": 65536}, ValueError),
        ({"listener": "x"}, TypeError),
        ({"listener": 5}, TypeError),
        ({"listener": MemoryListener(), "host": "127.0.0.1"}, ValueError),
        ({"listener": MemoryListener(), "port": 80}, ValueError),
        ({"ssl_context": True}, TypeError),
        ({"ssl_context": "cert.pem"}, TypeError),
        ({"ssl_context": ssl.create_default_context()}, ValueError),
        ({"handshake_limits": {"head_size": 1000}}, TypeError),
        ({"handshake_limits": None}, TypeError),
        ({"origins": "https://one.example"}, TypeError),
        ({"origins": ["one.example"]}, ValueError),
        ({"protocols": "chat"}, TypeError),
        ({"protocols": ["not a token"]}, ValueError),
        ({"max_message_size": 0}, ValueError),
        ({"max_message_size": True}, TypeError),
        ({"max_connections": 0}, ValueError),
        ({"max_connections": 1.5}, TypeError),
        ({"open_timeout": -1}, ValueError),
        ({"open_timeout": "10"}, TypeError),
        ({"shutdown_timeout": float("nan")}, ValueError),
        ({"shutdown_timeout": None}, TypeError),
        ({"compression": "yes"}, TypeError),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),  # the same in every worker
)
async def test_a_wrong_option_is_an_error_before_anything_is_awaited(
    options: dict[str, object], error: type[Exception]
) -> None:
    name = next(iter(options))
    with pytest.raises(error, match=name.removesuffix("s")) as caught:
        call(echo, **{"origins": None, **options})
    assert type(caught.value) is error


def generator(request: WebSocketRequest) -> Any:
    yield request


async def async_generator(request: WebSocketRequest) -> Any:
    yield request


def plain(request: WebSocketRequest) -> None:
    pass


class Plain:
    def __call__(self, request: WebSocketRequest) -> None:
        pass

    def method(self, request: WebSocketRequest) -> None:
        pass


@pytest.mark.parametrize(
    ("handler", "what"),
    [
        (None, "NoneType"),
        ("echo", "str"),
        (generator, "generator has a yield"),
        (async_generator, "async_generator has a yield"),
        (plain, "`async def` for plain"),
        (partial(plain), "`async def` for"),
        (Plain(), "`async def` for"),
        (Plain().method, "`async def` for Plain.method"),
    ],
)
async def test_a_handler_that_is_no_async_function_is_an_error_before_anything_is_awaited(
    handler: Any, what: str
) -> None:
    with pytest.raises(TypeError, match=f"handler must be an async function.*{what}"):
        call(handler, origins=None)


def call(handler: Any, **options: Any) -> None:
    """Call without letting it wait for anything."""
    coroutine = serve_websocket_streams(handler, **options)
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


def decorated(function: Any) -> Any:
    @wraps(function)
    def wrapper(*arguments: object) -> Any:
        return function(*arguments)

    return wrapper


async def echo_as(name: str, request: WebSocketRequest) -> None:
    await echo(request)


class Echo:
    async def __call__(self, request: WebSocketRequest) -> None:
        await echo(request)

    async def method(self, request: WebSocketRequest) -> None:
        await echo(request)

    @classmethod
    async def of_class(cls, request: WebSocketRequest) -> None:
        await echo(request)


@pytest.mark.parametrize(
    "handler",
    [
        echo,
        partial(echo_as, "me"),
        partial(partial(echo_as), "me"),
        decorated(echo),
        Echo(),
        Echo().method,
        Echo.of_class,
        lambda request: echo_as("me", request),
    ],
)
async def test_whatever_gives_a_coroutine_can_be_a_handler(handler: Any) -> None:
    listener = MemoryListener()
    async with serving(handler, listener=listener):
        async with open_websocket_stream("ws://localhost/", stream=listener.connect()) as conn:
            with anyio.fail_after(10):
                await conn.send("hello")
                assert await conn.receive() == "hello"
