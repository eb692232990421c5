"""Every wire error of RFC 6455 sections 5 to 7: the peer learns the right close code, we get one clear error."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from waiting import settled, until
from websocketstream import (
    ConnectionBroken,
    WebSocketRequest,
    WebSocketStream,
    open_websocket_stream,
    serve_websocket_streams,
)
from wire import Frame, Opcode, PeerClosed, close_payload, connect

if TYPE_CHECKING:
    from promises.conftest import Serve
    from wpt.server import Connection

# uvloop is asyncio for what these tests are about.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode
LIMIT = 10_000
LIMITS = {"max_message_size": LIMIT, "max_fragments": 50}
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"

Encode = Callable[[Frame], bytes]  # masks or not, as the sender must


@dataclass(frozen=True)
class Case:
    code: int
    write: Callable[[Encode], bytes]
    deflate: bool = False


def frames(*sequence: Frame) -> Callable[[Encode], bytes]:
    return lambda encode: b"".join(map(encode, sequence))


def raw_length(marker: int, length: bytes) -> Callable[[Encode], bytes]:
    """Make a binary frame that spells its length in a way of its own."""

    def write(encode: Encode) -> bytes:
        masked = encode(Frame(BINARY))[1] & 128
        return bytes([0x80 | BINARY, masked | marker]) + length + bytes(4 if masked else 0) + bytes(5)

    return write


def wrong_mask(encode: Encode) -> bytes:
    masked = encode(Frame(TEXT, b"x"))[1] & 128
    return Frame(TEXT, b"hello").encode(masked=not masked)


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def text_fragments(*parts: bytes) -> Callable[[Encode], bytes]:
    """Make a message in fragments that does not end."""
    return frames(
        *(Frame(CONTINUATION if number else TEXT, part, fin=False) for number, part in enumerate(parts))
    )


CASES = {
    # section 5.1
    "the wrong mask": Case(1002, wrong_mask),
    # section 5.2
    **{f"reserved bit {bit}": Case(1002, frames(Frame(TEXT, b"x", rsv=bit))) for bit in (1, 2, 4)},
    **{f"reserved opcode {opcode}": Case(1002, frames(Frame(opcode, b"x"))) for opcode in (3, 7, 11, 15)},
    "a 16-bit length that needs 7": Case(1002, raw_length(126, b"\0\5")),
    "a 64-bit length that needs 7": Case(1002, raw_length(127, bytes(7) + b"\5")),
    "a 64-bit length that needs 16": Case(1002, raw_length(127, bytes(6) + b"\xff\xff")),
    "a length with the highest bit": Case(1002, raw_length(127, b"\x80" + bytes(7))),
    # section 5.4
    "a continuation of nothing": Case(1002, frames(Frame(CONTINUATION, b"x"))),
    "a continuation after the end": Case(
        1002, frames(Frame(TEXT, b"x", fin=False), Frame(CONTINUATION), Frame(CONTINUATION))
    ),
    "a message inside a message": Case(1002, frames(Frame(TEXT, b"x", fin=False), Frame(BINARY, b"y"))),
    "too many fragments": Case(1008, text_fragments(*[b"x"] * 60)),
    # section 5.5
    "a fragmented ping": Case(1002, frames(Frame(PING, fin=False))),
    "a fragmented close": Case(1002, frames(Frame(CLOSE, fin=False))),
    "a long ping": Case(1002, frames(Frame(PING, bytes(126)))),
    "a long pong": Case(1002, frames(Frame(PONG, bytes(126)))),
    "a long close": Case(1002, frames(Frame(CLOSE, close_payload(1000, "x" * 124)))),
    "a close of one byte": Case(1002, frames(Frame(CLOSE, b"\x03"))),
    # section 7.4
    **{
        f"close code {code}": Case(1002, frames(Frame(CLOSE, close_payload(code))))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "a close reason that is no UTF-8": Case(1007, frames(Frame(CLOSE, close_payload(1000, b"\xff")))),
    # section 8.1
    "text that is no UTF-8": Case(1007, frames(Frame(TEXT, b"\xff"))),
    "an overlong encoding": Case(1007, frames(Frame(TEXT, b"\xc0\xaf"))),
    "an encoded surrogate": Case(1007, frames(Frame(TEXT, b"\xed\xa0\x80"))),
    "text that ends inside a character": Case(1007, frames(Frame(TEXT, b"\xf0\x9f\x9a"))),
    "a bad byte in a message that goes on": Case(1007, text_fragments(b"\xf4\x90")),
    "a character broken across fragments": Case(1007, text_fragments(b"\xf0\x9f", b"x")),
    # section 10.4
    "a message that is too large": Case(1009, frames(Frame(BINARY, bytes(LIMIT + 1)))),
    "a length that is too large": Case(1009, raw_length(127, b"\0\0\1" + bytes(5))),
    "fragments that add up": Case(1009, text_fragments(b"x" * LIMIT, b"y")),
    # RFC 7692
    "compressed, but not agreed on": Case(1002, frames(Frame(TEXT, deflated(b"x"), rsv=4))),
    "a compressed continuation": Case(
        1002, frames(Frame(TEXT, deflated(b"x"), False, 4), Frame(CONTINUATION, b"", True, 4)), deflate=True
    ),
    "a compressed ping": Case(1002, frames(Frame(PING, deflated(b"x"), rsv=4)), deflate=True),
    "garbage instead of deflate": Case(1007, frames(Frame(TEXT, b"\xff" * 20, rsv=4)), deflate=True),
    "a deflate bomb": Case(1009, frames(Frame(BINARY, deflated(bytes(5_000_000)), rsv=4)), deflate=True),
    "compressed text that is no UTF-8": Case(
        1007, frames(Frame(TEXT, deflated(b"\xff"), rsv=4)), deflate=True
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def options(case: Case) -> dict[str, Any]:
    return {"compression": case.deflate, **LIMITS}


def check(error: object, code: int) -> None:
    assert isinstance(error, ConnectionBroken)
    assert error.close_code == 1006  # what the peer said: nothing
    assert error.sent_code == code
    assert str(error)


async def receive_all(conn: WebSocketStream) -> None:
    async for _ in conn:
        pass


@each_case
async def test_a_client_fails_the_connection_with_the_right_code(case: Case, serve: Serve) -> None:
    closes: list[PeerClosed] = []

    def handler(connection: Connection) -> None:
        connection.accept(*[DEFLATE] * case.deflate)
        connection.write(case.write(Frame.encode))
        closes.append(connection.read_close())
        connection.read_to_eof()

    async with open_websocket_stream(serve(handler).url("/"), **options(case)) as conn:
        error = "x"
        while error == "x":  # what was complete before the error comes first
            error = await settled(conn.receive())
        check(error, case.code)
        assert await settled(conn.closed) is error
        assert await settled(conn.receive()) is error
        assert await settled(conn.send("x")) is error
        assert (conn.close_info.code, conn.close_info.clean) == (1006, False)
    await until(lambda: closes)
    assert closes[0].code == case.code


@each_case
async def test_a_server_fails_the_connection_with_the_right_code(case: Case) -> None:
    errors: list[object] = []

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            errors.append(await settled(receive_all(conn)))

    def misbehave(port: int) -> int | None:
        wire = connect(port, "/", *[DEFLATE] * case.deflate)
        with wire.sock:
            wire.write(case.write(partial(Frame.encode, masked=True)))
            close = wire.read_close()
            assert wire.read_to_eof() == b""
            return close.code

    async with anyio.create_task_group() as group:
        serve = partial(serve_websocket_streams, origins=None, **options(case))
        listener = await group.start(serve, handler, "127.0.0.1", 0)
        assert await anyio.to_thread.run_sync(misbehave, listener.port) == case.code
        await until(lambda: errors)
        group.cancel_scope.cancel()
    check(errors[0], case.code)


async def test_what_was_complete_before_the_error_is_delivered(serve: Serve) -> None:
    def handler(connection: Connection) -> None:
        connection.accept()
        connection.write(b"\x81\x03one" + b"\x82\x03two" + b"\x83\x00")
        assert connection.read_close().code == 1002

    async with open_websocket_stream(serve(handler).url("/")) as conn:
        assert await conn.receive() == "one"
        assert await conn.receive() == b"two"
        error = await settled(conn.receive())
        assert isinstance(error, ConnectionBroken)
        assert await settled(conn.closed) is error


async def test_what_follows_an_error_is_never_delivered_nor_kept(serve: Serve) -> None:
    def handler(connection: Connection) -> None:
        connection.accept()
        connection.write(b"\x83\x00" + b"\x81\x04late" * 100_000)
        connection.read_close()

    async with open_websocket_stream(serve(handler).url("/")) as conn:
        assert isinstance(await settled(conn.receive()), ConnectionBroken)
        assert conn.statistics().readable.messages == 0
