"""The guard in front of h11: sizes, counts and form of a head, in linear time."""

from __future__ import annotations

import time

import pytest

from websocketstream._protocol.head import HeadReader, HeadTooLarge, MalformedHead
from websocketstream._protocol.http import HandshakeLimits

LIMITS = HandshakeLimits(head_size=100, line_size=40, header_count=4)


class CountingBuffer(bytearray):
    """Counts the bytes that a search may have looked at."""

    searched = 0

    def find(self, sub, start=0, end=None):
        self.searched += min(len(self), end) - start
        return super().find(sub, start, end)


def reader(limits=LIMITS):
    return HeadReader(limits, lambda line, complete: None)


def read(data, limits=LIMITS):
    head = reader(limits)
    head.feed(data)
    return head.next_head()


def outcome(data, pieces):
    """Return what came out: the head or the error, whatever the pieces were."""
    head = reader()
    try:
        for piece in pieces:
            head.feed(piece)
            if (found := head.next_head()) is not None:
                return found
    except (MalformedHead, HeadTooLarge) as error:
        return type(error), str(error)
    return None


HEADS = {
    "plain": b"start\r\nA: b\r\nc:\td \xff\r\n\r\n",
    "no-fields": b"start\r\n\r\n",
    "incomplete": b"start\r\nA: b\r\n",
    "bare-line-feed": b"start\r\nA: b\n\r\n",
    "folded": b"start\r\nA: b\r\n c\r\n\r\n",
    "line-of-41": b"start\r\nA: " + b"x" * 38 + b"\r\n\r\n",
    "first-line-of-41": b"s" * 41 + b"\r\n\r\n",
    "endless-line": b"s" * 200,
    "head-of-101": b"start\r\n" + (b"A: " + b"x" * 37 + b"\r\n") * 2 + b"B: 45678\r\n" * 1 + b"\r\n",
    "five-fields": b"start\r\n" + b"A: b\r\n" * 5 + b"\r\n",
}


@pytest.mark.parametrize("data", HEADS.values(), ids=HEADS)
def test_the_outcome_does_not_depend_on_where_the_stream_is_cut(data):
    """T2."""
    whole = outcome(data, [data])
    assert outcome(data, [data[place : place + 1] for place in range(len(data))]) == whole
    for cut in range(len(data) + 1):
        assert outcome(data, [data[:cut], data[cut:]]) == whole


def test_a_head_is_cut_off_and_the_rest_is_kept():
    """A41, A42 and B15."""
    head = reader()
    head.feed(b"one\r\nA: b\r\n\r\ntwo\r\n\r\n\x81\x00rest")
    assert head.next_head() == b"one\r\nA: b\r\n\r\n"
    assert head.next_head() == b"two\r\n\r\n"
    assert head.take_rest() == b"\x81\x00rest"
    assert head.take_rest() == b""
    assert head.next_head() is None
    assert head.incomplete == b""


def test_what_came_of_an_incomplete_head_can_be_shown():
    head = reader()
    head.feed(b"HTTP/1.1 1")
    assert head.next_head() is None
    assert head.incomplete == b"HTTP/1.1 1"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(b"A: b\n", "bare line feed", id="A39-bare-LF"),
        pytest.param(b"A: b\rc\r\n", "control character", id="bare-CR"),
        pytest.param(b"A: b\0\r\n", "control character", id="A39-NUL-in-value"),
        pytest.param(b"A\0: b\r\n", "control character", id="NUL-in-name"),
        pytest.param(b"A: \x0b\r\n", "control character", id="vertical-tab"),
        pytest.param(b"A: \x7f\r\n", "control character", id="DEL"),
        pytest.param(b" b\r\n", "folded", id="A39-obs-fold"),
        pytest.param(b"\tb: c\r\n", "folded", id="obs-fold-tab"),
        pytest.param(b"A : b\r\n", "space before the colon", id="A39-space-before-colon"),
        pytest.param(b"A\t: b\r\n", "space before the colon", id="tab-before-colon"),
        pytest.param(b"A B: c\r\n", "not an HTTP token", id="A39-space-in-name"),
        pytest.param(b"\xe9: c\r\n", "not an HTTP token", id="name-beyond-ascii"),
        pytest.param(b": c\r\n", "not an HTTP token", id="empty-name"),
        pytest.param(b"(A): c\r\n", "not an HTTP token", id="parentheses"),
        pytest.param(b"Ab\r\n", "no colon", id="no-colon"),
    ],
)
def test_a_malformed_line_is_named_and_values_are_not_shown(line, words):
    """A39: strict, since lenient readers are how requests get smuggled."""
    name, colon, value = line.partition(b":")
    with pytest.raises(MalformedHead, match=words) as caught:
        read(b"start\r\n" + name + colon + (b"canary" if colon else b"") + value + b"\r\n")
    assert "canary" not in str(caught.value)


def test_the_line_of_a_folded_secret_is_not_shown():
    with pytest.raises(MalformedHead) as caught:
        read(b"start\r\nCookie: a\r\n canary\r\n\r\n")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words", "start_line"),
    [
        pytest.param(b"s" * 41 + b"\r\n", "first line .* 40 bytes.*HandshakeLimits.line_size", True, id="B4"),
        pytest.param(b"s" * 42, "first line .* 40 bytes", True, id="first-line-endless"),
        pytest.param(
            b"start\r\nA:" + b"x" * 39 + b"\r\n", "header line .* 40 bytes.*line_size", False, id="A11"
        ),
        pytest.param(b"start\r\n" + b"x" * 42, "header line .* 40 bytes", False, id="header-endless"),
        pytest.param(b"start\r\n" + b"A: b\r\n" * 5, "4 header fields.*header_count", False, id="A10"),
        pytest.param(
            b"start\r\n" + (b"A: " + b"x" * 37 + b"\r\n") * 3, "100 bytes.*head_size", False, id="A8"
        ),
    ],
)
def test_a_limit_is_named_with_its_option(data, words, start_line):
    with pytest.raises(HeadTooLarge, match=words) as caught:
        read(data)
    assert caught.value.start_line is start_line


def test_limits_are_inclusive():
    line = b"s" * 40 + b"\r\n"
    head = line + b"A: " + b"x" * 37 + b"\r\n" + b"b:\r\n" * 3 + b"\r\n"
    assert len(head) == 98
    assert read(head) == head
    assert read(head, HandshakeLimits(head_size=98, line_size=40, header_count=4)) == head
    with pytest.raises(HeadTooLarge):
        read(head, HandshakeLimits(head_size=97, line_size=40, header_count=4))


def test_a_limit_may_be_larger_than_any_memory():
    data = b"GET / HTTP/1.1\r\n\r\n"
    assert read(data, HandshakeLimits(head_size=2**64, line_size=2**64, header_count=2**64)) == data


def test_a_huge_head_in_one_piece_is_refused_without_being_read():
    """A9 and W12: 4 MiB, 800,000 fields."""
    started = time.process_time()
    head = reader(HandshakeLimits())
    head.feed(b"start\r\n" + b"A: b\r\n" * 700_000)
    with pytest.raises(HeadTooLarge):
        head.next_head()
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_head_in_drips_is_searched_once(size):
    """A6 and CVE-2023-43669: every byte is looked at once, however small the pieces."""
    data = b"start\r\n" + (b"A: " + b"x" * 120 + b"\r\n") * 128 + b"\r\n"
    assert 16_000 < len(data) <= 16_384
    head = reader(HandshakeLimits())
    head._buffer = buffer = CountingBuffer()
    for place in range(0, len(data), size):
        head.feed(data[place : place + size])
        found = head.next_head()
    assert found == data
    assert buffer.searched <= 2 * len(data) + size * 130


def test_a_line_without_end_in_drips_is_searched_once():
    head = reader(HandshakeLimits())
    head._buffer = buffer = CountingBuffer()
    for _ in range(8192):
        head.feed(b"x")
        assert head.next_head() is None
    assert buffer.searched == 8192


def test_the_start_line_is_shown_as_soon_as_there_is_something_of_it():
    seen = []
    head = HeadReader(LIMITS, lambda line, complete: seen.append((line, complete)))
    for piece in (b"", b"HT", b"TP", b"\r", b"\nA: ", b"b\r\n\r\n"):
        head.feed(piece)
        head.next_head()
    assert seen == [(b"HT", False), (b"HTTP", False), (b"HTTP\r", False), (b"HTTP", True)]
