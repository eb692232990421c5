"""Where a redirect leads, and what goes along on the way (RFC 9110 section 15.4)."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import urljoin

from .errors import REDIRECTS, HandshakeRejected
from .http import Response
from .url import WebSocketURL, parse_url

# What the names of header fields have in them that are for one origin only.
_SECRET = re.compile(r"auth|cookie|credential|key|passw|secret|session|signature|token", re.IGNORECASE)


def is_redirect(response: Response) -> bool:
    """Tell whether a server has said no by pointing somewhere else."""
    return response.status in REDIRECTS and "location" in response.headers


def redirect_target(url: WebSocketURL, response: Response) -> WebSocketURL:
    """Return where a redirect of the server at ``url`` leads; user name and password go along within the origin only.

    :raises HandshakeRejected: nobody should go there; the message says why
    """
    target = _resolve(url, response)
    if url.secure and not target.secure:
        raise HandshakeRejected(response, "from wss:// to ws:// no redirect is followed")
    # What the server has put there is not the user's: it may be somebody else's account.
    known = (url.username, url.password) if is_same_origin(url, target) else (None, None)
    return replace(target, username=known[0], password=known[1])


def _resolve(url: WebSocketURL, response: Response) -> WebSocketURL:
    locations = response.headers.get_all("Location")
    if len(locations) != 1:
        raise HandshakeRejected(response, "it points to more than one place")
    try:
        # RFC 9110 10.2.2: a fragment is allowed; it is not sent (rule U5).
        return parse_url(urljoin(url.href, locations[0].partition("#")[0]))
    except ValueError:
        raise HandshakeRejected(response, "no WebSocket can be opened to that") from None


def is_same_origin(one: WebSocketURL, other: WebSocketURL) -> bool:
    """Tell whether two URLs have the same scheme, host and port (RFC 6454 section 4)."""
    return (one.secure, one.host, one.port) == (other.secure, other.host, other.port)


def without_secrets(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the header fields that may go to another origin: those whose names do not say that they are secret."""
    return [(name, value) for name, value in headers if not _SECRET.search(name)]
