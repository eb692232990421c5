"""``serve --exec COMMAND``: a process per connection, its standard input and output as the two directions of the stream."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from .._protocol.close import CloseCode, truncate_reason
from .._server.request import WebSocketRequest
from .._server.visit import Handler
from .serve_framing import Framing
from .serve_pipes import Pipes
from .serve_process import start, until_all_have_ended

logger = logging.getLogger("websocketstream.server")

# Which header fields are not for the environment. A program that knows HTTP_PROXY would take a client's field for the machine's
# proxy (httpoxy, CVE-2016-5385); logins are none of its business (RFC 3875 section 4.1.18).
_WITHHELD = frozenset({"proxy", "authorization", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class ExecOptions:
    """What to run for each client, and how."""

    command: str | Sequence[str]
    """A list is run as it is, a str by the shell."""
    make_framing: Callable[[], Framing]
    one_message: bool = False
    """Whether all that a process writes is one message."""
    max_size: int | None = None
    """The most bytes of a client's message; None for any number."""
    grace: float = 5.0
    """Seconds for a process to end when its client has left; then SIGTERM, and as long again until SIGKILL."""

    @property
    def name(self) -> str:
        """What the program is called in the log."""
        return self.command if isinstance(self.command, str) else self.command[0]


def make_handler(options: ExecOptions) -> Handler:
    """Return a handler that runs a process for each client; where it cannot be started the client is refused with 500."""

    async def handle(request: WebSocketRequest) -> None:
        try:
            process, stdin = await start(options.command, environment(request))
        except OSError as exc:
            logger.error("%s cannot run %a: %s", request.id, options.name, exc)  # noqa: TRY400  (what fails is not our code)
            await request.reject(500, body="The program cannot be started.\n")
            return
        async with until_all_have_ended(process, stdin, options.grace) as group, request.accept() as conn:
            logger.info("%s runs process %d", request.id, process.pid)
            pipes = Pipes(
                conn,
                process,
                group,
                stdin,
                options.make_framing(),
                one_message=options.one_message,
                max_size=options.max_size,
                patience=options.grace,
            )
            complaint = await pipes.run()
            if process.returncode is None:  # else the client need not wait for those that it has left behind
                await group.end(options.grace)
            code, reason = farewell(process.returncode, complaint)
            logger.info("%s process %d ended: %s", request.id, process.pid, reason or "exit status 0")
            conn.close(code, reason)

    return handle


def environment(request: WebSocketRequest) -> dict[str, str]:
    """Return the environment of a client's process: ours, and what CGI tells of a request (RFC 3875)."""
    headers = {
        f"HTTP_{name.upper().replace('-', '_')}": _as_it_came(value.encode("latin-1"))
        for name, value in request.headers.items()
        # X_Real_IP would take the place of the X-Real-IP that a proxy vouches for (as CVE-2015-0219).
        if name not in _WITHHELD and "_" not in name
    }
    return {
        **os.environ,
        **headers,
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "websocketstream",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": request.target,
        "PATH_INFO": _as_it_came(unquote_to_bytes(request.path).replace(b"\0", b"%00")),
        "QUERY_STRING": request.query,
        "REMOTE_ADDR": request.client_host or "",
        "WEBSOCKET_PROTOCOL": request.protocol,
    }


def _as_it_came(value: bytes) -> str:
    """Return what becomes these very bytes in an environment, where that is made of bytes."""
    return os.fsdecode(value) if os.name == "posix" else value.decode("utf-8", "replace")


def farewell(status: int | None, complaint: str = "") -> tuple[int, str]:
    """Return the code and the reason to close with: 1000 when all went well, 1011 and why when it did not.

    :param status: of the process, as ``subprocess`` gives it
    :param complaint: what else went wrong
    """
    if complaint:
        return CloseCode.INTERNAL_ERROR, truncate_reason(complaint)
    if not status:
        return CloseCode.NORMAL_CLOSURE, ""
    if status > 0:
        return CloseCode.INTERNAL_ERROR, f"exit status {status}"
    return CloseCode.INTERNAL_ERROR, f"killed by {_signal_name(-status)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of those for real time
        return f"signal {number}"
