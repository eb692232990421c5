"""What the command line says of a connection, as the arguments of :func:`open_websocket_stream`."""

from __future__ import annotations

import argparse
import getpass
import math
import ssl
from pathlib import Path
from typing import Any

from .._protocol.authorization import basic_auth, bearer_auth
from .exit_codes import ExitCode
from .failures import CommandFailed
from .units import parse_limit, positive_int, positive_seconds, seconds_or_forever

FOLLOWED_BY_DEFAULT = 10  # redirects, with -L


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of everything that connects."""
    group = parser.add_argument_group("the request")
    group.add_argument(
        "-H",
        "--header",
        type=header,
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="add a header field",
    )
    group.add_argument(
        "-s",
        "--protocol",
        action="append",
        default=[],
        metavar="NAME",
        help="offer a subprotocol; may be repeated",
    )
    group.add_argument("-o", "--origin", metavar="URL", help="say which web page asks, as a browser does")
    login = group.add_mutually_exclusive_group()
    login.add_argument(
        "--auth",
        dest="login",
        type=basic,
        metavar="USER[:PASSWORD]",
        help="log in; asks for a password that is missing",
    )
    login.add_argument("--bearer", dest="login", type=bearer, metavar="TOKEN", help="log in with a token")
    group.add_argument(
        "-L",
        "--follow",
        dest="max_redirects",
        action="store_const",
        const=FOLLOWED_BY_DEFAULT,
        default=0,
        help=f"follow redirects, {FOLLOWED_BY_DEFAULT} at the most",
    )
    group.add_argument("--max-redirects", type=positive_int, metavar="N", help="follow so many redirects")
    group = parser.add_argument_group("the connection")
    group.add_argument(
        "--proxy",
        metavar="URL",
        help="go through a proxy (http, https, socks4, socks5); env: the environment's",
    )
    group.add_argument("--compress", action="store_true", help="offer compression (permessage-deflate)")
    group.add_argument(
        "--timeout",
        type=positive_seconds,
        default=10.0,
        metavar="S",
        help="seconds for connecting, and for closing (default: 10)",
    )
    group.add_argument(
        "--ping",
        type=seconds_or_forever,
        default=20.0,
        metavar="S",
        help="seconds of silence before a keepalive ping (default: 20; forever: none)",
    )
    group.add_argument(
        "--max-size",
        type=parse_limit,
        default=16 * 2**20,
        metavar="SIZE",
        help="largest message to accept, and longest line to send (default: 16MiB; none: any)",
    )
    group = parser.add_argument_group("TLS, for wss://")
    group.add_argument("-k", "--insecure", action="store_true", help="accept any certificate")
    group.add_argument(
        "--cacert", "--ca", metavar="FILE", help="trust these authorities, in place of the system's"
    )
    group.add_argument(
        "--cert", metavar="FILE", help="show a client certificate; its key may be in the same file"
    )
    group.add_argument("--key", metavar="FILE", help="the key of --cert")


def header(text: str) -> tuple[str, str]:
    """Read a header field as curl takes it.

    :raises argparse.ArgumentTypeError: it is none
    """
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not a header field: write 'NAME: VALUE'")
    return name.strip(), value.strip()


def basic(text: str) -> str:
    """Read a user name and a password, or ask for one; return what the header field says.

    It is asked for before there is an event loop, so that Ctrl-C works as it does everywhere.

    :raises argparse.ArgumentTypeError: they cannot be used
    """
    user, colon, password = text.partition(":")
    try:
        return basic_auth(user, password if colon else getpass.getpass(f"password of {user}: "))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    except EOFError:
        raise argparse.ArgumentTypeError("no password was given") from None


def bearer(text: str) -> str:
    """Read a token; return what the header field says.

    :raises argparse.ArgumentTypeError: it cannot be used
    """
    try:
        return bearer_auth(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def open_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of :func:`open_websocket_stream`.

    :raises CommandFailed: a file cannot be used
    """
    headers = list(arguments.header)
    if arguments.login is not None:
        headers.append(("Authorization", arguments.login))
    return {
        "protocols": arguments.protocol,
        "headers": headers,
        "origin": arguments.origin,
        "ssl_context": _ssl_context(arguments),
        "proxy": True if arguments.proxy == "env" else arguments.proxy,
        "max_redirects": arguments.max_redirects or 0,
        "compression": arguments.compress,
        "max_message_size": arguments.max_size,
        "ping_interval": None if math.isinf(arguments.ping) else arguments.ping,
        "open_timeout": arguments.timeout,
        "close_timeout": arguments.timeout,
    }


def _ssl_context(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the context that the options ask for, None if they ask for nothing."""
    if arguments.key is not None and arguments.cert is None:
        raise CommandFailed("--key is for the certificate of --cert", ExitCode.USAGE)
    if not (arguments.insecure or arguments.cacert or arguments.cert):
        return None
    context = _context_that_trusts(arguments.cacert)
    if arguments.cert is not None:
        _load_certificate(context, arguments.cert, arguments.key)
    if arguments.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _context_that_trusts(cacert: str | None) -> ssl.SSLContext:
    """Return a context of its own, as the library's default one is everybody's."""
    try:
        context = ssl.create_default_context(cafile=cacert)
    except OSError as exc:
        raise _unusable("--cacert", str(cacert), exc) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_certificate(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    if key is not None and not Path(key).exists():
        raise CommandFailed(f"--key {key}: there is no such file", ExitCode.USAGE)
    try:
        context.load_cert_chain(cert, key)
    except OSError as exc:  # SSLError is one
        raise _unusable("--cert", cert, exc) from None


def _unusable(option: str, file: str, exc: OSError) -> CommandFailed:
    if isinstance(exc, ssl.SSLError):
        return CommandFailed(f"{option} {file}: it is no PEM file with what is needed", ExitCode.USAGE)
    return CommandFailed(f"{option} {file}: {exc.strerror}", ExitCode.USAGE)
