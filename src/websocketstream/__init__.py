"""The browser's WebSocketStream for Python: a WebSocket whose two directions are streams with backpressure.

.. code-block:: python

    async with open_websocket_stream("wss://example.com/feed", protocols=["chat"]) as conn:
        async for message in conn.readable:
            await conn.writable.send(await process(message))
"""

from __future__ import annotations

from ._client import open_websocket_stream as open_websocket_stream
from ._protocol.authorization import basic_auth as basic_auth, bearer_auth as bearer_auth
from ._protocol.backoff import Attempt as Attempt, Backoff as Backoff
from ._protocol.close import CloseCode as CloseCode, CloseInfo as CloseInfo
from ._protocol.engine import ENGINE as engine  # noqa: N811  (constant, but spelled as the other names are)
from ._protocol.errors import (
    ConnectFailed as ConnectFailed,
    HandshakeError as HandshakeError,
    HandshakeRejected as HandshakeRejected,
    HandshakeTimeout as HandshakeTimeout,
    HandshakeTooLarge as HandshakeTooLarge,
    InvalidHandshake as InvalidHandshake,
    WebSocketError as WebSocketError,
)
from ._protocol.forwarded import TrustedProxies as TrustedProxies
from ._protocol.http import (
    HandshakeLimits as HandshakeLimits,
    Headers as Headers,
    Request as Request,
    Response as Response,
)
from ._protocol.negotiation import Compression as Compression
from ._protocol.parameters import QueryParams as QueryParams
from ._protocol.trace import (
    ConnectionEnded as ConnectionEnded,
    ConnectionOpened as ConnectionOpened,
    FrameReceived as FrameReceived,
    FrameSent as FrameSent,
    TraceEvent as TraceEvent,
)
from ._reconnect import Connections as Connections, reconnecting as reconnecting
from ._server.listener import WebSocketListener as WebSocketListener
from ._server.program import run_server as run_server
from ._server.request import WebSocketRequest as WebSocketRequest
from ._server.server import serve_websocket_streams as serve_websocket_streams
from ._server.upgraded import accept_upgraded as accept_upgraded
from ._streams.backlog import (
    CloseWhenBehind as CloseWhenBehind,
    DropOldest as DropOldest,
    LatestOnly as LatestOnly,
)
from ._streams.broadcast import Broadcast as Broadcast, Subscription as Subscription
from ._streams.byte_stream import (
    WebSocketByteStream as WebSocketByteStream,
    as_byte_stream as as_byte_stream,
    relay as relay,
)
from ._streams.errors import (
    ConnectionBroken as ConnectionBroken,
    ConnectionClosed as ConnectionClosed,
    SendAfterClose as SendAfterClose,
)
from ._streams.hints import is_shown as _is_shown, show_public_names as _show_public_names
from ._streams.incoming import ChunkedMessages as ChunkedMessages, IncomingMessage as IncomingMessage
from ._streams.outgoing import OutgoingMessage as OutgoingMessage
from ._streams.readable import ReadableStream as ReadableStream
from ._streams.statistics import (
    ConnectionStatistics as ConnectionStatistics,
    DirectionStatistics as DirectionStatistics,
    Discarded as Discarded,
    ServerStatistics as ServerStatistics,
    SubscriptionStatistics as SubscriptionStatistics,
)
from ._streams.stream import WebSocketStream as WebSocketStream
from ._streams.writable import WritableStream as WritableStream
from ._transient import is_transient as is_transient

__all__ = [
    "Attempt",
    "Backoff",
    "Broadcast",
    "ChunkedMessages",
    "CloseCode",
    "CloseInfo",
    "CloseWhenBehind",
    "Compression",
    "ConnectFailed",
    "ConnectionBroken",
    "ConnectionClosed",
    "ConnectionEnded",
    "ConnectionOpened",
    "ConnectionStatistics",
    "Connections",
    "DirectionStatistics",
    "Discarded",
    "DropOldest",
    "FrameReceived",
    "FrameSent",
    "HandshakeError",
    "HandshakeLimits",
    "HandshakeRejected",
    "HandshakeTimeout",
    "HandshakeTooLarge",
    "Headers",
    "IncomingMessage",
    "InvalidHandshake",
    "LatestOnly",
    "OutgoingMessage",
    "QueryParams",
    "ReadableStream",
    "Request",
    "Response",
    "SendAfterClose",
    "ServerStatistics",
    "Subscription",
    "SubscriptionStatistics",
    "TraceEvent",
    "TrustedProxies",
    "WebSocketByteStream",
    "WebSocketError",
    "WebSocketListener",
    "WebSocketRequest",
    "WebSocketStream",
    "WritableStream",
    "accept_upgraded",
    "as_byte_stream",
    "basic_auth",
    "bearer_auth",
    "engine",
    "is_transient",
    "open_websocket_stream",
    "reconnecting",
    "relay",
    "run_server",
    "serve_websocket_streams",
]

__version__ = "0.1.0"

# Tracebacks, `repr` and pickles name what is public by where users import it from, not by where it happens to be written. And
# completion shows what is public of it.
for _public in map(globals().__getitem__, __all__):
    if not isinstance(_public, str):
        _public.__module__ = __name__
    if isinstance(_public, type):
        _show_public_names(_public)
del _public

_SUBMODULES = ("asgi", "blocking", "testing", "uvicorn")


def __dir__() -> list[str]:
    return [
        name
        for name in globals()
        if name in __all__ or name in _SUBMODULES or (name.startswith("__") and _is_shown(name))
    ]
