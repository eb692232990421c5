"""Sizes, rates and durations as people write and read them."""

from __future__ import annotations

import argparse
import math
import re

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


def size(number: float) -> str:
    """Say a number of bytes for people: ``1.5 MiB``."""
    unit = 0
    while abs(number) >= 1023.95 and unit < len(_UNITS) - 1:
        number /= 1024
        unit += 1
    return f"{number:.0f} B" if unit == 0 else f"{number:.1f} {_UNITS[unit]}"


def parse_size(text: str) -> int:
    """Read a number of bytes: ``65536``, ``64KiB`` and ``64k`` are the same, ``64kB`` is 64000.

    :raises argparse.ArgumentTypeError: it is none
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 65536, 64KiB or 16MiB")
    number, letter, binary = match.groups()
    if letter is None:
        return int(float(number))
    decimal = not binary and text.strip().lower().endswith("b")
    return int(float(number) * (1000 if decimal else 1024) ** _POWERS[letter.lower()])


def parse_limit(text: str) -> int | None:
    """Read the largest number of bytes to allow; ``none`` allows any.

    :raises argparse.ArgumentTypeError: it is neither
    """
    if text.lower() == "none":
        return None
    limit = parse_size(text)
    if limit == 0:
        raise argparse.ArgumentTypeError("a limit of 0 allows nothing; none allows any size")
    return limit


def positive_seconds(text: str) -> float:
    """Read a duration in seconds.

    :raises argparse.ArgumentTypeError: it is no positive number
    """
    seconds = _number(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


def seconds_or_forever(text: str) -> float:
    """Read a duration in seconds that may be zero, or ``forever``.

    :raises argparse.ArgumentTypeError: it is neither
    """
    if text == "forever":
        return math.inf
    seconds = _number(text)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of seconds nor the word forever")
    return seconds


def positive_int(text: str) -> int:
    """Read a number of things.

    :raises argparse.ArgumentTypeError: it is no whole number above zero
    """
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def rate(number: float) -> str:
    """Say how many of something there are per second: ``12,345/s``, ``0.4/s``."""
    return f"{number:,.0f}/s" if number >= 10 or number == 0 else f"{number:.1f}/s"


def byte_rate(number: float) -> str:
    """Say how many bytes there are per second: ``1.5 MiB/s``."""
    return f"{size(number)}/s"


def duration(seconds: float) -> str:
    """Say a duration: ``850 µs``, ``12.3 ms``, ``4.2 s``, ``3:05``, ``2:03:05``."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
