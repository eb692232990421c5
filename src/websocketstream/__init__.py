"""The browser's WebSocketStream for Python: a WebSocket whose two directions are streams with backpressure.

    async with open_websocket_stream("wss://example.com/feed", protocols=["chat"]) as conn:
        async for message in conn.readable:
            await conn.writable.send(await process(message))
"""

from __future__ import annotations

from ._client import open_websocket_stream as open_websocket_stream
from ._protocol.close import CloseCode as CloseCode
from ._protocol.close import CloseInfo as CloseInfo
from ._protocol.deflate import Compression as Compression
from ._protocol.errors import ConnectFailed as ConnectFailed
from ._protocol.errors import HandshakeError as HandshakeError
from ._protocol.errors import HandshakeRejected as HandshakeRejected
from ._protocol.errors import HandshakeTimeout as HandshakeTimeout
from ._protocol.errors import HandshakeTooLarge as HandshakeTooLarge
from ._protocol.errors import InvalidHandshake as InvalidHandshake
from ._protocol.errors import WebSocketError as WebSocketError
from ._protocol.http import Headers as Headers
from ._protocol.http import Request as Request
from ._protocol.http import Response as Response
from ._request import WebSocketRequest as WebSocketRequest
from ._server import WebSocketListener as WebSocketListener
from ._server import serve_websocket_streams as serve_websocket_streams
from ._streams.errors import ConnectionBroken as ConnectionBroken
from ._streams.errors import ConnectionClosed as ConnectionClosed
from ._streams.readable import ReadableStream as ReadableStream
from ._streams.statistics import ConnectionStatistics as ConnectionStatistics
from ._streams.statistics import DirectionStatistics as DirectionStatistics
from ._streams.stream import WebSocketStream as WebSocketStream
from ._streams.writable import WritableStream as WritableStream

__all__ = [
    "CloseCode",
    "CloseInfo",
    "Compression",
    "ConnectFailed",
    "ConnectionBroken",
    "ConnectionClosed",
    "ConnectionStatistics",
    "DirectionStatistics",
    "HandshakeError",
    "HandshakeRejected",
    "HandshakeTimeout",
    "HandshakeTooLarge",
    "Headers",
    "InvalidHandshake",
    "ReadableStream",
    "Request",
    "Response",
    "WebSocketError",
    "WebSocketListener",
    "WebSocketRequest",
    "WebSocketStream",
    "WritableStream",
    "open_websocket_stream",
    "serve_websocket_streams",
]
