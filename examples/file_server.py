"""Keep files of any size for clients, in constant memory.

    python file_server.py DIRECTORY [PORT]

A client uploads at /up/NAME and downloads at /down/NAME; a file is one message in chunks. It has its name only once it
is complete, so a connection that breaks leaves no half of it behind. file_client.py is the other end.
"""

import logging
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

import anyio

from websocketstream import WebSocketRequest, run_server


async def upload(request: WebSocketRequest, path: Path) -> None:
    async with request.accept() as conn:
        async for message in conn.readable.chunked():
            with TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
                part = anyio.Path(scratch, path.name)
                async with await part.open("wb") as file:
                    async for chunk in message:  # raises if the connection ends before the message does
                        await file.write(chunk.encode() if isinstance(chunk, str) else chunk)
                await part.replace(path)
            await conn.send("stored")


async def download(request: WebSocketRequest, path: Path) -> None:
    async with await anyio.open_file(path, "rb") as file:
        size = (await anyio.Path(path).stat()).st_size
        async with request.accept(headers={"X-File-Size": str(size)}) as conn:
            async with conn.writable.message() as part:
                while chunk := await file.read(2**18):
                    await part.send(chunk)  # waits while the client does not keep up
            await conn.receive()  # the client has stored it, too


async def handle(request: WebSocketRequest, directory: Path) -> None:
    verb, _, name = unquote(request.path).removeprefix("/").partition("/")
    is_plain = name == Path(name).name and not name.startswith(".")  # leads nowhere else
    if is_plain and name and verb == "up":
        await upload(request, directory / name)
    elif is_plain and verb == "down" and await anyio.Path(directory, name).is_file():
        await download(request, directory / name)
    else:
        await request.reject(404, body="There is /up/NAME, and /down/NAME for what is here.\n")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO)
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 8765
    run_server(partial(handle, directory=Path(sys.argv[1])), "127.0.0.1", port, origins=[None])
