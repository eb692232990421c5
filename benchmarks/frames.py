"""Pre-built bytes: payloads, frames and handshakes for the end that has to be faster than every contender."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import struct
import zlib
from collections.abc import Iterator

KEY_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BLOCK_BYTES = 2**18  # one write or read of the raw ends
CLOSE_FRAME = b"\x88\x00"
MASK = b"\x5a\xa5\x3c\xc3"
MASKED_CLOSE_FRAME = b"\x88\x80" + MASK
CLOSE_BYTE = 0x88
COMPRESSED = 0x40  # the bit of a frame's first byte
WINDOW_BITS = 12  # of permessage-deflate, in both directions, for all who let themselves be told
DEFLATE_OFFER = (
    f"permessage-deflate; server_max_window_bits={WINDOW_BITS}; client_max_window_bits={WINDOW_BITS}"
)


def payload(size: int, *, text: bool) -> bytes:
    """Return the same payload of ``size`` bytes in every process; text is ASCII."""
    if text:
        alphabet = (string.ascii_letters + string.digits + " ,.").encode()
        return (alphabet * (size // len(alphabet) + 1))[:size]
    return random.Random(size).randbytes(size)


def message(size: int, *, text: bool) -> str | bytes:
    data = payload(size, text=text)
    return data.decode() if text else data


def records(size: int) -> bytes:
    """Return text that deflates like what APIs send: JSON records of ``size`` bytes in all."""
    generator = random.Random(size)
    rows: list[dict[str, object]] = []
    while len(rows) * 50 < size + 50:
        rows.append({"id": generator.randrange(10**6), "name": generator.choice("abcdef") * 4, "on": True})
    return json.dumps(rows).encode()[:size]


def header(first_byte: int, length: int, *, masked: bool = False) -> bytes:
    bit = 0x80 if masked else 0
    if length < 126:
        return struct.pack("!BB", first_byte, bit | length)
    if length < 2**16:
        return struct.pack("!BBH", first_byte, bit | 126, length)
    return struct.pack("!BBQ", first_byte, bit | 127, length)


def server_frame(data: bytes, *, text: bool, compressed: bool = False) -> bytes:
    return header(0x80 | 0x40 * compressed | (1 if text else 2), len(data)) + data


def client_frame(data: bytes, *, text: bool, compressed: bool = False) -> bytes:
    first_byte = 0x80 | 0x40 * compressed | (1 if text else 2)
    return header(first_byte, len(data), masked=True) + MASK + mask(data, MASK)


def client_frame_size(length: int) -> int:
    return len(header(0x82, length, masked=True)) + 4 + length


def mask(data: bytes, key: bytes) -> bytes:
    keys = int.from_bytes((key * (len(data) // 4 + 1))[: len(data)], "big")
    return (int.from_bytes(data, "big") ^ keys).to_bytes(len(data), "big")


def unmask_frame(frame: bytes) -> tuple[bool, bytes]:
    """Return whether one whole client's frame is text, and its payload, decompressed if it was the first."""
    length = frame[1] & 0x7F
    start = {126: 4, 127: 10}.get(length, 2)
    data = mask(frame[start + 4 :], frame[start : start + 4])
    if frame[0] & COMPRESSED:
        data = zlib.decompressobj(-15).decompress(data + b"\0\0\xff\xff")
    return frame[0] & 0x0F == 1, data


def frame_size(data: bytes | bytearray, start: int) -> int:
    """Return how long the frame is that begins there; 0 while too little of it has come to tell."""
    head = data[start : start + 10]
    if len(head) < 2:
        return 0
    masked, length = head[1] >> 7, head[1] & 0x7F
    size = {126: 2, 127: 8}.get(length, 0)
    if len(head) < 2 + size:
        return 0
    if size:
        length = int.from_bytes(head[2 : 2 + size], "big")
    return 2 + size + 4 * masked + length


def deflated(data: bytes, window_bits: int) -> bytes:
    """Compress one message on its own (server_no_context_takeover), so that the same bytes can be sent forever."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -window_bits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def conversation(size: int, count: int) -> list[bytes]:
    """Return a client's frames of JSON, each compressed with what came before in its window."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -WINDOW_BITS)
    data = (
        (compressor.compress(records(size)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4] for _ in range(count)
    )
    return [client_frame(part, text=False, compressed=True) for part in data]


def block(frame: bytes) -> bytes:
    """Return as many whole frames as make a good write."""
    return frame * max(1, BLOCK_BYTES // len(frame))


def request(host: str, target: str, extensions: str = "") -> bytes:
    return (
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        + (f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else "")
        + "\r\n"
    ).encode()


def header_field(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


def response(head: bytes, extensions: bytes = b"") -> bytes:
    accept = base64.b64encode(hashlib.sha1(header_field(head, b"sec-websocket-key") + KEY_GUID).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept,
    ]
    if extensions:
        lines.append(b"Sec-WebSocket-Extensions: " + extensions)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def deflate_answer(head: bytes) -> tuple[bytes, int]:
    """Return the answer to the first permessage-deflate offer, and the window bits to compress with."""
    offer = header_field(head, b"sec-websocket-extensions").split(b",")[0]
    if not offer.startswith(b"permessage-deflate"):
        raise ValueError(f"this client does not offer permessage-deflate: {offer!r}")
    answer, bits = b"permessage-deflate; server_no_context_takeover", WINDOW_BITS
    for name, value in _parameters(offer):
        if name == b"server_max_window_bits":
            bits = min(bits, int(value))
            answer += b"; server_max_window_bits=%d" % bits
        elif name == b"client_max_window_bits":
            # A larger window would find the whole message in the one before, which is the same here.
            answer += b"; client_max_window_bits=%d" % min(WINDOW_BITS, int(value or 15))
    return answer, bits


def _parameters(offer: bytes) -> Iterator[tuple[bytes, bytes]]:
    for part in offer.split(b";")[1:]:
        name, _, value = part.partition(b"=")
        yield name.strip(), value.strip().strip(b'"')
