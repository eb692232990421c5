"""The host of a URL or of a ``Host`` field, as the one ASCII form that DNS, TLS and HTTP all get (WHATWG URL 3.5)."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote_to_bytes

import idna

_MAX_NAME = 253  # RFC 1035 2.3.4, as text and without the root's dot.
_MAX_LABEL = 63
# What RFC 3986 3.2.2 lets stand in a name without an escape. Narrower than WHATWG's list, which admits quotes and braces.
_NAME = re.compile(r"[a-z0-9\-._~!$&'()*+,;=]+")
_IPV4_PARTS = 4
_HEXADECIMAL = re.compile("0x([0-9a-f]*)")
_OCTAL = re.compile("0[0-7]*")
_DECIMAL = re.compile("[1-9][0-9]*")


def normalise_host(text: str) -> str:
    """Return the ASCII form of a host: an A-label name, a dotted IPv4 address, or an IPv6 address without brackets.

    Odd spellings of IPv4 (``0x7f.1``, ``2130706433``) become the address they mean, so that nobody is misled later.

    :raises ValueError: this is not a host
    """
    if text.startswith("[") or text.endswith("]"):
        return _ipv6(text)
    # Before any table is consulted: looking up a name of 64 KiB is somebody's denial of service (CVE-2022-45061).
    if len(text) > 3 * _MAX_NAME:
        raise ValueError(f"the host is longer than {_MAX_NAME} characters")
    name = _to_ascii(_percent_decode(text))
    if not name:
        raise ValueError("the host is empty")
    if not _NAME.fullmatch(name):
        raise ValueError(f"the host {name!a} has a character that no host name may have")
    labels = name.removesuffix(".").split(".")
    if _looks_like_a_number(labels[-1]):
        return _ipv4(labels)
    _check_labels(name, labels)
    return name


def bracketed(host: str) -> str:
    """Return the host as it stands in a URL and in a ``Host`` field (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def _percent_decode(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        raise ValueError("the host is not UTF-8 once its percent-escapes are decoded") from None


def _to_ascii(text: str) -> str:
    """UTS 46 without transitional rules; plain ASCII names pass as they are, underscores included."""
    if text.isascii():
        return text.lower()
    if len(text) > _MAX_NAME:
        raise ValueError(f"the host is longer than {_MAX_NAME} characters")
    try:
        mapped = idna.uts46_remap(text, std3_rules=False)
        return ".".join(_label_to_ascii(label) for label in mapped.split("."))
    except UnicodeError as error:  # idna.IDNAError is one
        raise ValueError(
            f"the host {text!a} is not a valid internationalised name ({error}); its xn-- form may work"
        ) from None


def _label_to_ascii(label: str) -> str:
    return label if label.isascii() else idna.alabel(label).decode("ascii")


def _check_labels(name: str, labels: list[str]) -> None:
    if len(".".join(labels)) > _MAX_NAME:
        raise ValueError(f"the host is longer than {_MAX_NAME} characters")
    for label in labels:
        if not label:
            raise ValueError(f"the host {name!a} has an empty label")
        if len(label) > _MAX_LABEL:
            raise ValueError(f"the host {name!a} has a label longer than {_MAX_LABEL} characters")
        if label.startswith("xn--") and not _is_a_label(label):
            raise ValueError(f"the host {name!a} has a label that is not valid punycode: {label!a}")


def _is_a_label(label: str) -> bool:
    """Tell whether this decodes to a non-ASCII label and back; which scripts it mixes is the registry's business."""
    encoded = label[4:].encode("ascii")
    try:
        decoded = encoded.decode("punycode")
        decoded.encode()  # surrogates are no characters
    except (ValueError, IndexError, OverflowError):
        return False  # the codec is not picky about what it raises; UnicodeError is a ValueError
    return not decoded.isascii() and decoded.encode("punycode") == encoded


def _looks_like_a_number(label: str) -> bool:
    # WHATWG "ends in a number checker": from here on it is an IPv4 address or an error, never a name.
    return label.isdigit() or bool(_HEXADECIMAL.fullmatch(label))


def _ipv4(parts: list[str]) -> str:
    numbers = [_ipv4_number(part) for part in parts]
    *high, last = numbers
    if len(numbers) > _IPV4_PARTS or any(number > 255 for number in high):
        raise ValueError(f"the host {'.'.join(parts)!a} ends in a number but is not an IPv4 address")
    if last >= 256 ** (_IPV4_PARTS + 1 - len(numbers)):
        raise ValueError(f"the host {'.'.join(parts)!a} is beyond the range of IPv4 addresses")
    value = last + sum(number << 8 * (3 - place) for place, number in enumerate(high))
    return str(ipaddress.IPv4Address(value))


def _ipv4_number(part: str) -> int:
    if _DECIMAL.fullmatch(part):
        return int(part)
    if _OCTAL.fullmatch(part):
        return int(part, 8)
    if match := _HEXADECIMAL.fullmatch(part):
        return int(match[1] or "0", 16)
    raise ValueError(f"the host ends in a number but {part!a} is not a part of an IPv4 address")


def _ipv6(text: str) -> str:
    try:
        if "%" in text or not (text.startswith("[") and text.endswith("]")):
            raise ValueError
        address = ipaddress.IPv6Address(text[1:-1])
    except ValueError:
        hint = "; a zone id cannot stand in a WebSocket URL" if "%" in text else ""
        raise ValueError(f"the host {text[:60]!a} is not an IPv6 address in brackets{hint}") from None
    return _compress([f"{int(group, 16):x}" for group in _groups(address)])


def _groups(address: ipaddress.IPv6Address) -> list[str]:
    digits = f"{int(address):032x}"
    return [digits[place : place + 4] for place in range(0, 32, 4)]


def _compress(groups: list[str]) -> str:
    """RFC 5952 section 4; by hand, since how ``str()`` shows an IPv4-mapped address depends on the Python version."""
    text = ":".join(groups)
    run = max(re.finditer(r"\b0(?::0)+\b", text), key=lambda match: len(match[0]), default=None)
    if run is None:
        return text
    return f"{text[: run.start()].removesuffix(':')}::{text[run.end() :].removeprefix(':')}"
