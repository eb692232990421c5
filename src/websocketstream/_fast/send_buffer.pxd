# The C types of _streams/send_buffer.py.

cimport cython

from .budget cimport Budget

cdef Py_ssize_t LOOK_EVERY

cpdef Py_ssize_t size_of(item) except -1
cpdef prepare(message, bint compress)

cdef class Batch:
    cdef readonly list items

    @cython.locals(items=list)
    cpdef add(self, list given, bint compress)
    cpdef Py_ssize_t size(self, Py_ssize_t number) except -1

cdef class SendBuffer:
    cdef Py_ssize_t _limit
    cdef object _loop
    cdef readonly Budget budget
    cdef readonly list queue
    cdef public Py_ssize_t credit
    cdef public Py_ssize_t encoded
    cdef public bint is_fetched
    cdef public Py_ssize_t free
    cdef Py_ssize_t _taken
    cdef Py_ssize_t _withdrawn
    cdef Py_ssize_t _unsent_bytes
    cdef Py_ssize_t _unsent_messages
    cdef dict _held
    cdef readonly object end
    cdef readonly object parts
    cdef bint _had_parts
    cdef list _freed
    cdef bint _is_felt
    cdef object _paused
    cdef list _watchers

    cpdef raise_if_ended(self)
    cpdef bint renew_credit(self) except -1
    cpdef append(self, item, Py_ssize_t size)
    @cython.locals(items=list, charged=Py_ssize_t, end=Py_ssize_t, most=Py_ssize_t)
    cpdef Py_ssize_t append_some(self, Batch batch, Py_ssize_t start) except -1
    cpdef list take_batch(self, Py_ssize_t most)
    cpdef passed_by(self, item, Py_ssize_t unsent)
    cpdef left_to_send(self, Py_ssize_t unsent)
    cdef _take_back(self, number)
    cdef _wake_if_free(self)
    cdef _drop(self)
    cdef _call_watchers(self)
