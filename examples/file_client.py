"""Send a file of any size up to file_server.py, or get it from there, in constant memory and with a progress bar.

    pip install websocketstream rich
    python file_client.py up|down ws://127.0.0.1:8765 film.mp4

What it gets has its name only once it is complete.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import anyio
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from websocketstream import WebSocketError, open_websocket_stream


async def up(url: str, path: Path, progress: Progress) -> None:
    async with await anyio.open_file(path, "rb") as file:
        bar = progress.add_task(path.name, total=(await anyio.Path(path).stat()).st_size)
        async with open_websocket_stream(f"{url}/up/{quote(path.name)}") as conn:
            async with conn.writable.message() as part:
                while chunk := await file.read(2**18):
                    await part.send(chunk)  # waits while the server does not keep up
                    progress.advance(bar, len(chunk))
            await conn.receive()  # raises if the server ends before it has stored the file


async def down(url: str, path: Path, progress: Progress) -> None:
    async with open_websocket_stream(f"{url}/down/{quote(path.name)}") as conn:
        size = conn.response and conn.response.headers.get("X-File-Size")
        bar = progress.add_task(path.name, total=int(size) if size else None)
        async for message in conn.readable.chunked():
            with TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
                part = anyio.Path(scratch, path.name)
                async with await part.open("wb") as file:
                    async for chunk in message:  # raises if the connection ends before the message does
                        await file.write(chunk.encode() if isinstance(chunk, str) else chunk)
                        progress.advance(bar, len(chunk))
                await part.replace(path)  # complete: now it may have its name
            await conn.send("stored")
            return
    raise EOFError("the server ended before it had sent the file")


async def main(verb: str, url: str, path: str) -> None:
    with Progress(*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn()) as progress:
        await (down if verb == "down" else up)(url, Path(path), progress)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
    except (WebSocketError, OSError, EOFError, KeyboardInterrupt) as exc:
        sys.exit(f"it has failed: {exc}" if str(exc) else "stopped")
