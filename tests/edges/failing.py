"""Clients that do not get as far as an open connection."""

from __future__ import annotations

from typing import Any

import pytest

from websocketstream import HandshakeError, open_websocket_stream


async def failure(url: str, **options: Any) -> HandshakeError:
    """Return the error that keeps a connection from being opened."""
    with pytest.raises(HandshakeError) as caught:
        async with open_websocket_stream(url, **options):
            pytest.fail("the body must not run")
    return caught.value
