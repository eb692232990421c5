"""What waits for a client that does not keep up with a hub, and how much of it may: three policies."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias

from .._protocol.arguments import check_seconds, check_size
from .._protocol.shared import SharedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class DropOldest:
    """Keep the newest messages for a client that has fallen behind: the oldest that wait are dropped.

    ``max_bytes`` and ``max_messages`` are what may wait, None for no limit. A message is charged with its size before
    compression and 100 bytes more, which is what its place takes. One that alone is more than ``max_bytes`` is dropped like all
    before it.

    :raises TypeError: an option has the wrong type
    :raises ValueError: an option is below 1
    """

    max_bytes: int | None = 2**20
    max_messages: int | None = None

    def __post_init__(self) -> None:
        _check_sizes(max_bytes=self.max_bytes, max_messages=self.max_messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestOnly:
    """Keep the latest message of each key for a client that has fallen behind.

    A newer message takes the place of the one with the same ``key`` that waits, behind all others; those without a key have the
    key None in common. As many wait as there are keys. Where these alone are more than ``max_bytes``, counted as for
    :class:`DropOldest`, the client is closed with 1013 (try again later): what is dropped would be the latest. None for no limit.

    :raises TypeError: an option has the wrong type
    :raises ValueError: an option is below 1
    """

    max_bytes: int | None = 2**20

    def __post_init__(self) -> None:
        _check_sizes(max_bytes=self.max_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseWhenBehind:
    """Keep all messages, and close a client with 1013 (try again later) that has fallen behind too far.

    That is when more than ``max_bytes`` wait, counted as for :class:`DropOldest`, or when the oldest has waited for
    ``max_seconds``, None for no limit. What you send in one go to clients that are not behind should be less than ``max_bytes``.

    :raises TypeError: an option has the wrong type
    :raises ValueError: an option is out of range
    """

    max_bytes: int | None = 2**20
    max_seconds: float | None = 30

    def __post_init__(self) -> None:
        _check_sizes(max_bytes=self.max_bytes)
        if self.max_seconds is not None:
            check_seconds("max_seconds", self.max_seconds, zero=False)


Policy: TypeAlias = DropOldest | LatestOnly | CloseWhenBehind


def _check_sizes(**sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is not None:
            check_size(name, size)


class Backlog:
    """The messages that wait for one client, in order, under its policy."""

    __slots__ = ("_policy", "bytes", "dropped", "waiting")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.waiting: OrderedDict[Hashable, SharedMessage] = OrderedDict()
        self.bytes: int = 0  # of the messages
        self.dropped: int = 0  # messages ever

    def add(self, message: SharedMessage) -> None:
        """Let one more message wait, and drop what the policy says."""
        policy = self._policy
        key = message.key if isinstance(policy, LatestOnly) else message
        if key in self.waiting:
            self._drop(self.waiting.pop(key))
        self.waiting[key] = message
        self.bytes += message.size
        if isinstance(policy, DropOldest):
            while self._exceeds(policy.max_bytes, policy.max_messages):
                self._drop(self.waiting.popitem(last=False)[1])

    def pop(self) -> SharedMessage:
        """Remove and return the oldest message."""
        message = self.waiting.popitem(last=False)[1]
        self.bytes -= message.size
        return message

    def _drop(self, message: SharedMessage) -> None:
        self.bytes -= message.size
        self.dropped += 1

    def _exceeds(self, max_bytes: int | None, max_messages: int | None = None) -> bool:
        return (max_bytes is not None and self.bytes > max_bytes) or (
            max_messages is not None and len(self.waiting) > max_messages
        )

    @property
    def since(self) -> float:
        """When the oldest message was sent, infinite when none waits."""
        return next(iter(self.waiting.values())).sent_at if self.waiting else math.inf

    @property
    def deadline(self) -> float:
        """When the oldest message will have waited for too long."""
        policy = self._policy
        if isinstance(policy, CloseWhenBehind) and policy.max_seconds is not None:
            return self.since + policy.max_seconds
        return math.inf

    def complaint(self, now: float) -> str:
        """Say why the client is to be closed, "" if it is not."""
        policy = self._policy
        if not isinstance(policy, DropOldest) and self._exceeds(policy.max_bytes):
            return f"more than {policy.max_bytes} bytes behind"
        return "behind for too long" if now >= self.deadline else ""
