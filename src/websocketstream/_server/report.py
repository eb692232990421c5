"""The line in the log that says what became of a client: no payload, no query, no credentials."""

from __future__ import annotations

import logging
from time import monotonic

from .._streams.connection import Connection
from .answer import Answer
from .request import WebSocketRequest

logger = logging.getLogger("websocketstream.server")


class Report:
    """What is known of a client while it is there."""

    __slots__ = ("_began", "_id", "_path", "_who")

    def __init__(self, id_: str, request: WebSocketRequest) -> None:
        self._id = id_
        self._who = request.client_host or "somebody"
        self._path = request.path[:100]
        self._began = monotonic()

    def write(self, answer: Answer | None, connection: Connection | None) -> None:
        """Write the line, at level ``INFO``."""
        seconds = monotonic() - self._began
        if connection is None:
            status = "no answer" if answer is None or not answer.begun else answer.status
            logger.info("%s %s %a: %s after %.3f s", self._id, self._who, self._path, status, seconds)
            return
        info = connection.close_info
        logger.info(
            "%s %s %a: %s after %.3f s, %d messages in, %d out",
            self._id,
            self._who,
            self._path,
            "open" if info is None else f"closed with {info.code}" if info.clean else f"broken, {info.code}",
            seconds,
            connection.inbox.statistics().messages,
            connection.outbox.statistics().messages,
        )
