"""Before a large read the transport asks where to read into, and the reader answers only if that is decoded at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.connection_kit import (
    LockstepCodec,
    LockstepLoop,
    LockstepTransport,
    connect,
    frame,
    lockstep,
)
from websocketstream import ConnectionBroken


@pytest.fixture
def loop() -> Iterator[LockstepLoop]:
    with lockstep() as loop:
        yield loop


@pytest.mark.usefixtures("loop")
def test_what_is_put_there_counts_as_what_has_arrived() -> None:
    stream, connection = connect(LockstepTransport())
    assert len(connection.room(100) or b"") == 100
    connection.room_filled(60, frame("M", b"whole"))
    assert connection.bytes_received == 60 + len(frame("M", b"whole"))
    assert stream.readable.receive_nowait() == b"whole"


def test_there_is_no_room_in_a_pass_that_has_taken_long_enough(loop: LockstepLoop) -> None:
    stream, connection = connect(LockstepTransport())
    loop.calls.took_much()
    loop.now += 0.005
    loop.calls.took_much()
    loop.now += 0.1
    assert loop.calls.are_late()
    assert connection.room(100) is None
    connection.data_received(frame("M", b"put off"))
    assert connection.room(100) is None
    loop.run()
    assert stream.readable.receive_nowait() == b"put off"
    assert connection.room(100) is not None


def test_a_codec_that_finds_no_memory_ends_its_own_connection_only(loop: LockstepLoop) -> None:
    codec = LockstepCodec()
    stream, connection = connect(transport := LockstepTransport(), codec=codec)
    codec.bug = MemoryError("no room")
    assert connection.room(100) is None
    loop.wait(100)
    assert transport.released
    with pytest.raises(ConnectionBroken, match="internal error"):
        stream.readable.receive_nowait()
