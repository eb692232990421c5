"""Checks of what users give: numbers, where each says which argument is wrong and what it should be, and collections."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeGuard


def check_size(name: str, value: object, *, zero: bool = False) -> None:
    """Insist on a positive int.

    :raises TypeError: it is no int
    :raises ValueError: it is negative (or zero, where that makes no sense)
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < (0 if zero else 1):
        raise ValueError(f"{name} must be at least {0 if zero else 1}, not {value}")


def check_seconds(name: str, value: object, *, zero: bool = True) -> None:
    """Insist on a finite number of seconds.

    :raises TypeError: it is no number
    :raises ValueError: it is negative, infinite or not a number (or zero, where that makes no sense)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(
            f"{name} must be a {'' if zero else 'positive '}finite number of seconds, not {value}"
        )


def is_collection(value: object) -> TypeGuard[Iterable[Any]]:
    """Tell whether this is a collection of values, and not one text that was given where several were meant."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)
