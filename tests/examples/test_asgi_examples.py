"""The applications of FastAPI and Starlette, under the command that their first lines show."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import anyio
import anyio.to_thread
import pytest

from examples.example_kit import asgi_example
from websocketstream import HandshakeRejected, WebSocketStream, bearer_auth, open_websocket_stream

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

# The server is another process: our side's loop makes no difference.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


async def hears(conn: WebSocketStream, *messages: str) -> None:
    with anyio.fail_after(20):
        for message in messages:
            assert await conn.receive() == message


# --- FastAPI


@pytest.fixture(scope="module")
def rooms_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("fastapi")
    with asgi_example(tmp_path_factory.mktemp("fastapi"), "fastapi_app") as port:
        yield port


async def who_is_where(port: str) -> object:
    def ask() -> object:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/rooms", timeout=20) as answer:
            return json.load(answer)

    return await anyio.to_thread.run_sync(ask)


async def test_rooms_are_for_guests_and_end_with_the_last_one(rooms_port: str) -> None:
    url = f"ws://127.0.0.1:{rooms_port}/rooms"
    async with open_websocket_stream(f"{url}/lobby?token=ada-1815") as ada:
        await hears(ada, "Ada is here")
        async with (
            open_websocket_stream(f"{url}/lobby?token=grace-1906") as grace,
            open_websocket_stream(f"{url}/attic?token=grace-1906") as elsewhere,
        ):
            await hears(elsewhere, "Grace is here")
            await hears(ada, "Grace is here")
            await hears(grace, "Grace is here")
            await grace.send("hello")
            await hears(ada, "Grace: hello")
            await hears(grace, "Grace: hello")
            assert await who_is_where(rooms_port) == {"lobby": 2, "attic": 1}
    with anyio.fail_after(20):
        while await who_is_where(rooms_port):
            pass


async def test_a_stranger_is_told_what_is_missing(rooms_port: str) -> None:
    for query in ("", "?token=", "?token=ada"):
        with pytest.raises(HandshakeRejected) as caught:
            async with open_websocket_stream(f"ws://127.0.0.1:{rooms_port}/rooms/lobby{query}"):
                pass
        assert caught.value.status == 401
        assert caught.value.body == b"Who are you? Come with ?token=YOURS.\n"


# --- Starlette


@pytest.fixture(scope="module")
def feed_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with asgi_example(tmp_path_factory.mktemp("starlette"), "starlette_denial") as port:
        yield f"ws://127.0.0.1:{port}/feed"


@pytest.mark.parametrize("said", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer \xe4"}])
async def test_a_denial_has_a_status_fields_and_a_body(feed_url: str, said: dict[str, str]) -> None:
    with pytest.raises(HandshakeRejected) as caught:
        async with open_websocket_stream(feed_url, headers=said):
            pass
    denial = caught.value
    assert denial.status == 401
    assert denial.headers["www-authenticate"] == "Bearer"
    assert denial.headers["content-type"] == "application/json"
    assert json.loads(denial.body) == {"error": "no valid token"}


async def test_who_comes_when_all_places_are_taken_learns_when_to_come_again(feed_url: str) -> None:
    headers = {"Authorization": bearer_auth("secret")}
    async with (
        open_websocket_stream(feed_url, headers=headers) as one,
        open_websocket_stream(feed_url, headers=headers) as other,
    ):
        await hears(one, "welcome")
        await hears(other, "welcome")
        with pytest.raises(HandshakeRejected) as caught:
            async with open_websocket_stream(feed_url, headers=headers):
                pass
        assert (caught.value.status, caught.value.headers["retry-after"]) == (503, "5")
        await one.send("hello")
        await hears(one, "hello")
    await until_welcome(feed_url, headers)


async def until_welcome(url: str, headers: dict[str, str]) -> None:
    """Come again until the server has seen that somebody has left."""
    welcomed = False
    with anyio.fail_after(20):
        while not welcomed:
            with suppress(HandshakeRejected):
                async with open_websocket_stream(url, headers=headers) as conn:
                    await hears(conn, "welcome")
                    welcomed = True
