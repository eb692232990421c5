"""The PROXY protocol: what a proxy may say in front of a connection, and whatever else may arrive there."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given, strategies as st

from websocketstream._protocol.proxy_header import BadProxyHeader, ProxyHeaderReader

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LIMIT = 16384
IPV4 = bytes([192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 1, 187])
IPV6 = ipaddress.ip_address("2001:db8::1").packed + ipaddress.ip_address("::1").packed + bytes(4)


def binary(
    addresses: bytes = IPV4, *, family: int = 0x11, command: int = 0x21, announced: int | None = None
) -> bytes:
    size = len(addresses) if announced is None else announced
    return SIGNATURE + bytes([command, family]) + size.to_bytes(2) + addresses


def read(data: bytes, *, piece: int = 10**6, limit: int = LIMIT) -> tuple[str | None, bytes]:
    """Feed a reader as a stream would; return what it says and what is left for others."""
    reader = ProxyHeaderReader(limit)
    while reader.wanted:
        size = min(reader.wanted, piece)
        assert data, "more is wanted than there is"
        reader.receive_data(data[:size])
        data = data[size:]
    return reader.source, data


GOOD = [
    (b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n", "192.0.2.1"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP4 1.2.3.4 1.2.3.4 0 0\r\n", "1.2.3.4"),
    (b"PROXY TCP6 2001:db8::1 ::1 12345 443\r\n", "2001:db8::1"),
    (b"PROXY TCP6 :: :: 1 1\r\n", "::"),
    (b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n", "ffff:" * 7 + "ffff"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 what ever\x9b\r\n", None),
    (b"PROXY UNKNOWN " + b"x" * (107 - 16) + b"\r\n", None),
    (binary(), "192.0.2.1"),
    (binary(family=0x12), "192.0.2.1"),
    (binary(IPV6, family=0x21), "2001:db8::1"),
    (binary(bytes(216), family=0x31), "unix"),
    (binary(b"", family=0x00), None),
    (binary(b"\3\0\4abcd", family=0x01), None),
    (binary(b"", command=0x20, family=0x00), None),
    (binary(IPV4, command=0x20, family=0xFF), None),
    (binary(IPV4 + b"\4\0\1\0" * 100), "192.0.2.1"),
    (binary(IPV4 + bytes(LIMIT - 16 - 12)), "192.0.2.1"),
]


@pytest.mark.parametrize("piece", [1, 5, 10**6])
@pytest.mark.parametrize(("header", "source"), GOOD)
def test_a_header_is_read_and_nothing_of_what_is_behind_it(
    header: bytes, source: str | None, piece: int
) -> None:
    for rest in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\r\n", b"\n", header):
        assert read(header + rest, piece=piece) == (source, rest)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"G",
        b"\x16\x03\x01\0",
        b"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        b"PROXYTCP4 1.2.3.4",
        b"\r\n\r\n\0\r\nQUIX\n",
        b"\r\n\r\nG",
        b"\0",
    ],
)
@pytest.mark.parametrize("piece", [1, 10**6])
def test_what_is_no_header_is_noticed_with_its_first_wrong_byte(data: bytes, piece: int) -> None:
    with pytest.raises(BadProxyHeader, match="there is no PROXY protocol header in front"):
        read(data, piece=piece)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
        b"PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
        b"PROXY TCP4 1.2.3.4\t1.2.3.4 1 1 1\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
        b"PROXY TCP4 ::1 ::1 1 1\r\n",
        b"PROXY TCP4 1.2.3.4 ::1 1 1\r\n",
        b"PROXY TCP6 ::1%eth0 ::1 1 1\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
        b"PROXY TCP4 1.2.3.04 1.2.3.4 1 1\r\n",
        b"PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n",
        b"PROXY TCP4 localhost 1.2.3.4 1 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 01\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 \xb2\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY TCP4 1.2.3.4\r\n1.2.3.4 1 1",
        b"PROXY X\r\nGET / HTTP/1.1",
    ],
)
def test_a_malformed_line_is_refused(line: bytes) -> None:
    with pytest.raises(BadProxyHeader, match="the line of the PROXY protocol is malformed"):
        read(line)


def test_a_line_ends_where_the_specification_says() -> None:
    for begin in (b"PROXY UNKNOWN ", b"PROXY TCP4 ", b"PROXY "):
        for piece in (1, 10**6):
            with pytest.raises(BadProxyHeader, match="longer than 107 bytes"):
                read(begin + b"x" * 200, piece=piece)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (binary(command=0x11), "unknown version or command"),
        (binary(command=0x31), "unknown version or command"),
        (binary(command=0x22), "unknown version or command"),
        (binary(command=0x2F), "unknown version or command"),
        (binary(family=0x41), "unknown family or transport"),
        (binary(family=0x13), "unknown family or transport"),
        (binary(IPV4[:-1]), "too short for its addresses"),
        (binary(b""), "too short for its addresses"),
        (binary(IPV6[:-1], family=0x21), "too short for its addresses"),
        (binary(bytes(215), family=0x31), "too short for its addresses"),
        (binary(b"", announced=LIMIT - 15), r"announces 16385 bytes, more than 16384, .*head_size"),
        (binary(b"", announced=65535), r"announces 65551 bytes"),
    ],
)
def test_a_broken_binary_header_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadProxyHeader, match=words):
        read(data)


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]),
)
@example(b"\xff" * 300, SIGNATURE)
def test_whatever_arrives_is_a_header_or_refused_and_reading_it_ends(noise: bytes, begin: bytes) -> None:
    reader = ProxyHeaderReader(200)
    data = begin + noise + bytes(300)
    try:
        while wanted := reader.wanted:
            assert wanted <= 200
            reader.receive_data(data[:wanted])
            data = data[wanted:]
    except BadProxyHeader:
        pass
    assert reader.source in (None, "unix") or ipaddress.ip_address(reader.source)
