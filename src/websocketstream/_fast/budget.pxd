# The C types of _streams/budget.py.

from .calls cimport Calls

cdef Py_ssize_t CHECKPOINT_NOT_BEFORE
cdef Py_ssize_t LOOKS
cdef Py_ssize_t LOOK_EVERY

cdef class Budget:
    cdef object _turns
    cdef Calls _calls
    cdef Py_ssize_t _seen
    cdef double _began
    cdef public Py_ssize_t turn
    cdef public double until
    cdef public Py_ssize_t rest
    cdef public Py_ssize_t left

    cpdef bint allows(self) except -1
    cpdef bint allows_much(self) except -1
    cdef bint _look(self) except -1
    cpdef waited(self)
