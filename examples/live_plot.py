"""Draw a feed of numbers in the terminal, live.

    pip install websocketstream rich
    python live_plot.py [URL]

Each message is a number as text; without a URL the program feeds itself. It draws twenty times a second, however many
numbers come, and a terminal that is too slow holds the feed back instead of letting numbers pile up.
"""

import math
import sys
from collections import deque
from itertools import count

import anyio
from rich.console import Console
from rich.live import Live

from websocketstream import HandshakeError, WebSocketRequest, WebSocketStream, open_websocket_stream
from websocketstream.testing import serve_in_memory


def plot(values: deque[float], height: int = 10) -> str:
    low, high = min(values), max(values)
    eighths = [1 + round((value - low) / (high - low or 1) * (height * 8 - 1)) for value in values]
    rows = ("".join(" ▁▂▃▄▅▆▇█"[max(0, min(8, each - 8 * row))] for each in eighths) for row in range(height))
    return "\n".join([f"{high:.2f}", *reversed([*rows]), f"{low:.2f}"])


async def draw(conn: WebSocketStream, console: Console) -> None:
    values: deque[float] = deque(maxlen=console.width - 1)
    drawn_at = -math.inf
    with Live(console=console, auto_refresh=False) as live:
        async for message in conn.messages():  # an end that is an error is raised
            values.append(float(message))
            if anyio.current_time() > drawn_at + 0.05:
                live.update(plot(values), refresh=True)
                drawn_at = anyio.current_time()
        live.update(plot(values or deque([0.0])), refresh=True)


async def feed(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        for step in count():
            await conn.send(f"{math.sin(step / 20) + 0.2 * math.sin(step / 3):.3f}")
            await anyio.sleep(0.02)


async def main(url: str) -> None:
    async with serve_in_memory(feed) as connect, open_websocket_stream(url) if url else connect() as conn:
        await draw(conn, Console())


if __name__ == "__main__":
    try:
        anyio.run(main, "".join(sys.argv[1:2]))
    except (HandshakeError, KeyboardInterrupt) as exc:
        sys.exit(f"no connection: {exc}" if str(exc) else 0)
