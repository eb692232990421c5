"""Messages up to a good end: any other is an error, and does not look like the end of what there was."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from streams.raw_peer import connection_and_peer
from websocketstream import ConnectionBroken, ConnectionClosed

pytestmark = pytest.mark.anyio


async def taken_until_the_peer_closes(code: int | None, **options: Any) -> list[str | bytes]:
    """Let the peer send two messages and close; return what comes out before the end, or raise what that is."""
    async with connection_and_peer() as (conn, peer):
        await peer.send("a", b"b")
        await peer.close(code)
        received = [message async for message in conn.messages(**options)]
        assert received == ["a", b"b"]
    return received


@pytest.mark.parametrize("code", [1000, 1001, None])
async def test_it_ends_where_the_peer_was_done_went_away_or_said_nothing(code: int | None) -> None:
    assert await taken_until_the_peer_closes(code) == ["a", b"b"]


@pytest.mark.parametrize("code", [1002, 1011, 1013, 3000, 4999])
async def test_any_other_code_is_an_error_behind_the_messages(code: int) -> None:
    received = []
    async with connection_and_peer() as (conn, peer):
        await peer.send("a")
        await peer.close(code, "why")
        with pytest.raises(ConnectionClosed) as caught:
            async for message in conn.messages():
                received.append(message)  # noqa: PERF401  (what came before the error counts)
        assert (caught.value.close_code, caught.value.reason) == (code, "why")
        assert (await conn.closed).code == code
    assert received == ["a"]


async def test_which_codes_are_good_is_for_the_program_to_say() -> None:
    assert await taken_until_the_peer_closes(4001, ok=[1000, 4001]) == ["a", b"b"]
    with pytest.raises(ConnectionClosed):
        await taken_until_the_peer_closes(1000, ok=[])


async def test_an_end_without_a_close_frame_is_an_error_as_ever() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.send("a")
        await peer.stream.aclose()
        messages = conn.messages(ok=[1006])
        assert await anext(messages) == "a"
        with pytest.raises(ConnectionBroken):
            await anext(messages)


async def test_who_has_closed_the_connection_is_told_so() -> None:
    async with connection_and_peer() as (conn, _):
        messages = conn.messages()
        conn.close()
        with pytest.raises(anyio.ClosedResourceError):
            await anext(messages)


async def test_a_loop_that_is_left_loses_nothing_and_another_one_goes_on() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.send("a", "b", "c")
        async for message in conn.messages():
            assert message == "a"
            break
        assert await conn.receive() == "b"
        assert await anext(conn.messages()) == "c"


@pytest.mark.parametrize("ok", [1000, "1000", [None]])
async def test_codes_that_are_none_are_refused_at_once(ok: Any) -> None:
    async with connection_and_peer() as (conn, _):
        with pytest.raises(TypeError, match="ok must be a collection of close codes"):
            conn.messages(ok=ok)
