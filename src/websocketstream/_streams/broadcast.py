"""One message to many connections: the public face of a hub."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from types import TracebackType
from typing import Self

from .._network.loop import uninterrupted
from .._protocol.codec import Outgoing
from .backlog import CloseWhenBehind, DropOldest, LatestOnly, Policy
from .hub import Hub, Outlet
from .send_buffer import Sendable
from .statistics import SubscriptionStatistics
from .stream import WebSocketStream
from .writable import prepare_or_explain


class Broadcast:
    """A hub: it sends each message to all connections that have subscribed, and never waits for the slowest.

    A message is encoded and compressed once for all connections of a server; those of clients have masks of their own. It goes
    straight to each connection that has room in its ``write_buffer``. For one that has not it waits, under the policy of the
    subscription, and nobody else notices.

    A hub belongs to the event loop of its connections, and to its thread.

    :param policy: for subscriptions that have none of their own, ``CloseWhenBehind()`` by default
    :raises TypeError: the policy is none
    """

    def __init__(self, *, policy: DropOldest | LatestOnly | CloseWhenBehind | None = None) -> None:
        self._policy: Policy = CloseWhenBehind() if policy is None else _check_policy(policy)
        self._hub = Hub()

    def __len__(self) -> int:
        return len(self._hub.outlets)

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """Those that there are now, in the order in which they came."""
        return tuple(Subscription(self._hub, outlet) for outlet in self._hub.outlets)

    @uninterrupted
    def subscribe(
        self, conn: WebSocketStream, *, policy: DropOldest | LatestOnly | CloseWhenBehind | None = None
    ) -> Subscription:
        """Send to a connection as well from now on, until the end of ``with hub.subscribe(conn):``.

        :param policy: what becomes of messages while the connection has no room, the hub's own by default
        :raises TypeError: the policy is none
        :raises RuntimeError: the hub has connections of another event loop
        """
        policy = self._policy if policy is None else _check_policy(policy)
        return Subscription(self._hub, self._hub.enter(conn, policy))

    @uninterrupted
    def send(
        self,
        message: Sendable,
        *,
        key: Hashable = None,
        compress: bool = True,
        exclude: WebSocketStream | None = None,
    ) -> None:
        """Send a message to all who have subscribed: text for str, binary for bytes.

        It returns at once. The first message in a pass of the event loop is written within this call, those behind it leave
        together in the next; for thousands of connections that goes on in portions of 4 ms, one a pass. No failure of
        a connection comes out here: one that has ended has no subscription any more.

        A hub's messages keep their order, and so do those of ``conn.send()``. One of the latter may come before a message of the
        hub that was sent earlier and still waits.

        :param key: what the message is the latest of, for :class:`LatestOnly`
        :param compress: false sends this message plain although permessage-deflate was negotiated
        :param exclude: a connection that does not get it, such as that which the message came from
        :raises TypeError: the message is neither str nor bytes-like, or the key cannot be hashed; nothing was sent
        :raises ValueError: the text has a lone surrogate, which UTF-8 cannot carry; nothing was sent
        """
        hash(key)
        self._hub.send(Outgoing.of(prepare_or_explain(message, compress)), key, exclude)

    @uninterrupted
    def flush(self) -> None:
        """Give all messages to all connections now, however many these are: before a shutdown, say.

        This does not wait for anybody either: what a slow client has no room for goes on waiting.
        """
        self._hub.flush()


class Subscription:
    """A connection's place in a hub, until the end of its ``with`` block; see :meth:`Broadcast.subscribe`."""

    __slots__ = ("_hub", "_outlet")

    def __init__(self, hub: Hub, outlet: Outlet) -> None:
        self._hub = hub
        self._outlet = outlet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.unsubscribe()

    @property
    def stream(self) -> WebSocketStream:
        """The connection that has subscribed."""
        return self._outlet.stream

    @uninterrupted
    def unsubscribe(self) -> None:
        """Send nothing more to the connection; what waits for room is dropped. Idempotent.

        A connection that has ended is unsubscribed by itself, at the latest with the hub's next message.
        """
        self._hub.leave(self._outlet)

    def statistics(self) -> SubscriptionStatistics:
        """Return what was sent and dropped, and what waits for room."""
        return self._outlet.statistics()


def _check_policy(policy: object) -> Policy:
    if not isinstance(policy, (DropOldest, LatestOnly, CloseWhenBehind)):
        raise TypeError(
            f"policy must be a DropOldest, LatestOnly or CloseWhenBehind, not {type(policy).__name__}"
        )
    return policy
