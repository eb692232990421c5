"""`websocketstream docs`: everything public can be read where the package is installed, on a terminal of any width."""

from __future__ import annotations

import pydoc
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import websocketstream
from websocketstream import Backoff, HandshakeLimits, asgi, blocking, is_transient, testing, uvicorn
from websocketstream._cli import reference
from websocketstream._cli.docstrings import first_sentence, plain, rendered
from websocketstream._cli.main import main

PAGES = Path(__file__).parent.parent.parent / "docs" / "reference"
MODULES = [websocketstream, asgi, blocking, testing, uvicorn]


def shown(*arguments: str) -> int:
    return main(["docs", *arguments])


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda number: monkeypatch.setenv("COLUMNS", str(number))


def public_names() -> set[str]:
    prefixes = {module: module.__name__.removeprefix("websocketstream").lstrip(".") for module in MODULES}
    return {f"{prefix}.{name}".lstrip(".") for module, prefix in prefixes.items() for name in module.__all__}


def test_the_list_has_every_public_name_once() -> None:
    assert sorted(reference.all_names()) == sorted(public_names())


def test_the_classes_that_users_call_are_those_of_the_reference_s_pages() -> None:
    text = "".join(page.read_text("utf-8") for page in sorted(PAGES.glob("*.md")))
    called = re.findall(r"^\.\. auto(?:class|exception):: websocketstream\.([\w.]+)$", text, re.MULTILINE)
    assert set(called) == reference.CALLED


def test_without_a_name_each_has_a_line(capsys: pytest.CaptureFixture[str], columns: Any) -> None:
    columns(90)
    assert shown() == 0
    output = capsys.readouterr().out
    for name in public_names():
        assert re.search(rf"^  {re.escape(name)} +[A-Z]\S* ", output, re.MULTILINE), name
    assert max(map(len, output.splitlines()[:-1])) <= 90


@pytest.mark.parametrize("width", [24, 40, 80, 100])
@pytest.mark.parametrize("name", sorted(public_names()))
def test_every_page_fits_the_terminal_and_has_no_markup(name: str, width: int) -> None:
    text = reference.page(name, width)
    for line in text.splitlines():
        # A line of a signature or of an example, and a single word, cannot be broken.
        is_whole = line.startswith(("    ", ")", "async websocketstream.")) or " " not in line.strip()
        assert len(line) <= width or is_whole, line
    assert not re.search(r":\w+:`|``|:param|:raises", text)


def test_a_function_has_its_signature_and_its_defaults_as_people_say_them() -> None:
    text = reference.page("open_websocket_stream", 100)
    assert "    max_message_size: int | None = 16 MiB,\n" in text
    assert "    handshake_limits: HandshakeLimits = HandshakeLimits(),\n" in text
    assert "\n  write_buffer = 64 KiB\n      unsent bytes from which on `send()` waits\n" in text
    assert "\nRaises\n  ValueError\n      an argument is not allowed" in text


def test_a_block_that_is_written_as_a_generator_is_shown_as_a_block() -> None:
    shown = "-> AbstractAsyncContextManager[tuple[WebSocketStream, WebSocketStream]]"
    assert shown in reference.page("testing.websocket_stream_pair", 80)


def test_a_short_signature_stands_on_one_line() -> None:
    page = reference.page("WebSocketStream.close", 100)
    assert page.startswith(
        "websocketstream.WebSocketStream.close(code: int | None = None, reason: str = '')\n"
    )


def test_what_is_async_says_so() -> None:
    assert reference.page("WebSocketStream.receive", 80).startswith(
        "async websocketstream.WebSocketStream.receive()"
    )


def test_a_class_lists_its_members_attributes_included() -> None:
    text = reference.page("WebSocketStream", 80)
    assert "A kind of anyio.abc.ObjectStream." in text
    assert "  readable: The messages of the peer.\n" in text
    assert "  async receive(): Wait for the next message and return it" in text
    assert "_connection" not in text
    assert "recv" not in text
    assert "  GOING_AWAY: `1001`\n" in reference.page("CloseCode", 80)


@pytest.mark.parametrize(
    "name",
    [
        "websocketstream.CloseInfo",
        "CloseInfo",
        "relay()",
        "asgi.accept",
        "websocketstream.testing.serve_in_memory",
    ],
)
def test_a_name_may_be_written_as_it_stands_in_a_program(name: str) -> None:
    assert reference.page(name, 80)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("open_websocketstream", "did you mean open_websocket_stream"),
        ("websocketstream", "did you mean WebSocketStream"),
        (
            "send_batch",
            "did you mean blocking.BlockingWebSocketStream.send_batch or WritableStream.send_batch?",
        ),
        ("WebSocketStream.recieve", "did you mean WebSocketStream.receive"),
        ("WebSocketStream._connection", "nothing public is called"),
        ("asgi.partial", "nothing public is called"),
        ("zzzzzzzz", "`websocketstream docs` lists what is"),
    ],
)
def test_a_wrong_name_is_answered_with_one_that_is_right(
    name: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(name) == 2
    output = capsys.readouterr()
    assert not output.out
    assert meant in output.err
    assert output.err.count("\n") == 1


def test_a_long_page_goes_to_the_pager_of_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    paged: list[str] = []
    monkeypatch.setattr(pydoc, "pager", paged.append)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    shown("open_websocket_stream")
    shown("is_transient")
    [page] = paged
    assert page.startswith("websocketstream.open_websocket_stream(\n")
    assert "websocketstream.is_transient(" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (16 * 2**20, "16 MiB"),
        (2**16, "64 KiB"),
        (1000, "1000"),
        (2**20 + 1, "1048577"),
        (None, "None"),
        (True, "True"),
        ("x", "'x'"),
        (Backoff(), "Backoff()"),
        (HandshakeLimits(), "HandshakeLimits()"),
        (is_transient, "is_transient"),
    ],
)
def test_a_value_is_shown_as_people_say_it(value: object, text: str) -> None:
    assert reference.readable(value) == text


def test_a_value_that_is_not_the_default_of_its_kind_is_shown_whole() -> None:
    assert reference.readable(Backoff(initial=5)).startswith("Backoff(initial=5")


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (":meth:`ReadableStream.receive`", "ReadableStream.receive()"),
        (":exc:`~anyio.EndOfStream` and ``x``", "anyio.EndOfStream and `x`"),
        (":class:`stream <websocketstream.WebSocketStream>`", "stream"),
        ("see :doc:`/how-to/reconnect`", "see the page how-to/reconnect"),
    ],
)
def test_markup_is_taken_off(markup: str, text: str) -> None:
    assert plain(markup) == text


def test_the_first_sentence_ends_where_a_sentence_ends() -> None:
    assert first_sentence("Take 1.5 s,\nor less. More.\n\nRest.") == "Take 1.5 s, or less."


def test_a_docstring_keeps_its_example_and_sets_its_fields_in_lists() -> None:
    doc = "Do it.\n\n::\n\n    a = 1\n\n    b = 2\n\nThen::\n\n    c\n\n:param x: one\n    two\n:returns: three\n:raises E: four"
    assert rendered(doc, 40, {"x": "5"}) == (
        "Do it.\n\n    a = 1\n\n    b = 2\n\nThen:\n\n    c\n\n"
        "Parameters\n  x = 5\n      one two\n\nReturns\n      three\n\nRaises\n  E\n      four"
    )
