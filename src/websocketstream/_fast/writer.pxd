# The C types of _streams/writer.py.

cimport cython

from .budget cimport Budget
from .calls cimport Calls
from .life cimport Life as LifeType
from .send_buffer cimport SendBuffer

cdef Py_ssize_t BUSY_BYTES

cdef class Writer:
    cdef object _transport
    cdef object _transport_write
    cdef object _codec
    cdef object _send_message
    cdef SendBuffer _buffer
    cdef LifeType _life
    cdef Budget _budget
    cdef object _loop
    cdef Calls _calls
    cdef object _changed
    cdef Py_ssize_t _write_bytes
    cdef Py_ssize_t _batch_bytes
    cdef Py_ssize_t _turn
    cdef object _call
    cdef tuple _pongs
    cdef tuple _pings
    cdef object _pace
    cdef object _portions
    cdef Py_ssize_t _in_portions
    cdef object _chunks
    cdef Py_ssize_t _unsent
    cdef Py_ssize_t _in_transport
    cdef bint _has_closed
    cdef readonly Py_ssize_t written

    @cython.locals(buffer=SendBuffer, size=Py_ssize_t, is_ready=bint)
    cpdef Py_ssize_t accept(self, message, bint compress) except? -1
    @cython.locals(buffer=SendBuffer, size=Py_ssize_t, at_once=bint)
    cpdef Py_ssize_t put(self, item) except -1
    @cython.locals(buffer=SendBuffer)
    cpdef bint put_frame(self, item) except -1
    cpdef append_frame(self, item)
    cdef bint _has_work(self) except -1
    cdef bint _is_paced(self) except -1
    cpdef flush(self)
    @cython.locals(handed=Py_ssize_t)
    cdef _write_on(self)
    cpdef flushed(self)
    cpdef drop_portions(self)
    cdef _wake(self)
    cdef _write_alone(self, item)
    @cython.locals(size=Py_ssize_t)
    cdef _write_frame(self, item, frame)
    @cython.locals(sent=Py_ssize_t)
    cdef _write(self, chunk)
    cdef _took(self)
    cpdef fail(self, Exception error)
    cdef _end(self)
    cdef bint _encode_next(self) except -1
    cdef _encode_controls(self, list buffers)
    cdef _encode_batch(self, list buffers)
    cdef _encode_mixture(self, list batch, list buffers)
    cdef _pass_by(self, item)
