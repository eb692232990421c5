# The C types of _network/calls.py.

cdef class Calls:
    cdef object _call
    cdef object _wake
    cdef object _queue
    cdef bint _due
    cdef double _since
    cdef readonly double until
    cdef bint _is_limited

    cpdef took_much(self)
    cpdef bint are_late(self) except -1
    cdef _ask(self)
