"""Chromium without a window, driven by its DevTools protocol, which is spoken over a WebSocket of ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from anyio import fail_after

from interop.programs import END, program, running
from waiting import until
from websocketstream import WebSocketStream, open_websocket_stream

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]


class DevTools:
    """One page: what it is told to do, and the events that it tells of meanwhile."""

    def __init__(self, conn: WebSocketStream) -> None:
        self._conn = conn
        self._numbers = count(1)
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []

    async def attach(self) -> None:
        """Find the page of a browser that has just been started."""
        targets = (await self.call("Target.getTargets"))["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = await self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        await self._conn.send(json.dumps({"id": number, "method": method, "params": params, **self._session}))
        with fail_after(END):
            while (said := json.loads(await self._conn.receive())).get("id") != number:
                self.events.append(said)
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def evaluate(self, expression: str) -> Any:
        """Return what an expression of JavaScript gives in the page; a promise's value, if it gives one."""
        done = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, f"{expression}: {done['exceptionDetails']}"
        return done["result"].get("value")

    async def becomes(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        await self.evaluate(
            "new Promise(resolve => { const timer = setInterval(() => {"
            f"if ({expression}) {{ clearInterval(timer); resolve() }} }}, 20) }})"
        )

    def told(self, method: str) -> list[dict[str, Any]]:
        """Return the events of one kind."""
        return [event["params"] for event in self.events if event.get("method") == method]


@asynccontextmanager
async def browser(directory: Path, *flags: str) -> AsyncIterator[DevTools]:
    """Run a browser for the length of a block."""
    profile = directory / "profile"
    address = profile / "DevToolsActivePort"  # which the browser writes once it listens
    command = [program("chromium"), *FLAGS, *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    with running([*command, "about:blank"], directory):
        await until(lambda: address.exists() and len(address.read_text().split()) == 2, within=END)
        port, path = address.read_text().split()
        async with open_websocket_stream(f"ws://127.0.0.1:{port}{path}") as conn:
            tools = DevTools(conn)
            await tools.attach()
            yield tools
