"""What a trace hook and the log are told: kinds, sizes and codes, and nothing of what is said."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from codec_kit import Kit

from websocketstream import CloseInfo, ConnectionEnded, ConnectionOpened, FrameReceived, FrameSent, TraceEvent
from websocketstream._protocol.codec import Chunk, Close, CodecLimits, Failure, Outgoing, Ping, Pong
from websocketstream._protocol.trace import TracedCodec, Tracer, check_trace, log_events, next_id, tracer_of

LOG = logging.getLogger("websocketstream.client")


class Recorded(list[TraceEvent]):
    def tracer(self) -> Tracer:
        return Tracer("c1", [self.append])


@pytest.fixture
def seen() -> Recorded:
    return Recorded()


class PlainCodec:
    """Gives back what it is asked for."""

    pending = False
    only_messages = True
    whole_bytes = 6
    message_bytes = 7
    portion = 8
    deflate = "deflate"

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.discarded = False
        self.in_chunks = False

    def room(self, most: int) -> memoryview:
        return memoryview(bytearray(most))

    def discard_data(self) -> None:
        self.discarded = True

    def read_in_chunks(self) -> None:
        self.in_chunks = True

    def receive_data(self, data: bytes) -> list[Any]:
        return self.events

    def send_message(self, message: Any) -> bytes:
        return b"frame"

    def send_messages(self, messages: Any) -> list[bytes]:
        return [b"frame"] * len(messages)

    def send_in_portions(self, message: Any) -> Any:
        yield []
        yield [b"frame"]

    def send_ping(self, payload: bytes) -> bytes:
        return b"ping"

    def send_pong(self, payload: bytes) -> bytes:
        return b"pong"

    def send_close(self, code: int | None = None, reason: str = "") -> bytes:
        return b"close"


def test_what_arrives_is_told_by_kind_and_size(seen: Recorded) -> None:
    inner = PlainCodec()
    codec = TracedCodec(inner, seen.tracer())  # type: ignore[arg-type]
    inner.events = [
        "text",
        "tüxt",
        b"bytes",
        Chunk("tü", False),
        Chunk(b"", True),
        Ping(b"1"),
        Pong(b"12"),
        Close(),
        Close(1000, "ü"),
        Failure(1002, "x"),
    ]
    assert codec.receive_data(b"...") is inner.events
    assert seen == [
        FrameReceived("c1", "text", 4),
        FrameReceived("c1", "text", 5),
        FrameReceived("c1", "binary", 5),
        FrameReceived("c1", "text", 3),
        FrameReceived("c1", "binary", 0),
        FrameReceived("c1", "ping", 1),
        FrameReceived("c1", "pong", 2),
        FrameReceived("c1", "close", 0, None),
        FrameReceived("c1", "close", 4, 1000),
    ]


def test_what_leaves_is_told_by_kind_and_size(seen: Recorded) -> None:
    codec = TracedCodec(PlainCodec(), seen.tracer())  # type: ignore[arg-type]
    assert (
        codec.send_messages(["ab", b"c", Outgoing("ü".encode(), True), Outgoing(b"", False)])
        == [b"frame"] * 4
    )
    assert codec.send_message(b"one") == b"frame"
    portions = codec.send_in_portions(b"12345")
    assert next(portions) == []
    assert len(seen) == 5
    assert [*portions] == [[b"frame"]]
    assert codec.send_ping(b"1") == b"ping"
    assert codec.send_pong(b"12") == b"pong"
    assert codec.send_close(1001, "bye") == b"close"
    assert codec.send_close() == b"close"
    assert seen == [
        FrameSent("c1", "text", 2),
        FrameSent("c1", "binary", 1),
        FrameSent("c1", "text", 2),
        FrameSent("c1", "binary", 0),
        FrameSent("c1", "binary", 3),
        FrameSent("c1", "binary", 5),
        FrameSent("c1", "ping", 1),
        FrameSent("c1", "pong", 2),
        FrameSent("c1", "close", 5, 1001),
        FrameSent("c1", "close", 0, None),
    ]


def test_everything_else_is_the_codecs(seen: Recorded) -> None:
    inner = PlainCodec()
    codec = TracedCodec(inner, seen.tracer())  # type: ignore[arg-type]
    assert (codec.pending, codec.only_messages, codec.portion) == (False, True, 8)
    assert (codec.whole_bytes, codec.message_bytes) == (6, 7)
    assert codec.deflate == "deflate"  # type: ignore[comparison-overlap]
    assert len(codec.room(9) or b"") == 9
    codec.discard_data()
    assert inner.discarded
    codec.read_in_chunks()
    assert inner.in_chunks
    assert seen == []


def test_a_traced_codec_decodes_what_another_one_encodes(kit: Kit, seen: Recorded) -> None:
    codec: Any = TracedCodec(kit.engine(client=kit.client, limits=CodecLimits()), seen.tracer())
    peer: Any = kit.engine(client=not kit.client, limits=CodecLimits())
    frames = b"".join(codec.send_messages(["hello", b"x" * 70_000]))
    assert peer.receive_data(frames) == ["hello", b"x" * 70_000]
    assert codec.receive_data(b"".join(peer.send_messages(["back"]))) == ["back"]
    assert seen == [
        FrameSent("c1", "text", 5),
        FrameSent("c1", "binary", 70_000),
        FrameReceived("c1", "text", 4),
    ]


def test_begin_and_end_are_told_without_a_query(seen: Recorded) -> None:
    tracer = seen.tracer()
    tracer.opened(server=False, url="wss://example.com/feed?token=secret", protocol="chat", extensions="")
    tracer.ended(CloseInfo(1006, "", False), "it broke", 2.5)
    assert seen == [
        ConnectionOpened("c1", False, "wss://example.com/feed", "chat", ""),
        ConnectionEnded("c1", CloseInfo(1006, "", False), "it broke", 2.5),
    ]


def test_a_hook_that_fails_is_logged_and_disturbs_nobody(
    seen: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: TraceEvent) -> None:
        raise ValueError("mine")

    tracer = Tracer("c5", [fail, seen.append])
    tracer.sent_control("ping", 0)
    assert seen == [FrameSent("c5", "ping", 0)]
    assert "c5: a trace hook failed" in caplog.text
    assert "ValueError: mine" in caplog.text


def test_the_log_has_a_line_for_each_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOG.name)
    write = log_events(LOG)
    for event in (
        ConnectionOpened("c1", False, "wss://example.com/", "", ""),
        FrameReceived("c1", "text", 5),
        FrameSent("c1", "close", 2, 1000),
        ConnectionEnded("c1", CloseInfo(1000), None, 1.5),
        ConnectionEnded("c2", CloseInfo(1006, "", False), "it broke", 0.25),
        TraceEvent("c3"),
    ):
        write(event)
    assert caplog.messages == [
        "c1 opened wss://example.com/",
        "c1 received text, 5 bytes",
        "c1 sent close, 2 bytes, code 1000",
        "c1 ended, code 1000, after 1.500 s",
        "c2 broke, code 1006, after 0.250 s",
    ]


def test_when_nobody_wants_to_know_nobody_tells(seen: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOG.name)
    assert tracer_of("c1", None, LOG) is None
    tracer = tracer_of("c1", seen.append, LOG)
    assert tracer is not None
    caplog.set_level(logging.DEBUG, LOG.name)
    tracer.sent_control("ping", 0)
    assert (len(seen), caplog.messages) == (1, [])
    logged = tracer_of("c2", None, LOG)
    assert logged is not None
    logged.sent_control("ping", 0)
    assert caplog.messages == ["c2 sent ping, 0 bytes"]


def test_every_connection_has_a_name_of_its_own() -> None:
    names = [next_id(server=server) for server in (True, False, True)]
    assert [name[0] for name in names] == ["s", "c", "s"]
    assert len({name[1:] for name in names}) == 3


def test_a_hook_is_a_function() -> None:
    check_trace(None)
    check_trace(print)
    with pytest.raises(TypeError, match="trace must be a function or None, not str"):
        check_trace("yes")
