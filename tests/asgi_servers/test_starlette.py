"""Applications of Starlette's as they are, under uvicorn with our protocol."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from asgi_servers.uvicorn_kit import serving
from backends import BACKENDS
from websocketstream import CloseInfo, HandshakeRejected, WebSocketStream, open_websocket_stream

pytest.importorskip("starlette")

from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import WebSocketException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from websocketstream.asgi import accept

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", [param for param in BACKENDS if param.id != "trio"]),
]

Endpoint = Callable[[WebSocket], Awaitable[None]]
Scene = Callable[[WebSocketStream], Awaitable[None]]


async def play(endpoint: Any, scene: Scene, *, path: str = "/", middleware: Any = (), **options: Any) -> None:
    """Let a client play a scene with an endpoint."""
    app = Starlette(routes=[WebSocketRoute("/", endpoint)], middleware=middleware)
    async with serving(app) as served:
        with anyio.fail_after(10):
            async with open_websocket_stream(served.url + path, **options) as conn:
                await scene(conn)
        await served.idle()


async def refusal(endpoint: Any, *, path: str = "/") -> HandshakeRejected:
    async def scene(_conn: WebSocketStream) -> None:
        pytest.fail("it was to be refused")

    with pytest.raises(HandshakeRejected) as caught:
        await play(endpoint, scene, path=path)
    return caught.value


async def said(conn: WebSocketStream) -> list[Any]:
    return [message async for message in conn]


async def test_an_endpoint_knows_the_request() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        data = {
            "url": str(websocket.url),
            "query": dict(websocket.query_params),
            "header": websocket.headers["x-a"],
            "cookies": websocket.cookies,
            "client": websocket.client is not None,
        }
        await websocket.send_json(data)
        await websocket.close()

    async def scene(conn: WebSocketStream) -> None:
        (message,) = await said(conn)
        assert json.loads(message) == {
            "url": conn.url,
            "query": {"a": "abc", "b": "456"},
            "header": "b",
            "cookies": {"c": "d"},
            "client": True,
        }

    headers = {"X-A": "b", "Cookie": "c=d"}
    await play(endpoint, scene, path="/?a=abc&b=456", headers=headers)


async def test_text_bytes_and_json_come_and_go() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.send_bytes(await websocket.receive_bytes())
        await websocket.send_json(await websocket.receive_json())
        await websocket.send_json(await websocket.receive_json(mode="binary"), mode="binary")
        await websocket.close()

    async def scene(conn: WebSocketStream) -> None:
        messages: list[Any] = ["hällo", b"\xff", '{"a":"b"}', b'{"c":"d"}']
        for message in messages:
            await conn.send(message)
        assert await said(conn) == messages

    await play(endpoint, scene)


async def test_iteration_ends_when_the_client_closes() -> None:
    ends: list[Any] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)
        ends.append(websocket.client_state.name)

    async def scene(conn: WebSocketStream) -> None:
        await conn.send("x")
        assert await conn.receive() == "x"

    await play(endpoint, scene)
    assert ends == ["DISCONNECTED"]


async def test_one_task_may_read_while_another_writes() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        send, receive = anyio.create_memory_object_stream[Any]()

        async def read() -> None:
            async with send:
                async for data in websocket.iter_json():
                    await send.send(data)

        async def write() -> None:
            async with receive:
                async for data in receive:
                    await websocket.send_json(data)

        await websocket.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await write()

    async def scene(conn: WebSocketStream) -> None:
        await conn.send('{"hello":"world"}')
        assert await conn.receive() == '{"hello":"world"}'

    await play(endpoint, scene)


async def test_the_endpoint_learns_why_the_client_closes() -> None:
    codes: list[Any] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect) as caught:
            await websocket.receive_text()
        codes.append((caught.value.code, caught.value.reason))

    async def scene(conn: WebSocketStream) -> None:
        conn.close(3001, "Going Away")
        await conn.closed

    await play(endpoint, scene)
    assert codes == [(3001, "Going Away")]


async def test_the_client_learns_why_the_endpoint_closes() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(3002, reason="Going Away")

    async def scene(conn: WebSocketStream) -> None:
        assert await conn.closed == CloseInfo(3002, "Going Away")

    await play(endpoint, scene)


async def test_an_exception_of_starlettes_closes_with_its_code() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        raise WebSocketException(code=1008, reason="policy")

    async def scene(conn: WebSocketStream) -> None:
        assert await conn.closed == CloseInfo(1008, "policy")

    await play(endpoint, scene)


async def test_an_endpoint_closes_before_it_accepts() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        assert (await websocket.receive())["type"] == "websocket.connect"
        await websocket.close(1001)

    assert (await refusal(endpoint)).status == 403
    assert (await refusal(endpoint, path="/nowhere")).status == 403


async def test_an_endpoint_refuses_with_a_response() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.send_denial_response(
            JSONResponse({"detail": "no"}, status_code=401, headers={"X-A": "a"})
        )

    error = await refusal(endpoint)
    assert (error.status, error.body, error.headers["x-a"]) == (401, b'{"detail":"no"}', "a")
    assert error.headers["content-type"] == "application/json"


async def test_protocol_and_header_fields_of_the_answer() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        assert websocket["subprotocols"] == ["soap", "wamp"]
        await websocket.accept(subprotocol="wamp", headers=[(b"additional", b"header")])
        await websocket.close()

    async def scene(conn: WebSocketStream) -> None:
        assert conn.protocol == "wamp"
        assert conn.response is not None
        assert conn.response.headers["additional"] == "header"

    await play(endpoint, scene, protocols=["soap", "wamp"])


async def test_a_class_as_an_endpoint() -> None:
    codes: list[int] = []

    class Echo(WebSocketEndpoint):
        encoding = "text"

        async def on_receive(self, websocket: WebSocket, data: Any) -> None:
            await websocket.send_text(f"Message text was: {data}")

        async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
            codes.append(close_code)

    async def scene(conn: WebSocketStream) -> None:
        await conn.send("hello")
        assert await conn.receive() == "Message text was: hello"
        conn.close(1000)
        await conn.closed

    await play(Echo, scene)
    assert codes == [1000]


async def test_middleware_sees_the_answer_of_a_native_stream() -> None:
    class Adds:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def adding(event: Any) -> None:
                if event["type"] == "websocket.accept":
                    event["headers"] = [*event["headers"], (b"x-added", b"yes")]
                await send(event)

            await self.app(scope, receive, adding)

    async def endpoint(websocket: WebSocket) -> None:
        async with accept(websocket) as conn:
            await conn.ping()
            async for message in conn:
                await conn.send(message)

    async def scene(conn: WebSocketStream) -> None:
        assert conn.response is not None
        assert conn.response.headers["x-added"] == "yes"
        await conn.send("x")
        assert await conn.receive() == "x"

    await play(endpoint, scene, middleware=[Middleware(Adds)])
