# The C types of _streams/receive_buffer.py.

from .budget cimport Budget

cdef Py_ssize_t LOOK_EVERY

cdef class ReceiveBuffer:
    cdef Py_ssize_t _limit
    cdef object _loop
    cdef object _new_waiter
    cdef object _wake
    cdef readonly Budget budget
    cdef readonly list ready
    cdef public object filler
    cdef public bint is_last
    cdef readonly bint full
    cdef list _batch
    cdef Py_ssize_t _size
    cdef list _following
    cdef list _arrived
    cdef Py_ssize_t _bytes
    cdef Py_ssize_t _count
    cdef bint _receiving
    cdef bint _is_locked
    cdef object _arrival
    cdef object _end
    cdef object _paused

    cpdef take(self)
    cpdef list take_all(self)
    cpdef pop(self)
    cpdef list pop_all(self)
    cdef _come_for_more(self)
    cdef _next_batch(self)
    cpdef expect(self)
    cpdef take_arrived(self)
    cpdef bint is_over(self) except -1
    cpdef begin_waiting(self)
    cpdef arrival(self)
    cpdef arrival_after_wait(self)
    cpdef end_waiting(self)
    cpdef push(self, list messages, Py_ssize_t size)
    cpdef drop(self)
    cdef _make_room(self)
