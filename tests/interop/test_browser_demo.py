"""The demo's page in Chromium: what its visitors see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from interop.devtools import DevTools, browser
from interop.programs import program
from websocketstream._cli.demo_flows import Runs
from websocketstream._cli.demo_page import page_files
from websocketstream._cli.demo_site import Site

# Of a browser, no more than one of our loops needs to know.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

LIMIT = 8  # MiB that may pile up: so that it is soon
WAITING = "document.querySelector('#{} [data-figure=waiting]').textContent"
HELD_BACK = "document.querySelector('#{} [data-figure=heldBack]').textContent"
NEWS = "document.querySelector('#news').textContent"
LOADED = "performance.getEntriesByType('resource').map(entry => entry.name)"
SET_RATE = "rate = document.querySelector('#rate'); rate.value = {}; rate.dispatchEvent(new Event('input'))"


@pytest.fixture(autouse=True)
def _is_installed() -> None:
    program("chromium")  # before any task group is open, which would wrap the skip


@asynccontextmanager
async def demo(directory: Path, *flags: str) -> AsyncIterator[DevTools]:
    """Show the page for the length of a block; it must have loaded nothing of others, and complained of nothing."""
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(Site(page_files(), Runs().find).serve)
        async with browser(directory, *flags) as page:
            await page.call("Page.navigate", url=f"{url}?limit={LIMIT}")
            await page.becomes("document.querySelector('#memory-text')?.textContent")
            yield page
            loaded = await page.evaluate(LOADED)
            assert f"{url}script.js" in loaded
            assert not [address for address in loaded if not address.startswith(url)]
            assert not page.told("Runtime.exceptionThrown")
            assert not [told for told in page.told("Log.entryAdded") if told["entry"]["level"] == "error"]
        tasks.cancel_scope.cancel()


def number(text: str) -> float:
    return float(text.split(maxsplit=1)[0])


async def test_the_classic_half_swallows_all_and_the_other_holds_the_server_back(tmp_path: Path) -> None:
    async with demo(tmp_path) as page:
        await page.becomes(f"{NEWS}.startsWith('Stopped at {LIMIT} MiB')")
        assert number(await page.evaluate(WAITING.format("classic"))) >= LIMIT
        held_back = number(await page.evaluate(HELD_BACK.format("classic")))  # while the browser had no time
        await page.becomes(f"parseFloat({HELD_BACK.format('stream')}) > {held_back} + 0.5")
        assert number(await page.evaluate(WAITING.format("stream"))) == 0

        await page.evaluate(SET_RATE.format(0))
        held = await page.evaluate("document.querySelector('#stream td').textContent")
        assert number(held) < 64  # what the browser and the system buffer
        await page.evaluate(SET_RATE.format(24))
        await page.becomes(
            f"parseFloat(document.querySelector('#stream td').textContent) > {number(held)} + {LIMIT}"
        )


async def test_an_upload_piles_up_in_the_classic_half_and_waits_in_the_other(tmp_path: Path) -> None:
    async with demo(tmp_path) as page:
        await page.evaluate("document.querySelector('[value=upload]').click()")
        await page.becomes(f"{NEWS}.startsWith('Stopped at {LIMIT} MiB')")
        assert number(await page.evaluate(WAITING.format("classic"))) >= LIMIT
        assert await page.evaluate(HELD_BACK.format("classic")) == "0.0 s"
        await page.becomes(f"parseFloat({HELD_BACK.format('stream')}) > 0.5")
        assert number(await page.evaluate(WAITING.format("stream"))) < 1
        assert "bufferedAmount" in await page.evaluate("document.querySelector('.words').innerText")


async def test_an_upload_that_piles_up_unseen_is_noticed_by_what_the_server_has_got(tmp_path: Path) -> None:
    """Chromium's bufferedAmount stays at nearly nothing in one run of fifty, and all of it waits in another process."""
    async with demo(tmp_path) as page:
        await page.evaluate(
            "Object.defineProperty(WebSocket.prototype, 'bufferedAmount', { get: () => 0 }); 0"
        )
        await page.evaluate("document.querySelector('[value=upload]').click()")
        await page.becomes(f"{NEWS}.startsWith('Stopped at {LIMIT} MiB')")
        assert number(await page.evaluate(WAITING.format("classic"))) >= LIMIT
        assert number(await page.evaluate(WAITING.format("stream"))) < 1


async def test_a_browser_without_the_api_is_told_so_and_shows_the_classic_half(tmp_path: Path) -> None:
    async with demo(tmp_path, "--disable-blink-features=WebSocketStream") as page:
        assert "has no WebSocketStream" in await page.evaluate("document.querySelector('#stream').innerText")
        assert not await page.evaluate("document.querySelector('#stream canvas').checkVisibility()")
        await page.becomes(f"{NEWS}.startsWith('Stopped at {LIMIT} MiB')")


async def test_it_fits_a_phone_and_needs_no_mouse(tmp_path: Path) -> None:
    async with demo(tmp_path) as page:
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
        await page.call("Emulation.setDeviceMetricsOverride", **phone)
        assert await page.evaluate("document.documentElement.scrollWidth") == 390
        await page.evaluate("document.querySelector('#rate').focus()")
        for kind in ("keyDown", "keyUp"):
            await page.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", windowsVirtualKeyCode=39)
        assert await page.evaluate("document.querySelector('#rate-text').textContent") == "2.5 MiB/s"
        await page.evaluate("document.querySelector('#stop').click()")
        assert await page.evaluate(NEWS) == "Stopped."
