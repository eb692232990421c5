"""Passes of the event loop: what many busy connections may take of one, all together."""

from __future__ import annotations

PASS_SECONDS = 0.01
