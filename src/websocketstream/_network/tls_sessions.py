"""TLS sessions that can be resumed (RFC 8446 section 2.2): a client that comes back need not check a certificate again."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Hashable

MOST = 64  # servers


class TLSSessions:
    """What the servers of one context have given us to come back with: each is used once, and the newest are kept.

    A session keeps its context alive, and what that asked for when the session began is not asked for again. So this is for a
    context that nobody changes, and that is as old as the program.
    """

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        self._sessions: OrderedDict[Hashable, ssl.SSLSession] = OrderedDict()

    def take(self, server: Hashable) -> ssl.SSLSession | None:
        """Return what to come back with, if there is something; who sees the same twice can tell that we are the same."""
        return self._sessions.pop(server, None)

    def keep(self, server: Hashable, session: ssl.SSLSession | None) -> None:
        """Keep what a connection that ends now has been given."""
        if session is not None and session.has_ticket:
            self._sessions[server] = session
            self._sessions.move_to_end(server)
            while len(self._sessions) > MOST:
                self._sessions.popitem(last=False)
