"""What is left of several buffers when the system has taken some bytes."""

from __future__ import annotations

from websocketstream._network.transport import rest_of


def test_the_rest_begins_behind_what_was_sent_wherever_that_is() -> None:
    buffers = [b"ab", bytearray(b"cde"), memoryview(b"f")]
    whole = b"abcdef"
    for sent in range(len(whole) + 1):
        assert rest_of(buffers, sent) == whole[sent:]
    assert rest_of([], 0) == b""
