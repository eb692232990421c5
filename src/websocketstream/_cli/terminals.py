"""A terminal to talk in: lines that are typed, and what is shown above them meanwhile."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from anyio import EndOfStream, Event, create_memory_object_stream, from_thread, move_on_after
from anyio.lowlevel import EventLoopToken, current_token

from .failures import CommandFailed
from .standard import InputStream, OutputStream
from .talk_commands import NAMES

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import History

PROMPT = "> "
RESTORE_SECONDS = 2.0  # for the terminal to get back the modes that it had
TOOLBAR_SECONDS = 0.5


class Terminal(Protocol):
    """Where somebody types and reads."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def receive(self) -> str | None:
        """Wait for a line that is typed; None at the end of the input."""

    async def show(self, text: str) -> None:
        """Wait until lines are shown. They must be safe to print."""

    def tell(self, text: str) -> None:
        """Show a line some time soon."""


class PlainTerminal:
    """A terminal that edits lines itself, as it does for ``cat``."""

    def __init__(self) -> None:
        self._input = InputStream()
        self._output = OutputStream()
        self._rest = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def receive(self) -> str | None:
        """Wait for a line that is typed; None at the end of the input."""
        while b"\n" not in self._rest:
            data = await self._input.receive()
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.removesuffix(b"\r").decode(errors="replace")

    async def show(self, text: str) -> None:
        """Wait until lines are shown."""
        await self._output.send(f"{text}\n".encode())

    def tell(self, text: str) -> None:
        """Show a line some time soon, if the terminal takes it."""
        self._output.offer(f"{text}\n".encode())


class PromptTerminal:
    """A prompt with history and completion, below what is shown: prompt_toolkit's, whose event loop has a thread of its own.

    So it works beside every event loop, and a terminal that is stopped (Ctrl-S) stops nothing else than what is shown.

    :param toolbar: returns what the line below the prompt says, None for no such line
    """

    def __init__(self, toolbar: Callable[[], str] | None = None) -> None:
        self._toolbar = toolbar
        self._shows: set[Event] = set()  # of those who wait until something is shown
        self._error: OSError | None = None

    async def __aenter__(self) -> Self:
        self._started, self._finished = Event(), Event()
        self._send, self._lines = create_memory_object_stream[str](math.inf)
        self._token: EventLoopToken = current_token()
        threading.Thread(target=self._run, daemon=True).start()
        await self._started.wait()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._task.cancel)
        with move_on_after(RESTORE_SECONDS, shield=True):
            await self._finished.wait()
        self._send.close()
        self._lines.close()

    async def receive(self) -> str | None:
        """Wait for a line that is typed; None at the end of the input.

        :raises CommandFailed: the terminal is gone
        """
        try:
            return await self._lines.receive()
        except EndOfStream:
            if self._error is not None:
                raise CommandFailed(f"the terminal is gone: {self._error.strerror}") from None
            return None

    async def show(self, text: str) -> None:
        """Wait until lines are shown above the prompt; without a terminal they go nowhere."""
        done, token = Event(), current_token()
        self._shows.add(done)
        try:
            self._write(text, lambda: _in_loop(token, done.set))
            if not self._finished.is_set():
                await done.wait()
        finally:
            self._shows.discard(done)

    def tell(self, text: str) -> None:
        """Show a line some time soon."""
        self._write(text, lambda: None)

    def _write(self, text: str, then: Callable[[], None]) -> None:
        showing = _print_above(text, then)
        try:
            asyncio.run_coroutine_threadsafe(showing, self._loop)
        except RuntimeError:  # it has ended
            showing.close()

    def _end(self) -> None:
        """Let nobody wait for a prompt that is over."""
        self._send.close()
        for event in (self._started, self._finished, *self._shows):
            event.set()

    # --- in the thread of the prompt

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(self._prompt())
        except OSError as exc:  # the terminal was closed, and the signal that says so is ignored
            self._error = exc
        finally:
            _in_loop(self._token, self._end)

    async def _prompt(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        session = self._session()
        _in_loop(self._token, self._started.set)
        while True:
            try:
                line = await session.prompt_async(PROMPT, handle_sigint=False)
            except KeyboardInterrupt:
                signal.raise_signal(signal.SIGINT)  # as a terminal does it that is not in raw mode
                break
            except EOFError:
                _in_loop(self._token, self._send.close)
                break
            _in_loop(self._token, self._send.send_nowait, line)
        await asyncio.Event().wait()  # until cancelled: what is shown needs this event loop

    def _session(self) -> PromptSession[str]:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter

        return PromptSession(
            history=_history(),
            completer=WordCompleter(list(NAMES), sentence=True),
            complete_while_typing=False,
            enable_history_search=True,
            bottom_toolbar=self._toolbar,
            refresh_interval=TOOLBAR_SECONDS if self._toolbar else 0,
        )


def _in_loop(token: EventLoopToken, function: Callable[..., object], *arguments: object) -> None:
    """Call a function in the event loop of the connection, if it is still there."""
    with suppress(RuntimeError):
        from_thread.run_sync(function, *arguments, token=token)


async def _print_above(text: str, then: Callable[[], None]) -> None:
    from prompt_toolkit.application import run_in_terminal

    try:
        await run_in_terminal(lambda: _print(text))
    finally:
        then()  # from here, which is never the thread of the connection


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _history() -> History:
    """Return the history: a file that only the user may read, or for this run only where there can be none."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    path = history_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def history_path() -> Path:
    """Return where the history is kept: below the user's directory of state."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "websocketstream" / "history"
