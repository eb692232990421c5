"""The event loops that every asynchronous test runs on."""

from __future__ import annotations

import sys
from typing import Any

import pytest

BACKENDS: list[Any] = [
    pytest.param("asyncio", id="asyncio"),
    pytest.param("trio", id="trio"),
]
if sys.platform != "win32" and sys.implementation.name == "cpython":
    BACKENDS.insert(1, pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"))
