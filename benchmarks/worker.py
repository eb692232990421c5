"""A fresh process for one contender and one row."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from . import measure
from .contenders import ENTRIES
from .contenders.base import Serving
from .process import allow_descriptors, answer_parent, end, pin, say
from .rows import BY_NAME
from .tls import server_context


def run_asyncio(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def run_uvloop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    import uvloop

    uvloop.run(main())


def run_trio(main: Callable[[], Awaitable[None]]) -> None:
    import trio

    trio.run(main)


def run_without_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine that blocks instead of waiting."""
    try:
        main().send(None)
    except StopIteration:
        return
    raise RuntimeError("it wanted to wait")


RUNNERS = {"asyncio": run_asyncio, "uvloop": run_uvloop, "trio": run_trio, "none": run_without_loop}


def main() -> None:
    job = json.loads(sys.argv[1])
    pin(job["core"])
    row, contender = BY_NAME[job["row"]], ENTRIES[job["contender"]].load()

    async def work() -> None:
        if row.by_server:
            allow_descriptors(row.count + 100)
            answer_parent()
            how = Serving(
                keepalive=row.kind == "memory",
                context=server_context(job["certificate"]) if row.tls else None,
                deflate=row.deflate,
                size=row.size,
                broadcast=row.kind == "broadcast",
                port=job["port"],
                shared=row.processes > 1,
                asgi=row.asgi,
            )
            await contender.serve(lambda port: say(port=port), how)
        else:
            measurement = measure.Measurement(contender, row, job["port"], job["seconds"], job["authority"])
            say(figures=await measure.KINDS[row.kind](measurement))
        end()

    RUNNERS[job["backend"]](work)


if __name__ == "__main__":
    main()
