"""A message encoded in portions is the frame that it would have been in one go, and others get a turn meanwhile."""

from __future__ import annotations

import os

import pytest

from websocketstream._protocol.codec import Outgoing

MESSAGES = [
    pytest.param("x" * 100_000, id="text"),
    pytest.param(os.urandom(100_000), id="binary"),
    pytest.param(Outgoing("ü€😀".encode() * 20_000, True), id="outgoing"),
]


def encode(codec, message):
    return b"".join(map(bytes, [buffer for step in codec.send_in_portions(message) for buffer in step]))


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_encoded_in_portions_arrives_like_any_other(kit, message):
    expected = kit.codec().send_messages((message,))
    events = kit.peer.codec().receive_data(encode(kit.codec(), message))
    assert events == kit.peer.codec().receive_data(b"".join(expected))
    assert len(events) == 1
