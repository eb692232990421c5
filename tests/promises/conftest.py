from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from wpt.server import Handler, Server

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


class Serve(Protocol):
    """Start a server whose every connection is handled by one function."""

    def __call__(self, handler: Handler, context: ssl.SSLContext | None = None) -> Server: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(handler: Handler, context: ssl.SSLContext | None = None) -> Server:
            server = Server({"/": handler}, context)
            stack.callback(server.close)
            return server

        yield start
