"""The process of one client: how it begins, and how it is made to end."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    create_task_group,
    current_time,
    move_on_after,
    open_process,
    sleep,
    sleep_until,
    wait_writable,
)
from anyio.abc import ByteSendStream, Process
from anyio.lowlevel import checkpoint

CANCELLED_SECONDS = (
    1.0  # for a process when nobody has time any more: to end after SIGTERM, and again after SIGKILL
)
LOOK_SECONDS = 0.02  # between two looks at what a process has left behind


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


async def end(process: Process, stdin: ByteSendStream, grace: float) -> None:
    """Close the pipes of a process and wait for its end; if it has not ended yet: by SIGTERM, ``grace`` seconds later by SIGKILL.

    What gets a signal are all processes of its group, and those that outlive it have as much time as it has.
    """
    if process.returncode is not None:
        await stdin.aclose()
        await process.aclose()
        return
    _tell(process, "SIGTERM")
    deadline = current_time() + grace

    async def insist() -> None:
        await sleep_until(deadline)
        _tell(process, "SIGKILL")

    try:
        await stdin.aclose()
        async with create_task_group() as tasks:
            tasks.start_soon(insist)
            await process.aclose()
            tasks.cancel_scope.cancel()
        with CancelScope(deadline=deadline):
            await _until_its_group_has_ended(process)
    finally:
        _tell(process, "SIGKILL")


@asynccontextmanager
async def until_it_has_ended(process: Process, stdin: ByteSendStream) -> AsyncIterator[None]:
    """Leave no process behind, nor its pipes, whatever happens in the block."""
    try:
        yield
    finally:
        if process.returncode is None:
            _tell(process, "SIGTERM")
            with move_on_after(CANCELLED_SECONDS, shield=True):
                await process.wait()
                await _until_its_group_has_ended(process)
            _tell(process, "SIGKILL")
        with move_on_after(CANCELLED_SECONDS, shield=True):
            await stdin.aclose()
            await process.aclose()


async def _until_its_group_has_ended(process: Process) -> None:
    while _tell(process, None):  # noqa: ASYNC110  (nobody tells us)
        await sleep(LOOK_SECONDS)


def _tell(process: Process, name: str | None) -> bool:
    """Send a signal to a process and its children, None for none; return whether any are there.

    Of one that has ended on its own this may not be asked: once no process has its number, that may be another's. Here somebody
    looks from its end on.
    """
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.Signals[name] if name else 0)
            return True
        if name and process.returncode is None:
            process.kill()
    except (
        ProcessLookupError,
        PermissionError,
    ):  # the latter is macOS's word for those that nobody has waited for
        pass
    return False
