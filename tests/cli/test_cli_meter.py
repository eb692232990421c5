"""The meter: rates, an estimate, and lines that fit."""

from __future__ import annotations

import pytest

from websocketstream._cli.meter import NARROW, Meter, heading
from websocketstream._cli.traffic import Traffic, bytes_of
from websocketstream.testing import websocket_stream_pair


def test_rates_are_those_of_the_last_moments() -> None:
    traffic = Traffic()
    meter = Meter(traffic, None)
    assert meter.read(0).outgoing.byte_rate == 0
    for second in range(1, 20):
        traffic.sent(2, 100 if second < 10 else 200)
        reading = meter.read(second)
    assert reading.outgoing.messages == 38
    assert (reading.outgoing.message_rate, reading.outgoing.byte_rate) == (2, 200)
    assert reading.incoming.message_rate == 0
    assert reading.share is None


def test_the_rest_of_a_file_is_estimated() -> None:
    traffic = Traffic()
    meter = Meter(traffic, 1000)
    assert meter.read(0).plain().startswith("0% of 1000 B; ")
    traffic.sent(1, 250)
    reading = meter.read(1)
    assert (reading.share, reading.left) == (0.25, 3)
    assert reading.plain().startswith("25% of 1000 B, 3.0 s left; sent 1 (1.0/s), 250 B (250 B/s), buffered")
    traffic.sent(1, 1000)  # the file has grown meanwhile
    reading = meter.read(2)
    assert (reading.share, reading.left) == (1, 0)


@pytest.mark.parametrize("width", [30, 80])
def test_the_table_has_columns_and_fits(width: int) -> None:
    traffic = Traffic()
    meter = Meter(traffic, None)
    meter.read(0)
    traffic.received(10**7, 2**42)
    lines = meter.read(1).lines(width)
    assert lines[0] == heading(width)
    assert all(len(line) <= min(width, NARROW) for line in lines)
    assert len({len(line) for line in lines[:3]}) == 1


@pytest.mark.anyio
async def test_what_is_held_back_and_how_long_a_ping_takes_is_the_connections(anyio_backend: object) -> None:
    async with websocket_stream_pair() as (client, server):
        traffic = Traffic(conn=client)
        await client.ping()
        await server.send("hello")
        await client.ping()  # behind it
        reading = Meter(traffic, None).read(0)
        assert reading.latency is not None
        assert "unknown" not in reading.plain()
        assert reading.incoming.buffered > 0


def test_a_message_has_as_many_bytes_as_its_utf_8() -> None:
    assert [bytes_of(message) for message in ("a", "ü", b"\xff\xff", "")] == [1, 2, 2, 0]
