# The C types of _streams/reader.py.

from .receive_buffer cimport ReceiveBuffer
from .writer cimport Writer

cdef class Reader:
    cdef object _transport
    cdef object _codec
    cdef ReceiveBuffer _buffer
    cdef object _life
    cdef Writer _writer
    cdef object _pings
    cdef object _loop
    cdef object _owner
    cdef public object keepalive
    cdef object _call
    cdef object _put_off
    cdef object _failure

    cpdef data_received(self, data)
    cpdef failed(self, Exception error)
    cpdef read_on(self)
    cpdef stop(self)
    cdef _decode(self, data)
    cdef _sort(self, list events)
    cdef _hold_back(self)
