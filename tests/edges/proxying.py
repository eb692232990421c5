"""A proxy of each kind for the length of a block."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

from edges.serving import read_head

OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def pass_on(source: SocketStream, sink: SocketStream) -> None:
    try:
        async for data in source:
            await sink.send(data)
        if isinstance(sink, TLSStream):  # which has no half-close
            await sink.aclose()
        else:
            await sink.send_eof()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError):
        pass


async def tunnel(client: SocketStream, host: str, port: int) -> None:
    async with await anyio.connect_tcp(host, port) as server, anyio.create_task_group() as both:
        both.start_soon(pass_on, client, server)
        both.start_soon(pass_on, server, client)


async def read_exactly(stream: SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive(size - len(data))
    return data


async def send_in_pieces(stream: SocketStream, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        await stream.send(data[start : start + size])
        await anyio.wait_all_tasks_blocked()


class Proxy:
    """A proxy of each kind, which can answer in pieces, or with something else, or not at all."""

    def __init__(
        self,
        answer: bytes | None = None,
        piece: int = 1000,
        fault: str = "",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.answer, self.piece, self.fault, self.context = answer, piece, fault, context
        self.url = ""
        self.heard: list[bytes] = []

    async def handle(self, client: SocketStream) -> None:
        kinds: dict[str, Callable[[Any], Awaitable[None]]]
        kinds = {"http": self.http, "socks4": self.socks4, "socks5": self.socks5}
        async with client:
            with suppress(
                anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError
            ):  # of a client that goes
                stream = client if self.context is None else await self.in_tls(client, self.context)
                await kinds[re.split("(?<=socks[45])|s?:", self.url)[0]](stream)

    async def in_tls(self, client: SocketStream, context: ssl.SSLContext) -> Any:
        return await TLSStream.wrap(client, server_side=True, ssl_context=context, standard_compatible=False)

    async def misbehave(self, client: SocketStream) -> bool:
        if self.fault == "reset":
            raw = client.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self.fault == "hang":
            await anyio.sleep_forever()
        if self.answer is not None:
            await send_in_pieces(client, self.answer, self.piece)
        return bool(self.fault) or self.answer is not None

    async def http(self, client: SocketStream) -> None:
        self.heard.append(await (client.receive() if self.fault == "TLS" else read_head(client)))
        if await self.misbehave(client):
            return
        await send_in_pieces(client, OPENED, self.piece)
        host, _, port = self.heard[-1].split()[1].decode().rpartition(":")
        await tunnel(client, host.strip("[]"), int(port))

    async def socks4(self, client: SocketStream) -> None:
        request = await read_exactly(client, 8)
        request += await self.up_to_zero(client)
        host = socket.inet_ntoa(request[4:8])
        if host == "0.0.0.1":
            name = await self.up_to_zero(client)
            request, host = request + name, name[:-1].decode()
        self.heard.append(request)
        if await self.misbehave(client):
            return
        await send_in_pieces(client, b"\0\x5a" + bytes(6), self.piece)
        await tunnel(client, host, int.from_bytes(request[2:4]))

    async def up_to_zero(self, client: SocketStream) -> bytes:
        data = b""
        while not data.endswith(b"\0"):
            data += await read_exactly(client, 1)
        return data

    async def socks5(self, client: SocketStream) -> None:
        self.heard.append(await read_exactly(client, 3 if self.fault == "hello" else 4))
        if await self.misbehave(client):
            return
        await send_in_pieces(client, b"\5\2", self.piece)
        self.heard.append(await read_exactly(client, len(b"\1\3ann\6secret")))
        await send_in_pieces(client, b"\1\0", self.piece)
        kind = (await read_exactly(client, 4))[3]
        if kind == 3:
            host = (await read_exactly(client, (await read_exactly(client, 1))[0])).decode()
        else:
            family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
            host = socket.inet_ntop(family, await read_exactly(client, size))
        self.heard.append(host.encode())
        port = int.from_bytes(await read_exactly(client, 2))
        await send_in_pieces(client, b"\5\0\0\1" + bytes(6), self.piece)
        await tunnel(client, host, port)


@asynccontextmanager
async def proxying(kind: str, *arguments: Any, **options: Any) -> AsyncIterator[Proxy]:
    proxy = Proxy(*arguments, **options)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        proxy.url = f"{kind}://ann:secret@127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.start_soon(listener.serve, proxy.handle)
        yield proxy
        tasks.cancel_scope.cancel()
