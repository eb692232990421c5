"""What a connection may rely on, whatever its transport is."""

from __future__ import annotations

import gc
import time
import weakref
from contextlib import suppress

import anyio
import pytest
import sniffio
from transport_kit import KINDS, MIB, Recorder, some_passes, transport_and_peer

from waiting import until
from websocketstream._network.sockets import watches_sockets
from websocketstream._network.transport import RELEASE_SECONDS

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", KINDS)]


async def test_what_arrives_is_handed_over_and_then_the_end(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        transport.attach(receiver := Recorder())
        await peer.send(b"one")
        await receiver.has(b"one")
        await peer.send(b"two")
        await peer.end()
        await receiver.was_told("eof_received")
        assert receiver.data == b"onetwo"
        assert receiver.error is None


async def test_what_arrived_before_is_handed_over_first(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        await peer.send(b"early")
        await peer.end()
        await some_passes()
        transport.attach(receiver := Recorder())
        await receiver.was_told("eof_received")
        assert receiver.data == b"early"
        assert receiver.calls == ["data_received", "eof_received"]


@pytest.mark.parametrize("early", [True, False])
async def test_a_receiver_that_was_paused_as_it_was_attached_gets_all_when_it_resumes(
    kind: str, early: bool
) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        if early:
            await peer.send(b"data")
            await peer.end()
            await some_passes()
        transport.pause()
        transport.attach(receiver := Recorder())
        if not early:
            await peer.send(b"data")
            await peer.end()
        await some_passes()
        assert not receiver.calls
        transport.resume()
        assert not receiver.calls
        await receiver.was_told("eof_received")
        assert receiver.data == b"data"


async def test_nothing_is_handed_over_between_pause_and_resume(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        receiver = Recorder(data_received=transport.pause)
        transport.attach(receiver)
        await peer.send(b"one")
        await receiver.has(b"one")
        transport.pause()
        await peer.send(b"two")
        await peer.end()
        await some_passes()
        assert receiver.calls == ["data_received"]
        transport.resume()
        transport.resume()
        assert receiver.calls == ["data_received"]
        await receiver.has(b"onetwo")
        await some_passes()
        assert "eof_received" not in receiver
        transport.resume()
        await receiver.was_told("eof_received")


async def test_the_end_is_told_once_however_often_the_receiver_pauses(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        await peer.end()
        await some_passes()
        transport.pause()
        transport.attach(receiver := Recorder())
        for _ in range(3):
            transport.resume()
            transport.pause()
        transport.resume()
        await receiver.was_told("eof_received")
        transport.pause()
        transport.resume()
        await some_passes()
        assert receiver.calls == ["eof_received"]


async def test_a_write_that_does_not_leave_whole_is_completed_and_then_told(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        transport.attach(receiver := Recorder())
        data = bytes(range(256)) * 2**16
        sent = transport.write(data)
        assert 0 <= sent < len(data)
        assert transport.congested
        assert "flushed" not in receiver
        assert await peer.receive(len(data)) == data
        await receiver.was_told("flushed")
        assert not transport.congested
        transport.write(b"next")
        assert await peer.receive(4) == b"next"


@pytest.mark.parametrize("size", [10, MIB])
async def test_several_buffers_are_written_as_if_they_were_one(kind: str, size: int) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        transport.attach(receiver := Recorder())
        buffers = [
            b"head",
            memoryview(bytes(range(256)) * (size // 256 + 1)),
            bytearray(b"tail"),
            bytes(size),
        ]
        data = b"".join(buffers)
        sent = transport.write_all(buffers)
        assert transport.congested == (sent < len(data))
        assert await peer.receive(len(data)) == data
        if transport.congested:
            await receiver.was_told("flushed")
        transport.write_all([b"next"])
        assert await peer.receive(4) == b"next"


async def test_the_next_write_may_come_out_of_the_call_that_the_last_has_left(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        chunks = [bytes([number]) * MIB for number in range(20)]
        left = iter(chunks)

        def write_on() -> None:
            while not transport.congested and (chunk := next(left, None)) is not None:
                transport.write(chunk)

        transport.attach(Recorder(flushed=write_on))
        write_on()
        assert await peer.receive(20 * MIB) == b"".join(chunks)


async def test_data_arrives_while_the_transport_is_congested(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        transport.attach(receiver := Recorder())
        transport.write(bytes(16 * MIB))
        await peer.send(b"answer")
        await receiver.has(b"answer")
        assert transport.congested


@pytest.mark.parametrize("size", [1, 16 * MIB])
async def test_our_direction_ends_behind_what_was_written_and_the_other_goes_on(kind: str, size: int) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        transport.attach(receiver := Recorder())
        transport.write(bytes(size))
        transport.end_sending()
        transport.end_sending()
        assert len(await peer.receive_to_the_end()) == size
        await peer.send(b"answer")
        await receiver.has(b"answer")


async def test_the_end_of_sending_cannot_fail(kind: str) -> None:
    """The peer has filled the buffers and is gone: on asyncio, write_eof() raises ENOTCONN."""
    async with transport_and_peer(kind) as (transport, peer):
        transport.pause()
        transport.attach(receiver := Recorder())
        await peer.send(bytes(30_000))
        await peer.reset()
        await some_passes()
        transport.end_sending()
        transport.resume()
        await until(lambda: receiver.error is not None or "eof_received" in receiver)
        transport.end_sending()


@pytest.mark.parametrize("congested", [True, False])
async def test_a_reset_is_told_once_with_its_cause(kind: str, congested: bool) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        transport.attach(receiver := Recorder())
        if congested:
            transport.write(bytes(16 * MIB))
            await some_passes()
        await peer.reset()
        await until(lambda: "failed" in receiver or "write_failed" in receiver)
        error = receiver.error or receiver.write_error  # who asks the system first gets to know
        assert isinstance(error, anyio.BrokenResourceError)
        assert error.__cause__ is not None
        assert "flushed" not in receiver
        with pytest.raises(anyio.BrokenResourceError):
            transport.write(b"x")


async def test_a_paused_receiver_learns_that_the_background_write_has_failed(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        transport.pause()
        transport.attach(receiver := Recorder())
        transport.write(bytes(16 * MIB))
        await some_passes()
        await peer.reset()
        # Except on asyncio's own sockets, the peer's last words may still be read.
        await until(lambda: "failed" in receiver or "write_failed" in receiver)
        assert receiver.calls in (["failed"], ["write_failed"])


async def test_what_the_peer_said_before_it_went_away_is_read_although_our_write_has_failed(
    kind: str,
) -> None:
    by_itself = sniffio.current_async_library() == "asyncio" and not watches_sockets()
    if kind in ("socket without watching", "adopted socket") or (by_itself and "memory" not in kind):
        pytest.skip("the event loop's own transport closes a socket that it cannot write to")
    async with transport_and_peer(kind) as (transport, peer):
        transport.pause()
        transport.attach(receiver := Recorder())
        transport.write(bytes(16 * MIB))
        await some_passes()
        await peer.send(b"this is why")
        await peer.reset()
        await receiver.was_told("write_failed")
        with pytest.raises(anyio.BrokenResourceError):
            transport.write(b"x")
        transport.resume()
        await receiver.has(b"this is why")
        await until(lambda: "failed" in receiver or "eof_received" in receiver)
        assert receiver.calls[:2] == ["write_failed", "data_received"]
        assert "flushed" not in receiver


@pytest.mark.parametrize("congested", [True, False])
async def test_nobody_is_called_after_the_release(kind: str, congested: bool) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        transport.attach(receiver := Recorder())
        if congested:
            transport.write(bytes(16 * MIB))
        await peer.send(b"one")
        transport.release()
        transport.release()
        before = list(receiver.calls)
        started = time.monotonic()
        await transport.wait_released()
        assert time.monotonic() - started < RELEASE_SECONDS / 2
        await peer.close()
        await some_passes()
        assert receiver.calls == before
        with pytest.raises(anyio.ClosedResourceError):
            transport.write(b"x")
        transport.end_sending()
        transport.pause()
        transport.resume()
        assert not transport.extra_attributes


@pytest.mark.parametrize("call", ["data_received", "eof_received", "flushed", "failed"])
async def test_the_transport_may_be_released_out_of_any_call(kind: str, call: str) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        receiver = Recorder(**{call: transport.release})
        transport.attach(receiver)
        if call == "flushed":
            transport.write(bytes(4 * MIB))
            with pytest.raises((anyio.EndOfStream, OSError, anyio.BrokenResourceError, AssertionError)):
                assert len(await peer.receive_to_the_end()) < 4 * MIB
        elif call == "failed":
            await peer.reset()
        elif call == "eof_received":
            await peer.end()
        else:
            await peer.send(b"x")
        await receiver.was_told(call)
        await transport.wait_released()
        assert receiver.calls[-1] == call


async def test_who_is_told_of_a_failure_cannot_write_any_more(kind: str) -> None:
    def write() -> None:
        with pytest.raises(anyio.BrokenResourceError):
            transport.write(b"x")
        with pytest.raises(anyio.BrokenResourceError):
            transport.write_all([b"x", b"y"])
        written.append(True)

    written: list[bool] = []
    async with transport_and_peer(kind) as (transport, peer):
        transport.attach(receiver := Recorder(failed=write))
        await peer.reset()
        await receiver.was_told("failed")
        assert written


async def test_the_receiver_is_let_go_with_the_transport(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, _):
        transport.attach(receiver := Recorder())
        reference = weakref.ref(receiver)
        await some_passes()
        gc.collect()
        gc.disable()
        try:
            transport.release()
            del receiver
            await transport.wait_released()
            assert reference() is None
        finally:
            gc.enable()


async def test_a_cancelled_task_waits_for_the_release_all_the_same(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, _):
        transport.attach(Recorder())
        with anyio.CancelScope() as scope:
            scope.cancel()
            transport.release()
            with suppress(anyio.get_cancelled_exc_class()):
                await transport.wait_released()
        assert transport._gone.is_set
