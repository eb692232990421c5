"""What somebody types who talks to a server: a message, or a command that begins with a slash."""

from __future__ import annotations

from dataclasses import dataclass

from .._protocol.close import check_close
from .._protocol.codec import Message

HELP = """\
  /ping              measure the round trip
  /text TEXT         send a text message, also an empty one; without a slash in front it needs no command
  /binary HEX        send a binary message: /binary 00 ff 1e
  /close 4000 bye    close with a code and a reason, both may be missing
  /quit              close and leave, as Ctrl-D
  /help              this
  //...              send a text message that begins with a slash"""

NAMES = ("/ping", "/text", "/binary", "/close", "/quit", "/help")


@dataclass(frozen=True, slots=True)
class Say:
    """Send a message."""

    message: Message


@dataclass(frozen=True, slots=True)
class Ping:
    """Measure the round trip."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection."""

    code: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Quit:
    """Close the connection and leave."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Say something to who typed it."""

    text: str


Typed = Say | Ping | Close | Quit | Tell


def read_line(line: str) -> Typed:
    """Read one line; whatever is wrong with it is for who typed it to read."""
    if not line.startswith("/"):
        return Say(line)
    if line.startswith("//"):
        return Say(line[1:])
    name, _, rest = line.partition(" ")
    match name:
        case "/ping":
            return Ping()
        case "/text":
            return Say(rest)
        case "/binary":
            return _binary(rest)
        case "/close":
            return _close(rest)
        case "/quit":
            return Quit()
        case "/help":
            return Tell(HELP)
    return Tell(f"there is no command {name}; /help lists them, /{line} sends this as it is")


def _binary(digits: str) -> Typed:
    try:
        return Say(bytes.fromhex(digits))
    except ValueError:
        return Tell("/binary takes hexadecimal digits, two for a byte: /binary 00 ff 1e")


def _close(words: str) -> Typed:
    code, _, reason = words.strip().partition(" ")
    if code and not (code.isascii() and code.isdigit()):
        return Tell("/close takes a number first: /close 4000 bye")
    try:
        return Close(*check_close(int(code) if code else None, reason.strip()))
    except ValueError as exc:
        return Tell(str(exc))
