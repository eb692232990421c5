"""WebSocket URLs, read as a browser reads them (WHATWG URL, rules U1-U7)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from .host import bracketed, normalise_host

_SECURE = {"ws": False, "wss": True, "http": False, "https": True}
_DEFAULT_PORT = {False: 80, True: 443}
_MAX_PORT = 65535
_C0_AND_SPACE = "".join(map(chr, range(0x21)))
# WHATWG path and special-query percent-encode sets, given as what needs no escape. "%" is kept: an escape stays one.
_PATH_SAFE = "!$%&'()*+,/:;=@[]|\\"
_QUERY_SAFE = "!$%&()*+,/:;=?@[]|\\^`{}"
# Of the SOCKS schemes those with a letter behind the number leave the look-up of names to the proxy, as curl's do.
PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_ESCAPE_HINT = 'in a user name or password write "/", "?", "#" and "@" percent-encoded'


@dataclass(frozen=True, slots=True)
class WebSocketURL:
    """A parsed URL: everything is ASCII and normalised.

    Neither ``repr`` nor ``str`` shows credentials or what the query says, which may be a token.
    """

    secure: bool
    host: str  # A-label name or address; IPv6 without brackets
    port: int
    target: str  # path and query, never empty
    username: str | None = None
    password: str | None = None

    @property
    def href(self) -> str:
        """The URL in normal form (rule U6), without user name and password."""
        return f"{'wss' if self.secure else 'ws'}://{self.host_header}{self.target}"

    def __str__(self) -> str:
        return for_display(self.href)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    @property
    def host_header(self) -> str:
        """The value of the ``Host`` field: without the port where it is the scheme's own (RFC 6455 section 4.1)."""
        host = bracketed(self.host)
        return host if self.port == _DEFAULT_PORT[self.secure] else f"{host}:{self.port}"

    @property
    def authorization(self) -> bytes | None:
        """The value of the ``Authorization`` field that user info stands for (rule U7, RFC 7617), or None."""
        return _basic(self.username, self.password)


@dataclass(frozen=True, slots=True)
class ProxyURL:
    """A proxy's URL, parsed; neither ``repr`` nor ``str`` shows credentials."""

    scheme: str  # one of PROXY_SCHEMES
    host: str  # A-label name or address; IPv6 without brackets
    port: int
    username: str | None = None
    password: str | None = None

    @property
    def authorization(self) -> bytes | None:
        """The value of the ``Proxy-Authorization`` field, or None."""
        return _basic(self.username, self.password)

    def __str__(self) -> str:
        return f"{self.scheme}://{bracketed(self.host)}:{self.port}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


def _basic(username: str | None, password: str | None) -> bytes | None:
    if username is None:
        return None
    return b"Basic " + base64.b64encode(f"{username}:{password or ''}".encode())


def for_display(url: str) -> str:
    """Return a URL, or a part of one, as it may stand in a log: without user info and without what its query says."""
    before, mark, _ = url.partition("#")[0].partition("?")
    before = re.sub(r"^([^/]*//)[^/]*@", r"\1", before)
    return f"{before}?..." if mark else before


def parse_url(url: str) -> WebSocketURL:
    """Parse an absolute ``ws``, ``wss``, ``http`` or ``https`` URL.

    :raises TypeError: it is not a str
    :raises ValueError: it is not a URL that a WebSocket can be opened to
    """
    if not isinstance(url, str):
        raise TypeError(f"URL must be a str, not {type(url).__name__}")
    return _parse(url) if "@" in url else _parse_once(url)  # a password is not kept


def _parse(url: str) -> WebSocketURL:
    scheme, rest = _split_scheme(url.strip(_C0_AND_SPACE))
    _check_rest(rest)
    # WHATWG "special authority (ignore) slashes": however many there are, and a backslash is one.
    authority, path, query = _split(rest.lstrip("/\\"))
    userinfo, _, host_and_port = authority.rpartition("@")
    secure = _SECURE[scheme]
    host_text, port = _split_port(host_and_port, secure)
    username, password = _credentials(userinfo)
    return WebSocketURL(secure, normalise_host(host_text), port, _target(path, query), username, password)


_parse_once = lru_cache(maxsize=64)(_parse)  # most programs open the same few again and again


def _split_scheme(url: str) -> tuple[str, str]:
    match = re.match(r"([A-Za-z][A-Za-z0-9+.\-]*):", url)
    scheme = match[1].lower() if match else ""
    if match and scheme in _SECURE:
        return scheme, url[match.end() :]
    if match is None or re.match(
        r"[0-9]+(?![^/?])", url[match.end() :]
    ):  # "localhost:8765" has no scheme either
        raise ValueError(
            f"the URL has no scheme: it must be absolute and start with ws:// or wss://{_with_scheme(url)}"
        )
    rest = url[match.end() :]
    meant = _with_scheme(rest) if rest.startswith("//") else ""
    raise ValueError(f"the URL's scheme is {scheme[:40]!r}; use ws, wss, http or https{meant}")


def _with_scheme(url: str) -> str:
    """Suggest what was meant, unless it may hold a password or is no host at all."""
    if "@" in url or url.startswith("/") != url.startswith("//"):
        return ""
    try:
        return f", such as {_parse(f'ws://{url}')}"
    except ValueError:
        return ""


def _check_rest(rest: str) -> None:
    if "#" in rest:
        # Rule U5: also an empty one. A server never sees a fragment, so it is a mistake and not a part to drop.
        raise ValueError(f'a WebSocket URL must not have a fragment; write "#" as %23 ({_ESCAPE_HINT})')
    # A browser removes these without a word; here they are a line of a file, or an attack.
    if re.search(r"[\t\r\n]", rest):
        raise ValueError("the URL has a tab or a line break in it; percent-encode it if it is meant")
    if re.search(r"[\ud800-\udfff]", rest):
        raise ValueError("the URL has a lone surrogate in it, which UTF-8 cannot encode")


def parse_proxy_url(text: str) -> ProxyURL:
    """Parse the URL of a proxy; no message shows any of it, since all of it may be a misplaced password.

    :raises ValueError: it is not the URL of a proxy that can be used
    """
    match = re.fullmatch(
        rf"({'|'.join(PROXY_SCHEMES)})://(?:(.*)@)?([^@/?#\\]*)/?", text.strip(), re.ASCII | re.IGNORECASE
    )
    if match is None:
        raise ValueError(
            "proxy must be a URL such as http://name:password@host:port or socks5h://host:port, with one of the schemes "
            f"{', '.join(PROXY_SCHEMES)} ({_ESCAPE_HINT})"
        )
    scheme, userinfo, host_and_port = match[1].lower(), match[2] or "", match[3]
    if re.search(r"[/?#@\\\s\ud800-\udfff]", userinfo):
        raise ValueError(
            f"proxy has a character in its user name or password that must be escaped ({_ESCAPE_HINT})"
        )
    username, password = _credentials(userinfo)
    _check_socks(scheme, username, password)
    host, colon, port = host_and_port.rpartition(":")
    if not colon or not port or host.startswith("[") != host.endswith("]"):
        raise ValueError("proxy has no port: write host:port")
    try:
        return ProxyURL(scheme, normalise_host(host), parse_port(port), username, password)
    except ValueError:
        raise ValueError("proxy must have a host name or address and a port from 0 to 65535") from None


def _check_socks(scheme: str, username: str | None, password: str | None) -> None:
    if scheme.startswith("socks") and not all(map(_fits_socks, (username, password))):
        raise ValueError("a SOCKS proxy takes user names and passwords of 1 to 255 ASCII characters only")
    if scheme.startswith("socks5") and username is not None and not (username and password):
        # RFC 1929 section 2; it would be asked to let us in without any.
        raise ValueError("a SOCKS5 proxy needs both a user name and a password, or neither")


def _fits_socks(secret: str | None) -> bool:
    return secret is None or (secret.isascii() and "\0" not in secret and len(secret) <= 255)


def _split(rest: str) -> tuple[str, str, str | None]:
    before, mark, query = rest.partition("?")
    end = re.search(r"[/\\]", before)
    start = end.start() if end else len(before)
    return before[:start], before[start:], query if mark else None


def _split_port(text: str, secure: bool) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[]*)(?::([^:]*))?", text)
    if match is None:
        raise ValueError(
            f"the URL has no host:port behind the slashes; an IPv6 address stands in brackets ({_ESCAPE_HINT})"
        )
    host, port = match[1], match[2]
    return host, parse_port(port) if port else _DEFAULT_PORT[secure]


def parse_port(text: str) -> int:
    """Read a port number, 0 to 65535.

    :raises ValueError: it is something else; the text is not shown, since it may be a part of a password
    """
    digits = text.lstrip("0") or "0"
    if not (text.isascii() and text.isdigit() and len(digits) <= 5 and int(digits) <= _MAX_PORT):
        raise ValueError(f"the port must be a number from 0 to {_MAX_PORT} ({_ESCAPE_HINT})")
    return int(digits)


def _credentials(userinfo: str) -> tuple[str | None, str | None]:
    name, colon, password = userinfo.partition(":")
    if not name and not password:
        return None, None
    try:
        username = unquote(name, errors="strict")
        secret = unquote(password, errors="strict") if colon else None
    except UnicodeDecodeError:
        raise ValueError("the URL's user name or password is not UTF-8 once it is percent-decoded") from None
    if ":" in username:
        raise ValueError("the URL's user name has a colon, which HTTP Basic authentication cannot carry")
    return username, secret


def _target(path: str, query: str | None) -> str:
    encoded = quote(_remove_dot_segments(path.replace("\\", "/")), safe=_PATH_SAFE)
    return encoded if query is None else f"{encoded}?{quote(query, safe=_QUERY_SAFE)}"


def _remove_dot_segments(path: str) -> str:
    """Resolve ``.`` and ``..``, also written ``%2e`` (WHATWG URL, path state)."""
    kept: list[str] = []
    segment = ""
    for segment in path.split("/")[1:]:
        dots = segment.lower().replace("%2e", ".")
        if dots == "..":
            del kept[-1:]
        elif dots != ".":
            kept.append(segment)
    if segment.lower().replace("%2e", ".") in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
