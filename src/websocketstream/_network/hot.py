"""The choice of the hot path's half that belongs to the network; see its other half, ``_streams/hot.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._protocol.engine import ENGINE

# Whether the hot path is compiled: like the codec, unless the environment asks for the portable engine.
IS_COMPILED: bool = False

if not TYPE_CHECKING and ENGINE == "compiled":
    try:
        from .._fast import calls, readiness, system_calls, tls_calls, tls_records, wakeups
    except ImportError:  # it was not built
        from . import calls, readiness, system_calls, tls_calls, tls_records, wakeups
    else:
        IS_COMPILED = True
else:
    from . import calls, readiness, system_calls, tls_calls, tls_records, wakeups

Callback = readiness.Callback
Calls = calls.Calls
EpollReadiness = readiness.EpollReadiness
SystemCalls = system_calls.SystemCalls
TLSCalls = tls_calls.TLSCalls
TLSRecords = tls_records.TLSRecords
Wakeups = wakeups.Wakeups
