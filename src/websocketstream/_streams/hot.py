"""The choice of the hot path: compiled where that was built, else the modules themselves; both are the same source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._protocol.engine import ENGINE

# Whether the hot path is compiled: like the codec, unless the environment asks for the portable engine.
IS_COMPILED: bool = False

if not TYPE_CHECKING and ENGINE == "compiled":
    try:
        from .._fast import budget, reader, receive_buffer, send_buffer, writer
    except ImportError:  # it was not built
        from . import budget, reader, receive_buffer, send_buffer, writer
    else:
        IS_COMPILED = True
else:
    from . import budget, reader, receive_buffer, send_buffer, writer

AT_ONCE = send_buffer.AT_ONCE
NOT_YET = writer.NOT_YET
Batch = send_buffer.Batch
Budget = budget.Budget
Reader = reader.Reader
ReceiveBuffer = receive_buffer.ReceiveBuffer
SendBuffer = send_buffer.SendBuffer
Writer = writer.Writer
prepare = send_buffer.prepare
