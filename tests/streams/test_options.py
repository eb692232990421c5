"""What the options of a connection mean to its codec."""

from __future__ import annotations

import anyio
import pytest

from websocketstream import open_websocket_stream
from websocketstream._streams.options import StreamOptions
from websocketstream.testing import websocket_stream_pair


@pytest.mark.parametrize(
    ("size", "fragments"),
    [
        (1, 4096),
        (2**20, 4096),
        (2**22, 4096),
        (2**22 + 1024, 4097),
        (16 * 2**20, 16384),
        (2**30, 2**20),
        (None, None),
    ],
)
def test_a_message_may_have_as_many_frames_as_its_size_allows(
    size: int | None, fragments: int | None
) -> None:
    assert StreamOptions(max_message_size=size).limits.max_fragments == fragments


@pytest.mark.parametrize("size", [1, 2**30, None])
def test_a_number_of_frames_that_was_given_is_the_limit(size: int | None) -> None:
    assert StreamOptions(max_message_size=size, max_fragments=7).limits.max_fragments == 7


@pytest.mark.anyio
@pytest.mark.parametrize(("count", "fits"), [(8191, True), (8192, False)])
async def test_a_raised_max_message_size_raises_the_number_of_frames_with_it(count: int, fits: bool) -> None:
    async def send() -> None:
        async with client.writable.message() as part:
            for _ in range(count):  # and an empty frame in the end
                await part.send(b"x")

    async with websocket_stream_pair(max_message_size=2**23) as (client, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            if fits:
                assert await server.receive() == b"x" * count
            else:
                with pytest.raises(Exception, match="more than 8192 fragments"):
                    await server.receive()
                tasks.cancel_scope.cancel()


def test_a_wrong_option_is_complained_about_once() -> None:
    with pytest.raises(TypeError, match="read_buffer must be an int") as caught:
        open_websocket_stream("ws://example.com/", read_buffer="much")  # type: ignore[arg-type]
    assert caught.value.__context__ is None
