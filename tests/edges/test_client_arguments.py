"""Wrong arguments of a client are errors of the call itself: nothing was awaited, and the message says what to do."""

from __future__ import annotations

import math
import ssl
from typing import Any

import pytest

from websocketstream import HandshakeLimits, open_websocket_stream

TLS = ssl.create_default_context()


@pytest.mark.parametrize(
    ("url", "options", "error", "words"),
    [
        ("wss://h", {"ssl_context": True}, TypeError, r"ssl_context .* not bool; a wss:// URL is enough"),
        ("ws://h/?token=1", {"ssl_context": TLS}, ValueError, r"^ssl_context .* ws://h/\?\.\.\. .* wss://"),
        ("ws://h", {"server_hostname": "h"}, ValueError, "server_hostname .* use wss://"),
        ("wss://h", {"server_hostname": b"h"}, TypeError, "server_hostname .* not bytes"),
        ("wss://h", {"server_hostname": ""}, ValueError, "server_hostname is empty"),
        ("wss://h", {"server_hostname": "a b"}, ValueError, "server_hostname"),
        ("wss://h", {"server_hostname": ".h"}, ValueError, "server_hostname"),
        ("ws://h", {"stream": "x"}, TypeError, "stream must be an anyio byte stream, not str"),
        ("ws://h", {"handshake_limits": {"head_size": 1}}, TypeError, r"not dict: write .*HandshakeLimits\("),
        ("ws://h", {"open_timeout": -1}, ValueError, "open_timeout"),
        ("ws://h", {"open_timeout": "1"}, TypeError, "open_timeout"),
        ("ws://h", {"open_timeout": math.inf}, ValueError, "open_timeout"),
        ("ws://h", {"close_timeout": None}, TypeError, "close_timeout"),
        ("ws://h", {"ping_interval": 0}, ValueError, "ping_interval"),
        ("ws://h", {"ping_timeout": math.nan}, ValueError, "ping_timeout"),
        ("ws://h", {"read_buffer": 0}, ValueError, "read_buffer"),
        ("ws://h", {"write_buffer": 1.5}, TypeError, "write_buffer"),
        ("ws://h", {"max_message_size": True}, TypeError, "max_message_size"),
        ("ws://h", {"max_fragments": 0}, ValueError, "max_fragments"),
        ("ws://h", {"compression": 1}, TypeError, "compression"),
        ("ws://h", {"protocols": "chat"}, TypeError, "protocols"),
        ("ws://h", {"headers": "X: y"}, TypeError, "headers"),
        (
            "ws://h",
            {"proxy": "http://p:1", "headers": {"proxy-authorization": "x"}},
            ValueError,
            "would reach the server and not the proxy",
        ),
        ("ws://h", {"cookies": "a=b"}, TypeError, "cookies must be a mapping"),
        ("ws://h", {"cookies": {"a": "b;c"}}, ValueError, "cookie a has a value"),
        ("ws://h", {"cookies": {"a": "b"}, "headers": {"cookie": "c=d"}}, ValueError, "either cookies or"),
        ("ws://h", {"origin": 1}, TypeError, "origin"),
        ("localhost:8765", {}, ValueError, "ws://localhost:8765"),
        (None, {}, TypeError, "URL must be a str"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_a_wrong_argument_is_an_error_of_the_call(
    url: Any, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_websocket_stream(url, **options)


@pytest.mark.parametrize(
    "name", ["example.com", "example.com.", "bücher.example", "_a.b", "127.0.0.1", "::1"]
)
def test_a_server_hostname_is_a_name_or_an_address(name: str) -> None:
    open_websocket_stream("wss://h", server_hostname=name)


@pytest.mark.parametrize(
    "option", ["head_size", "line_size", "header_count", "interim_responses", "rejection_body"]
)
@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), ("1", TypeError), (True, TypeError), (1.0, TypeError)]
)
def test_the_limits_of_a_handshake_are_whole_numbers(option: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=option):
        HandshakeLimits(**{option: value})


def test_a_limit_of_zero_is_one_where_something_can_be_opened_with_it() -> None:
    HandshakeLimits(interim_responses=0, rejection_body=0)
    for option in ("head_size", "line_size", "header_count"):
        with pytest.raises(ValueError, match=f"{option} must be at least 1"):
            HandshakeLimits(**{option: 0})
