"""The demonstration in a browser: its page, and the server behind it."""

from __future__ import annotations

import threading
import webbrowser
from contextlib import suppress
from importlib import resources
from pathlib import PurePosixPath

from anyio import Event, create_task_group, from_thread
from anyio.lowlevel import current_token

from .demo_flows import Runs
from .demo_site import File, Site

FOLDER = "_browser_demo"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


async def serve_page(port: int, *, open_it: bool) -> None:
    """Serve the page on this machine until cancelled, and say where it is.

    :param port: the TCP port, 0 for a free one
    :param open_it: show it in the user's browser, too
    :raises OSError: the port cannot be listened on
    """
    site = Site(page_files(), Runs().find)
    async with create_task_group() as tasks:
        url = await tasks.start(site.serve, port)
        print(f"The demo is at {url} until Ctrl-C.", flush=True)
        if open_it and not await open_browser(url):
            print("There is no browser that could be opened from here: open this address in one.", flush=True)


async def open_browser(url: str) -> bool:
    """Open a browser and tell whether there is one.

    Some are waited for until they end. So it is done in a thread, and not in one of anyio's, which would hold up our exit.
    """
    done, token = Event(), current_token()
    is_open = False

    def open_() -> None:
        nonlocal is_open
        try:
            is_open = webbrowser.open(url)
        finally:
            with suppress(RuntimeError):  # the event loop has ended meanwhile
                from_thread.run_sync(done.set, token=token)

    threading.Thread(target=open_, daemon=True).start()
    await done.wait()
    return is_open


def page_files() -> dict[str, File]:
    """Return the files of the page by their paths."""
    files = {}
    for item in (resources.files("websocketstream") / FOLDER).iterdir():
        content_type = CONTENT_TYPES.get(PurePosixPath(item.name).suffix)
        if content_type is not None:
            path = "/" if item.name == "page.html" else f"/{item.name}"
            files[path] = File(content_type, item.read_bytes())
    return files
