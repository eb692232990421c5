"""The process of one client: how it begins, and how it is made to end."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    create_task_group,
    current_time,
    move_on_after,
    open_process,
    sleep,
    wait_writable,
)
from anyio.abc import ByteSendStream, Process
from anyio.lowlevel import checkpoint

CANCELLED_SECONDS = (
    1.0  # for a process when nobody has time any more: to end after SIGTERM, and again after SIGKILL
)
LOOK_SECONDS = 0.02  # between two looks at what a process has left behind
UNSEEN_SECONDS = 1.0  # no system comes round to the same number as fast as that


class InputPipe(ByteSendStream):
    """The writing end of a pipe. It holds nothing itself: what was sent is in the pipe, and nothing is left when it is closed."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    async def send(self, item: bytes) -> None:
        """Wait until all bytes are in the pipe.

        :raises anyio.BrokenResourceError: nobody can read them any more
        :raises anyio.ClosedResourceError: it was closed
        """
        rest = memoryview(item)
        while rest:
            if self._descriptor < 0:
                raise ClosedResourceError
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                await wait_writable(self._descriptor)
            except BrokenPipeError as exc:
                raise BrokenResourceError from exc

    async def aclose(self) -> None:
        """Close it, which is the end of what the other end reads. Nobody may be sending. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        await checkpoint()


async def start(command: str | Sequence[str], environ: Mapping[str, str]) -> tuple[Process, ByteSendStream]:
    """Start a process; return it, and its input.

    It is in a group of its own: what is typed at our terminal is not for it, and its children end with it.

    :param command: a list is run as it is, a str by the shell
    :raises OSError: it cannot be started
    """
    if os.name != "posix":
        process = await open_process(command, stderr=None, env=environ)
        assert process.stdin is not None
        return process, process.stdin
    # A pipe of asyncio's would keep up to 64 KiB of its own, and stay open until somebody takes them.
    output, into = os.pipe()
    try:
        process = await open_process(command, stdin=output, stderr=None, env=environ, start_new_session=True)
    except BaseException:
        os.close(into)
        raise
    finally:
        os.close(output)
    return process, InputPipe(into)


class Group:
    """A process, and those that it has started as long as they stay in its group: they get the same signals, and end together.

    Once nobody is in a group, its number is another's some day. While the process is there that cannot be; behind its end somebody
    has to look now and then, and a group that was not seen for a while gets no signal any more.
    """

    def __init__(self, process: Process, stdin: ByteSendStream) -> None:
        self._process = process
        self._stdin = stdin
        self._seen_at = current_time()
        self._is_gone = False

    async def watch(self) -> None:
        """Wait for the end of the process, and of the others: somebody has to do so from the beginning."""
        if self._process.returncode is None:
            await self._process.wait()
            self._seen_at = current_time()
        while self._tell(None):  # noqa: ASYNC110  (nobody tells us)
            await sleep(LOOK_SECONDS)

    async def end(self, grace: float) -> None:
        """Close the pipes of the process and wait for its end; who is there gets SIGTERM, and ``grace`` seconds later SIGKILL."""
        self._tell("SIGTERM")

        async def insist() -> None:
            with move_on_after(grace):
                await self.watch()
            self._tell("SIGKILL")
            self._is_gone = True  # but perhaps for numbers that nobody has waited for

        await self._stdin.aclose()
        async with create_task_group() as tasks:
            tasks.start_soon(insist)
            await self._process.aclose()

    def _tell(self, name: str | None) -> bool:
        """Send a signal, None for none; return whether anybody is there."""
        is_over, now = self._process.returncode is not None, current_time()
        if self._is_gone or (is_over and now - self._seen_at > UNSEEN_SECONDS):
            self._is_gone = True
            return False
        self._seen_at = now
        try:
            if os.name == "posix":
                os.killpg(self._process.pid, signal.Signals[name] if name else 0)
                return True
            if name and not is_over:
                self._process.kill()
        except (
            ProcessLookupError,
            PermissionError,
        ):  # the latter is macOS's word for those that nobody has waited for
            pass
        self._is_gone = is_over
        return False


@asynccontextmanager
async def until_all_have_ended(process: Process, stdin: ByteSendStream, grace: float) -> AsyncIterator[Group]:
    """Leave no process of a group behind, nor the pipes to it, whatever happens in the block.

    :param grace: seconds between SIGTERM and SIGKILL, where there is time
    """
    group = Group(process, stdin)
    try:
        yield group
        await group.end(grace)
    finally:
        with move_on_after(2 * CANCELLED_SECONDS, shield=True):
            await group.end(CANCELLED_SECONDS)
