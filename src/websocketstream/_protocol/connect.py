"""How an HTTP proxy is asked for a tunnel, sans-IO (RFC 9110 section 9.3.6)."""

from __future__ import annotations

import h11

from .host import bracketed
from .http import TLS_RECORDS, excerpt, quoted
from .url import ProxyURL

MAX_ANSWER = 16384  # bytes of one head
MAX_INTERIM_ANSWERS = 8  # as of a server: any number may come, a thousand are an attack


class ProxyRefused(Exception):
    """There is no tunnel; the message says what the proxy said, safe to print.

    ``status`` is HTTP's if it said one. Else ``lasting`` tells whether it would say the same the next time.
    """

    def __init__(self, message: str, status: int | None = None, *, lasting: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.lasting = lasting


class ConnectHandshake:
    """One CONNECT: send :attr:`request`, then feed :meth:`receive_data` until it returns true."""

    def __init__(self, proxy: ProxyURL, host: str, port: int) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_ANSWER)
        target = f"{bracketed(host)}:{port}".encode("ascii")
        fields = [(b"Host", target)]
        self._logs_in = proxy.authorization is not None
        if proxy.authorization is not None:
            fields.append((b"Proxy-Authorization", proxy.authorization))
        request = h11.Request(method=b"CONNECT", target=target, headers=fields)
        self.request = (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        self._beginning = b""
        self._interim_answers = 0

    def receive_data(self, data: bytes) -> bool:
        """Take what arrived; return whether the tunnel is open.

        :raises ProxyRefused: the proxy said no, or something else than HTTP
        """
        self._beginning = self._beginning or data
        self._http.receive_data(data)
        try:
            while not isinstance(event := self._http.next_event(), h11.Response):
                if event is h11.NEED_DATA:
                    return False
                self._count_interim_answer()
        except h11.RemoteProtocolError:
            raise ProxyRefused(f'it answered "{excerpt(self._beginning)}"; {self._what_is_it()}') from None
        if not 200 <= event.status_code < 300:
            reason = quoted(event.reason.decode("latin-1"))[1:-1]
            advice = self._how_to_log_in(event) if event.status_code == 407 else ""
            message = f"it answered {event.status_code} {reason}".rstrip() + advice
            raise ProxyRefused(message, event.status_code)
        if rest := self._http.trailing_data[0]:
            # Nobody has spoken to the server yet, so this is not from it: whatever it is, it is not the tunnel's.
            raise ProxyRefused(f'it opened the tunnel and sent "{excerpt(rest)}" through it by itself')
        return True

    def _count_interim_answer(self) -> None:
        self._interim_answers += 1
        if self._interim_answers > MAX_INTERIM_ANSWERS:
            raise ProxyRefused(f"it sent more than {MAX_INTERIM_ANSWERS} interim (1xx) answers")

    def _what_is_it(self) -> str:
        return (
            "it speaks TLS, so its URL is https://"
            if self._beginning.startswith(TLS_RECORDS)
            else "is it an HTTP proxy?"
        )

    def _how_to_log_in(self, event: h11.Response) -> str:
        if not self._logs_in:
            return "; user name and password stand in its URL, http://name:password@host:port"
        asked = ", ".join(
            value.decode("latin-1") for name, value in event.headers if name == b"proxy-authenticate"
        )
        return f" to the user name and password of its URL; we can do Basic, it asks for {quoted(asked)}"

    def receive_eof(self) -> ProxyRefused:
        """Return the error for a connection that was closed before the answer was complete."""
        said = f' after "{excerpt(self._beginning)}"' if self._beginning else ""
        return ProxyRefused(f"it closed the connection{said}", lasting=False)
