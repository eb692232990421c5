"""The writer, in lockstep with a transport: what goes into one write, in which order, and who comes for the rest."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

from streams.connection_kit import (
    LockstepCodec,
    LockstepLoop,
    LockstepTransport,
    Task,
    TaskLikeTransport,
    connect,
    frame,
    frames,
    lockstep,
    reset,
)
from websocketstream import WebSocketStream
from websocketstream._streams.connection import Connection
from websocketstream._streams.writer import (
    BATCH_BYTES,
    DIRECT_WRITE_BYTES,
    MAX_QUEUED_PONGS,
    TURN_BYTES,
    WRITE_BYTES,
)

MIB = 2**20
ROOMY = 64 * MIB


@pytest.fixture
def loop() -> Iterator[LockstepLoop]:
    with lockstep() as loop:
        yield loop


def sent(transport: LockstepTransport) -> list[tuple[str, bytes]]:
    return frames(bytes(transport.sent))


def payloads(transport: LockstepTransport) -> list[bytes]:
    return [payload for kind, payload in sent(transport) if kind == "M"]


def send(loop: LockstepLoop, conn: WebSocketStream, *messages: bytes) -> list[Task]:
    return [loop.start(conn.send(message)) for message in messages]


def arrives(transport: LockstepTransport, *data: bytes) -> None:
    assert transport.receiver is not None
    transport.receiver.data_received(b"".join(data))


def messages_of(connection: Connection) -> int:
    return connection.outbox.statistics().messages


def test_the_first_message_of_a_turn_leaves_at_once_and_the_others_share_one_write(
    loop: LockstepLoop,
) -> None:
    transport = LockstepTransport()
    conn, connection = connect(transport)
    send(loop, conn, b"request")
    assert payloads(transport) == [b"request"]
    send(loop, conn, b"1", b"2", b"3")
    assert len(transport.writes) == 1
    assert conn.statistics().writable.buffered_messages == 3
    loop.run()
    assert len(transport.writes) == 2
    assert payloads(transport) == [b"request", b"1", b"2", b"3"]
    connection.budget.waited()  # the application has waited for something
    send(loop, conn, b"next")
    assert payloads(transport)[-1] == b"next"


def test_a_message_waits_for_those_before_it_although_it_is_the_first_of_its_turn(loop: LockstepLoop) -> None:
    transport = LockstepTransport()
    conn, connection = connect(transport)
    send(loop, conn, b"1", b"2")
    connection.budget.waited()
    send(loop, conn, b"3")
    assert payloads(transport) == [b"1", b"2", b"3"]
    assert not conn.statistics().writable.buffered_bytes


@pytest.mark.parametrize("by", [-1, 0, 1])
@pytest.mark.parametrize("measure", [BATCH_BYTES, WRITE_BYTES, DIRECT_WRITE_BYTES, TURN_BYTES, 3 * MIB])
@pytest.mark.parametrize("tasks", [False, True], ids=["direct", "in tasks"])
@pytest.mark.parametrize("portion", [2**17, 2**60])
def test_messages_that_end_exactly_at_a_measure_of_ours_leave_like_any_other(
    loop: LockstepLoop, measure: int, by: int, tasks: bool, portion: int
) -> None:
    """A turn that ended at the boundary of a batch left nobody awake."""
    transport = TaskLikeTransport() if tasks else LockstepTransport(room=100_000)
    conn, connection = connect(transport, codec=LockstepCodec(portion), write_buffer=2**16)
    messages = [b"%d" % number + bytes(measure + by - 1) for number in range(3)]
    messages += [bytes(1000)] * ((measure + by) // 1000)
    senders = send(loop, conn, *messages)
    for _ in range(1000):
        loop.run()
        assert transport.congested or not connection.writer.has_work
        if not transport.congested:
            break
        transport.take(200_000)
    assert all(task.done and task.error is None for task in senders)
    assert payloads(transport) == messages


def test_one_turn_writes_a_bounded_part_and_others_go_on_before_the_next(loop: LockstepLoop) -> None:
    transport = LockstepTransport()
    conn, _ = connect(transport, server=True, write_buffer=ROOMY)
    send(loop, conn, bytes(10 * MIB))
    written = [len(transport.sent)]
    while loop.calls_soon:
        loop.run_pass()
        written.append(len(transport.sent))
    steps = [after - before for before, after in zip([0, *written], written, strict=False)]
    assert max(steps) <= TURN_BYTES + DIRECT_WRITE_BYTES * 5 // 4
    assert max(transport.writes) <= DIRECT_WRITE_BYTES * 5 // 4
    assert payloads(transport) == [bytes(10 * MIB)]


def test_a_transport_in_tasks_gets_smaller_writes(loop: LockstepLoop) -> None:
    """Between two of them senders, and the keepalive, learn how much is left."""
    transport = TaskLikeTransport()
    conn, _ = connect(transport)
    send(loop, conn, bytes(3 * MIB))
    while transport.congested:
        transport.take()
        loop.run()
    assert max(transport.writes) <= WRITE_BYTES * 5 // 4


def test_a_burst_is_encoded_and_written_in_batches(loop: LockstepLoop) -> None:
    transport = LockstepTransport()
    conn, _ = connect(transport, write_buffer=ROOMY)
    count = 4 * BATCH_BYTES // 1000
    send(loop, conn, *[bytes(1000)] * count)
    loop.run()
    assert len(payloads(transport)) == count
    assert 4 <= len(transport.writes) <= 8


def test_nothing_is_written_to_a_congested_transport(loop: LockstepLoop) -> None:
    transport = LockstepTransport(room=3)
    conn, connection = connect(transport)
    send(loop, conn, b"begun", b"next")
    arrives(transport, frame("I", b"ping"))
    loop.start(conn.ping())
    conn.close()
    assert len(transport.writes) == 1
    assert not loop.calls_soon
    assert connection.writer.has_unsent
    transport.take()
    assert [kind for kind, _ in sent(transport)] == ["M", "O", "I", "M", "C"]


@pytest.mark.parametrize("size", [10, BATCH_BYTES, 3 * MIB])
def test_what_was_written_is_counted_also_in_the_senders_own_turn(loop: LockstepLoop, size: int) -> None:
    """The keepalive has to know how much may lie unread in front of its ping."""
    transport = LockstepTransport()
    conn, connection = connect(transport)
    for _ in range(2):
        send(loop, conn, bytes(size))
        assert connection.writer.written == len(transport.sent) or size == 3 * MIB
        connection.budget.waited()
    loop.run()
    assert connection.writer.written == len(transport.sent) > 2 * size
    conn.close()
    assert connection.writer.written == len(transport.sent)


def test_a_peer_that_reads_slowly_what_was_written_in_the_senders_turn_has_time_for_the_ping(
    loop: LockstepLoop,
) -> None:
    transport = LockstepTransport()
    conn, connection = connect(transport, ping_interval=20, ping_timeout=20)
    send(loop, conn, bytes(BATCH_BYTES - 1))
    for _ in range(9):
        connection.budget.waited()
        send(loop, conn, bytes(BATCH_BYTES - 1))
    assert len(transport.writes) == 10
    loop.wait(60)  # 640 KiB at 16 KiB a second are 40 s
    assert conn.close_info is None
    loop.wait(20.5)
    assert conn.close_info is not None


def test_control_frames_overtake_messages_that_are_not_encoded_yet(loop: LockstepLoop) -> None:
    transport = LockstepTransport(room=0)
    conn, _ = connect(transport, write_buffer=ROOMY)
    send(loop, conn, *[bytes(BATCH_BYTES)] * 3)
    arrives(transport, frame("I", b"ping"))
    transport.take(ROOMY)
    loop.run()
    assert [kind for kind, _ in sent(transport)] == ["M", "O", "M", "M"]


def test_control_frames_leave_while_a_message_is_encoded_in_portions(loop: LockstepLoop) -> None:
    transport = LockstepTransport()
    codec = LockstepCodec(portion=1000)
    conn, connection = connect(transport, codec=codec)
    send(loop, conn, bytes(10_000), b"next")
    loop.run_pass()
    assert 0 < codec.steps < 10
    arrives(transport, frame("I", b"ping"))
    assert sent(transport) == [("O", b"ping")]
    loop.run_pass()
    assert connection.writer.has_unsent
    loop.run()
    assert codec.steps == 10
    assert payloads(transport) == [bytes(10_000), b"next"]


def test_one_portion_is_encoded_in_each_pass(loop: LockstepLoop) -> None:
    codec = LockstepCodec(portion=1000)
    conn, _ = connect(LockstepTransport(), codec=codec)
    send(loop, conn, bytes(10_000))
    steps = [codec.steps]
    while loop.calls_soon:
        loop.run_pass()
        steps.append(codec.steps)
    assert steps == [*range(1, 11), 10]


def test_small_messages_in_front_of_one_in_portions_do_not_wait_for_it(loop: LockstepLoop) -> None:
    transport = LockstepTransport()
    conn, _ = connect(transport, codec=LockstepCodec(portion=1000), write_buffer=ROOMY)
    send(loop, conn, b"0", b"1", b"2", bytes(10_000), b"3")
    loop.run_pass()
    assert payloads(transport) == [b"0", b"1", b"2"]
    loop.run()
    assert payloads(transport) == [b"0", b"1", b"2", bytes(10_000), b"3"]


def test_a_sender_is_held_while_its_message_is_encoded_in_portions(loop: LockstepLoop) -> None:
    transport = LockstepTransport()
    conn, _ = connect(transport, codec=LockstepCodec(portion=10_000), write_buffer=1000)
    (task,) = send(loop, conn, bytes(100_000))
    assert not task.done
    assert conn.statistics().writable.buffered_bytes == 100_000
    arrives(transport, frame("I", b"ping"))
    assert conn.statistics().writable.buffered_bytes == 100_000
    loop.run()
    assert task.done
    assert conn.statistics().writable.buffered_bytes == 0


def test_only_the_newest_pongs_of_a_flood_are_kept(loop: LockstepLoop) -> None:
    transport = LockstepTransport(room=1)
    conn, _ = connect(transport)
    send(loop, conn, b"begun")
    arrives(transport, *[frame("I", b"%d" % number) for number in range(50)])
    arrives(transport, *[frame("I", b"%d" % number) for number in range(50, 60)])
    transport.take(ROOMY)
    pongs = [payload for kind, payload in sent(transport) if kind == "O"]
    assert pongs == [b"%d" % number for number in range(60 - MAX_QUEUED_PONGS, 60)]


def test_a_ping_whose_sender_was_cancelled_is_not_sent_unless_it_has_left(loop: LockstepLoop) -> None:
    transport = LockstepTransport(room=1)
    conn, _ = connect(transport)
    send(loop, conn, b"begun")
    first, second = loop.start(conn.ping()), loop.start(conn.ping())
    first.cancel()
    transport.take(ROOMY)
    assert [kind for kind, _ in sent(transport)] == ["M", "I"]
    second.cancel()
    assert [kind for kind, _ in sent(transport)] == ["M", "I"]


@pytest.mark.parametrize("passes", range(8))
def test_nothing_is_written_behind_the_close_frame(loop: LockstepLoop, passes: int) -> None:
    """A ping arrives while a large message and the Close frame behind it are on their way."""
    transport = LockstepTransport()
    conn, connection = connect(transport, server=True, write_buffer=ROOMY)
    send(loop, conn, b"first", bytes(5 * MIB))
    conn.close()
    for _ in range(passes):
        loop.run_pass()
    arrives(transport, frame("I", b"ping"))
    loop.run()
    kinds = [kind for kind, _ in sent(transport)]
    assert kinds[-1] == "C"
    assert kinds.count("C") == 1
    assert not connection.writer.has_work


def test_the_close_frame_leaves_behind_all_that_was_accepted(loop: LockstepLoop) -> None:
    transport = LockstepTransport(room=1000)
    conn, _ = connect(transport, write_buffer=8 * MIB)
    messages = [b"%04d" % number + bytes(996) for number in range(3000)]
    for message in messages:
        task = loop.start(conn.send(message))
        while not task.done:
            loop.run_tasks()  # only checkpoints: there is room
    conn.close(1000)
    while transport.congested or loop.calls_soon:
        loop.run()
        transport.take(100_000)
    assert payloads(transport) == messages
    assert sent(transport)[-1] == ("C", b"1000")


def test_an_abort_drops_a_message_that_is_encoded_in_portions_and_does_not_count_it(
    loop: LockstepLoop,
) -> None:
    transport = LockstepTransport()
    conn, _ = connect(transport, codec=LockstepCodec(portion=1000), write_buffer=1000)
    send(loop, conn, b"left")
    (task,) = send(loop, conn, bytes(5000))
    conn.writable.abort()
    loop.run()
    with pytest.raises(anyio.ClosedResourceError):
        task.result()
    assert sent(transport) == [("M", b"left"), ("C", b"")]
    statistics = conn.statistics().writable
    assert (statistics.messages, statistics.buffered_messages, statistics.buffered_bytes) == (1, 0, 0)


@pytest.mark.parametrize("size", [10, 5000])
def test_a_bug_while_encoding_closes_the_connection_once_and_counts_nothing(
    loop: LockstepLoop, size: int
) -> None:
    transport = LockstepTransport()
    codec = LockstepCodec(portion=1000)
    conn, connection = connect(transport, codec=codec, write_buffer=1000)
    send(loop, conn, b"left")
    (task,) = send(loop, conn, bytes(size))
    codec.bug = MemoryError("no room")
    loop.run()
    assert task.done
    assert sent(transport) == [("M", b"left"), ("C", b"1011")]
    assert messages_of(connection) == 1
    assert not connection.writer.has_work
    with pytest.raises(anyio.BrokenResourceError, match=r"internal error: MemoryError\('no room'\)"):
        loop.start(conn.send(b"late")).result()


def test_a_bug_in_the_senders_own_turn_is_an_error_of_the_connection(loop: LockstepLoop) -> None:
    transport = LockstepTransport()
    codec = LockstepCodec()
    conn, connection = connect(transport, codec=codec)
    codec.bug = MemoryError("no room")
    send(loop, conn, b"x")
    assert sent(transport) == [("C", b"1011")]
    assert messages_of(connection) == 0
    assert connection.outbox.free == 2**16


@pytest.mark.parametrize("size", [10, BATCH_BYTES, 3 * MIB])
def test_a_message_whose_write_fails_does_not_count_and_its_sender_is_let_go(
    loop: LockstepLoop, size: int
) -> None:
    transport = LockstepTransport()
    conn, connection = connect(transport)
    send(loop, conn, b"left")
    transport.error = reset()
    connection.budget.waited()
    (task,) = send(loop, conn, bytes(size))
    assert not connection.writer.has_work
    loop.wait(2)
    assert task.done
    assert conn.close_info is not None
    assert not conn.close_info.clean
    assert messages_of(connection) == 1
    assert payloads(transport) == [b"left"]


def test_a_failed_write_is_told_once_and_nothing_more_is_written(loop: LockstepLoop) -> None:
    transport = LockstepTransport(room=0)
    conn, connection = connect(transport, write_buffer=ROOMY)
    send(loop, conn, *[bytes(BATCH_BYTES)] * 20)
    transport.error = reset()
    transport.take(ROOMY)
    loop.run()
    writes = len(transport.writes)
    assert not connection.writer.has_work
    arrives(transport, frame("I", b"ping"))
    send(loop, conn, b"late")
    loop.run()
    assert len(transport.writes) == writes
    arrives(transport, frame("C", b"4000"))
    assert conn.close_info is not None
    assert (conn.close_info.code, conn.close_info.clean) == (4000, False)


def test_after_the_release_nothing_is_scheduled_or_kept(loop: LockstepLoop) -> None:
    transport = LockstepTransport()
    conn, connection = connect(transport, write_buffer=ROOMY)
    send(loop, conn, b"left", b"queued", bytes(3 * MIB))
    arrives(transport, frame("I", b"ping"))
    connection.drop()
    assert not connection.writer.has_work
    assert not connection.writer.has_unsent
    assert not loop.others
    assert conn.statistics().writable.buffered_bytes == 0
    before = len(transport.sent)
    connection.writer.flush()
    connection.writer.pong(b"late")
    connection.writer.ping(b"late")
    assert not connection.writer.has_work
    assert len(transport.sent) == before
