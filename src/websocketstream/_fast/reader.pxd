# The C types of _streams/reader.py.

cimport cython

from .calls cimport Calls
from .life cimport Life as LifeType
from .receive_buffer cimport ReceiveBuffer
from .writer cimport Writer

cdef Py_ssize_t BUSY_BYTES
cdef Py_ssize_t FEW
cdef Py_ssize_t FULL_READ_BYTES
cdef Py_ssize_t MANY
cdef double NOT_SINCE

cdef class Reader:
    cdef object _transport
    cdef object _codec
    cdef object _receive_data
    cdef ReceiveBuffer _buffer
    cdef LifeType _life
    cdef Writer _writer
    cdef object _pings
    cdef object _loop
    cdef Calls _calls
    cdef object _clock
    cdef object _owner
    cdef object _keepalive
    cdef double _heard_at
    cdef object _call
    cdef object _put_off
    cdef object _failure
    cdef readonly Py_ssize_t read

    cpdef put_off(self, bytes data)
    cpdef data_received(self, data)
    cpdef room(self, Py_ssize_t most)
    cpdef room_filled(self, Py_ssize_t size, data)
    cpdef failed(self, Exception error)
    cpdef read_on(self)
    cpdef room_made(self)
    cpdef caught_up(self)
    cpdef stop(self)
    @cython.locals(events=list, size=Py_ssize_t, message_bytes=Py_ssize_t, pending=bint)
    cdef _decode(self, data, Py_ssize_t in_room=*)
    cdef _sort(self, list events)
    cdef _hold_back(self)
