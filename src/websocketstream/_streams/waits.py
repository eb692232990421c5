"""How tasks wait: for their turn, for a message, for room. The buffers say what for, and do not wait themselves."""

from __future__ import annotations

from types import TracebackType

from anyio import BusyResourceError
from anyio.lowlevel import checkpoint

from .._protocol.codec import Chunk, Message
from .budget import Budget
from .hints import ONE_RECEIVER
from .receive_buffer import ReceiveBuffer
from .send_buffer import SendBuffer


class OneAtATime:
    """Lets one task in at a time, as :class:`anyio.ResourceGuard` does; who is refused has yielded to the event loop.

    Otherwise a task that tries again and again would hold up the one that it waits for, and all others.
    """

    __slots__ = ("_action", "_is_taken")

    def __init__(self, action: str) -> None:
        self._action = action
        self._is_taken = False

    async def __aenter__(self) -> None:
        if self._is_taken:
            await checkpoint()
            raise BusyResourceError(self._action)
        self._is_taken = True

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_taken = False


async def wait_for_turn(budget: Budget) -> None:
    """Yield to the event loop because nothing is left of the budget; who is cancelled in this has yielded as well."""
    try:
        await checkpoint()
    finally:
        budget.waited()


async def wait_for_message(buffer: ReceiveBuffer) -> Message:
    """Wait for the next message, after a checkpoint if that is due, and take it.

    It stays in the buffer until then, so a cancellation loses nothing.
    """
    try:
        arrival = buffer.begin_waiting()
    except BusyResourceError as busy:
        busy.add_note(ONE_RECEIVER)
        await checkpoint()  # see OneAtATime
        raise
    try:
        if arrival is None:
            await wait_for_turn(buffer.budget)
            arrival = buffer.arrival()
        while arrival is not None:
            await arrival
            arrival = buffer.arrival_after_wait()
    finally:
        buffer.end_waiting()
    return buffer.pop()


async def wait_for_messages(buffer: ReceiveBuffer) -> list[Message]:
    """Wait as :func:`wait_for_message` does, and take all messages that are here then."""
    messages = [await wait_for_message(buffer)]
    if not buffer.is_drained:
        messages += buffer.pop_all()
    return messages


async def wait_for_chunk(buffer: ReceiveBuffer) -> Chunk:
    """Wait for the next chunk, after a checkpoint if that is due, and take it, as the one who has locked the buffer.

    It stays in the buffer until then, so a cancellation loses nothing.
    """
    if not buffer.budget.allows():
        await wait_for_turn(buffer.budget)
    arrival = buffer.arrival()
    try:
        while arrival is not None:
            await arrival
            arrival = buffer.arrival_after_wait()
    finally:
        buffer.end_waiting_for_chunk()
    return buffer.pop_chunk()


async def wait_for_room(buffer: SendBuffer, size: int, *, keep: bool = False) -> None:
    """Wait until there is room, as the sender of the message of so many bytes that was queued last.

    When that is cancelled, the message is taken back unless the writer has begun with it; ``keep`` leaves it where it is. When the
    connection ends, it is taken back either way.
    """
    held = buffer.hold(size)
    try:
        await held.waiter
        buffer.budget.waited()
    except BaseException:
        if keep:
            buffer.release(held)
        else:
            buffer.give_up(held)
        raise
    if not held.is_free:
        buffer.raise_if_ended()
