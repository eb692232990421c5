# The C types of _network/system_calls.py.

cimport cython

from .wakeups cimport Wakeups

cdef Py_ssize_t BEHIND_BYTES
cdef Py_ssize_t BUSY_BYTES

cdef class SystemCalls:
    cdef object _owner
    cdef object _receive
    cdef object _receive_both
    cdef object _running_loop
    cdef object _loop
    cdef Wakeups _wakeups
    cdef readonly object small
    cdef readonly object large
    cdef public object deliver
    cdef public object offer
    cdef public object filled
    cdef public object send
    cdef public Py_ssize_t got
    cdef public Py_ssize_t many
    cdef public bint barred

    cpdef release(self)
    cpdef on_readable(self)
    cdef _read(self)
    @cython.locals(size=Py_ssize_t, got=Py_ssize_t)
    cdef _read_into(self, into, room)
    cpdef get_buffer(self, sizehint)
    cpdef buffer_updated(self, Py_ssize_t nbytes)
    @cython.locals(sent=Py_ssize_t)
    cpdef write(self, data)
    cdef bint _is_elsewhere(self) except -1
