"""TLS at both ends, with a certificate authority that is made on the spot: for tests, and to see how it is done.

    pip install websocketstream trustme
    python tls_with_trustme.py

A client that does not know the authority does not connect. Elsewhere the server calls `load_cert_chain()`, and clients of a
server that a public authority knows need no `ssl_context` at all.
"""

import ssl
from contextlib import suppress
from functools import partial

import anyio
import trustme
from anyio.streams.tls import TLSAttribute

from websocketstream import (
    ConnectFailed,
    WebSocketRequest,
    open_websocket_stream,
    serve_websocket_streams,
)


async def echo(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        async for message in conn.messages():
            await conn.send(message)


async def main() -> None:
    authority = trustme.CA()
    for_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(for_server)
    for_server.set_alpn_protocols(["http/1.1"])
    for_client = ssl.create_default_context()
    authority.configure_trust(for_client)

    serve = partial(serve_websocket_streams, echo, "127.0.0.1", 0, origins=[None], ssl_context=for_server)
    async with anyio.create_task_group() as tasks:
        listener = await tasks.start(serve)
        async with open_websocket_stream(listener.url, ssl_context=for_client) as conn:
            await conn.send("hello")
            print(await conn.receive(), "came back over", conn.extra(TLSAttribute.tls_version))
        try:
            async with open_websocket_stream(listener.url):
                print("not reached")
        except ConnectFailed as exc:
            print("who does not know the authority:", exc)
        await listener.aclose()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(main)
