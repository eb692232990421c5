"""Follow a ticker across lost connections: no tick is missed, and none comes twice.

    python ticker_client.py [URL]

It remembers the number of the last tick, and asks for what comes behind it. Stop ticker_server.py's network for a moment,
or put the machine to sleep, and see.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial

import anyio

from websocketstream import Attempt, Backoff, WebSocketStream, open_websocket_stream, reconnecting


def explain(attempt: Attempt) -> None:
    print(f"attempt {attempt.number} in {attempt.delay:.1f} s, because of {attempt.error}", file=sys.stderr)


async def follow(url: str, take: Callable[[str], object]) -> None:
    last: int | None = None

    def connect() -> AbstractAsyncContextManager[WebSocketStream]:
        return open_websocket_stream(url if last is None else f"{url}?after={last}")

    backoff = Backoff(initial=0.2, maximum=30)
    async with reconnecting(connect, backoff=backoff, on_attempt=explain) as connections:
        async for conn in connections:
            async with connections.retrying():
                async for message in conn.messages():
                    number, _, text = str(message).partition(" ")
                    if last is not None and int(number) != last + 1:
                        raise RuntimeError(f"ticks {last + 1} to {int(number) - 1} are not kept any more")
                    take(f"{number} {text}")
                    last = int(number)  # behind the work: what fails in the middle comes again


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
    with suppress(KeyboardInterrupt):
        anyio.run(follow, url, partial(print, flush=True))
