"""The choice of the hot path: compiled where that was built, else the modules themselves; both are the same source.

The half of it that belongs to the network is chosen in ``_network/hot.py``. The life of a connection belongs to the
protocol, but is chosen here: nobody else deals with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._network import hot as below

# Whether this half is compiled, too: it has the types of the other.
IS_COMPILED: bool = False

if not TYPE_CHECKING and below.IS_COMPILED:
    try:
        from .._fast import budget, ends, life, reader, receive_buffer, send_buffer, writer
    except ImportError:  # it was not built
        from .._protocol import life
        from . import budget, ends, reader, receive_buffer, send_buffer, writer
    else:
        IS_COMPILED = True
else:
    from .._protocol import life
    from . import budget, ends, reader, receive_buffer, send_buffer, writer

AT_ONCE = send_buffer.AT_ONCE
NOT_YET = writer.NOT_YET
Batch = send_buffer.Batch
Budget = budget.Budget
Ends = ends.Ends
Life = life.Life
Reader = reader.Reader
ReceiveBuffer = receive_buffer.ReceiveBuffer
SendBuffer = send_buffer.SendBuffer
Writer = writer.Writer
prepare = send_buffer.prepare
words_of = ends.words_of
